"""Descriptor lists: which bytes move where, and who is told (driver.md 6.3-6.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from openhailo._units import align_up
from openhailo.errors import InputError

from .buffers import DmaArena, PcieBuffer

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

Rows = np.ndarray[Any, np.dtype[np.uint32]]

#: Ready-made descriptors kept per buffer; a buffer sliced into more frames than this starts over.
_TEMPLATES_PER_BUFFER = 256
#: Whole launches remembered per list.
_KNOWN_LAUNCHES = 256

Ranges = Sequence[tuple[PcieBuffer, int, int]]


class KnownLaunch(NamedTuple):
    """A launch whose descriptors are all in the list since an earlier time; ``ends`` are counted from its start.

    ``transfers`` is kept, so that no other object can have its identity.
    """

    transfers: Sequence[Ranges]
    domains: tuple[int, int]
    ends: tuple[int, ...]
    buffers: tuple[PcieBuffer, ...]


class DescriptorFormat:
    """Where the fields of a descriptor are, taken from a spec once."""

    def __init__(self, spec: ChipSpec) -> None:
        registers, rules = spec.descriptor, spec.vdma
        self.words = rules.descriptor_size_bytes // 4
        self.size_control = registers["SIZE_CONTROL"].offset // 4
        self.address_low = registers["ADDRESS_LOW"].offset // 4
        self.address_high = registers["ADDRESS_HIGH"].offset // 4
        self.status = registers["STATUS"].offset // 4
        self.size_shift = registers["SIZE_CONTROL"]["page_size"].lsb
        self.control_shift = registers["SIZE_CONTROL"]["control"].lsb
        self.address_mask = registers["ADDRESS_LOW"]["address_31_6"].mask
        self.data_id = registers["ADDRESS_LOW"]["data_id"].put(rules.host_memory_data_id)
        self.error_mask = registers["STATUS"]["error"].mask
        self.alignment = rules.address_alignment
        bits = {field.name: field.mask for field in spec.descriptor_control.fields}
        self.default_control = bits["write_status_on_error"]
        ask = bits["request_irq"] | bits["request_irq_on_error"]
        device, host = bits["device_domain"], bits["host_domain"]
        #: Interrupt domain -> bits ORed into the control byte.
        self.domain_bits = (0, ask | device, ask | host, ask | device | host)

    def word(self, size_bytes: int, domain: int = 0) -> int:
        """Return dword 0 for a descriptor of ``size_bytes`` that interrupts ``domain``."""
        control = self.default_control | self.domain_bits[domain]
        return size_bytes << self.size_shift | control << self.control_shift


class PcieDescriptorList:
    """A list in host memory (`openhailo.driver.link.DescriptorList`)."""

    def __init__(self, arena: DmaArena, spec: ChipSpec, count: int, page_size: int, *, circular: bool) -> None:
        _check_geometry(spec, count, page_size, circular)
        self._arena, self.format = arena, DescriptorFormat(spec)
        rules = spec.vdma
        size_bytes = align_up(count * rules.descriptor_size_bytes, rules.list_alignment)
        self._memory = arena.alloc(size_bytes, rules.list_alignment)
        self.dma_address, self.count, self.page_size, self.circular = self._memory.iova, count, page_size, circular
        if self.dma_address % rules.list_alignment:
            raise InputError(what="descriptor list", detail=f"its address 0x{self.dma_address:X} is not 64 KiB aligned")
        #: Single dwords by index (one store each); ``table`` is the same memory, one row per descriptor.
        self.dwords = self._memory.view.cast("I")
        used = np.frombuffer(self._memory.view, np.uint32, count * self.format.words)
        self.table: Rows = used.reshape(count, self.format.words)
        self.closed = False
        # What launches left in the list: start index -> its rows or sizes; valid while all launches have one stride.
        self._stride = 0
        self._loaded: dict[int, object] = {}
        self._launches: dict[tuple[int, int], KnownLaunch] = {}

    def close(self) -> None:
        """Free the list; its channel must be disabled. Idempotent."""
        if not self.closed:
            self.closed = True
            self._arena.release(self._memory)

    def program(
        self,
        buffer: PcieBuffer,
        *,
        size_bytes: int,
        offset: int = 0,
        starting_desc: int = 0,
        bind: bool = True,
        last_domain: int = 0,
        batch_size: int = 1,
    ) -> int:
        """Describe ``batch_size`` consecutive transfers and return how many descriptors that took (driver.md 6.5).

        Each transfer starts on a new descriptor and a new page of the buffer. Nothing is written when the arguments are
        wrong.
        """
        self._check_start(starting_desc, last_domain)
        if batch_size < 1:
            raise InputError(what="batch size", detail=f"{batch_size} transfers cannot be programmed; use 1 or more")
        parts: list[tuple[int, int, Rows | None]] = []
        at = starting_desc
        for index in range(batch_size):
            self.check_range(buffer, offset, size_bytes)
            rows = self.describe(buffer, offset, size_bytes) if bind else None
            used = len(rows) if rows is not None else self.descriptors_of(size_bytes)
            self._check_room(starting_desc, at + used - starting_desc)
            domain = last_domain if index == batch_size - 1 else 0
            parts.append((at, domain, rows))
            at += used
            offset += used * self.page_size
        self.forget()
        for start, domain, rows in parts:
            self._store(start, size_bytes, domain, rows)
        return at - starting_desc

    def rows_for_launch(self, buffer: PcieBuffer, offset: int, size_bytes: int, first: int, last: int) -> Rows:
        """Return ready-made descriptors of one range with interrupt bits in place, made once per range."""
        key = (offset, size_bytes, self.page_size, first, last)
        rows = buffer.templates.get(key)
        if rows is None:
            self.check_range(buffer, offset, size_bytes)
            rows = self.describe(buffer, offset, size_bytes)
            fmt = self.format
            rows[0, fmt.size_control] |= fmt.domain_bits[first] << fmt.control_shift
            rows[-1, fmt.size_control] |= fmt.domain_bits[last] << fmt.control_shift
            if len(buffer.templates) >= _TEMPLATES_PER_BUFFER:
                buffer.templates.clear()
            buffer.templates[key] = rows
        return rows

    def load_rows(self, start: int, rows: Rows) -> None:
        """Put ``rows`` at ``start`` (wrapping), unless exactly these are there since an earlier launch."""
        if not self._is_loaded(start, len(rows), rows):
            self._write(start, rows)

    def load_sizes(self, start: int, size_bytes: int, first: int, last: int) -> int:
        """Set sizes and interrupt bits of one transfer whose addresses are already there; return its descriptors."""
        used = self.descriptors_of(size_bytes)
        if self._is_loaded(start, used, (size_bytes, first, last)):
            return used
        words = np.full(used, self.format.word(self.page_size), np.uint32)
        words[-1] = self.format.word(self._residue(size_bytes))
        words[0] |= self.format.domain_bits[first] << self.format.control_shift
        words[-1] |= self.format.domain_bits[last] << self.format.control_shift
        room = self.count - start
        column = self.table[:, self.format.size_control]
        column[start : start + used] = words[:room]
        if used > room:
            column[: used - room] = words[room:]
        return used

    def forget(self) -> None:
        """Rewrite descriptors at the next launches: the list changed underneath."""
        self._loaded.clear()
        self._launches.clear()
        self._stride = 0

    def known_launch(self, start: int, transfers: Sequence[Ranges], first: int, last: int) -> KnownLaunch | None:
        """Return what is known of launching the very object ``transfers`` at ``start``; None if it has to be loaded."""
        known = self._launches.get((start, id(transfers)))
        if known is None or known.domains != (first, last) or self.closed or any(b.closed for b in known.buffers):
            return None
        return known

    def remember_launch(self, start: int, transfers: Sequence[Ranges], first: int, last: int) -> None:
        """Know this launch from now on, until something else is written to the list.

        Only for what cannot change and what needs nothing else per launch: tuples of single ranges, without copies, in
        a ring where transfers do not overlap.
        """
        stride = self._stride
        if type(transfers) is not tuple or not stride or self.count % stride:
            return
        buffers = {id(ranges[0][0]): ranges[0][0] for ranges in transfers}
        if any(type(r) is not tuple or len(r) != 1 for r in transfers) or any(b.bounces for b in buffers.values()):
            return
        if len(self._launches) >= _KNOWN_LAUNCHES:
            self._launches.clear()
        ends = tuple(stride * (i + 1) for i in range(len(transfers)))
        self._launches[start, id(transfers)] = KnownLaunch(transfers, (first, last), ends, tuple(buffers.values()))

    def has_error(self, index: int) -> bool:
        """Tell whether the device marked descriptor ``index`` as failed (driver.md 6.3, dword 3 bit 1)."""
        fmt = self.format
        return bool(self.dwords[index * fmt.words + fmt.status] & fmt.error_mask)

    def clear_status(self) -> None:
        """Forget what the device reported in the whole list."""
        self.table[:, self.format.status] = 0

    def descriptors_of(self, size_bytes: int) -> int:
        """Descriptors of a transfer that starts on a page."""
        return -(-size_bytes // self.page_size)

    def check_range(self, buffer: PcieBuffer, offset: int, size_bytes: int) -> None:
        """Refuse ranges that the kernel driver would refuse too (driver.md 6.5)."""
        if buffer.closed or self.closed:
            raise InputError(what="transfer", detail="its buffer or descriptor list is closed already")
        if offset < 0 or size_bytes < 1 or offset + size_bytes > buffer.size_bytes:
            raise InputError(
                what="transfer", detail=f"{size_bytes} bytes at {offset} leave a buffer of {buffer.size_bytes} bytes"
            )
        if offset % self.page_size:
            raise InputError(what="transfer", detail=f"offset {offset} is not a multiple of the page {self.page_size}")

    def describe(self, buffer: PcieBuffer, offset: int, size_bytes: int) -> Rows:
        """Return the descriptors of a range as rows: full pages, and a residue at the end of each segment."""
        end = offset + size_bytes
        pieces = []
        for start, length, iova in buffer.segments:
            low, high = max(offset, start), min(end, start + length)
            if low < high:
                pieces.append(self._chunk(iova + low - start, high - low))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _chunk(self, address: int, size_bytes: int) -> Rows:
        fmt = self.format
        if address % fmt.alignment:
            raise InputError(what="transfer", detail=f"bus address 0x{address:X} is not {fmt.alignment}-byte aligned")
        used = self.descriptors_of(size_bytes)
        rows = np.zeros((used, fmt.words), np.uint32)
        addresses = np.uint64(address) + np.arange(used, dtype=np.uint64) * np.uint64(self.page_size)
        rows[:, fmt.size_control] = fmt.word(self.page_size)
        rows[-1, fmt.size_control] = fmt.word(self._residue(size_bytes))
        rows[:, fmt.address_low] = (addresses & np.uint64(fmt.address_mask)) | np.uint64(fmt.data_id)
        rows[:, fmt.address_high] = addresses >> np.uint64(32)
        return rows

    def _residue(self, size_bytes: int) -> int:
        return size_bytes % self.page_size or self.page_size

    def _store(self, start: int, size_bytes: int, domain: int, rows: Rows | None) -> None:
        fmt = self.format
        if rows is not None:
            rows[-1, fmt.size_control] |= fmt.domain_bits[domain] << fmt.control_shift
            self._write(start, rows)
            return
        last = (start + self.descriptors_of(size_bytes) - 1) % self.count
        self.dwords[last * fmt.words + fmt.size_control] = fmt.word(self._residue(size_bytes), domain)

    def _write(self, start: int, rows: Rows) -> None:
        start %= self.count
        room = self.count - start
        if len(rows) <= room:
            self.table[start : start + len(rows)] = rows
        else:
            self.table[start:] = rows[:room]
            self.table[: len(rows) - room] = rows[room:]

    def _is_loaded(self, start: int, used: int, what: object) -> bool:
        """Remember ``what`` as the content at ``start``; True when it was there before.

        Only kept while ranges cannot overlap: every launch has the same number of descriptors, and it divides the ring.
        """
        if used != self._stride:
            self.forget()
            self._stride = used
        if self.count % used:
            return False
        before = self._loaded.get(start)
        if before is what or (not isinstance(what, np.ndarray) and before == what):
            return True
        self._loaded[start] = what
        self._launches.clear()
        return False

    def _check_start(self, starting_desc: int, domain: int) -> None:
        if not 0 <= starting_desc < self.count:
            raise InputError(what="descriptor list", detail=f"no descriptor {starting_desc}, it has {self.count}")
        if not 0 <= domain < len(self.format.domain_bits):
            raise InputError(what="interrupt domain", detail=f"{domain} is not 0 none, 1 device, 2 host, 3 both")

    def _check_room(self, start: int, used: int) -> None:
        room = self.count if self.circular else self.count - start
        if used > room:
            raise InputError(what="descriptor list", detail=f"{used} descriptors needed, {room} there")


def _check_geometry(spec: ChipSpec, count: int, page_size: int, circular: bool) -> None:
    rules = spec.vdma
    if not 1 <= count <= rules.max_descriptors or (circular and count & (count - 1)):
        kind = "a power of two" if circular else "1"
        raise InputError(
            what="descriptor list", detail=f"{count} descriptors; needed is {kind} up to {rules.max_descriptors}"
        )
    if not rules.min_page_size <= page_size <= rules.max_page_size or page_size & (page_size - 1):
        raise InputError(
            what="descriptor page",
            detail=f"{page_size} bytes; needed is a power of two in {rules.min_page_size}..{rules.max_page_size}",
        )
