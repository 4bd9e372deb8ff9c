"""The virtual chip's own tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openhailo.errors import InputError

from ._output import JsonOption, print_json

ARCHITECTURES = ("hailo8", "hailo8l")

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


@app.command(help="Serve virtual chips as PCI functions for QEMU (vfio-user), one per socket, until Ctrl-C.")
def serve(
    socket: Annotated[
        list[Path] | None, typer.Option("--socket", "-s", help="UNIX socket to make; repeatable.")
    ] = None,
    fd: Annotated[int | None, typer.Option("--fd", help="Serve this inherited, connected socket instead.")] = None,
    arch: Annotated[str, typer.Option("--arch", help="hailo8 or hailo8l.")] = ARCHITECTURES[0],
    firmware: Annotated[
        str, typer.Option("--firmware", help="Version the firmware reports; by default what the loaded image says.")
    ] = "",
    model_timing: Annotated[
        str,
        typer.Option(
            "--model-timing", help="Time of a frame in the core: host (as fast as it goes), 500fps, 2ms, 250us."
        ),
    ] = "host",
    hef: Annotated[
        Path | None, typer.Option("--hef", help="HEF compiled for silicon that --reference computes.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="ONNX file with the numerics of --hef; bound to every network.")
    ] = None,
    faults: Annotated[
        Path | None, typer.Option("--faults", help="JSON file of faults to put in; read again at SIGHUP.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", help="Record all register accesses, DMA maps and messages (JSON Lines).")
    ] = None,
    sealed_memory_only: Annotated[
        bool, typer.Option("--sealed-memory-only", help="Refuse guest memory that the client could shrink.")
    ] = False,
) -> None:
    """Run `openhailo twin serve`."""
    from ._serve import Plan, parse_timing
    from ._serve import serve as run

    if arch not in ARCHITECTURES:
        raise InputError(what="architecture", detail=f"{arch!r} is not {' or '.join(ARCHITECTURES)}")
    if not socket and fd is None:
        raise InputError(what="twin serve", detail="needs --socket or --fd: where are the clients?")
    example = '-device \'{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":"{}"}}}}\''
    run(
        Plan(
            arch=arch,
            sockets=socket or [],
            fd=fd,
            firmware_version=parse_version(firmware) if firmware else None,
            frame_ns=parse_timing(model_timing),
            network=hef,
            reference=reference,
            faults=faults,
            log=log,
            sealed_only=sealed_memory_only,
            ready=[f"serving {arch}; QEMU: {example.format(path)}" for path in socket or []],
        )
    )


def parse_version(text: str) -> tuple[int, int, int]:
    """Turn ``"4.23.0"`` into numbers. Raises `InputError`."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise InputError(what="version", detail=f"{text!r} is not of the form 4.23.0")
    major, minor, revision = (int(part) for part in parts)
    return major, minor, revision
