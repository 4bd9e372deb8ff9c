"""What a compilation can be told."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, cast

import onnx

from openhailo.errors import InputError, ModelInvalid

from .calibration import MAX_FRAMES, Fit
from .host_ops.request import Nms
from .passes.normalize import Color, Normalization
from .ranges import Method
from .tensors import TensorSpec

Arch = Literal["hailo8", "hailo8l"]
ARCHES: Final[tuple[Arch, ...]] = ("hailo8", "hailo8l")
MAX_NAME_BYTES: Final = 60

#: One number, or one per channel.
Numbers = float | Sequence[float]


class Choices(TypedDict, total=False):
    """The fields of `Options` as keyword arguments."""

    shapes: Mapping[str, Sequence[int]]
    weights: str | Path | None
    method: Method
    percentile: float
    mean: Numbers | None
    std: Numbers | None
    color: Color | None
    arch: Arch
    end_nodes: Sequence[str]
    exclude: Sequence[str]
    nhwc: Sequence[str]
    per_channel: bool
    reduce_range: bool
    equalize: bool
    fit: Fit
    max_frames: int
    contexts: int
    context_bytes: int | None
    nms: Nms | None
    softmax: Sequence[str]
    argmax: Sequence[str]


@dataclass(frozen=True)
class Options:
    """Choices of one compilation.

    Attributes:
        shapes: input name -> full shape (batch 1 first), for dynamic inputs.
        weights: the ``.weights`` of a ``.cfg``; by default beside it.
        method: how ranges are chosen: "minmax", "percentile", "entropy" or "mse".
        percentile: what "percentile" keeps, in percent.
        mean: what the model subtracts from pixels 0..255, one number or one per channel in the model's order.
        std: what it divides them by.
        color: order of the model's channels, "rgb" or "bgr"; the device takes RGB.
        arch: "hailo8" or "hailo8l".
        end_nodes: nodes or tensors to end at instead of the model's outputs.
        exclude: nodes that stay in float.
        nhwc: rank-4 inputs and outputs that are channels-last, where that is not recognized.
        per_channel: one weight scale per output channel.
        reduce_range: 7-bit weights, for x86 processors without VNNI.
        equalize: spread activation ranges evenly over channels before quantization.
        fit: how pictures are brought to size: "letterbox" or "stretch".
        max_frames: most calibration frames.
        contexts: loads of the chip that the network is split into; 0: as few as have room.
        context_bytes: room for the program of one context; by default what a descriptor list can bring.
        ddr_above: activations of more bytes, where most are alive in a context, are buffered in host memory.
        nms: boxes that the host finds behind the chip.
        softmax: outputs whose softmax the host does ("all": every one).
        argmax: outputs of which the host gives the largest feature's index.
    """

    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    weights: str | Path | None = None
    method: Method = "minmax"
    percentile: float = 99.99
    mean: Numbers | None = None
    std: Numbers | None = None
    color: Color | None = None
    arch: Arch = "hailo8"
    end_nodes: Sequence[str] = ()
    exclude: Sequence[str] = ()
    nhwc: Sequence[str] = ()
    per_channel: bool = True
    reduce_range: bool = False
    equalize: bool = True
    fit: Fit = "letterbox"
    max_frames: int = MAX_FRAMES
    contexts: int = 0
    context_bytes: int | None = None
    ddr_above: int | None = None
    nms: Nms | None = None
    softmax: Sequence[str] = ()
    argmax: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.arch not in ARCHES:
            raise InputError(what="arch", detail=f"{self.arch!r} is none of {', '.join(ARCHES)}")
        if self.fit not in {"letterbox", "stretch"}:
            raise InputError(what="fit", detail=f"{self.fit!r} is neither 'letterbox' nor 'stretch'")
        if self.contexts < 0 or (self.context_bytes is not None and self.context_bytes < 1):
            raise InputError(what="contexts", detail=f"{self.contexts} of {self.context_bytes} bytes make no sense")
        if self.ddr_above is not None and self.ddr_above < 0:
            raise InputError(what="ddr_above", detail=f"{self.ddr_above} bytes make no sense")

    def normalization(self, model: onnx.ModelProto) -> Normalization | None:
        """Return what was asked for, else what the model's metadata says, else None."""
        known = model_metadata(model).get("openhailo.preprocess", {})
        known = known if isinstance(known, dict) else {}
        asked = {"mean": self.mean, "std": self.std, "color": self.color}
        given = {key: value for key, value in asked.items() if value is not None}
        merged = {**known, **given}
        if not merged:
            return None
        return Normalization(
            mean=_numbers("mean", merged.get("mean", 0.0)),
            std=_numbers("std", merged.get("std", 1.0)),
            color=cast(Color, merged.get("color", "rgb")),
        )


def _numbers(what: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        return tuple(float(number) for number in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(what=what, detail=f"{str(value)[:100]!r} is not a number or a list of numbers") from error


def model_metadata(model: onnx.ModelProto) -> dict[str, Any]:
    """Return the model's ``openhailo.*`` properties, parsed; ModelInvalid when one is not JSON."""
    metadata: dict[str, Any] = {}
    for entry in model.metadata_props:
        if not entry.key.startswith("openhailo."):
            continue
        try:
            metadata[entry.key] = json.loads(entry.value)
        except (ValueError, RecursionError) as error:
            raise ModelInvalid(detail=f"its property {entry.key!r} is not JSON; remove it") from error
    return metadata


def network_name(name: str | None, source: str | Path | onnx.ModelProto) -> str:
    """Return the name asked for, or one made from the file's; InputError when it cannot be a name."""
    if name is None:
        stem = Path(source).stem if isinstance(source, str | Path) else source.graph.name
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", str(stem)).strip("_")[:MAX_NAME_BYTES] or "network"
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or len(name) > MAX_NAME_BYTES:
        raise InputError(what="name", detail=f"{name!r}: use 1 to {MAX_NAME_BYTES} letters, digits, '_', '.', '-'")
    return name


def check_images(specs: Sequence[TensorSpec], normalization: Normalization | None) -> None:
    """InputError when a normalization is given but no input takes pictures."""
    if normalization is not None and not any(spec.is_image for spec in specs):
        shapes = {spec.name: spec.model_shape for spec in specs}
        raise InputError(what="normalization", detail=f"no input takes pictures of 1 or 3 channels: {shapes}")
    assert all(math.prod(spec.device_shape) > 0 for spec in specs)
