"""Settings of a task as JSON, and a frame through what they make."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import partial
from random import Random
from typing import Any

import numpy as np

from openhailo.errors import OpenHailoError
from openhailo.pipeline.settings import DECODERS, build_task
from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.surface import Surface, require

_LEVELS = [{"stride": 16, "anchors": [[10, 14], [23, 27]]}, {"stride": 32, "anchors": [[81, 82]], "scale_xy": 1.05}]
_SEEDS: tuple[dict[str, Any], ...] = (
    {"decoder": "yolov8", "input_size": [64, 64], "classes": 3, "score": 0.3, "fit": "stretch"},
    {"decoder": "yolox", "input_size": [64, 64], "classes": 3, "iou": 0.5, "class_wise": True},
    {"decoder": "yolo-anchor", "input_size": [64, 64], "levels": _LEVELS, "classes": 3, "version": "v4"},
    {"decoder": "ssd", "input_size": [8, 8], "classes": 2, "priors": [[0.5, 0.5, 1, 1]]},
    {"decoder": "centernet", "input_size": [32, 32]},
    {"decoder": "classify", "input_size": [8, 8]},
)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        255,
        1 << 31,
        10**400,
        0.5,
        1e308,
        -0.0,
        "",
        "v8",
        "letterbox",
        [],
        [[]],
        {},
        [1],
    ),
    *([1, 2], [64, 64], [1e9, 1], {"a": 1}, [None], [[1, 2, 3, 4]], float("nan"), float("inf"), "x" * 300, "\ud800"),
)
_KEYS = ("score", "iou", "limit", "fill", "color", "fit", "outputs", "strides", "bins", "landmarks", "levels", "offset")
_PICTURE = np.zeros((30, 40, 3), np.uint8)
_SHAPES = ((1, 8, 8, 24), (1, 4, 4, 24), (1, 2, 2, 8), (1, 3), (1, 16, 16, 8), (1, 84, 5), (7,), (1, 8, 8, 1))


def make_case(rng: Random) -> bytes:
    """Change values, at any depth, or bytes of the text."""
    settings = json.loads(json.dumps(rng.choice(_SEEDS)))
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        _change(rng, settings)
    if rng.random() < 0.1:
        settings["decoder"] = rng.choice([*DECODERS, "x"])
    text = json.dumps(settings).encode()
    return mutate_bytes(rng, text) if rng.random() < 0.15 else text


def _change(rng: Random, value: Any) -> None:
    places = list(value) if isinstance(value, dict) else list(range(len(value)))
    place = rng.choice(places) if places else None
    if place is not None and isinstance(value[place], dict | list) and rng.random() < 0.6:
        _change(rng, value[place])
    elif isinstance(value, dict):
        value[rng.choice(_KEYS) if place is None or rng.random() < 0.3 else place] = deepcopy(rng.choice(_VALUES))
    elif place is not None and rng.random() < 0.7:
        value[place] = deepcopy(rng.choice(_VALUES))
    else:
        value.append(deepcopy(rng.choice(_VALUES)))


def run(case: bytes) -> int:
    """Build the task and, where that works, run it on outputs of every kind."""
    try:
        settings = json.loads(case)
    except (ValueError, RecursionError):
        return 1
    if not isinstance(settings, dict):
        return 1
    task = build_task(settings, labels=("one", "two"))
    for seed, shape in enumerate(_SHAPES[:3]):
        outputs = {f"out{n}": _noise(seed, shape) for n in range(seed + 1)}
        try:
            result = task.run(_PICTURE, partial(_answer, outputs))
        except OpenHailoError as error:
            require(str(error), "an error without words")
        else:
            json.dumps(result.to_list() if hasattr(result, "to_list") else repr(result))
    return 1


def _answer(outputs: dict[str, Any], _frame: Any) -> dict[str, Any]:
    return outputs


def _noise(seed: int, shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(seed).normal(0, 4, shape).astype(np.float32)


SURFACE = Surface("settings", make_case, run, (OpenHailoError,))
