"""Numerics bound to a network compiled for silicon: an ONNX model computes, between the HEF's own quantisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from openhailo.errors import InputError
from openhailo.runtime.configure.layers import D2H, H2D, Layer
from openhailo.runtime.description import NetworkDescription
from openhailo.runtime.formats import DTYPES, Array, FormatOrder, user_shape
from openhailo.runtime.network import FrameReference
from openhailo.runtime.transforms.orders import device_views, user_views
from openhailo.runtime.transforms.quantize import Dequantizer


class OnnxReference:
    """Computes frames in device format with a float model; a `openhailo.runtime.network.FrameReference`.

    Input frames are dequantised with the HEF's parameters, the model runs in float32, and its outputs are quantised
    with the HEF's parameters, rounded half to even and clipped to the integer range.
    """

    def __init__(self, session: Any, description: NetworkDescription) -> None:
        """Match the layers with the model's inputs and outputs. Raises `InputError` when they do not fit."""
        self._session = session
        layers = description.boundary
        self._inputs = _match([x for x in layers if x.direction is H2D], session.get_inputs(), "input")
        self._outputs = _match([x for x in layers if x.direction is D2H], session.get_outputs(), "output")
        self._names = [tensor.name for _, tensor in self._outputs]

    def __call__(self, inputs: Mapping[int, memoryview], frame: Any) -> dict[int, bytes]:
        """Compute one frame: input stream -> bytes to output stream -> bytes."""
        feed = {tensor.name: _to_model(_real(layer, inputs[layer.stream]), tensor) for layer, tensor in self._inputs}
        results = self._session.run(self._names, feed)
        return {
            layer.stream: _device_bytes(layer, _from_model(layer, result))
            for (layer, _), result in zip(self._outputs, results, strict=True)
        }


def load_reference(path: Path, description: NetworkDescription) -> FrameReference:
    """Load the ONNX model at ``path`` as the numerics of ``description``. Raises `InputError`."""
    if not path.is_file():
        raise InputError(what=str(path), detail="there is no such file")
    try:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(what=str(path), detail=f"ONNX Runtime cannot load it: {error}") from error
    return OnnxReference(session, description)


def _match(layers: Sequence[Layer], tensors: Sequence[Any], what: str) -> list[tuple[Layer, Any]]:
    """Pair layers with tensors: by original name, else by element count, in order."""
    if len(layers) != len(tensors):
        raise InputError(what="reference", detail=f"has {len(tensors)} {what}s, the network {len(layers)}")
    left = list(tensors)
    pairs = []
    for layer in layers:
        named = [t for t in left if t.name in layer.original_names or t.name == layer.name.rpartition("/")[2]]
        fitting = named or [t for t in left if _elements(t.shape) == _layer_elements(layer)]
        if not fitting:
            shapes = ", ".join(f"{t.name} {t.shape}" for t in left)
            raise InputError(what="reference", detail=f"no {what} fits layer {layer.name!r} (left: {shapes})")
        pairs.append((layer, fitting[0]))
        left.remove(fitting[0])
    return pairs


def _elements(shape: Sequence[Any]) -> int:
    """Elements of one frame; the batch axis and symbolic sizes count as 1."""
    return int(np.prod([n if isinstance(n, int) and n > 0 else 1 for n in shape]))


def _layer_elements(layer: Layer) -> int:
    return layer.layout.height * layer.layout.width * layer.layout.features


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
