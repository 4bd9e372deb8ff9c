"""Compile an ONNX or Darknet model into a HEF with an INT8 program for the virtual chip."""

from __future__ import annotations

import json as jsonlib
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from openhailo.errors import InputError

from ._host_ops import (
    AnchorsOption,
    ArgmaxOption,
    BackgroundOption,
    BinsOption,
    ClassesOption,
    DecodingOption,
    IouOption,
    LimitOption,
    NmsOption,
    OutputsOption,
    ScoreOption,
    SoftmaxOption,
    nms_of,
)
from ._output import JsonOption, print_json

NAME = "compile"


class Method(StrEnum):
    """How activation ranges are found."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"
    MSE = "mse"


class Arch(StrEnum):
    """The chip."""

    HAILO8 = "hailo8"
    HAILO8L = "hailo8l"


def command(
    model: Annotated[Path, typer.Argument(help="An .onnx file, or a Darknet .cfg (with --weights).")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The .hef to write. Default: beside.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights of a Darknet .cfg.")] = None,
    calibration: Annotated[
        str | None, typer.Option("--calibration", help="Folder of pictures, .npy/.npz, or `random:COUNT` (speed only).")
    ] = None,
    shape: Annotated[list[str] | None, typer.Option("--shape", help="Fix an input: name=1,3,416,416.")] = None,
    method: Annotated[Method, typer.Option("--method", help="How activation ranges are found.")] = Method.MINMAX,
    mean: Annotated[str | None, typer.Option("--mean", help="Folded into the network: one number, or R,G,B.")] = None,
    std: Annotated[str | None, typer.Option("--std", help="Folded into the network: one number, or R,G,B.")] = None,
    bgr: Annotated[bool | None, typer.Option("--bgr/--rgb", help="Channel order the model was trained on.")] = None,
    arch: Annotated[Arch, typer.Option("--arch", help="Chip to compile for.")] = Arch.HAILO8,
    end_node: Annotated[list[str] | None, typer.Option("--end-node", help="Cut the graph after this tensor.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="Node to leave in float32.")] = None,
    percentile: Annotated[float, typer.Option("--percentile", help="For --method percentile.")] = 99.99,
    nhwc: Annotated[list[str] | None, typer.Option("--nhwc", help="Input that is channels-last already.")] = None,
    reduce_range: Annotated[bool, typer.Option("--reduce-range", help="7-bit weights, for CPUs without VNNI.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="Name of the network.")] = None,
    per_channel: Annotated[bool, typer.Option("--per-channel/--per-tensor", help="Weight quantization.")] = True,
    contexts: Annotated[int, typer.Option("--contexts", help="Split into so many contexts. 0: as few as fit.")] = 0,
    context_bytes: Annotated[
        int | None, typer.Option("--context-bytes", help="Room for the program of one context.")
    ] = None,
    ddr_above: Annotated[
        int | None, typer.Option("--ddr-above", help="Buffer activations above so many bytes in host memory.")
    ] = None,
    nms: NmsOption = None,
    classes: ClassesOption = None,
    score_threshold: ScoreOption = None,
    iou_threshold: IouOption = None,
    max_per_class: LimitOption = None,
    nms_outputs: OutputsOption = None,
    anchors: AnchorsOption = None,
    regression_length: BinsOption = None,
    background: BackgroundOption = None,
    decoding_only: DecodingOption = None,
    softmax: SoftmaxOption = None,
    argmax: ArgmaxOption = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write the report as JSON.")] = None,
    json: JsonOption = False,
) -> None:
    """Run `openhailo compile`."""
    _run(SimpleNamespace(**locals()))


def _run(given: SimpleNamespace) -> None:
    """Compile as the command's arguments, by name, say."""
    from openhailo.compiler import compile_model

    if not given.model.is_file():
        raise InputError(what=str(given.model), detail="there is no such file")
    compiled = compile_model(given.model, name=given.name, calibration=given.calibration, **_choices(given))
    target = given.output or given.model.with_suffix(".hef")
    target.write_bytes(compiled.hef_bytes)
    if given.report is not None:
        given.report.write_text(jsonlib.dumps(compiled.report.to_json(), indent=1) + "\n")
    if given.json:
        print_json({"hef": str(target), "report": compiled.report.to_json()})
    else:
        typer.echo(compiled.report.to_text())
        typer.echo(f"{target}: {len(compiled.hef_bytes)} bytes")


def _choices(given: SimpleNamespace) -> dict[str, Any]:
    """Return the fields of `openhailo.compiler.options.Options`."""
    same = ("weights", "percentile", "reduce_range", "per_channel", "contexts", "context_bytes", "ddr_above")
    return {
        **{name: getattr(given, name) for name in same},
        "shapes": _shapes(given.shape or []),
        "method": given.method.value,
        "mean": _numbers(given.mean),
        "std": _numbers(given.std),
        "color": None if given.bgr is None else ("bgr" if given.bgr else "rgb"),
        "arch": given.arch.value,
        "end_nodes": tuple(given.end_node or ()),
        "exclude": tuple(given.exclude or ()),
        "nhwc": tuple(given.nhwc or ()),
        "nms": nms_of(given),
        "softmax": tuple(given.softmax or ()),
        "argmax": tuple(given.argmax or ()),
    }


def _shapes(entries: list[str]) -> dict[str, tuple[int, ...]]:
    """Parse ``name=1,3,416,416``. Raises `InputError`."""
    shapes = {}
    for entry in entries:
        name, equals, sizes = entry.rpartition("=")
        if not equals or not all(size.strip().isdecimal() for size in sizes.split(",")):
            raise InputError(what="--shape", detail=f"{entry!r} is not of the form name=1,3,416,416")
        shapes[name] = tuple(int(size) for size in sizes.split(","))
    return shapes


def _numbers(text: str | None) -> Any:
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(what="--mean/--std", detail=f"{text!r} is not a number or a list of numbers") from error
    return numbers[0] if len(numbers) == 1 else numbers
