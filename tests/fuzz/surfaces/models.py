"""ONNX models into the compiler: the front end always, the whole compilation for some."""

from __future__ import annotations

import json
from functools import cache
from random import Random
from typing import Any

import onnx

from openhailo.compiler import compile_model
from openhailo.compiler.frontend import load_model
from openhailo.errors import CompileError, InputError
from tests.fuzz.materials import load_test_module, scratch
from tests.fuzz.messages import mutate_message
from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.surface import Surface, require

_WHOLE = 0.3
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        255,
        1e-30,
        1e39,
        1e308,
        10**400,
        "bgr",
        "rgb",
        "x",
        "",
        [],
        [0],
        [1, 2],
        [1, 2, 3],
        [0, 0, 0],
    ),
    *([1e39] * 3, [[1]], ["1"], {}, {"a": 1}, float("nan"), float("inf"), [float("inf")], [None, 1, 2]),
)


@cache
def _seeds() -> tuple[bytes, ...]:
    graphs = load_test_module("compiler/compiler_graphs.py")
    made = (graphs.small_cnn(8), graphs.small_cnn(8, 1, 11), graphs.two_heads(), graphs.small_cnn(8))
    settings = {"mean": [123.5, 116.0, 103.5], "std": [58.0], "color": "bgr"}
    made[3].metadata_props.add(key="openhailo.preprocess", value=json.dumps(settings))
    return tuple(model.SerializeToString() for model in made)


def make_case(rng: Random) -> bytes:
    """Return a byte that says how far to go, and a damaged model."""
    model = rng.choice(_seeds())
    kind = rng.random()
    if kind < 0.1:
        model = mutate_bytes(rng, model, other=rng.choice(_seeds()))
    elif kind < 0.2:
        model = _with_settings(rng)
    else:
        model = mutate_message(rng, model)
    return bytes([rng.random() < _WHOLE]) + model


def _with_settings(rng: Random) -> bytes:
    """Return a sound model that asks for an odd normalization."""
    model = onnx.load_model_from_string(_seeds()[3])
    settings = json.loads(model.metadata_props[0].value)
    for _ in range(rng.choice((1, 1, 2))):
        settings[rng.choice(("mean", "std", "color", "x"))] = rng.choice(_VALUES)
    model.metadata_props[0].value = json.dumps(settings if rng.random() < 0.9 else rng.choice(_VALUES))
    return bytes(model.SerializeToString())


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
