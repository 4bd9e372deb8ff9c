"""Messages of the vfio-user protocol: bytes to values and back, refusals, and what was noticed (vfio-user.md 1-4)."""

from __future__ import annotations

import errno
import json
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from openhailo.spec.layout import Struct
from openhailo.spec.vfio_user import VFIO_USER, Command, MessageFlag, VfioUserRules, VfioUserSpec

log = logging.getLogger("openhailo.twin.vfio_user")
#: How often one kind of notice is written to the log per connection; a client can cause any number of them.
LOGGED_PER_KIND = 8


class Refusal(Exception):
    """A command that is answered with an error; the connection goes on. ``expected``: of well-behaved clients too."""

    def __init__(self, number: int, reason: str, *, expected: bool = False) -> None:
        self.number, self.reason, self.expected = number, reason, expected
        super().__init__(f"{errno.errorcode.get(number, number)}: {reason}")


class Disconnect(Exception):
    """The client broke the protocol beyond repair: nothing that follows in the stream can be trusted."""


class Notices:
    """Counts what went wrong, by kind, and logs the first few of each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()

    def add(self, kind: str, detail: object) -> None:
        """Note one ``kind``: refused, violation, disconnect, dma, ..."""
        self.counts[kind] += 1
        seen = self.counts[kind]
        if seen <= LOGGED_PER_KIND:
            last = "; further ones of this kind are only counted" if seen == LOGGED_PER_KIND else ""
            log.warning("%s: %s: %s%s", self.name, kind, detail, last)


class Header(NamedTuple):
    """The first 16 bytes of every message (vfio-user.md 1.2)."""

    id: int
    command: int
    size: int
    flags: int
    errno: int


class Codec:
    """A declared structure as one compiled format; values in the order of declaration."""

    def __init__(self, layout: Struct) -> None:
        compiled = layout.compiled
        self.name, self.size = layout.name, layout.size
        self.pack = compiled.pack
        self.unpack_from = compiled.unpack_from
        self.iter_unpack = compiled.iter_unpack

    def parse(self, payload: bytes) -> tuple[int, ...]:
        """Return the members of a payload that is exactly this structure. Raises `Refusal`."""
        if len(payload) != self.size:
            raise Refusal(errno.EINVAL, f"{self.name} has {len(payload)} bytes, must have {self.size}")
        return self.unpack_from(payload)

    def parse_start(self, payload: bytes) -> tuple[int, ...]:
        """Return the members of a payload that begins with this structure. Raises `Refusal`."""
        if len(payload) < self.size:
            raise Refusal(errno.EINVAL, f"{self.name} has {len(payload)} bytes, needs {self.size}")
        return self.unpack_from(payload)


class Wire:
    """All structures, compiled from one declaration."""

    def __init__(self, spec: VfioUserSpec = VFIO_USER) -> None:
        self.rules = spec.rules
        self.header = Codec(spec.header)
        self.version = Codec(spec.version)
        self.dma_map = Codec(spec.dma_map)
        self.dma_unmap = Codec(spec.dma_unmap)
        self.device_info = Codec(spec.device_info)
        self.region_info = Codec(spec.region_info)
        self.irq_info = Codec(spec.irq_info)
        self.irq_set = Codec(spec.irq_set)
        self.region_access = Codec(spec.region_access)
        self.dma_access = Codec(spec.dma_access)
        self.write_multi = Codec(spec.write_multi)
        self.write_multi_entry = Codec(spec.write_multi_entry)

    def parse_header(self, data: bytes | bytearray) -> Header:
        """Parse and check 16 bytes. Raises `Disconnect` where the stream cannot be trusted any more."""
        header = Header(*self.header.unpack_from(data))
        longest = 2 * self.header.size + self.rules.max_data_xfer_bytes
        if not self.header.size <= header.size <= longest:
            raise Disconnect(f"a message of {header.size} bytes")
        if header.flags & MessageFlag.TYPE_MASK not in (0, MessageFlag.REPLY):
            raise Disconnect(f"message type {header.flags & MessageFlag.TYPE_MASK}")
        return header

    def build_reply(self, header: Header, payload: bytes = b"") -> bytes:
        """Build the reply to ``header``, one bytes object: it must leave in one piece (1.3)."""
        size = self.header.size + len(payload)
        return self.header.pack(header.id, header.command, size, MessageFlag.REPLY, 0) + payload

    def build_error(self, header: Header, number: int) -> bytes:
        """Build the error reply to ``header``: no payload."""
        flags = MessageFlag.REPLY | MessageFlag.ERROR
        return self.header.pack(header.id, header.command, self.header.size, flags, number)

    def build_command(self, number: int, command: Command, payload: bytes) -> bytes:
        """Build a command of ours (DMA by message)."""
        return self.header.pack(number, command, self.header.size + len(payload), 0, 0) + payload


@dataclass(frozen=True)
class ClientLimits:
    """What the client said about itself in VERSION."""

    max_data_xfer_bytes: int
    write_multiple: bool


def parse_version(wire: Wire, payload: bytes) -> ClientLimits:
    """Parse the client's VERSION (vfio-user.md 2). Raises `Refusal`."""
    rules = wire.rules
    major, _minor = wire.version.parse_start(payload)
    if major != rules.major:
        raise Refusal(errno.EINVAL, f"protocol version {major} is not {rules.major}")
    capabilities = _parse_capabilities(rules, payload[wire.version.size :])
    limit = _number(capabilities, "max_data_xfer_size", rules.max_data_xfer_bytes)
    for name in ("max_msg_fds", "max_dma_maps", "pgsizes"):
        _number(capabilities, name, 1)
    multiple = capabilities.get("write_multiple", False)
    if not isinstance(multiple, bool):
        raise Refusal(errno.EINVAL, "write_multiple is not a boolean")
    return ClientLimits(min(limit, rules.max_data_xfer_bytes), multiple)


def _parse_capabilities(rules: VfioUserRules, text: bytes) -> dict[str, Any]:
    if not text:
        return {}
    if len(text) > rules.max_version_text or text[-1] or 0 in text[:-1]:
        raise Refusal(errno.EINVAL, "the capabilities are no NUL-terminated text of reasonable length")
    if text.count(b"{") + text.count(b"[") > rules.max_version_nesting:
        raise Refusal(errno.EINVAL, "the capabilities are nested too deeply")
    if len(text) == 1:
        return {}
    try:
        parsed = json.loads(text[:-1].decode("utf-8"))
    except ValueError as error:
        raise Refusal(errno.EINVAL, f"the capabilities are no JSON: {error}") from error
    found = parsed.get("capabilities", {}) if isinstance(parsed, dict) else None
    if not isinstance(found, dict):
        raise Refusal(errno.EINVAL, "the capabilities are no JSON object")
    return found


def _number(capabilities: dict[str, Any], name: str, default: int) -> int:
    value = capabilities.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Refusal(errno.EINVAL, f"{name} is not a positive number")
    return value


def build_version(wire: Wire) -> bytes:
    """Build our VERSION payload; with its header it must not exceed what QEMU sent, 214 bytes (vfio-user.md 2)."""
    rules = wire.rules
    capabilities = {
        "max_msg_fds": rules.max_msg_fds,
        "max_data_xfer_size": rules.max_data_xfer_bytes,
        "max_dma_maps": rules.max_dma_maps,
        "pgsizes": rules.page_bytes,
        "write_multiple": True,
    }
    text = json.dumps({"capabilities": capabilities}, separators=(",", ":"))
    return wire.version.pack(rules.major, rules.minor) + text.encode() + b"\0"
