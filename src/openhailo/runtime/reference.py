"""Numerics bound to a network compiled for silicon: an ONNX model computes, between the HEF's own quantisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from openhailo.errors import InputError
from openhailo.runtime.configure.layers import D2H, H2D, Layer
from openhailo.runtime.description import NetworkDescription, TensorInfo
from openhailo.runtime.formats import DTYPES, Array, FormatOrder, user_shape
from openhailo.runtime.mux import interleave
from openhailo.runtime.network import FrameReference
from openhailo.runtime.nms_stream import encode_frame
from openhailo.runtime.transforms.orders import device_views, user_views
from openhailo.runtime.transforms.quantize import Dequantizer

#: Largest numbers of a box word: four coordinates of 12 bits, a score of 16 (hef.md 11).
_BOX_LIMITS = (0xFFF, 0xFFF, 0xFFF, 0xFFF, 0xFFFF)


class OnnxReference:
    """Computes frames in device format with a float model; a `openhailo.runtime.network.FrameReference`.

    Input frames are dequantised with the HEF's parameters, the model runs in float32, and its outputs are quantised
    with the HEF's parameters, rounded half to even and clipped to the integer range. Boxes that the chip would sort out
    are an output (1, classes, boxes, 5) of y_min, x_min, y_max, x_max, score; rows with a score of 0 are left out.
    """

    def __init__(self, session: Any, description: NetworkDescription) -> None:
        """Match the layers with the model's inputs and outputs. Raises `InputError` when they do not fit."""
        self._session = session
        self._inputs = _match(
            [_Slot.of(layer) for layer in description.boundary if layer.direction is H2D],
            session.get_inputs(),
            "input",
        )
        self._streams = [layer for layer in description.boundary if layer.direction is D2H]
        self._outputs = _match(_output_slots(self._streams, description), session.get_outputs(), "output")
        self._names = [tensor.name for _, tensor in self._outputs]

    def __call__(self, inputs: Mapping[int, memoryview], frame: Any) -> dict[int, bytes]:
        """Compute one frame: input stream -> bytes to output stream -> bytes."""
        feed = {}
        for slot, tensor in self._inputs:
            layer = slot.layers[0]
            feed[tensor.name] = _to_model(_real(layer, inputs[layer.stream]), tensor)
        frames: dict[str, bytes] = {}
        for (slot, _), result in zip(self._outputs, self._session.run(self._names, feed), strict=True):
            frames.update(_box_bytes(slot, result) if slot.boxes else _tensor_bytes(slot.layers[0], result))
        return {layer.stream: _stream_bytes(layer, frames) for layer in self._streams}


@dataclass(frozen=True)
class _Slot:
    """What one tensor of the model stands for: a layer, or ``boxes`` of one or more streams in class order."""

    names: tuple[str, ...]
    elements: int
    layers: tuple[Layer, ...]
    boxes: TensorInfo | None = None

    @staticmethod
    def of(layer: Layer) -> _Slot:
        names = (*layer.original_names, layer.name.rpartition("/")[2])
        return _Slot(names, layer.layout.height * layer.layout.width * layer.layout.features, (layer,))

    @staticmethod
    def of_boxes(info: TensorInfo, layers: Sequence[Layer]) -> _Slot:
        classes, numbers, boxes = info.shape
        names = (*info.original_names, info.name.rpartition("/")[2])
        return _Slot(names, classes * numbers * boxes, tuple(layers), info)


def _output_slots(streams: Sequence[Layer], description: NetworkDescription) -> list[_Slot]:
    slots = []
    for layer in streams:
        if layer.nms is None:
            slots += [_Slot.of(leaf) for leaf in layer.leaves()]
        elif layer.fused is None:
            slots.append(_Slot.of_boxes(TensorInfo.of_boxes(layer), [layer]))
    for name, output in description.fused.items():
        parts = {layer.fused.index: layer for layer in streams if layer.fused and layer.fused.name == name}
        slots.append(_Slot.of_boxes(output.info, [parts[index] for index in sorted(parts)]))
    return slots


def reference_of(given: str | Path | FrameReference, description: NetworkDescription) -> FrameReference:
    """Return ``given`` if it is a function, else load the model of that name. Raises `InputError`."""
    return load_reference(Path(given), description) if isinstance(given, str | Path) else given


def load_reference(path: Path, description: NetworkDescription) -> FrameReference:
    """Load the ONNX model at ``path`` as the numerics of ``description``. Raises `InputError`."""
    if not path.is_file():
        raise InputError(what=str(path), detail="there is no such file")
    try:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        raise InputError(what=str(path), detail=f"ONNX Runtime cannot load it: {error}") from error
    return OnnxReference(session, description)


