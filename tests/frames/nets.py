"""The conformance suite's small networks, for scripts that have no fixtures."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


@cache
def makers() -> ModuleType:
    """Return the makers of networks of `tests/conformance/conftest.py`."""
    path = Path(__file__).parents[1] / "conformance" / "conftest.py"
    spec = importlib.util.spec_from_file_location("openhailo_conformance_nets", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tagged(shape: tuple[int, int, int], name: str, seed: int, count: int = 512) -> tuple[Any, Any, Any]:
    """Return a network, random frames for it, and what ONNX Runtime makes of them."""
    net = makers().single_context({"x": shape}, {"y": (1, 1, 16)}, name=name, seed=seed)
    frames = np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)
    return net.hef, frames, makers().expected(net.model, {"x": frames})["y"]
