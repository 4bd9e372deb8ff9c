"""Representative inputs: pictures, arrays or files become frames in the model's own layout."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from openhailo.errors import CalibrationError, InputError
from openhailo.vision.images import READABLE_SUFFIXES, load_image
from openhailo.vision.resize import letterbox, resize

from .tensors import TensorSpec

MAX_FILE_BYTES: Final = 1 << 30
MAX_FRAMES: Final = 64
ENOUGH_FRAMES: Final = 8
#: Red, green and blue in a grey value (ITU-R BT.601), as picture readers weigh them.
_LUMA: Final = np.array([0.299, 0.587, 0.114])

Frame = dict[str, npt.NDArray[np.float32]]
Array = npt.NDArray[Any]
Fit = Literal["letterbox", "stretch"]
#: A folder, a file, "random" or "random:COUNT", an array, arrays by input name, or a sequence of frames.
CalibrationSource = str | Path | Array | Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class Calibration:
    """Frames by input name, each of the model's shape (batch 1), in the numbers the user gives to the device.

    ``pixels`` names the inputs whose values came as uint8. ``warnings`` are for the report.
    """

    frames: tuple[Frame, ...]
    pixels: frozenset[str]
    warnings: tuple[str, ...]


def load_calibration(
    source: CalibrationSource | None, inputs: Sequence[TensorSpec], *, fit: Fit = "letterbox", limit: int = MAX_FRAMES
) -> Calibration:
    """Read at most ``limit`` frames, evenly spread over what there is.

    Args:
        source: see `CalibrationSource`; arrays may be channels-last or in the model's layout, with or without a
            leading frame axis.
        inputs: what the model takes.
        fit: how pictures of another size are made to fit.
        limit: most frames to use.

    Raises:
        CalibrationError: nothing there, an unreadable file, a shape that does not fit, numbers that are not finite.
    """
    if source is None:
        raise CalibrationError(detail="no data given")
    if limit < 1:
        raise CalibrationError(detail=f"a limit of {limit} frames leaves none")
    if isinstance(source, str) and source.split(":")[0] == "random":
        return _random_frames(source, inputs)
    batches = _gather(source, inputs, fit, limit)
    counts = {name: len(arrays) for name, arrays in batches.items()}
    if set(counts) != {spec.name for spec in inputs}:
        raise CalibrationError(detail=f"data for {sorted(counts)}, the inputs are {[spec.name for spec in inputs]}")
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise CalibrationError(detail=f"the inputs need equally many frames, at least one; there are {counts}")
    pixels = frozenset(name for name, arrays in batches.items() if all(array.dtype == np.uint8 for array in arrays))
    total = next(iter(counts.values()))
    picked = sorted({round(i * (total - 1) / max(1, min(limit, total) - 1)) for i in range(min(limit, total))})
    specs = {spec.name: spec for spec in inputs}
    frames = tuple({name: _to_model(arrays[i], specs[name]) for name, arrays in batches.items()} for i in picked)
    return Calibration(frames, pixels, _warn_about(len(frames)))


def _warn_about(count: int) -> tuple[str, ...]:
    if count >= ENOUGH_FRAMES:
        return ()
    return (f"only {count} calibration frame(s): ranges may be too narrow, give {ENOUGH_FRAMES} or more",)


def _random_frames(source: str, inputs: Sequence[TensorSpec]) -> Calibration:
    """Uniform noise, the same at every call: pixels for image inputs, -1..1 for the others."""
    count = source.partition(":")[2] or str(ENOUGH_FRAMES)
    if not count.isdecimal() or not 1 <= int(count) <= 1024:
        raise CalibrationError(detail=f"{source!r}: the count must be 1 to 1024")
    rng = np.random.default_rng(0)
    pixels = frozenset(spec.name for spec in inputs if spec.is_image)
    frames = []
    for _ in range(int(count)):
        frame: Frame = {}
        for spec in inputs:
            noise = (
                rng.integers(0, 256, spec.model_shape) if spec.name in pixels else rng.uniform(-1, 1, spec.model_shape)
            )
            frame[spec.name] = noise.astype(np.float32)
        frames.append(frame)
    return Calibration(tuple(frames), pixels, ("calibrated on noise: speed is real, accuracy is not",))


def _gather(source: CalibrationSource, inputs: Sequence[TensorSpec], fit: Fit, limit: int) -> dict[str, list[Array]]:
    """Return for each input its frames as they came: host or model layout, any number type."""
    if isinstance(source, str | Path):
        return _from_path(Path(source), inputs, fit, limit)
    if isinstance(source, np.ndarray):
        only = _only_input(inputs, "an array")
        return {only.name: _split(source, only)}
    specs = {spec.name: spec for spec in inputs}
    if isinstance(source, Mapping):
        unknown = sorted(set(source) - set(specs))
        if unknown:
            raise CalibrationError(detail=f"data for {unknown}, the inputs are {sorted(specs)}")
        return {name: _split(np.asarray(data), specs[name]) for name, data in source.items()}
    gathered: dict[str, list[Array]] = {}
    for item in source:
        for name, arrays in _gather(item, inputs, fit, limit).items():
            gathered.setdefault(name, []).extend(arrays)
    return gathered


def _only_input(inputs: Sequence[TensorSpec], what: str) -> TensorSpec:
    if len(inputs) != 1:
        names = [spec.name for spec in inputs]
        raise CalibrationError(detail=f"{what} does not say which input it is for; give arrays by name: {names}")
    return inputs[0]


def _from_path(path: Path, inputs: Sequence[TensorSpec], fit: Fit, limit: int) -> dict[str, list[Array]]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in READABLE_SUFFIXES | {".npy"})
        if not files:
            raise CalibrationError(detail=f"no pictures and no .npy files in {path}")
        step = max(1, len(files) // limit)
        only = _only_input(inputs, "a folder")
        return {only.name: [frame for file in files[::step][:limit] for frame in _from_file(file, only, fit)]}
    if path.suffix.lower() == ".npz":
        specs = {spec.name: spec for spec in inputs}
        return {name: _split(data, specs[name]) for name, data in _read_npz(path, specs)}
    only = _only_input(inputs, path.name)
    return {only.name: _from_file(path, only, fit)}


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CalibrationError(detail=f"{path} cannot be read: {error.strerror}") from error
    if size > MAX_FILE_BYTES:
        raise CalibrationError(detail=f"{path} has {size} bytes, at most {MAX_FILE_BYTES} are read")


def _read_npz(path: Path, specs: Mapping[str, TensorSpec]) -> Iterator[tuple[str, Array]]:
    _check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            names = [name for name in arrays if name in specs]
            if not names and len(specs) == len(arrays) == 1:
                yield next(iter(specs)), _read_entry(archive, *arrays.values())
            for name in names:
                yield name, _read_entry(archive, arrays[name])
    except Exception as error:  # archives and arrays have no common error, and some have none of their own
        raise CalibrationError(detail=f"{path.name} is not a readable .npz file ({error})") from error


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    """Unpack one array; a small archive may claim the memory of a huge one."""
    if entry.file_size > MAX_FILE_BYTES:
        raise ValueError(f"{entry.filename} has {entry.file_size} bytes, at most {MAX_FILE_BYTES} are read")
    with archive.open(entry) as stream:
        return _read_array(stream)


def _read_array(stream: IO[bytes]) -> Array:
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _from_file(path: Path, spec: TensorSpec, fit: Fit) -> list[Array]:
    _check_file(path)
    if path.suffix.lower() != ".npy":
        return [_read_image(path, spec, fit)]
    try:
        with path.open("rb") as stream:
            data = _read_array(stream)
    except Exception as error:  # a damaged header gives nearly any type: it is parsed as Python
        raise CalibrationError(detail=f"{path.name} is not a readable .npy file ({error})") from error
    return _split(data, spec)


def _read_image(path: Path, spec: TensorSpec, fit: Fit) -> Array:
    """Return a picture as (height, width, channels) uint8, RGB or grey, in the input's size."""
    if not spec.is_image:
        raise CalibrationError(detail=f"{path.name} is a picture, but {spec.name!r} takes shape {spec.model_shape}")
    height, width, channels = spec.device_shape
    try:
        rgb = load_image(path)
    except InputError as error:
        raise CalibrationError(detail=str(error)) from error
    if channels == 1:
        grey = np.rint(rgb @ _LUMA).astype(np.uint8)
        rgb = np.repeat(grey[:, :, None], 3, axis=2)
    fitted = letterbox(rgb, height, width)[0] if fit == "letterbox" else resize(rgb, height, width)
    return fitted[:, :, :channels]


