"""Writes descriptors as the kernel driver does (driver.md 6.3, 6.5)."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import numpy as np

from openhailo.twin.violation import TwinViolation

from .memory import DescriptorList, MappedBuffer
from .registers import failure
from .releases import Release

SIZE_CONTROL, ADDRESS_LOW, ADDRESS_HIGH, STATUS = range(4)
#: Control byte of every descriptor: status write-back on error (6.3).
IDLE = 0x02
#: What an interrupt domain adds to it (6.3), and what debugging adds to that.
DOMAIN_BITS = (0x00, 0x1C, 0x2C, 0x3C)
DEBUG_BIT = 0x01
ADDRESS_MASK = 0xFFFFFFC0
DONE, FAILED = 0x01, 0x02


@dataclass(frozen=True)
class Span:
    """A range of a mapped buffer, and how it is put into a list."""

    buffer: MappedBuffer
    offset: int
    size_bytes: int
    bind: bool = True
    domain: int = 0
    debug: bool = False
    stride: int = 0


def control_bits(domain: int, *, debug: bool) -> int:
    """Return what ``domain`` adds to a control byte; `TwinViolation` for a domain that does not exist."""
    if not 0 <= domain < len(DOMAIN_BITS):
        raise TwinViolation(f"interrupt domain {domain}: no fact says what the driver makes of it")
    bits = DOMAIN_BITS[domain]
    return bits | DEBUG_BIT if bits and debug else bits


def program(descriptors: DescriptorList, start: int, span: Span, release: Release, segment_bytes: int) -> int:
    """Write the descriptors of ``span`` from index ``start`` on; return how many they are. Raises `OSError`."""
    if start >= descriptors.count:
        raise failure(release.bind_errno, f"descriptor {start} of {descriptors.count}")
    if descriptors.page_size == 0:
        raise TwinViolation("a list with page size 0 is bound: the kernel divides by zero (driver.md 8.1 row 11)")
    count = _bind(descriptors, start, span, release, segment_bytes) if span.bind else _count(descriptors, start, span)
    if count:
        _finish(descriptors, (start + count - 1) % descriptors.count, span)
    return count


def _count(descriptors: DescriptorList, start: int, span: Span) -> int:
    """Addresses are there already: only count. GUESS: of the checks of 6.5 only the list's end applies."""
    count = -(-span.size_bytes // descriptors.page_size)
    _check_room(descriptors, start, count)
    return count


def _check_room(descriptors: DescriptorList, start: int, count: int) -> None:
    room = descriptors.count if descriptors.circular else descriptors.count - start
    if count > room:
        raise failure(errno.ERANGE, f"{count} descriptors from {start} in a list of {descriptors.count}")


def _bind(descriptors: DescriptorList, start: int, span: Span, release: Release, segment_bytes: int) -> int:
    page = descriptors.page_size
    if span.offset % page:
        raise failure(release.bind_errno, f"offset {span.offset} is not a multiple of {page}")
    if span.stride % page and (span.size_bytes % page or span.stride > page):
        raise failure(errno.EINVAL, f"stride {span.stride} with pages of {page} and {span.size_bytes} bytes")
    within = min(span.size_bytes, max(0, span.buffer.size_bytes - span.offset))
    _check_room(descriptors, start, -(-within // page))
    offsets, sizes = _cut(span.offset, within, page, segment_bytes, span.stride)
    _check_room(descriptors, start, len(sizes))
    if within < span.size_bytes:
        raise failure(errno.EFAULT, f"{span.size_bytes} bytes at {span.offset} of {span.buffer.size_bytes}")
    addresses = offsets + np.uint64(span.buffer.iova)
    rows = (start + np.arange(len(sizes))) % descriptors.count
    words = descriptors.words
    words[rows, SIZE_CONTROL] = sizes << np.uint32(8) | np.uint32(IDLE)
    words[rows, ADDRESS_LOW] = (addresses & np.uint64(ADDRESS_MASK)).astype(np.uint32)
    words[rows, ADDRESS_HIGH] = (addresses >> np.uint64(32)).astype(np.uint32)
    words[rows, STATUS] = 0
    return len(sizes)


def _cut(
    offset: int, size_bytes: int, page: int, segment_bytes: int, stride: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint64]], np.ndarray[tuple[int], np.dtype[np.uint32]]]:
    """Cut a range into descriptors: offsets, shape (n,) uint64, and byte counts, shape (n,) uint32.

    Scatter entries end at multiples of ``segment_bytes``; each starts with a new descriptor.
    """
    edges = [
        offset,
        *range(offset // segment_bytes * segment_bytes + segment_bytes, offset + size_bytes, segment_bytes),
    ]
    offsets, sizes = [], []
    for first, end in zip(edges, [*edges[1:], offset + size_bytes], strict=True):
        at = np.arange(first, end, page, dtype=np.uint64)
        size = np.full(len(at), stride or page, np.uint32)
        if (end - first) % page and len(size):
            size[-1] = (end - first) % page
        offsets.append(at)
        sizes.append(size)
    return np.concatenate(offsets), np.concatenate(sizes)


def _finish(descriptors: DescriptorList, last: int, span: Span) -> None:
    """The very last descriptor gets the interrupt bits; without binding also its size."""
    word = int(descriptors.words[last, SIZE_CONTROL])
    size = word >> 8 if span.bind else span.size_bytes % descriptors.page_size or descriptors.page_size
    control = IDLE | control_bits(span.domain, debug=span.debug)
    descriptors.words[last, SIZE_CONTROL] = size << 8 | control


def add_first_bits(descriptors: DescriptorList, index: int, domain: int, *, debug: bool) -> None:
    """OR the bits of the first interrupt domain into a descriptor (6.6 step 8)."""
    descriptors.words[index, SIZE_CONTROL] |= np.uint32(control_bits(domain, debug=debug))


def restore(descriptors: DescriptorList, index: int) -> None:
    """Make a descriptor as it was before its transfer: a full page, no interrupts (6.7)."""
    descriptors.words[index, SIZE_CONTROL] = (descriptors.page_size << 8 | IDLE) & 0xFFFFFFFF


def succeeded(descriptors: DescriptorList, index: int) -> bool:
    """Tell whether the device wrote "done" and no error (6.3)."""
    return int(descriptors.words[index, STATUS]) & (DONE | FAILED) == DONE
