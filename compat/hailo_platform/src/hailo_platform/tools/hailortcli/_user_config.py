"""The user configuration of a board as JSON, and back (control-protocol.md 10; form as recorded).

``{"system": {"max_neural_network_core_clock_rate": {"value": "400MHZ"}}}``
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from hailo_platform.pyhailort import _pyhailort as bound
from openhailo.spec import enums
from openhailo.spec.config import (
    CATEGORIES,
    USER_CONFIG_ENTRIES,
    USER_CONFIG_ENTRY,
    USER_CONFIG_HEADER,
    UserConfigEntry,
    UserConfigRules,
)

_RULES = UserConfigRules()
MAGIC = _RULES.magic.to_bytes(4, "little")
_BY_NUMBERS = {(entry.category, entry.entry_id): entry for entry in USER_CONFIG_ENTRIES}
_BY_NAMES = {(CATEGORIES[entry.category], entry.name): entry for entry in USER_CONFIG_ENTRIES}
_HZ = 1_000_000


def to_json(blob: bytes) -> str:
    """Return the JSON form. Status 2 for a blob, or an entry, that this does not know: it would be lost."""
    found: dict[str, dict[str, Any]] = {}
    try:
        for entry, raw in _entries(blob):
            found.setdefault(CATEGORIES[entry.category], {})[entry.name] = {"value": _readable(entry, raw)}
    except ValueError as error:
        message = str(error)
    else:
        return json.dumps(found, indent=4)
    raise bound.status_error("INVALID_ARGUMENT", f"user configuration: {message}")


def from_json(text: str) -> bytes:
    """Return the binary form. Status 2 for text that is none, unknown settings, and values that do not fit."""
    packed = []
    try:
        for category, settings in json.loads(text).items():
            for name, setting in settings.items():
                entry = _BY_NAMES.get((category, name))
                if entry is None:
                    raise ValueError(f"there is no setting {category}.{name}")
                raw = _raw(entry, setting["value"])
                head = USER_CONFIG_ENTRY.pack(
                    category=entry.category, entry_id=entry.entry_id, entry_size=entry.size * entry.count
                )
                packed.append(head + raw)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        message = f"{type(error).__name__}: {error}"
    else:
        head = USER_CONFIG_HEADER.pack(magic=_RULES.magic, version=_RULES.version, entry_count=len(packed))
        return head + b"".join(packed)
    raise bound.status_error("INVALID_ARGUMENT", f"user configuration: {message}")


def _entries(blob: bytes) -> Iterator[tuple[UserConfigEntry, bytes]]:
    head = USER_CONFIG_HEADER.unpack(blob)
    if head["magic"] != _RULES.magic or head["version"] != _RULES.version:
        raise ValueError(f"magic 0x{head['magic']:X}, version {head['version']} is not known")
    at = USER_CONFIG_HEADER.size
    for _ in range(head["entry_count"]):
        numbers = USER_CONFIG_ENTRY.unpack(blob, at)
        at += USER_CONFIG_ENTRY.size
        entry = _BY_NUMBERS.get((numbers["category"], numbers["entry_id"]))
        raw = blob[at : at + numbers["entry_size"]]
        if entry is None or len(raw) != entry.size * entry.count or len(raw) != numbers["entry_size"]:
            raise ValueError(f"entry {numbers} is not known")
        yield entry, raw
        at += len(raw)


def _values_of(kind: str) -> type[IntEnum] | None:
    found = getattr(enums, kind, None)
    return found if isinstance(found, type) and issubclass(found, IntEnum) else None


def _readable(entry: UserConfigEntry, raw: bytes) -> Any:
    if entry.kind == "mac":
        return raw.hex(":")
    if entry.kind == "ipv4":
        return str(ipaddress.IPv4Address(raw))
    if entry.kind == "str":
        return raw.rstrip(b"\0").decode("utf-8", "replace")
    number = int.from_bytes(raw, "little")
    if entry.kind == "bool":
        return bool(number)
    if entry.kind == "NnClock" and number % _HZ == 0:
        return f"{number // _HZ}MHZ"
    values = _values_of(entry.kind)
    return values(number).name if values is not None and number in values.__members__.values() else number


def _raw(entry: UserConfigEntry, value: Any) -> bytes:
    size = entry.size * entry.count
    if entry.kind == "mac":
        raw = bytes.fromhex(value.replace(":", ""))
    elif entry.kind == "ipv4":
        raw = ipaddress.IPv4Address(value).packed
    elif entry.kind == "str":
        raw = value.encode().ljust(size, b"\0")
    else:
        raw = _number(entry, value).to_bytes(size, "little")
    if len(raw) != size:
        raise ValueError(f"{entry.name} takes {size} bytes, {value!r} has {len(raw)}")
    return raw


def _number(entry: UserConfigEntry, value: Any) -> int:
    if not isinstance(value, str):
        return int(value)
    if entry.kind == "NnClock" and value.upper().endswith("MHZ"):
        return int(value[:-3]) * _HZ
    values = _values_of(entry.kind)
    if values is None or value not in values.__members__:
        raise ValueError(f"{entry.name} is not {value!r}")
    return int(values[value])
