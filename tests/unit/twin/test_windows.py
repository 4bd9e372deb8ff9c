"""BAR4: windows onto device memory (driver.md 2.1, 2.2, 10.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.twin.board import MemoryFault
from openhailo.twin.memory import DeviceMemory, Region
from openhailo.twin.violation import TwinViolation


def test_window_0_is_the_mailbox_while_firmware_runs(host):
    rows = [host.bar0.read32(0x700 + at) for at in (0, 4, 8, 12, 16)]
    assert rows == [0x17, 0, 0x60000000, 0, 6]
    host.bar4.write32(0x640, 0x12345678)
    assert host.chip.memory_read(0x60000640, 4) == b"\x78\x56\x34\x12"


def test_window_1_is_the_pcie_block(host):
    assert [host.bar0.read32(0x720 + at) for at in (0, 4, 8, 12, 16)] == [0x1017, 0, 0x00200000, 0, 6]


@pytest.mark.parametrize("address", [0x60000, 0x9F000, 0xA0000, 0xC0000, 0xDF000, 0xE0000, 0x60001000])
def test_moving_window_0_reaches_the_boot_addresses(host, address):
    host.point(address)
    host.bar4.write32(0x010, 0xCAFE0000 | address >> 12 & 0xFFFF)
    host.point(0x60000000)
    assert host.bar4.read32(0x010) == 0
    assert host.chip.memory_read(address + 0x10, 4) == (0xCAFE0000 | address >> 12 & 0xFFFF).to_bytes(4, "little")


@pytest.mark.parametrize("address", [0, 0x50000, 0xE1000, 0x20000000, 0x160000000])
def test_windows_to_nowhere(host, address):
    host.bar0.write32(0x70C, address >> 32)
    host.bar0.write32(0x708, address & 0xFFFFFFFF)
    with pytest.raises(TwinViolation):
        host.bar4.read32(0)


@pytest.mark.parametrize(
    ("register", "value"),
    [(0x700, 0x16), (0x700, 0x15), (0x700, 0x1017), (0x704, 1), (0x708, 0x60000800), (0x710, 4)],
)
def test_half_programmed_windows(host, register, value):
    host.bar0.write32(register, value)
    with pytest.raises(TwinViolation):
        host.bar4.read32(0)


def test_a_cold_chip_has_no_window_0(cold):
    cold.enable()
    assert cold.bar0.read32(0x708) != 0x60000000
    with pytest.raises(TwinViolation):
        cold.bar4.read32(0)


def test_outside_the_bar(host):
    with pytest.raises(TwinViolation):
        host.bar4.read32(0x4000)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_narrow_accesses_of_old_drivers(host, width):
    value = 0x44332211 & ((1 << 8 * width) - 1)
    for offset in range(0x100, 0x104, width):
        host.chip.bar_write(4, offset, width, value)
        assert host.chip.bar_read(4, offset, width) == value


@pytest.mark.parametrize(("offset", "width"), [(0x101, 2), (0x102, 4), (0x100, 8)])
def test_unaligned_accesses(host, offset, width):
    with pytest.raises(TwinViolation):
        host.chip.bar_read(4, offset, width)


def test_corrupted_readback(host):
    host.bar4.write32(0x20, 0x5555AAAA)
    host.twin.faults.corrupt_readbacks, host.twin.faults.readback_xor = 1, 0x80000000
    assert host.bar4.read32(0x20) == 0xD555AAAA
    assert host.bar4.read32(0x20) == 0x5555AAAA


def test_doorbell_block_has_only_a_doorbell(host):
    for access in (lambda: host.bar4.read32(0x1684), lambda: host.bar4.write32(0x1680, 1)):
        with pytest.raises(TwinViolation):
            access()
    with pytest.raises(TwinViolation):
        host.chip.bar_write(4, 0x1684, 2, 1)
    with pytest.raises(TwinViolation):
        host.bar4.write32(0x1684, 0x10)


def test_log_windows_read_before_boot(cold):
    cold.enable()
    assert cold.bar4.read32(0x2000) == 0
    assert cold.bar4.read32(0x3000) == 0


# --- device memory ----------------------------------------------------------------------------------------------------


def test_memory_that_is_not_there():
    memory = DeviceMemory([Region("ram", 0x1000, 0x1000)])
    with pytest.raises(MemoryFault):
        memory.read(0x1FFF, 2)
    with pytest.raises(MemoryFault):
        memory.write(0x1FFE, b"abc")
    assert memory.read(0x1FFE, 2) == b"\0\0", "a refused write changes nothing"


@given(st.integers(0, 0x2F00), st.binary(max_size=0x1100))
def test_memory_crosses_pages(offset, data):
    memory = DeviceMemory([Region("ram", 0x5000, 0x4000)])
    memory.write(0x5000 + offset, data)
    assert memory.read(0x5000 + offset, len(data)) == data
    assert memory.page(0x5000 + 0x4000) is None


def test_hooks_run_on_host_stores_only():
    seen = []
    memory = DeviceMemory([Region("ram", 0x1000, 0x1000)])
    memory.on_write(0x1004, seen.append)
    memory.write32(0x1004, 5)
    page = memory.page(0x1000)
    page.write(0, 4, 1)
    page.write(4, 4, 7)
    page.write(6, 2, 1)
    assert seen == [7, 0x10007]
