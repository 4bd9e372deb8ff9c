"""ONNX models into the compiler: the front end always, the whole compilation for some."""

from __future__ import annotations

from functools import cache
from random import Random

from openhailo.compiler import compile_model
from openhailo.compiler.frontend import load_model
from openhailo.errors import CompileError, InputError
from tests.fuzz.materials import load_test_module, scratch
from tests.fuzz.messages import mutate_message
from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.surface import Surface, require

_WHOLE = 0.3


@cache
def _seeds() -> tuple[bytes, ...]:
    graphs = load_test_module("compiler/compiler_graphs.py")
    made = (graphs.small_cnn(8), graphs.small_cnn(8, 1, 11), graphs.two_heads())
    return tuple(model.SerializeToString() for model in made)


def make_case(rng: Random) -> bytes:
    """Return a byte that says how far to go, and a damaged model."""
    model = rng.choice(_seeds())
    model = mutate_bytes(rng, model, other=rng.choice(_seeds())) if rng.random() < 0.1 else mutate_message(rng, model)
    return bytes([rng.random() < _WHOLE]) + model


def run(case: bytes) -> int:
    """Read the file; compile it on noise where that is asked for."""
    path = scratch() / "model.onnx"
    path.write_bytes(case[1:])
    if case[0]:
        compiled = compile_model(path, calibration="random:1")
        require(len(compiled.hef_bytes) > 56, "an empty file")
    else:
        load_model(path)
    return 1


SURFACE = Surface("models", make_case, run, (CompileError, InputError))
