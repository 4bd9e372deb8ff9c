"""Guest memory as the client maps it: a table of ranges over a few mapped files (vfio-user.md 4.1, 8, 13, 14)."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from openhailo.spec.vfio_user import DmaFlag, VfioUserRules
from openhailo.twin.hostmem import Bytes

from .protocol import Notices, Refusal

_END = 1 << 64
_LONGEST_FILE = 1 << 63


class Messages(Protocol):
    """DMA by message, for ranges that came without a file (vfio-user.md 9)."""

    def dma_read(self, address: int, out: Bytes) -> bool:
        """Fill ``out`` from ``address``; False if the client cannot."""
        ...

    def dma_write(self, address: int, data: Bytes) -> bool:
        """Write ``data`` to ``address``; False if the client cannot."""
        ...


class MappedFile:
    """A file of the client, mapped once as a whole; unmapped when the last range and the last view are gone."""

    def __init__(self, fd: int, size_bytes: int, *, writable: bool) -> None:
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        mapping = mmap.mmap(fd, size_bytes, mmap.MAP_SHARED, access)
        mapping.madvise(mmap.MADV_DONTDUMP)
        self.bytes: Bytes = np.frombuffer(mapping, np.uint8)
        self.ranges = 0


@dataclass(frozen=True)
class Range:
    """``size_bytes`` at bus address ``address``; ``bytes`` is None where only messages reach it."""

    address: int
    size_bytes: int
    flags: int
    bytes: Bytes | None = None
    key: tuple[int, int, bool] | None = None
    file: MappedFile | None = None

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.size_bytes


class DmaTable:
    """The ranges of one device; implements `openhailo.twin.hostmem.HostMemory`.

    Args:
        rules: the limits.
        notices: where oddities are noted.
        sealed_only: refuse files that the client could shrink. Such a file kills this process (SIGBUS) when the client
            shrinks it while the device works on it, so without this a client is trusted not to.
    """

    def __init__(self, rules: VfioUserRules, notices: Notices, *, sealed_only: bool = False) -> None:
        self._rules, self._notices, self._sealed_only = rules, notices, sealed_only
        self._starts: list[int] = []
        self._ranges: list[Range] = []
        self._files: dict[tuple[int, int, bool], MappedFile] = {}
        self._live: set[MappedFile] = set()
        self._released: list[Callable[[], None]] = []
        self._last: Range | None = None
        #: The connection, while there is one.
        self.messages: Messages | None = None
        #: Told of ranges that come and go: ("map" or "unmap", address, size in bytes, whether a file came with it).
        self.watch: Callable[[str, int, int, bool], None] | None = None

    def __len__(self) -> int:
        return len(self._ranges)

    # --- the client's side ----------------------------------------------------------------------------------------

    def map(self, address: int, size_bytes: int, flags: int, offset: int, fd: int | None) -> None:
        """Add a range; ``fd`` stays the caller's. Raises `Refusal`, and then nothing has changed."""
        self._check_map(address, size_bytes, flags, offset)
        if len(self._ranges) >= self._rules.max_dma_maps:
            raise Refusal(errno.ENOSPC, f"more than {self._rules.max_dma_maps} ranges")
        place = bisect_left(self._starts, address)
        before = self._ranges[place - 1] if place else None
        after = self._ranges[place] if place < len(self._ranges) else None
        if (before and before.end > address) or (after and address + size_bytes > after.address):
            raise Refusal(errno.EEXIST, f"0x{address:X}+0x{size_bytes:X} overlaps a range")
        made = Range(address, size_bytes, flags)
        if fd is not None:
            made = self._make_mapped(made, offset, fd)
        self._starts.insert(place, address)
        self._ranges.insert(place, made)
        if self.watch is not None:
            self.watch("map", address, size_bytes, fd is not None)

    def _check_map(self, address: int, size_bytes: int, flags: int, offset: int) -> None:
        if not 0 < flags <= DmaFlag.READ | DmaFlag.WRITE:
            raise Refusal(errno.EINVAL, f"range flags 0x{flags:X}")
        if not size_bytes or (address | size_bytes | offset) % self._rules.page_bytes:
            raise Refusal(errno.EINVAL, f"0x{address:X}+0x{size_bytes:X} at 0x{offset:X} is not made of pages")
        if address + size_bytes > _END:
            raise Refusal(errno.EINVAL, f"0x{address:X}+0x{size_bytes:X} leaves the address space")

    def _make_mapped(self, wanted: Range, offset: int, fd: int) -> Range:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Refusal(errno.EINVAL, "the descriptor of a range is no file")
        end = offset + wanted.size_bytes
        if end > status.st_size or end > _LONGEST_FILE:
            raise Refusal(
                errno.EINVAL, f"0x{offset:X}+0x{wanted.size_bytes:X} is beyond the file's {status.st_size} bytes"
            )
        self._check_seals(fd)
        writable = bool(wanted.flags & DmaFlag.WRITE)
        key = (status.st_dev, status.st_ino, writable)
        file = self._files.get(key)
        if file is None or len(file.bytes) < end:
            file = self._map_file(fd, status.st_size, writable=writable)
            self._files[key] = file
        file.ranges += 1
        return Range(wanted.address, wanted.size_bytes, wanted.flags, file.bytes[offset:end], key, file)

    def _check_seals(self, fd: int) -> None:
        try:
            sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        except OSError:  # not a kind of file that has seals
            sealed = 0
        if not sealed and self._sealed_only:
            raise Refusal(errno.EINVAL, "the file of a range is not sealed against shrinking")
        if not sealed:
            self._notices.add("unsealed", "a mapped file can be shrunk by the client, which would kill this process")

    def _map_file(self, fd: int, size_bytes: int, *, writable: bool) -> MappedFile:
        total = sum(len(file.bytes) for file in self._live) + size_bytes
        if len(self._live) >= self._rules.max_files or total > self._rules.max_mapped_bytes:
            raise Refusal(errno.ENOSPC, f"{len(self._live)} files are mapped already")
        try:
            file = MappedFile(fd, size_bytes, writable=writable)
        except (OSError, ValueError, OverflowError) as error:
            raise Refusal(errno.EINVAL, f"the file of a range cannot be mapped: {error}") from error
        self._live.add(file)
        return file

    def unmap(self, address: int, size_bytes: int) -> None:
        """Remove every range that lies fully inside; none is fine too (vfio-user.md 8.4). Raises `Refusal`."""
        if address + size_bytes > _END:
            raise Refusal(errno.EINVAL, f"0x{address:X}+0x{size_bytes:X} leaves the address space")
        first = bisect_left(self._starts, address)
        last = bisect_left(self._starts, address + size_bytes)
        if last > first and self._ranges[last - 1].end > address + size_bytes:
            last -= 1
        self._remove(first, last)

    def unmap_all(self) -> None:
        """Remove everything."""
        self._remove(0, len(self._ranges))

    def _remove(self, first: int, last: int) -> None:
        gone = self._ranges[first:last]
        if not gone:
            return
        del self._ranges[first:last], self._starts[first:last]
        self._last = None
        for entry in gone:
            if self.watch is not None:
                self.watch("unmap", entry.address, entry.size_bytes, entry.file is not None)
            if entry.file is not None and entry.key is not None:
                entry.file.ranges -= 1
                if not entry.file.ranges:
                    self._forget(entry.key, entry.file)
        for callback in self._released:
            callback()

    def _forget(self, key: tuple[int, int, bool], file: MappedFile) -> None:
        self._live.discard(file)
        if self._files.get(key) is file:
            del self._files[key]

    # --- the chip's side ------------------------------------------------------------------------------------------

    def on_release(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when ranges are taken away."""
        self._released.append(callback)

    def view(self, iova: int, size_bytes: int, *, write: bool) -> Bytes | None:
        """Return the mapped bytes at ``[iova, iova + size_bytes)`` of one range, or None."""
        entry = self._find(iova, size_bytes, write=write)
        if entry is None or entry.bytes is None:
            return None
        offset = iova - entry.address
        return entry.bytes[offset : offset + size_bytes]

    def fetch(self, iova: int, out: Bytes) -> bool:
        """Fill ``out`` by message, if the range came without a file."""
        entry = self._find(iova, len(out), write=False)
        return entry is not None and entry.bytes is None and bool(self.messages and self.messages.dma_read(iova, out))

    def store(self, iova: int, data: Bytes) -> bool:
        """Write ``data`` by message, if the range came without a file."""
        entry = self._find(iova, len(data), write=True)
        return entry is not None and entry.bytes is None and bool(self.messages and self.messages.dma_write(iova, data))

    def _find(self, iova: int, size_bytes: int, *, write: bool) -> Range | None:
        entry = self._last
        if entry is None or not 0 <= iova - entry.address < entry.size_bytes:
            place = bisect_right(self._starts, iova)
            if place == 0:
                return None
            entry = self._last = self._ranges[place - 1]
        if iova + size_bytes > entry.end or not entry.flags & (DmaFlag.WRITE if write else DmaFlag.READ):
            return None
        return entry
