"""Memory behind the IOMMU: where it is put, how it is shared, what is refused."""

from __future__ import annotations

import errno
import mmap
import resource
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from openhailo.bus.protocols import DmaDirection
from openhailo.bus.vfio.dma import FIRST_IOVA, IovaSpace
from openhailo.bus.vfio.endpoint import open_endpoint
from openhailo.errors import DmaMapError

GIB = 1 << 30


@pytest.fixture
def function(vfio):
    made = open_endpoint("", **vfio.options).function
    yield made
    made.close()


def pages(count):
    """``count`` pages of the caller's own."""
    return memoryview(mmap.mmap(-1, count * mmap.PAGESIZE))


# --- addresses -------------------------------------------------------------------------------------------------------


def space(ranges, page=4096, excluded=()):
    return IovaSpace(SimpleNamespace(ranges=tuple(ranges), page_bytes=page), excluded)


def test_low_addresses_come_first_and_zero_never():
    made = space([(0, 0xFEDFFFFF), (0xFEF00000, (1 << 48) - 1)])
    assert made.take(4096, 4096) == FIRST_IOVA
    assert made.take(2 * GIB, GIB) == GIB
    high = made.take(GIB, GIB)
    assert high == 4 * GIB  # the fourth GiB has the messages in it
    made.give(high, GIB)
    made.give(GIB, 2 * GIB)
    assert [made.take(GIB, GIB) for _ in range(3)] == [GIB, 2 * GIB, 4 * GIB]


def test_messages_and_windows_of_the_bus_are_left_out():
    made = space([(0, 0xFEDFFFFF), (0xFEF00000, 0xFFFFFFFF)], excluded=[(0, 0xFE000000), (0xFE100000, 0xD00000)])
    taken = []
    with pytest.raises(DmaMapError, match="no free address range"):
        while True:
            taken.append(made.take(0x10000, 0x10000))
    assert min(taken) == 0xFE000000
    assert not [at for at in taken if 0xFE100000 <= at < 0xFEF00000]
    assert len(taken) == (0x100000 + 0x1100000) // 0x10000


def test_pages_of_the_iommu_are_kept():
    made = space([(FIRST_IOVA + 100, FIRST_IOVA + 0xBFFF)], page=0x4000)
    assert made.take(0x4000, 4096) == FIRST_IOVA + 0x4000
    assert made.take(0x4000, 4096) == FIRST_IOVA + 0x8000
    with pytest.raises(DmaMapError):
        made.take(0x4000, 4096)


def test_windows_of_the_machine_are_read_from_sysfs(vfio):
    """The BARs of the card itself lie there: memory at their addresses would never reach the bridge."""
    vfio.kernel.ranges = [(0xFE000000, 0xFE003FFF), (0xFE010000, 0xFE4FFFFF)]
    made = open_endpoint("", **vfio.options).function
    assert made.dma.alloc(4096).iova == 0xFE010000
    made.close()


# --- allocations -----------------------------------------------------------------------------------------------------


def test_allocations_share_one_mapping(function, vfio):
    buffers = [function.dma.alloc(size, alignment=alignment) for size, alignment in ((1, 1), (70000, 65536), (9, 4096))]
    assert len(vfio.kernel.iommu.maps) == 1
    assert [buffer.iova % alignment for buffer, alignment in zip(buffers, (4096, 65536, 4096), strict=True)] == [0] * 3
    assert [len(buffer.view) for buffer in buffers] == [1, 70000, 9]
    spans = sorted((buffer.iova, buffer.iova + buffer.size_bytes) for buffer in buffers)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_the_device_sees_what_the_host_writes(function, vfio):
    buffer = function.dma.alloc(5000)
    buffer.view[:4] = b"abcd"
    assert bytes(vfio.kernel.iommu.view(buffer.iova, 4, write=False)) == b"abcd"
    vfio.kernel.iommu.view(buffer.iova + 4990, 10, write=True)[:] = 7
    assert bytes(buffer.view[4990:]) == b"\7" * 10


def test_memory_is_zeroed_when_it_is_used_again(function):
    first = function.dma.alloc(5000)
    iova = first.iova
    first.view[:] = b"\xff" * 5000
    first.close()
    first.close()
    second = function.dma.alloc(5000)
    assert second.iova == iova and bytes(second.view) == bytes(5000)


def test_more_than_a_chunk_gets_a_mapping_of_its_own_and_gives_it_back(function, vfio):
    small = function.dma.alloc(4096)
    large = function.dma.alloc(5 << 20, alignment=1 << 21)
    assert large.iova % (1 << 21) == 0 and len(vfio.kernel.iommu.maps) == 2
    large.close()
    assert len(vfio.kernel.iommu.maps) == 2  # one is kept for the next allocation
    small.close()
    assert len(vfio.kernel.iommu.maps) == 1
    assert next(iter(vfio.kernel.iommu.maps.values()))[1] == 2 << 20


@pytest.mark.parametrize(("size", "alignment"), [(0, 4096), (-1, 4096), (1, 0), (1, 3), (1, 1 << 31)])
def test_allocations_that_make_no_sense(function, size, alignment):
    with pytest.raises(DmaMapError, match="power-of-two"):
        function.dma.alloc(size, alignment=alignment)


