"""Serving twins to virtual machines until a signal comes."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from openhailo.bus.trace import TraceWriter
from openhailo.errors import InputError
from openhailo.twin.core.reference import Reference
from openhailo.twin.firmware import Firmware
from openhailo.twin.firmware.config import ARCHITECTURES
from openhailo.twin.ports.vfio_user.device import ServedDevice
from openhailo.twin.ports.vfio_user.journal import Journal
from openhailo.twin.ports.vfio_user.server import Server

#: How model timing is written: a rate, or the time of a frame.
_TIMING = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>fps|ns|us|ms|s)")
_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_SLOWEST_NS = 3600 * _NS["s"]
#: A file of faults is some lines; more is not one.
_LONGEST_FAULTS = 65536


@dataclass(frozen=True)
class Plan:
    """What is served, and how.

    ``sockets`` are listened at; ``fd`` is a connected socket that this process inherited, served until it closes.
    ``frame_ns`` is the time the core takes for a frame at least. ``faults`` names a file, read now and at every SIGHUP.
    ``log`` names the file that everything is recorded in.
    """

    arch: str
    sockets: Sequence[Path] = ()
    fd: int | None = None
    firmware_version: tuple[int, int, int] | None = None
    frame_ns: int = 0
    network: Path | None = None
    reference: Path | None = None
    faults: Path | None = None
    log: Path | None = None
    sealed_only: bool = False
    ready: Sequence[str] = field(default_factory=tuple)


def parse_timing(text: str) -> int:
    """Return the nanoseconds of a frame: ``host`` (0: as fast as this machine), ``500fps``, ``2ms``, ``250us``.

    Raises `InputError`.
    """
    if text == "host":
        return 0
    match = _TIMING.fullmatch(text)
    number = float(match["number"]) if match else 0.0
    if match is None or not number:
        raise InputError(what="model timing", detail=f"{text!r} is none of host, 500fps, 2ms, 250us")
    frame_ns = _NS["s"] / number if match["unit"] == "fps" else number * _NS[match["unit"]]
    if not 1 <= frame_ns <= _SLOWEST_NS:
        raise InputError(what="model timing", detail=f"{text!r} is not between 1ns and an hour for a frame")
    return round(frame_ns)


def serve(plan: Plan) -> None:
    """Serve until SIGINT or SIGTERM, or until the client of ``plan.fd`` leaves; prints ``plan.ready`` when it begins.

    Raises `InputError`, `HefError`, and for sockets that cannot be served `DeviceBusy`, `AccessDenied`.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(plan.log.open("w", buffering=1, encoding="utf-8")) if plan.log else None
        executor = stack.enter_context(ThreadPoolExecutor(1, "core"))
        server = stack.enter_context(Server())
        devices = _add_devices(plan, server, executor)
        stack.callback(_close_all, devices)
        if stream is not None:
            _keep_journals(stack, devices, stream)
        _bind_reference(plan, devices)
        faults = _FaultFile(plan.faults, devices)
        _catch(stack, {signal.SIGINT: server.stop, signal.SIGTERM: server.stop})
        if plan.faults is not None:
            _catch(stack, {signal.SIGHUP: lambda: faults.ask(server.wake)})
        for line in plan.ready:
            print(line, flush=True)
        server.run(faults.attend)


def _close_all(devices: Sequence[ServedDevice]) -> None:
    for device in devices:
        device.close()


def _add_devices(plan: Plan, server: Server, executor: ThreadPoolExecutor) -> list[ServedDevice]:
    def make(name: str) -> ServedDevice:
        return ServedDevice(
            name,
            plan.arch,
            firmware_version=plan.firmware_version,
            executor=executor,
            wake=server.wake,
            sealed_only=plan.sealed_only,
            frame_ns=plan.frame_ns,
        )

    devices = []
    for path in plan.sockets:
        devices.append(make(path.name))
        server.listen(devices[-1], path)
    if plan.fd is not None:
        sock = _inherited(plan.fd)
        devices.append(make(f"fd{plan.fd}"))
        server.adopt(devices[-1], sock)
    return devices


def _inherited(fd: int) -> socket.socket:
    """Return the connected stream socket that is descriptor ``fd`` of this process. Raises `InputError`."""
    try:
        is_socket = stat.S_ISSOCK(Path(f"/proc/self/fd/{fd}").stat().st_mode)
    except OSError as error:
        raise InputError(what="--fd", detail=f"{fd} is not open: the parent must pass it on ({error})") from error
    if not is_socket:
        raise InputError(what="--fd", detail=f"{fd} is no socket")
    sock = socket.socket(fileno=fd)
    connected = sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM
    if not connected or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise InputError(what="--fd", detail=f"{fd} is no connected UNIX stream socket")
    return sock


def _keep_journals(stack: ExitStack, devices: Sequence[ServedDevice], stream: IO[str]) -> None:
    writer = TraceWriter(stream)
    for device in devices:
        stack.callback(Journal(device, writer).close)


def _catch(stack: ExitStack, actions: dict[signal.Signals, Callable[[], None]]) -> None:
    for number, action in actions.items():
        before = signal.signal(number, lambda *_, act=action: act())
        stack.callback(signal.signal, number, before)


# --- what the user supplies -------------------------------------------------------------------------------------------


def _bind_reference(plan: Plan, devices: Sequence[ServedDevice]) -> None:
    """Bind numerics to networks compiled for silicon; the HEF tells the layers. Raises `InputError`, `HefError`."""
    if plan.reference is None and plan.network is None:
        return
    if plan.reference is None or plan.network is None:
        raise InputError(
            what="reference", detail="--hef and --reference belong together: layers, and what computes them"
        )
    from openhailo.runtime.describe import describe
    from openhailo.runtime.reference import load_reference

    if not plan.network.is_file():
        raise InputError(what=str(plan.network), detail="there is no such file")
    for device in devices:
        firmware = device.chip.firmware
        assert isinstance(firmware, Firmware), "a served device has real firmware"
        config = firmware.config
        layout = config.partial_clusters_layout_bitmap
        description = describe(plan.network.read_bytes(), None, ARCHITECTURES[config.arch], layout)
        firmware.core.bind_reference(cast(Reference, load_reference(plan.reference, description)))


class _FaultFile:
    """Puts the faults in a file into all devices, between two turns of the server."""

    def __init__(self, path: Path | None, devices: Sequence[ServedDevice]) -> None:
        self._path, self._devices = path, devices
        self._asked = False
        if path is not None:
            self._apply(_read_faults(path))

    def ask(self, wake: Callable[[], None]) -> None:
        """Have the file read again; callable from a signal handler."""
        self._asked = True
        wake()

    def attend(self) -> None:
        """Read the file if that was asked for; a bad one is reported and changes nothing."""
        if not self._asked or self._path is None:
            return
        self._asked = False
        try:
            self._apply(_read_faults(self._path))
        except InputError as error:
            print(f"faults unchanged: {error}", flush=True)
        else:
            print(f"faults read from {self._path}", flush=True)

    def _apply(self, values: dict[str, Any]) -> None:
        for device in self._devices:
            device.chip.faults.load(values)


def _read_faults(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            text = stream.read(_LONGEST_FAULTS)
        values = json.loads(text or b"{}")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(what=str(path), detail=f"no JSON object of faults: {error}") from error
    if not isinstance(values, dict):
        raise InputError(what=str(path), detail="no JSON object of faults")
    return values
