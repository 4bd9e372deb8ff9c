"""Files made to cost a reader as much as possible per byte: run in a process of its own with little memory.

Prints one line per file: its name and what the reader made of it.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from hef_samples import minimal_hef, proto_of, seal_bytes

from openhailo.errors import HefError
from openhailo.hef import check, read

LIMIT_BYTES = 500 << 20


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def core(content: bytes) -> bytes:
    """A network group, with a name, whose core op holds ``content``."""
    name = field(1, field(1, b"more"))
    return field(2, name + field(4, b"out") + field(8, field(4, name + content)))


def layers(content: bytes) -> bytes:
    """The edge layers of the one context of a core op."""
    return core(field(3, field(3, content)))


BASE = bytes.fromhex("08 01 10 01 18 01 20 01 28 01 30 01 60 01 6a 00")  # shape 1 x 1 x 1, one byte
MANY = 60_000

FILES: dict[str, Callable[[], bytes]] = {
    "network groups": lambda: field(2, b"") * MANY,
    "partial groups": lambda: field(2, field(7, b"") * MANY),
    "ops": lambda: field(2, field(8, b"") * MANY),
    "nms ops": lambda: field(2, field(8, field(5, field(10, b""))) * MANY + field(9, b"") * MANY),
    "contexts": lambda: core(field(3, b"") * MANY),
    "actions": lambda: core(field(3, field(2, field(1, field(3, b"")) + field(2, field(9, b"")) * MANY))),
    "edge layers": lambda: layers(field(2, field(3, field(2, BASE))) * (MANY // 8)),
    "partial core ops": lambda: core(field(7, b"") * MANY),
    "numbers": lambda: layers(field(2, field(3, field(2, BASE) + field(3, field(5, bytes(8 * MANY)))))),
    "row ratios": lambda: layers(field(2, b"\x10\x01" + field(4, field(2, BASE) + field(3, field(4, bytes(MANY)))))),
    "extensions": lambda: field(5, b"\x08\x01") * MANY,
    "names": lambda: core(field(4, b"") * MANY),
    "unknown fields": lambda: field(99, b"") * MANY,
    "too many fields": lambda: field(5, b"\x08\x01") * 600_000,
    "too many numbers": lambda: layers(field(2, field(3, field(2, BASE) + field(3, field(5, bytes(8 * 600_000)))))),
}


def main() -> None:
    start = proto_of(minimal_hef()).SerializeToString()
    read(seal_bytes(start, version=0))
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    for name, make in FILES.items():
        try:
            check(read(seal_bytes(start + make(), version=0)))
            print(f"{name}: read")
        except HefError as error:
            print(f"{name}: {type(error).__name__} {error}")


if __name__ == "__main__":
    main()
