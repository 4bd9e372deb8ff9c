"""From a row of the catalogue to an ONNX file ready to compile, and to the task that goes with it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from openhailo.errors import AssetUnavailable, ModelInvalid
from openhailo.pipeline.assets import ASSETS
from openhailo.pipeline.catalogue import MODELS, PHOTOS, DemoModel
from openhailo.pipeline.fetch import cache_dir, fetch
from openhailo.pipeline.tasks import Task
from openhailo.vision.images import load_image

if TYPE_CHECKING:
    import onnx

_OPSET = 17
_RECIPE = "2"
"""Counts changes of the conversion below; part of the cached file's name."""


def find_model(name: str) -> DemoModel:
    """The row of that name.

    Raises:
        AssetUnavailable: there is none.
    """
    if name not in MODELS:
        raise AssetUnavailable(name=name, detail="no such demo model", hint=f"one of: {', '.join(MODELS)}")
    return MODELS[name]


def demo_model(name: str, *, cache: Path | None = None, offline: bool = False) -> Path:
    """The model as an ONNX file: static shapes, one frame, NCHW; fetched and converted once.

    Its metadata ``openhailo.preprocess`` tells the compiler which normalization to fold in.

    Raises:
        AssetUnavailable: unknown, or its files cannot be fetched.
        ModelInvalid: its files are not what the catalogue says.
    """
    model = find_model(name)
    paths = fetch(model.files.values(), cache=cache, offline=offline)
    root = cache if cache is not None else cache_dir()
    target = root / "onnx" / f"{name}-{_key(model)}.onnx"
    if not target.is_file():
        files = {role: paths[asset] for role, asset in model.files.items()}
        _save(convert(model, files).SerializeToString(), target)
    return target


def demo_task(name: str, *, cache: Path | None = None, offline: bool = False) -> Task:
    """The task of a demo model, with its labels.

    Raises:
        AssetUnavailable: unknown, or its list of labels cannot be fetched.
    """
    model = find_model(name)
    labels = model.labels
    if isinstance(labels, str):
        labels = _read_labels(fetch(labels, cache=cache, offline=offline)[labels])
    return Task(model.name, model.preprocessing, model.decoder, labels, model.outputs)


def demo_photos(*, cache: Path | None = None, offline: bool = False) -> dict[str, Path]:
    """The demo photos: name -> file.

    Raises:
        AssetUnavailable: they cannot be fetched.
    """
    paths = fetch([photo.asset for photo in PHOTOS.values()], cache=cache, offline=offline)
    return {name: paths[photo.asset] for name, photo in PHOTOS.items()}


def demo_calibration(name: str, *, cache: Path | None = None, offline: bool = False) -> NDArray[np.uint8]:
    """The demo photos as the model gets them: (N, height, width, 3) uint8, for the compiler's calibration.

    Raises:
        AssetUnavailable: unknown, or the photos cannot be fetched.
        InputError: OpenCV, which reads pictures, is not installed.
    """
    preprocessing = find_model(name).preprocessing
    photos = demo_photos(cache=cache, offline=offline).values()
    return np.stack([preprocessing.apply(load_image(path))[0] for path in photos])


def convert(model: DemoModel, files: dict[str, Path]) -> onnx.ModelProto:
    """Turn the files of a row (role -> path) into one ONNX model.

    Raises:
        ModelInvalid: the files do not fit the row.
    """
    if model.form == "darknet":
        from openhailo.compiler.darknet import load_darknet

        converted = load_darknet(files["cfg"], files["weights"])
    elif model.form == "efficientnet-lite0":
        from openhailo.pipeline.checkpoint import load_checkpoint
        from openhailo.pipeline.efficientnet import build_efficientnet_lite0

        converted = build_efficientnet_lite0(load_checkpoint(files["checkpoint"]))
    else:
        converted = fix_onnx(files["model"], model)
    return _with_preprocessing(converted, model)


