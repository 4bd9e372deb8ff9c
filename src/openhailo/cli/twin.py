"""The virtual chip's own tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openhailo.errors import InputError

from ._output import JsonOption, print_json

app = typer.Typer(help="The virtual chip's own tools.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Hold the sub-commands."""


@app.command(help="Write a placeholder firmware image with valid headers (for the twin; it does nothing on silicon).")
def firmware(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, e.g. hailo8_fw.bin.")],
    version: Annotated[str, typer.Option("--version", help="Release written into the headers.")] = "4.23.0",
    json: JsonOption = False,
) -> None:
    """Run `openhailo twin firmware`."""
    from openhailo.twin.firmware.image import build_placeholder_image

    image = build_placeholder_image(version=parse_version(version))
    output.write_bytes(image)
    if json:
        print_json({"file": output, "size_bytes": len(image), "version": version})
    else:
        typer.echo(f"{output}: {len(image)} bytes, version {version}")


def parse_version(text: str) -> tuple[int, int, int]:
    """Turn ``"4.23.0"`` into numbers. Raises `InputError`."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise InputError(what="version", detail=f"{text!r} is not of the form 4.23.0")
    major, minor, revision = (int(part) for part in parts)
    return major, minor, revision
