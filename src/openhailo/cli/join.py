"""Put the networks of several HEFs into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openhailo.errors import InputError

from ._output import JsonOption, print_json

NAME = "join"


def command(
    files: Annotated[list[Path], typer.Argument(help="The .hef files; the first one's network is the default.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .hef to write.")],
    json: JsonOption = False,
) -> None:
    """Run `openhailo join`."""
    from openhailo import hef

    for path in files:
        if not path.is_file():
            raise InputError(what=str(path), detail="there is no such file")
    joined = hef.join([hef.read(path) for path in files])
    output.write_bytes(hef.write(joined))
    names = [group.name for group in joined.network_groups]
    if json:
        print_json({"hef": str(output), "networks": names})
    else:
        typer.echo(f"{output}: {', '.join(names)}")
