"""Serving twins to virtual machines until a signal comes."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from openhailo.twin.ports.vfio_user.device import ServedDevice
from openhailo.twin.ports.vfio_user.server import Server


def serve(
    sockets: Sequence[Path],
    arch: str,
    firmware_version: tuple[int, int, int] | None,
    *,
    sealed_only: bool,
    ready: Sequence[str] = (),
) -> None:
    """Serve one twin per socket until SIGINT or SIGTERM; prints ``ready`` when clients may connect.

    Raises `InputError`, `DeviceBusy`, `AccessDenied` for sockets that cannot be served.
    """
    with ThreadPoolExecutor(1, "core") as executor, Server() as server:
        for path in sockets:
            device = ServedDevice(
                path.name,
                arch,
                firmware_version=firmware_version,
                executor=executor,
                wake=server.wake,
                sealed_only=sealed_only,
            )
            server.listen(device, path)
        before = {number: signal.signal(number, lambda *_: server.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for line in ready:
                print(line, flush=True)
            server.run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
