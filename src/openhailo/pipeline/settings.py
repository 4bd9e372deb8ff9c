"""Tasks from plain settings, as they come from a JSON file, a HEF's companion or the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np

from openhailo.errors import InputError
from openhailo.pipeline.tasks import Decoder, Preprocessing, Task
from openhailo.vision.decode import (
    CenterNetConfig,
    ClassifyConfig,
    SsdConfig,
    Suppression,
    YoloAnchorConfig,
    Yolov8Config,
    YoloxConfig,
)

DECODERS: Mapping[str, type[Decoder]] = {
    "yolo-anchor": YoloAnchorConfig,
    "yolov8": Yolov8Config,
    "yolox": YoloxConfig,
    "ssd": SsdConfig,
    "centernet": CenterNetConfig,
    "classify": ClassifyConfig,
}
"""What ``decoder`` may be in the settings of :func:`build_task`."""

_LEAST = {"iou": 0, "score": 0, "origin": 0, "offset": 0, "landmarks": 0, "fill": 0}
_MOST = {"iou": 1, "score": 1, "coverage": 1, "fraction": 1, "fill": 255, "bins": 256}
_MOST_ANY = 1_000_000
_MAY_BE_EMPTY = frozenset({"outputs"})

T = TypeVar("T")


def build_task(settings: Mapping[str, Any], *, name: str = "task", labels: Sequence[str] = ()) -> Task:
    """A task from settings such as ``{"decoder": "yolov8", "input_size": [640, 640], "classes": 80, "score": 0.3}``.

    Fields of ``Preprocessing``, of the decoder's config and of ``Suppression`` stand side by side; ``outputs`` is that
    of ``Task``.

    Raises:
        InputError: an unknown decoder or setting, a missing or unusable value.
    """
    given = dict(settings)
    decoder = given.pop("decoder", None)
    config = DECODERS.get(decoder) if isinstance(decoder, str) else None
    if config is None:
        raise InputError(what="decoder", detail=f"choose one of {', '.join(DECODERS)}")
    outputs = _coerce(given.pop("outputs", ()), tuple[str, ...], "outputs")
    parts = [Preprocessing, config] + ([Suppression] if config is not ClassifyConfig else [])
    unknown = set(given) - {entry.name for part in parts for entry in fields(part)} | {"suppression"} & set(given)
    if unknown:
        raise InputError(what="settings", detail=f"unknown: {', '.join(sorted(unknown))}")
    extra = {"suppression": _build(Suppression, given)} if config is not ClassifyConfig else {}
    return Task(name, _build(Preprocessing, given), _build(config, given, **extra), tuple(labels), outputs)


def _build(kind: type[T], settings: Mapping[str, Any], **ready: Any) -> T:
    """An instance of a dataclass from those settings that are fields of it."""
    hints = get_type_hints(kind)
    names = [entry.name for entry in fields(cast(Any, kind))]
    values = {name: _coerce(settings[name], hints[name], name) for name in names if name in settings}
    try:
        return kind(**values, **ready)
    except TypeError as error:
        missing = [name for name in names if name not in settings and str(error).find(f"'{name}'") >= 0]
        raise InputError(what="settings", detail=f"missing: {', '.join(missing)}") from error


def _coerce(value: Any, hint: Any, name: str) -> Any:
    """The value as the type of its field; a list becomes a tuple, an object an instance."""
    if get_origin(hint) is Literal:
        return _choice(value, get_args(hint), name)
    if get_origin(hint) is tuple:
        return _sequence(value, get_args(hint), name)
    if hint in (int, float):
        return _number(value, hint, name)
    if hint in (bool, str):
        if not isinstance(value, hint):
            raise InputError(what=name, detail=f"{value!r} is not a {hint.__name__}")
        return value
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise InputError(what=name, detail=f"{value!r} is not an object")
        return _build(cast(type[Any], hint), value)
    return _array(value, name)


def _choice(value: Any, allowed: tuple[Any, ...], name: str) -> Any:
    if value not in allowed:
        raise InputError(what=name, detail=f"{value!r} is none of {', '.join(allowed)}")
    return value


def _sequence(value: Any, hints: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(what=name, detail=f"{value!r} is not a list")
    if hints[-1] is Ellipsis:
        if not value and name not in _MAY_BE_EMPTY:
            raise InputError(what=name, detail="an empty list")
        hints = (hints[0],) * len(value)
    if len(value) != len(hints):
        raise InputError(what=name, detail=f"{len(hints)} values needed, got {len(value)}")
    return tuple(_coerce(item, hint, name) for item, hint in zip(value, hints, strict=True))


def _number(value: Any, hint: type, name: str) -> int | float:
    allowed = (int,) if hint is int else (int, float)
    # Whole numbers of JSON have no bounds, and are finite without being asked.
    endless = isinstance(value, float) and not math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, allowed) or endless:
        raise InputError(what=name, detail=f"{value!r} is not a {'whole ' if hint is int else ''}number")
    least = _LEAST.get(name, 1 if hint is int else math.ulp(0.0))
    most = _MOST.get(name, _MOST_ANY)
    if not least <= value <= most:
        raise InputError(what=name, detail=f"{value} is outside {max(least, 0)}..{most}")
    return value


def _array(value: Any, name: str) -> Any:
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(what=name, detail="not a table of numbers") from error
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
        raise InputError(what=name, detail=f"shape {array.shape}, needed (N, 4) of finite numbers")
    return array
