"""Memory without an IOMMU: huge pages and where they are."""

from __future__ import annotations

import errno
import os
from typing import Any

import numpy as np
import pytest

from openhailo.bus.physical import PhysicalMemory
from openhailo.bus.protocols import DmaDirection
from openhailo.errors import AccessDenied, DeviceError, DmaMapError

HUGE = 2 << 20
BASE = 5 << 32


class Pages:
    """Huge pages whose places are ``places`` in turn, in units of a huge page."""

    def __init__(self, places: list[int]) -> None:
        self.places, self.fail, self.size = places, dict[str, int](), HUGE
        self.where: dict[int, int] = {}
        self.views: list[Any] = []

    def _may_fail(self, what: str) -> None:
        if what in self.fail:
            raise OSError(self.fail[what], os.strerror(self.fail[what]))

    def huge_page_bytes(self) -> int:
        self._may_fail("meminfo")
        return self.size

    def huge_pages(self, size: int) -> memoryview:
        self._may_fail("pages")
        assert size % HUGE == 0
        count = size // HUGE
        raw = np.zeros(size + HUGE, np.uint8)
        skip = -raw.ctypes.data % HUGE
        view = raw[skip : skip + size]
        for index in range(count):
            self.where[view.ctypes.data + index * HUGE] = BASE + self.places.pop(0) * HUGE
        self.views.append(view)
        return memoryview(view)

    def physical_address(self, address: int) -> int:
        self._may_fail("pagemap")
        return self.where[address]


def memory(places: list[int]) -> tuple[Pages, PhysicalMemory]:
    pages = Pages(places)
    return pages, PhysicalMemory(pages)  # type: ignore[arg-type]


def test_small_buffers_share_a_huge_page() -> None:
    _, space = memory([3])
    first, second = space.alloc(70000, alignment=65536), space.alloc(5)
    assert first.iova == BASE + 3 * HUGE and second.iova == first.iova + 73728
    assert bytes(first.view) == bytes(70000)
    space.close()


def test_larger_ones_need_neighbours() -> None:
    pages, space = memory([7, 9, 4, 5, 6])
    with pytest.raises(IndexError):
        # 7 and 9 are no neighbours, 4 and 5 are; three pages would be more than are left
        space.alloc(3 * HUGE - 1)
    pages.places[:] = [7, 9, 4, 5]
    assert space.alloc(HUGE + 1).iova == BASE + 4 * HUGE
    assert len(pages.views) >= 2


def test_no_neighbours_at_all() -> None:
    pages, space = memory(list(range(64, 0, -2)))
    with pytest.raises(DmaMapError, match=r"no 2 huge pages in a row; reserve them at boot"):
        space.alloc(HUGE + 1)
    assert len(pages.views) == 8


def test_alignment_is_that_of_a_huge_page_at_most() -> None:
    _, space = memory([1, 2])
    with pytest.raises(DmaMapError, match="nothing is aligned to more"):
        space.alloc(5, alignment=2 * HUGE)
    assert space.alloc(5, alignment=HUGE).iova % HUGE == 0


def test_memory_of_the_caller_is_refused() -> None:
    _, space = memory([])
    with pytest.raises(DmaMapError, match="only memory from `alloc`"):
        space.map(memoryview(bytearray(4096)), DmaDirection.BOTH)


def test_no_huge_pages() -> None:
    pages, space = memory([])
    pages.fail["pages"] = errno.ENOMEM
    with pytest.raises(DmaMapError, match=r"1 huge pages of 2 MiB are not free.*nr_hugepages"):
        space.alloc(5)
    pages.size = 0
    with pytest.raises(DeviceError, match="no huge pages"):
        PhysicalMemory(pages)  # type: ignore[arg-type]
    pages.fail["meminfo"] = errno.ENOENT
    with pytest.raises(DeviceError, match="/proc"):
        PhysicalMemory(pages)  # type: ignore[arg-type]


def test_addresses_are_for_root() -> None:
    pages, space = memory([-(BASE // HUGE)])
    with pytest.raises(AccessDenied, match="run as root"):
        space.alloc(5)
    pages.places[:], pages.fail["pagemap"] = [1], errno.EPERM
    with pytest.raises(AccessDenied, match="run as root"):
        space.alloc(5)


def test_an_address_inside_a_huge_page_is_noticed() -> None:
    pages, space = memory([])
    pages.huge_pages = lambda size: memoryview(np.zeros(size, np.uint8))  # type: ignore[method-assign]
    pages.physical_address = lambda address: BASE + 4096  # type: ignore[method-assign]
    with pytest.raises(DmaMapError, match="cannot be"):
        space.alloc(5)
