"""Networks for the guest: HEFs, frames, and what ONNX Runtime computes from them, made outside and read inside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from benchmarks.models import tiny, tiny_float

from openhailo.compiler import compile_model
from openhailo.hef import write
from tests.conformance.conftest import expected, single_context


@dataclass(frozen=True)
class Case:
    """A network in files: ``hef``, ``frames`` and ``want`` (NumPy arrays of ``count`` frames)."""

    hef: Path
    frames: Path
    want: Path
    count: int

    def settings(self) -> dict[str, Any]:
        """Return what the guest must know."""
        return {"hef": str(self.hef), "frames": str(self.frames), "want": str(self.want)}


def write_tiny(folder: Path, count: int = 100, arch: str = "hailo8") -> Case:
    """Write the compiled digit classifier, 28x28x1."""
    name = "tiny" if arch == "hailo8" else f"tiny-{arch}"
    model = tiny() if arch == "hailo8" else compile_model(tiny_float(), name="tiny", calibration="random:16", arch=arch)
    session = onnxruntime.InferenceSession(
        model.quantized_model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (entry,), (result,) = session.get_inputs(), session.get_outputs()
    frames = np.random.default_rng(28).integers(0, 256, (count, *entry.shape[1:])).astype(np.uint8)
    want = np.concatenate([session.run([result.name], {entry.name: frame[None]})[0] for frame in frames])
    return _write(folder, name, model.hef_bytes, frames.reshape(count, 28, 28, 1), want)


def write_large(folder: Path, count: int = 4) -> Case:
    """Write a network of the detector's size, 416x416x3 in, 13x13x255 out, and little arithmetic."""
    shape = (416, 416, 3)
    net = single_context({"x": shape}, {"y": (13, 13, 255)}, name="large")
    frames = np.random.default_rng(416).integers(0, 256, (count, *shape)).astype(np.uint8)
    want = expected(net.model, {"x": frames})["y"]
    return _write(folder, "large", write(net.hef), frames, want)


def _write(folder: Path, name: str, hef: bytes, frames: np.ndarray, want: np.ndarray) -> Case:
    case = Case(folder / f"{name}.hef", folder / f"{name}-frames.npy", folder / f"{name}-want.npy", len(frames))
    case.hef.write_bytes(hef)
    np.save(case.frames, frames)
    np.save(case.want, want.reshape(len(want), -1))
    return case
