"""Share devices with other processes: own them, and let programs with `multi_process_service` use them in turns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "broker"


def command(
    device: Annotated[
        list[str] | None,
        typer.Option("--device", "-d", help="Device to share, several times for several; default: the best there is."),
    ] = None,
    socket: Annotated[
        Path | None, typer.Option("--socket", help="Where to listen; default: where programs of yours look for it.")
    ] = None,
    group: Annotated[
        str, typer.Option("--group", help="Let the members of this group in too (mode 0660), such as hailo.")
    ] = "",
    idle_timeout_s: Annotated[
        float | None, typer.Option("--idle-timeout", min=0.0, help="End after so many seconds without a client.")
    ] = None,
) -> None:
    """Run `openhailo broker`."""
    from openhailo.runtime.broker.__main__ import run

    run(device or [], socket, group=group, idle_timeout_s=idle_timeout_s)