def fix_onnx(path: Path, model: DemoModel) -> onnx.ModelProto:
    """An ONNX file with the row's input size, one frame, the row's output names and a present-day opset.

    Raises:
        ModelInvalid: not an ONNX model with one input and as many outputs as the row names.
    """
    import onnx
    from onnx import shape_inference, version_converter

    try:
        loaded = onnx.load_from_string(path.read_bytes())
    except Exception as error:  # protobuf's error type is not ours to name here
        raise ModelInvalid(detail=f"{path.name} is no ONNX model: {error}") from error
    try:
        weights = {tensor.name for tensor in loaded.graph.initializer}
        inputs = [value for value in loaded.graph.input if value.name not in weights]
        if len(inputs) != 1 or len(loaded.graph.output) != len(model.outputs):
            raise ModelInvalid(detail=f"{path.name} has {len(inputs)} inputs, {len(loaded.graph.output)} outputs")
        _drop_unused_weights(loaded.graph)
        _rename_outputs(loaded.graph, model.outputs)
        _fix_shapes(loaded.graph, inputs[0], model.preprocessing.input_size)
        converted = version_converter.convert_version(loaded, _OPSET)
        return shape_inference.infer_shapes(converted, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError, RuntimeError) as error:
        raise ModelInvalid(detail=f"{path.name} is no usable ONNX model: {error}") from error


def _drop_unused_weights(graph: onnx.GraphProto) -> None:
    """Remove weights that no node reads, such as counters of the training."""
    used = {tensor for node in graph.node for tensor in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _rename_outputs(graph: onnx.GraphProto, names: tuple[str, ...]) -> None:
    """Give the outputs their names, in the nodes that make or use them too."""
    new = {value.name: name for value, name in zip(graph.output, names, strict=True)}
    for value in graph.output:
        value.name = new[value.name]
    for node in graph.node:
        for side in (node.input, node.output):
            for i, tensor in enumerate(side):
                side[i] = new.get(tensor, tensor)


def _fix_shapes(graph: onnx.GraphProto, entry: onnx.ValueInfoProto, size: tuple[int, int]) -> None:
    """Declare one frame of that size; drop every other shape, and weights among the inputs."""
    from onnx import TensorProto, helper

    channels = entry.type.tensor_type.shape.dim[1].dim_value
    outputs = [value.name for value in graph.output]
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(helper.make_tensor_value_info(entry.name, TensorProto.FLOAT, [1, channels, *size]))
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)


def _with_preprocessing(converted: onnx.ModelProto, model: DemoModel) -> onnx.ModelProto:
    """Note the normalization in the model's metadata."""
    properties = {entry.key: entry.value for entry in converted.metadata_props}
    preprocess = {"mean": [model.mean], "std": [model.std], "color": model.preprocessing.color}
    properties["openhailo.preprocess"] = json.dumps(preprocess)
    del converted.metadata_props[:]
    for key, value in properties.items():
        converted.metadata_props.add(key=key, value=value)
    return converted


def _key(model: DemoModel) -> str:
    """Changes whenever the files or the conversion do."""
    parts = [_RECIPE, model.form, *model.preprocessing.input_size, *model.outputs, model.mean, model.std]
    parts += [ASSETS[name].sha256 for name in model.files.values()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _save(data: bytes, target: Path) -> None:
    """Write a derived file into the cache, whole or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as directory:
            partial = Path(directory) / target.name
            partial.write_bytes(data)
            partial.replace(target)
    except OSError as error:
        hint = "check the permissions and the free space of the cache directory"
        raise AssetUnavailable(name=target.name, detail=f"cannot write the cache: {error}", hint=hint) from error


def _read_labels(path: Path) -> tuple[str, ...]:
    """A JSON list, or one name a line."""
    text = path.read_text(encoding="utf-8")
    names = json.loads(text) if path.suffix == ".json" else text.split("\n")
    return tuple(str(name).strip() for name in names if str(name).strip())
