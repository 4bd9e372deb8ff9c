"""Record every register, control, descriptor and interrupt of a run to JSON Lines, or print such a file readably."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openhailo.errors import InputError

from ._devices import UnknownDriverOption, open_device
from ._models import ReferenceOption, find_model, load
from ._output import DeviceOption, JsonOption

if TYPE_CHECKING:
    from openhailo import Network

NAME = "trace"


def command(
    model: Annotated[str, typer.Argument(help="A model to run, or a recorded .jsonl file to print.")],
    inputs: Annotated[list[str] | None, typer.Argument(help="Pictures to run; by default one random frame.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the recording (JSON Lines).")] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="Print only these: control, launch, completed, irq, r, w, ...")
    ] = None,
    reference: ReferenceOption = None,
    device: DeviceOption = None,
    allow_unknown_driver: UnknownDriverOption = False,
    json: JsonOption = False,
) -> None:
    """Run `openhailo trace`."""
    if Path(model).suffix == ".jsonl":
        _print(Path(model), set(kind or ()), json)
        return
    target = output or Path("trace.jsonl")
    with target.open("w", encoding="utf-8") as stream:
        _record(model, inputs or [], stream, reference, (device, allow_unknown_driver))
    typer.echo(f"{target}: {_count(target)} records; `openhailo trace {target}` prints them", err=True)


def _record(
    model: str, inputs: list[str], stream: Any, reference: Path | None, device: tuple[str | None, bool]
) -> None:
    choice = find_model(model)
    with open_device(device[0], allow_unknown_driver=device[1], trace=stream) as chip:
        network = load(chip, choice, reference)
        if not inputs:
            network(_random_frame(network))
            return
        from openhailo.pipeline.sources import find_images
        from openhailo.vision.images import load_image

        if choice.task is None:
            raise InputError(what=model, detail="has no task that fits pictures to it: leave the pictures out")
        for path in find_images(inputs):
            choice.task.run(load_image(path), network)


def _random_frame(network: Network) -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    return {tensor.name: rng.integers(0, 256, tensor.shape).astype(tensor.dtype) for tensor in network.inputs}


def _count(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)


def _print(path: Path, kinds: set[str], json: bool) -> None:
    from openhailo.bus.trace import read_trace

    if not path.is_file():
        raise InputError(what=str(path), detail="there is no such file")
    with path.open(encoding="utf-8", errors="replace") as stream:
        for record in read_trace(stream):
            if kinds and record["k"] not in kinds:
                continue
            words = f"{record.get('n', 0)!s:>6} {record.get('us', 0)!s:>9} us  {describe(record)}"
            sys.stdout.write((jsonlib.dumps(record) if json else words) + "\n")


def describe(record: dict[str, Any]) -> str:
    """Return one record in words that any terminal takes: registers by name, controls by opcode and status."""
    return _words(record).encode("utf-8", "backslashreplace").decode()


def _words(record: dict[str, Any]) -> str:
    kind = record["k"]
    if kind in {"r", "w"}:
        from openhailo.bus.trace import register_name

        verb = "read " if kind == "r" else "write"
        bar, offset = record["bar"], record["at"]
        return f"{verb} BAR{bar} 0x{offset:04X} {register_name(bar, offset):32} 0x{record['v']:08X}"
    if kind == "control":
        name, opcode, status, request = (record.get(key, "?") for key in ("name", "opcode", "status", "request"))
        return f"control {name} ({opcode}) -> {status}  {request}"
    return f"{kind} " + " ".join(f"{key}={value}" for key, value in _rest(record))


def _rest(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in record.items() if key not in {"n", "us", "k"})
