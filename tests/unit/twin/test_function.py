"""The in-process PCI function and its DMA space."""

from __future__ import annotations

import mmap
from itertools import pairwise

import numpy as np
import pytest

from openhailo.bus.protocols import DmaBuffer, DmaDirection, DmaSpace, PciFunction, Window
from openhailo.errors import DeviceBusy, DeviceLost, DmaMapError
from openhailo.twin import Twin
from openhailo.twin.clock import SteppedClock
from openhailo.twin.ports.function import TwinDma, TwinFunction


def test_it_is_a_pci_function(host):
    function: PciFunction = host.function
    space: DmaSpace = function.dma
    buffer: DmaBuffer = space.alloc(10)
    assert isinstance(function.window(0), Window)
    assert function.window(0) is function.window(0)
    assert [function.window(bar).size_bytes for bar in (0, 2, 4)] == [0x4000, 0x1000, 0x4000]
    assert len(buffer.view) == buffer.size_bytes == 10


@pytest.mark.parametrize("bar", [1, 3, 5, 6, -1])
def test_no_other_bars(host, bar):
    with pytest.raises(DeviceLost, match="no BAR"):
        host.function.window(bar)


def test_one_owner_at_a_time(host):
    with pytest.raises(DeviceBusy):
        host.twin.function()
    host.function.close()
    again = host.twin.function()
    assert isinstance(again, TwinFunction)


def test_firmware_survives_a_close(host):
    host.function.close()
    again = host.twin.function()
    again.config.write(0x04, 2, 6)
    assert again.window(0).read32(0x708) == 0x60000000


def test_close_takes_everything_away(host):
    buffer = host.dma.alloc(4096)
    host.function.close()
    host.function.close()
    assert len(host.dma) == 0
    assert host.dma.view(buffer.iova, 1, write=False) is None
    assert not host.chip.pci.masters
    assert not host.chip.pci.messages
    for use in (
        lambda: host.bar0.read32(0x98),
        lambda: host.bar0.write32(0x188, 0),
        lambda: host.function.config.read(0, 4),
        lambda: host.function.config.write(4, 2, 0),
    ):
        with pytest.raises(DeviceLost, match="closed"):
            use()


def test_close_with_a_dead_link(host):
    host.twin.faults.link_down = True
    host.function.close()
    assert host.function.closed


def test_blocks_are_dwords(host):
    host.bar4.write_block(0x100, bytes(range(16)))
    assert host.bar4.read_block(0x100, 16) == bytes(range(16))
    assert host.bar4.read32(0x104) == 0x07060504
    for use in (lambda: host.bar4.read_block(0x100, 3), lambda: host.bar4.write_block(0x102, bytes(4))):
        with pytest.raises(ValueError, match="aligned"):
            use()


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_values_are_dwords(host, value):
    with pytest.raises(ValueError, match="dword"):
        host.bar0.write32(0x188, value)


def test_twins_are_independent(make_host):
    one, two = make_host(booted=True), make_host(booted=True, arch="hailo8l")
    one.enable()
    two.enable()
    one.bar0.write32(0x188, 1)
    assert two.bar0.read32(0x188) == 0xFF00FFFF
    assert (one.chip.config.arch, two.chip.config.arch) == ("hailo8", "hailo8l")


def test_context_manager():
    class Quiet:
        def __init__(self, *_args):
            self.boot = self.halt = lambda *_a: None

    with Twin(clock=SteppedClock(), firmware=Quiet, booted=True) as twin:
        function = twin.function()
    assert function.closed


# --- DMA --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dma():
    return TwinDma()


@pytest.mark.parametrize("alignment", [1, 64, 4096, 0x10000, 1 << 21])
def test_alloc(dma, alignment):
    buffers = [dma.alloc(size, alignment=alignment) for size in (1, 4096, 70000)]
    for buffer in buffers:
        assert buffer.iova % max(alignment, 4096) == 0
        assert buffer.iova > 0xFFFFFFFF, "so that a lost high half is noticed"
        assert not any(buffer.view)
        assert np.frombuffer(buffer.view, np.uint8).ctypes.data % 4096 == 0
    ends = sorted((b.iova, b.iova + b.size_bytes) for b in buffers)
    assert all(end < start for (_, end), (start, _) in pairwise(ends))


@pytest.mark.parametrize(("size", "alignment"), [(0, 4096), (-1, 4096), (1, 0), (1, 3), (1, 1 << 40), (1, -4)])
def test_alloc_refusals(dma, size, alignment):
    with pytest.raises(DmaMapError):
        dma.alloc(size, alignment=alignment)


def test_map_shares_the_memory(dma):
    array = np.zeros((4, 25), np.uint16)
    buffer = dma.map(memoryview(array), DmaDirection.FROM_DEVICE)
    assert buffer.size_bytes == 200
    dma.view(buffer.iova + 2, 2, write=True)[:] = (1, 2)
    assert array[0, 1] == 0x0201


def test_map_refusals(dma):
    for buffer, direction in (
        (memoryview(b""), DmaDirection.TO_DEVICE),
        (memoryview(bytes(8))[::2], DmaDirection.TO_DEVICE),
        (memoryview(bytes(8)), DmaDirection.BOTH),
        (memoryview(bytes(8)), DmaDirection.FROM_DEVICE),
    ):
        with pytest.raises(DmaMapError):
            dma.map(buffer, direction)


def test_directions_are_enforced(dma):
    to_device = dma.map(memoryview(bytearray(64)), DmaDirection.TO_DEVICE)
    assert dma.view(to_device.iova, 64, write=False) is not None
    assert dma.view(to_device.iova, 64, write=True) is None


def test_bounds(dma):
    buffer = dma.alloc(100)
    at = buffer.iova
    assert dma.view(at + 99, 1, write=True) is not None
    for start, size in ((at - 1, 1), (at, 101), (at + 100, 1), (at + 99, 2), (0, 1), (1 << 63, 1)):
        assert dma.view(start, size, write=False) is None


def test_addresses_are_never_used_again(dma):
    first = dma.alloc(4096)
    first.close()
    first.close()
    second = dma.alloc(4096)
    assert second.iova != first.iova
    assert dma.view(first.iova, 1, write=False) is None


def test_the_chip_lets_go_of_closed_memory(host, make_ring):
    """A mapping can be unmapped by its owner as soon as it was closed."""
    memory = mmap.mmap(-1, 4096)
    buffer = host.dma.map(memoryview(memory), DmaDirection.BOTH)
    ring = make_ring(2, 4, 512)
    ring.open()
    ring.describe(0, 512, buffer.iova, 0x2E)
    ring.launch(1)
    assert host.chip.vdma.pull(2, 512) is not None
    buffer.close()
    buffer.view.release()
    del buffer
    memory.close()
    assert memory.closed
