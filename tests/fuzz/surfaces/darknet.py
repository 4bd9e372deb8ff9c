"""Darknet networks, configuration and weights, into the compiler's importer."""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np

from openhailo.compiler.darknet import build_darknet
from openhailo.errors import CompileError, InputError
from tests.fuzz.materials import load_test_module
from tests.fuzz.mutate import edge, mutate_bytes, pack_parts, unpack_parts
from tests.fuzz.surface import Surface

_WORDS = (
    *(
        "-1",
        "0",
        "1",
        "2",
        "3",
        "255",
        "16384",
        "65536",
        "99999999999999999999",
        "1e308",
        "nan",
        "",
        "x",
        "-2,1",
        "0,0",
    ),
    *("leaky", "mish", "relu6", "linear", "selu"),
)
_SECTIONS = (
    *("convolutional", "maxpool", "avgpool", "route", "shortcut", "upsample", "dropout", "softmax", "yolo", "net"),
    *("local", ""),
)


@cache
def _seed() -> tuple[str, bytes]:
    module = load_test_module("compiler/test_darknet.py")
    weights, _ = module.write_weights(np.random.default_rng(0))
    return module.CFG, weights


def make_case(rng: Random) -> bytes:
    """Damage lines of the text, or bytes of either file."""
    text, weights = _seed()
    lines = text.splitlines()
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        _change_line(rng, lines)
    cfg = "\n".join(lines).encode()
    if rng.random() < 0.15:
        cfg = mutate_bytes(rng, cfg)
    if rng.random() < 0.3:
        weights = mutate_bytes(rng, weights)
    return pack_parts([cfg, weights])


def _change_line(rng: Random, lines: list[str]) -> None:
    at = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(rng.randrange(len(lines)), lines[at])
    elif kind == 2:
        lines[at] = f"[{rng.choice(_SECTIONS)}]"
    elif "=" in lines[at]:
        value = rng.choice(_WORDS) if rng.random() < 0.7 else str(edge(rng))
        lines[at] = f"{lines[at].split('=')[0]}={value}"
    else:
        start = rng.randrange(len(lines))
        lines[at:at] = lines[start : start + rng.randrange(8)]


def run(case: bytes) -> int:
    """Import it."""
    cfg, weights = unpack_parts(case)
    build_darknet(cfg.decode("utf-8", "replace"), weights)
    return 1


SURFACE = Surface("darknet", make_case, run, (CompileError, InputError))