def _match(slots: Sequence[_Slot], tensors: Sequence[Any], what: str) -> list[tuple[_Slot, Any]]:
    """Pair slots with tensors: by original name, else by element count, in order."""
    if len(slots) != len(tensors):
        raise InputError(what="reference", detail=f"has {len(tensors)} {what}s, the network {len(slots)}")
    left = list(tensors)
    pairs = []
    for slot in slots:
        named = [t for t in left if t.name in slot.names]
        fitting = named or [t for t in left if _elements(t.shape) == slot.elements]
        if not fitting:
            shapes = ", ".join(f"{t.name} {t.shape}" for t in left)
            raise InputError(what="reference", detail=f"no {what} fits layer {slot.names[-1]!r} (left: {shapes})")
        pairs.append((slot, fitting[0]))
        left.remove(fitting[0])
    return pairs


def _elements(shape: Sequence[Any]) -> int:
    """Elements of one frame; the batch axis and symbolic sizes count as 1."""
    return int(np.prod([n if isinstance(n, int) and n > 0 else 1 for n in shape]))


def _real(layer: Layer, data: memoryview) -> Array:
    """Return the real values (1, h, w, c) of a device frame."""
    slots = np.frombuffer(data, np.uint8)[: layer.transfer_bytes].view(DTYPES[layer.layout.type])[None]
    out = np.empty((1, *user_shape(FormatOrder.NHWC, layer.layout)), np.float32)
    dequantize = Dequantizer(layer.quantization, layer.layout.features, layer.layout.order)
    for source, target in zip(
        device_views(slots, layer.layout), user_views(out, FormatOrder.NHWC, layer.layout), strict=True
    ):
        dequantize(source, target)
    return out


def _to_model(frame: Array, tensor: Any) -> Array:
    """Bring (1, h, w, c) into the model's shape: channels first when its second axis has as many, else as it is."""
    shape = [n if isinstance(n, int) and n > 0 else None for n in tensor.shape]
    channels_first = len(shape) == 4 and shape[1] == frame.shape[3] and shape[3] != frame.shape[3]
    if len(shape) == 4:
        return np.ascontiguousarray(frame.transpose(0, 3, 1, 2)) if channels_first else frame
    return frame.reshape(1, -1) if len(shape) == 2 else frame.reshape([n or 1 for n in shape])


def _from_model(layer: Layer, result: Array) -> Array:
    """Bring a result into (1, h, w, c)."""
    height, width, features = user_shape(FormatOrder.NHWC, layer.layout)
    if result.ndim == 4 and result.shape[1:] == (features, height, width) != (height, width, features):
        result = result.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(result, np.float32).reshape(1, height, width, features)


def _stream_bytes(layer: Layer, frames: Mapping[str, bytes]) -> bytes:
    return frames[layer.name] if layer.mux is None else interleave(layer, frames)


def _tensor_bytes(layer: Layer, result: Array) -> dict[str, bytes]:
    return {layer.name: _device_bytes(layer, _from_model(layer, result))}


def _box_bytes(slot: _Slot, result: Array) -> dict[str, bytes]:
    """Turn (..., classes, boxes, 5) numbers into the words of each stream; boxes without a score are no boxes."""
    assert slot.boxes is not None, "the caller asked"
    classes, numbers, most = slot.boxes.shape
    if result.ndim < 3 or result.shape[-3:] != (classes, most, numbers):
        detail = f"gives boxes {result.shape}, needs (1, {classes}, {most}, {numbers})"
        raise InputError(what="reference", detail=detail)
    quantization = slot.boxes.quantization
    real = result.reshape(classes, most, numbers)
    steps = np.rint(real / np.float32(quantization.scale) + np.float32(quantization.zero_point))
    integers = np.clip(steps, 0, _BOX_LIMITS).astype(np.uint16)
    frames = {}
    for index, layer in enumerate(slot.layers):
        assert layer.nms is not None, "the slot is of boxes"
        mine = range(index, classes, len(slot.layers))
        frames[layer.name] = encode_frame([integers[i][real[i, :, -1] > 0] for i in mine], layer.nms)
    return frames


def _device_bytes(layer: Layer, real: Array) -> bytes:
    dtype = DTYPES[layer.layout.type]
    out = np.zeros(layer.transfer_bytes, np.uint8)
    quantization = layer.quantization
    scale = np.asarray(quantization.scales, np.float32)
    zero_point = np.asarray(quantization.zero_points, np.float32)
    limit = np.iinfo(dtype)
    integers = np.clip(np.rint(real / scale + zero_point), limit.min, limit.max).astype(dtype)
    slots = out.view(dtype)[None]
    for target, source in zip(
        device_views(slots, layer.layout), user_views(integers, FormatOrder.NHWC, layer.layout), strict=True
    ):
        np.copyto(target, source)
    return out.tobytes()
