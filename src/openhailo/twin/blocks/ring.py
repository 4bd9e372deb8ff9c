"""Moves bytes through descriptors in host memory (driver.md 6.3, 10.4).

A descriptor list is read as an array of dwords, never descriptor by descriptor, and neighbouring pages are moved with
one copy: a frame of a thousand descriptors in one buffer costs one ``memcpy`` and a handful of array operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openhailo.twin.hostmem import Bytes, HostMemory, copy_in, copy_out

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

Words = NDArray[np.uint32]


class DescriptorError(Exception):
    """Descriptor number ``at`` (counted from the first of the segment) cannot be executed."""

    def __init__(self, *, at: int, code: int, reason: str) -> None:
        self.at, self.code, self.reason = at, code, reason
        super().__init__(reason)


@dataclass(frozen=True)
class ErrorCodes:
    """Values of the channel's error byte. GUESS: the facts say only "non-zero = error" (driver.md 12 row 1)."""

    list_fetch: int = 0x01
    descriptor: int = 0x02
    data_access: int = 0x04
    bus_master: int = 0x08
    injected: int = 0x10
    stopped: int = 0x20


ERRORS = ErrorCodes()


class DescriptorFormat:
    """Where the fields of a descriptor are, taken from the declaration once."""

    def __init__(self, spec: ChipSpec) -> None:
        block, control, rules = spec.descriptor, spec.descriptor_control, spec.vdma
        offsets = [block[n].offset for n in ("SIZE_CONTROL", "ADDRESS_LOW", "ADDRESS_HIGH", "STATUS")]
        if any(offset % 4 or offset >= rules.descriptor_size_bytes for offset in offsets):
            raise ValueError("descriptor fields must be aligned dwords inside the descriptor")
        self.dwords = rules.descriptor_size_bytes // 4
        self.size_at, self.low_at, self.high_at, self.status_at = (offset // 4 for offset in offsets)
        size, ctl = block["SIZE_CONTROL"]["page_size"], block["SIZE_CONTROL"]["control"]
        self.size_lsb, self.size_mask = size.lsb, size.mask
        self.control_lsb = ctl.lsb
        self.id_mask = block["ADDRESS_LOW"]["data_id"].mask
        self.host_id = block["ADDRESS_LOW"]["data_id"].put(rules.host_memory_data_id)
        self.address_mask = block["ADDRESS_LOW"]["address_31_6"].mask
        self.max_bytes = rules.max_page_size
        status = block["STATUS"]
        self.done, self.error, self.remaining = status["done"].mask, status["error"].mask, status["remaining"]
        shift = ctl.lsb
        self.status_on_done = control["write_status_on_completion"].mask << shift
        self.status_on_error = control["write_status_on_error"].mask << shift
        self.host_irq = (control["request_irq"].mask | control["host_domain"].mask) << shift
        self.host_error_irq = (control["request_irq_on_error"].mask | control["host_domain"].mask) << shift


class Run(NamedTuple):
    """Many descriptors that are one stretch of memory: ``descriptors`` of them, from ``address`` on."""

    descriptors: int
    address: int
    interrupt: bool


class Mover:
    """Executes segments of descriptors: rows that follow each other in the list."""

    def __init__(self, spec: ChipSpec, memory: HostMemory) -> None:
        self.format = DescriptorFormat(spec)
        self.memory = memory
        self._pattern = (0, b"")

    def sizes(self, rows: Words) -> Words:
        """Return the byte counts of ``rows``, shape (n,)."""
        fmt = self.format
        return (rows[:, fmt.size_at] & np.uint32(fmt.size_mask)) >> np.uint32(fmt.size_lsb)

    def addresses(self, rows: Words) -> NDArray[np.uint64]:
        """Return the bus addresses of ``rows``, shape (n,)."""
        fmt = self.format
        high = rows[:, fmt.high_at].astype(np.uint64) << np.uint64(32)
        return high | (rows[:, fmt.low_at] & np.uint32(fmt.address_mask))

    def as_run(self, rows: Words, size_bytes: int, *, exact: bool) -> Run | None:
        """Recognise the usual frame: equal pages one after the other, the last may be short; None if it is not that.

        Three array operations instead of a dozen. Anything unusual (also status write-back) takes the general way.
        """
        fmt = self.format
        head, last = rows[0].tolist(), rows[-1].tolist()
        size = (head[fmt.size_at] & fmt.size_mask) >> fmt.size_lsb
        tail = (last[fmt.size_at] & fmt.size_mask) >> fmt.size_lsb
        address = head[fmt.high_at] << 32 | head[fmt.low_at]
        whole = (len(rows) - 1) * size
        if (
            not whole < size_bytes <= whole + tail
            or (exact and size_bytes != whole + tail)
            or not 0 < tail <= fmt.max_bytes
            or not 0 < size <= fmt.max_bytes
            or address & fmt.id_mask != fmt.host_id
            or (whole and size & fmt.id_mask)
            or (last[fmt.high_at] << 32 | last[fmt.low_at]) != address + whole
            or (head[fmt.size_at] | last[fmt.size_at]) & fmt.status_on_done
            or (len(rows) > 2 and (rows[1:-1] - rows[:-2]).tobytes() != self._steps(size, len(rows) - 2))
        ):
            return None
        interrupt = any(row[fmt.size_at] & fmt.host_irq == fmt.host_irq for row in (head, last))
        return Run(len(rows), address & ~fmt.id_mask, interrupt)

    def _steps(self, size: int, count: int) -> bytes:
        """Return what ``count`` differences of neighbouring rows are in a run of ``size``-byte pages."""
        known, pattern = self._pattern
        need = count * self.format.dwords * 4
        if known != size or len(pattern) < need:
            step = np.zeros(self.format.dwords, np.uint32)
            step[self.format.low_at] = size
            pattern = step.tobytes() * count
            self._pattern = (size, pattern)
        return pattern[:need]

    def move_run(self, run: Run, data: Bytes, *, to_device: bool) -> None:
        """Move ``data`` through ``run``."""
        self._copy(run.address, data, 0, to_device)

    def move(self, rows: Words, data: Bytes, *, to_device: bool) -> int:
        """Move ``data`` through ``rows``; the last row may be used partly. Returns the unused bytes of the last row.

        Raises `DescriptorError`; rows before the failing one have moved (or nothing has, on a malformed row).
        """
        sizes = self.sizes(rows)
        self._check(rows, sizes)
        addresses = self.addresses(rows)
        breaks = np.flatnonzero(addresses[1:] != addresses[:-1] + sizes[:-1])
        if len(breaks) == 0:
            self._copy(int(addresses[0]), data, 0, to_device)
            return int(sizes.sum()) - len(data)
        ends = np.cumsum(sizes, dtype=np.int64)
        firsts = [0, *(breaks + 1).tolist()]
        offsets = [0, *ends[breaks].tolist(), len(data)]
        for run, first in enumerate(firsts):
            self._copy(int(addresses[first]), data[offsets[run] : offsets[run + 1]], first, to_device)
        return int(ends[-1]) - len(data)

    def move_few(self, rows: list[list[int]], data: Bytes, *, to_device: bool) -> int:
        """As `move`, for a few rows given as lists of dwords: a plain loop beats array operations there."""
        fmt = self.format
        at = 0
        for index, row in enumerate(rows):
            size = (row[fmt.size_at] & fmt.size_mask) >> fmt.size_lsb
            low = row[fmt.low_at]
            if not 0 < size <= fmt.max_bytes or low & fmt.id_mask != fmt.host_id:
                raise self._malformed(index, size, low)
            address = row[fmt.high_at] << 32 | low & fmt.address_mask
            self._copy(address, data[at : at + size], index, to_device)
            at += size
        return at - len(data)

    def _check(self, rows: Words, sizes: Words) -> None:
        fmt = self.format
        low = rows[:, fmt.low_at]
        bad = (sizes == 0) | (sizes > fmt.max_bytes) | ((low & fmt.id_mask) != fmt.host_id)
        if bad.any():
            index = int(bad.argmax())
            raise self._malformed(index, int(sizes[index]), int(low[index]))

    def _malformed(self, index: int, size: int, low: int) -> DescriptorError:
        reason = f"descriptor with {size} bytes at ...{low:08X} (1..{self.format.max_bytes} bytes, 64-byte address)"
        return DescriptorError(at=index, code=ERRORS.descriptor, reason=reason)

    def _copy(self, address: int, data: Bytes, index: int, to_device: bool) -> None:
        move = copy_in if to_device else copy_out
        if not move(self.memory, address, data):
            verb = "read" if to_device else "write"
            reason = f"{verb} of {len(data)} bytes at unregistered 0x{address:X}"
            raise DescriptorError(at=index, code=ERRORS.data_access, reason=reason)
