"""Host memory as the chip's DMA engines reach it: only through addresses that the host registered."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class HostMemory(Protocol):
    """The registered ranges of one function. Ports implement it (in-process memory, memory of a virtual machine)."""

    def view(self, iova: int, size_bytes: int, *, write: bool) -> Bytes | None:
        """Return the bytes at ``[iova, iova + size_bytes)``; None unless one range covers them (and may be written)."""
        ...

    def on_release(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when a range is taken away: whoever kept a view of it must let go."""
        ...


@runtime_checkable
class MessageMemory(Protocol):
    """Host memory of which some can only be copied, request by request (vfio-user.md 9)."""

    def fetch(self, iova: int, out: Bytes) -> bool:
        """Fill ``out`` from ``iova`` on; False unless one range covers it."""
        ...

    def store(self, iova: int, data: Bytes) -> bool:
        """Write ``data`` to ``iova`` on; False unless one range covers it and may be written."""
        ...


def copy_in(memory: HostMemory, iova: int, out: Bytes, *, step: int = 4096) -> bool:
    """Fill ``out`` from ``iova`` on; False if some of it is not registered.

    Ranges may touch each other (a guest behind an IOMMU registers page by page), so what no single range covers is
    tried again in pieces that end at multiples of ``step``.
    """
    source = memory.view(iova, len(out), write=False)
    if source is not None:
        out[:] = source
        return True
    if isinstance(memory, MessageMemory) and memory.fetch(iova, out):
        return True
    return _in_pieces(iova, len(out), step, lambda at, a, b: _read_piece(memory, at, out[a:b]))


def copy_out(memory: HostMemory, iova: int, data: Bytes, *, step: int = 4096) -> bool:
    """Write ``data`` to ``iova`` on; False if some of it is not registered for device writes."""
    target = memory.view(iova, len(data), write=True)
    if target is not None:
        target[:] = data
        return True
    if isinstance(memory, MessageMemory) and memory.store(iova, data):
        return True
    return _in_pieces(iova, len(data), step, lambda at, a, b: _write_piece(memory, at, data[a:b]))


class _Piece(Protocol):
    def __call__(self, at: int, start: int, stop: int, /) -> bool: ...


def _in_pieces(iova: int, size_bytes: int, step: int, move: _Piece) -> bool:
    first = step - iova % step
    if first >= size_bytes:
        return False
    edges = [0, *range(first, size_bytes, step), size_bytes]
    return all(move(iova + start, start, stop) for start, stop in pairwise(edges))


def _read_piece(memory: HostMemory, iova: int, out: Bytes) -> bool:
    source = memory.view(iova, len(out), write=False)
    if source is None:
        return isinstance(memory, MessageMemory) and memory.fetch(iova, out)
    out[:] = source
    return True


def _write_piece(memory: HostMemory, iova: int, data: Bytes) -> bool:
    target = memory.view(iova, len(data), write=True)
    if target is None:
        return isinstance(memory, MessageMemory) and memory.store(iova, data)
    target[:] = data
    return True
