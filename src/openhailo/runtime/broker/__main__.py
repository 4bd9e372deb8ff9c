"""Run a broker: ``python -m openhailo.runtime.broker`` (people use ``openhailo broker``)."""

from __future__ import annotations

import argparse
import grp
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from openhailo.errors import InputError, OpenHailoError
from openhailo.runtime.broker.messages import to_bytes
from openhailo.runtime.broker.place import check_path, socket_path
from openhailo.runtime.broker.refusals import refusal_of
from openhailo.runtime.broker.server import BrokerServer, claim
from openhailo.runtime.broker.start import tell_ready
from openhailo.runtime.open_virtual import device_names, open_virtual_device


def run(
    names: Sequence[str],
    socket: Path | None = None,
    *,
    group: str = "",
    idle_timeout_s: float | None = None,
    ready_fd: int = -1,
) -> None:
    """Open the devices ``names``, share them, and end them when told to, or after ``idle_timeout_s`` without a client.

    Raises what opening them raises, `DeviceBusy`, `AccessDenied`, `InputError`.
    """
    try:
        found = list(names) or device_names(None, 1)
        path = socket if socket is not None else socket_path(found)
        gid = _group(group)
        with (
            claim(check_path(path)) as life,
            open_virtual_device(found) as vdevice,
            BrokerServer(vdevice, path, group=gid, life=life) as server,
        ):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda *_: server.stop())
            print(f"sharing {', '.join(vdevice.device_ids)} at {path}", flush=True)
            tell_ready(ready_fd)
            server.serve(idle_timeout_s)
    except OpenHailoError as error:
        tell_ready(ready_fd, to_bytes(refusal_of(error)))
        raise


def _group(name: str) -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise InputError(what=f"group {name!r}", detail="there is no such group; make it with `groupadd`") from None


def main() -> int:
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--device", action="append", default=[])
    parser.add_argument("--group", default="")
    parser.add_argument("--idle-timeout", type=float)
    parser.add_argument("--ready-fd", type=int, default=-1)
    arguments = parser.parse_args()
    try:
        run(
            arguments.device,
            arguments.socket,
            group=arguments.group,
            idle_timeout_s=arguments.idle_timeout,
            ready_fd=arguments.ready_fd,
        )
    except OpenHailoError as error:
        print(f"openhailo broker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
