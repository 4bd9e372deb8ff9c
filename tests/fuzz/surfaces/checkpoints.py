"""PyTorch checkpoints, which are pickles: nothing but tensors may come of them."""

from __future__ import annotations

import sys
from functools import cache
from random import Random
from types import ModuleType

import numpy as np

from openhailo.errors import CompileError
from openhailo.pipeline.checkpoint import parse_checkpoint
from tests.fuzz.materials import load_test_module
from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.surface import Surface, require

_MATERIAL = (
    b"cos\nsystem\n(S'false'\ntR.\x80\x02}q\x00X\x01\x00\x00\x00a\x8a\x0a\x8c\x01x\x93h\x00s.R0b\x81j\xff\xff\xff\x7f"
)


@cache
def _seed() -> bytes:
    """Return the sound checkpoint of the unit tests; while it is written, the names that it uses exist."""
    module = load_test_module("pipeline/test_checkpoint.py")
    fakes = {"torch": ModuleType("torch"), "torch._utils": ModuleType("torch._utils")}
    for kind in (module.FloatStorage, module.LongStorage):
        kind.__module__ = "torch"
        setattr(fakes["torch"], kind.__name__, kind)
    module._rebuild_tensor_v2.__module__ = "torch._utils"
    fakes["torch._utils"]._rebuild_tensor_v2 = module._rebuild_tensor_v2  # type: ignore[attr-defined]
    sys.modules.update(fakes)
    try:
        data: bytes = module.good()
    finally:
        for name in fakes:
            del sys.modules[name]
    return data


def make_case(rng: Random) -> bytes:
    """Damage it, with pieces of other pickles at hand."""
    return mutate_bytes(rng, _seed(), other=_MATERIAL)


def run(case: bytes) -> int:
    """Read it; what comes is arrays by name."""
    for name, array in parse_checkpoint(case).items():
        require(isinstance(name, str) and isinstance(array, np.ndarray), f"{name!r} is a {type(array)}")
    return 1


SURFACE = Surface("checkpoints", make_case, run, (CompileError,), gain_bytes=1 << 28)
