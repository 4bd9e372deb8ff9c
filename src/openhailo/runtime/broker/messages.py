"""Bodies of messages: frozen dataclasses as strict, bounded JSON objects.

A body has exactly the fields of its class, each of its type and within its bounds; anything else is `MalformedMessage`.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from openhailo.errors import MalformedMessage
from openhailo.runtime.broker.wire import MAX_BODY_BYTES

MAX_TEXT, MAX_ITEMS, MAX_NUMBER = 2048, 128, 1 << 53
#: Half of it is the room of a reply to a control, in hexadecimal digits.
MAX_HEX = 2 * 4096

Scalar = str | int | float | bool | None


def _most(most: int) -> Any:
    """Return a field whose number, or whose text's length, is 0..``most``."""
    return field(metadata={"most": most})


@dataclass(frozen=True)
class Hello:
    """Who speaks, and the meaning of its messages."""

    protocol: int
    version: str
    pid: int


@dataclass(frozen=True)
class Welcome:
    """The broker's answer: its devices by name."""

    protocol: int
    version: str
    pid: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Control:
    """A control of the firmware, of those that change nothing."""

    device: int
    cpu: int = _most(1)
    timeout_s: float = _most(60)
    request: str = _most(MAX_HEX)


@dataclass(frozen=True)
class ControlReply:
    """What the firmware answered."""

    response: str = _most(MAX_HEX)


@dataclass(frozen=True)
class Content:
    """A HEF by its SHA-256; with ``size_bytes`` it comes in the memory that is sent along."""

    digest: str = _most(64)
    size_bytes: int = 0


@dataclass(frozen=True)
class Known:
    """Whether the broker has it."""

    known: bool


@dataclass(frozen=True)
class Slots:
    """The ring of one stream in shared memory: frame k is at ``offset + (k mod depth) * stride``."""

    name: str
    is_output: bool
    frame_bytes: int
    offset: int
    stride: int


@dataclass(frozen=True)
class Configure:
    """Configure a network group; shared memory for its frames is sent along."""

    digest: str = _most(64)
    group: str = _most(MAX_TEXT)
    batch_size: int = _most(0xFFFF)
    timeout_s: float = _most(86_400)
    queue_transfers: int = _most(1024)
    performance: bool = True
    dynamic_batch_size: int = field(default=0, metadata={"most": 0xFFFF})
    measure_latency: bool = False
    in_place: bool = False
    depth: int = field(default=0, metadata={"most": 128})
    memory_bytes: int = 0
    slots: tuple[Slots, ...] = ()


@dataclass(frozen=True)
class Configured:
    """The number of the model; its socket for frames is sent along."""

    model: int


@dataclass(frozen=True)
class Which:
    """A model by its number; ``clear`` begins its figures anew."""

    model: int
    clear: bool = False


@dataclass(frozen=True)
class Restarted:
    """The rings begin at slot 0."""

    epoch: int


@dataclass(frozen=True)
class Schedule:
    """What the scheduler is told of a model; a ``timeout_s`` below 0 is none at all."""

    model: int
    threshold: int = _most(1 << 31)
    timeout_s: float = 0.0
    priority: int = field(default=16, metadata={"most": 31})


@dataclass(frozen=True)
class Turns:
    """What a model got of the devices so far (`openhailo.runtime.scheduler.SchedulerCounters`)."""

    frames: int
    bursts: int
    switches: int
    waited_s: float
    longest_wait_s: float


@dataclass(frozen=True)
class LatencyReply:
    """The hardware's latency; ``frames`` 0: none was measured."""

    frames: int
    mean_s: float
    least_s: float
    most_s: float


@dataclass(frozen=True)
class DeviceState:
    """A device as it is now (`openhailo.runtime.statistics.DeviceStatistics`); an empty ``model`` is none."""

    name: str
    model: str
    in_flight: int
    busy_s: float
    is_lost: bool


@dataclass(frozen=True)
class DeviceStates:
    """All devices, and what switching cost."""

    devices: tuple[DeviceState, ...]
    switches: int
    switch_s: float


@dataclass(frozen=True)
class Nothing:
    """Nothing more to say."""


@dataclass(frozen=True)
class Refusal:
    """An error: its class in `openhailo.errors`, its message, and its attributes that are plain."""

    type: str
    message: str = field(metadata={"most": 8192})
    fields: dict[str, Scalar] = field(default_factory=dict)


M = TypeVar("M")


def to_bytes(message: Any) -> bytes:
    """Return the body of ``message``."""
    return json.dumps(_plain(message), separators=(",", ":"), allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def from_bytes(cls: type[M], body: bytes) -> M:
    """Return the ``cls`` that ``body`` holds. Raises `MalformedMessage`."""
    if len(body) > MAX_BODY_BYTES:
        raise MalformedMessage(what=cls.__name__, detail=f"{len(body)} bytes")
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(what=cls.__name__, detail=f"not JSON ({error})") from None
    return _object(cls, value, cls.__name__)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


@cache
def _members(cls: type[Any]) -> tuple[tuple[str, Any, float], ...]:
    hints = get_type_hints(cls)
    return tuple((each.name, hints[each.name], each.metadata.get("most", 0)) for each in fields(cls))


def _object(cls: type[M], value: Any, where: str) -> M:
    members = _members(cast(Any, cls))
    if not isinstance(value, dict) or value.keys() != {name for name, _, _ in members}:
        raise MalformedMessage(what=where, detail="other fields than it has")
    return cls(**{name: _value(kind, value[name], most, f"{where}.{name}") for name, kind, most in members})


def _value(kind: Any, value: Any, most: float, where: str) -> Any:
    if is_dataclass(kind):
        return _object(kind, value, where)  # type: ignore[arg-type]
    if get_origin(kind) is tuple:
        return _items(get_args(kind)[0], value, where)
    if get_origin(kind) is dict:
        return _scalars(value, where)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or not _within(value, most):
        raise MalformedMessage(what=where, detail=f"{str(value)[:40]!r} is not allowed there")
    return value


def _items(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise MalformedMessage(what=where, detail="not a short list")
    return tuple(_value(kind, each, 0, where) for each in value)


def _scalars(value: Any, where: str) -> Mapping[str, Scalar]:
    allowed = (str, int, float, bool, types.NoneType)
    if (
        not isinstance(value, dict)
        or len(value) > MAX_ITEMS
        or not all(type(each) in allowed for each in value.values())
    ):
        raise MalformedMessage(what=where, detail="not a short object of plain values")
    return value


def _within(value: Any, most: float) -> bool:
    if isinstance(value, str):
        return len(value) <= (most or MAX_TEXT)
    if isinstance(value, bool):
        return True
    return bool((0 if most else -1) <= value <= (most or MAX_NUMBER))