def test_a_limit_of_locked_memory_is_explained(function, vfio, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8 << 20, 8 << 20))
    for request in (0x3B71, 0x3B85):
        vfio.kernel.fail[request] = errno.ENOMEM
    with pytest.raises(DmaMapError, match=r"limit 8 MiB.*ulimit -l unlimited"):
        function.dma.alloc(4096)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with pytest.raises(DmaMapError, match="limit unlimited"):
        function.dma.alloc(4096)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EEXIST, "in use already"),
        (errno.ENOSPC, "dma_entry_limit"),
        (errno.EFAULT, "cannot lock"),
        (errno.EINVAL, "cannot use"),
        (errno.EIO, "Input/output"),
    ],
)
def test_refusals_of_the_iommu_are_explained(function, vfio, number, words):
    for request in (0x3B71, 0x3B85):
        vfio.kernel.fail[request] = number
    for _ in range(3):
        with pytest.raises(DmaMapError, match=words):
            function.dma.alloc(4096)
    vfio.kernel.fail.clear()
    assert function.dma.alloc(4096).iova == FIRST_IOVA  # nothing of the address space got lost


@pytest.mark.parametrize("size", [1 << 62, 1 << 80])
def test_more_than_there_can_be(function, size):
    with pytest.raises(DmaMapError):
        function.dma.alloc(size)


def test_no_memory_for_a_chunk(function, vfio):
    vfio.kernel.fail["pages"] = errno.ENOMEM
    with pytest.raises(DmaMapError, match="Cannot allocate memory"):
        function.dma.alloc(4096)


def test_close_takes_everything_back(function, vfio):
    kept = function.dma.alloc(4096)
    theirs = function.dma.map(pages(1), DmaDirection.BOTH)
    function.close()
    assert vfio.kernel.iommu.maps == {}
    kept.view[0] = 1
    kept.close()
    theirs.close()


# --- memory of the caller --------------------------------------------------------------------------------------------


def test_the_callers_pages_are_mapped_without_a_copy(function, vfio):
    memory = pages(3)
    buffer = function.dma.map(memory[: 2 * mmap.PAGESIZE + 100], DmaDirection.FROM_DEVICE)
    assert buffer.size_bytes == 2 * mmap.PAGESIZE + 100
    vfio.kernel.iommu.view(buffer.iova + 8192, 4, write=True)[:] = 9
    assert bytes(memory[8192:8196]) == b"\t" * 4
    buffer.close()
    assert vfio.kernel.iommu.maps == {}
    buffer.close()


def test_arrays_of_any_type_are_bytes(function, vfio):
    array = np.frombuffer(pages(1), np.float32)
    array[:] = 1.0
    buffer = function.dma.map(memoryview(array), DmaDirection.BOTH)
    assert bytes(vfio.kernel.iommu.view(buffer.iova, 4, write=False)) == np.float32(1).tobytes()


def test_what_the_device_may_not_write_is_read_only_for_it(function, vfio):
    buffer = function.dma.map(pages(1).toreadonly(), DmaDirection.TO_DEVICE)
    assert vfio.kernel.iommu.view(buffer.iova, 4, write=True) is None
    assert vfio.kernel.iommu.view(buffer.iova, 4, write=False) is not None


@pytest.mark.parametrize(
    ("make", "direction", "words"),
    [
        (lambda: pages(2)[1:], DmaDirection.BOTH, "multiple of"),
        (lambda: pages(2)[64:128], DmaDirection.TO_DEVICE, "multiple of"),
        (lambda: pages(1)[:0], DmaDirection.BOTH, "empty"),
        (lambda: pages(2)[::2], DmaDirection.BOTH, "not contiguous"),
        (lambda: pages(1).toreadonly(), DmaDirection.FROM_DEVICE, "read only"),
        (lambda: pages(1).toreadonly(), DmaDirection.BOTH, "read only"),
    ],
)
def test_memory_that_is_refused(function, vfio, make, direction, words):
    with pytest.raises(DmaMapError, match=words):
        function.dma.map(make(), direction)
    assert vfio.kernel.iommu.maps == {}


def test_pages_larger_than_the_processors(vfio):
    """An IOMMU with 16 KiB pages: buffers start and end on such a page."""
    vfio.kernel.page_sizes, vfio.kernel.iova_alignment = 0x4000, 0x4000
    made = open_endpoint("", **vfio.options).function
    buffer = made.dma.alloc(4096)
    assert [(iova % 0x4000, size % 0x4000) for iova, (_, size, _) in vfio.kernel.iommu.maps.items()] == [(0, 0)]
    buffer.close()
    made.close()


def test_an_address_that_the_iommu_keeps_is_not_used_again(function, vfio):
    buffer = function.dma.map(pages(1), DmaDirection.BOTH)
    first = buffer.iova
    for request in (0x3B72, 0x3B86):
        vfio.kernel.fail[request] = errno.EIO
    buffer.close()
    vfio.kernel.fail.clear()
    assert function.dma.map(pages(1), DmaDirection.BOTH).iova != first
    vfio.kernel.iommu.maps.pop(first)


def test_an_unmapping_that_is_only_half_done_is_noticed(function, vfio):
    buffer = function.dma.map(pages(1), DmaDirection.BOTH)
    for request in (0x3B72, 0x3B86):
        vfio.kernel.answer[request] = lambda argument: argument.__setitem__(slice(16, 24), bytes(8))
    first = buffer.iova
    buffer.close()
    vfio.kernel.answer.clear()
    assert function.dma.map(pages(1), DmaDirection.BOTH).iova != first