def _split(data: Array, spec: TensorSpec) -> list[Array]:
    """Split an array into frames; CalibrationError when its shape is neither the host's nor the model's."""
    if data.dtype.kind not in "uif" or not np.isfinite(data).all():
        raise CalibrationError(detail=f"values for {spec.name!r} must be finite numbers, got {data.dtype}")
    frame_shapes: set[tuple[int, ...]] = {spec.graph_shape, spec.device_shape, spec.model_shape[1:]}
    shape: tuple[int, ...] = data.shape
    if shape in frame_shapes:
        return [data]
    if shape[1:] in frame_shapes or shape[1:] in {(1, *dims) for dims in frame_shapes}:
        return list(data)
    raise CalibrationError(
        detail=f"an array of shape {data.shape} for {spec.name!r}, which takes (frames, *{spec.graph_shape})"
    )


def _to_model(frame: Array, spec: TensorSpec) -> npt.NDArray[np.float32]:
    """Return one frame in the model's shape; channels-last is assumed where both readings are possible."""
    values = frame.astype(np.float32)
    shape: tuple[int, ...] = values.shape
    if spec.layout == "nchw" and shape[-3:] == spec.device_shape:
        values = values.reshape(spec.device_shape).transpose(2, 0, 1)
    return np.ascontiguousarray(values).reshape(spec.model_shape)
