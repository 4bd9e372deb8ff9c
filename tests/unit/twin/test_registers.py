"""BAR0 and the access rules of registers (driver.md 5, 10.2). Addresses are literals from there."""

from __future__ import annotations

import pytest

from openhailo.spec.layout import Access, Reg, RegBlock
from openhailo.twin.regfile import RegisterFile
from openhailo.twin.violation import TwinViolation

ISTATUS, IMASK, SOURCE, DESTINATION = 0x18C, 0x188, 0x400, 0x500


def test_identity(cold):
    cold.function.config.write(0x04, 2, 2)
    assert cold.bar0.read32(0x98) == 0x28641E60


@pytest.mark.parametrize(("offset", "width", "value"), [(0x98, 2, 0x1E60), (0x9A, 2, 0x2864), (0x98, 1, 0x60)])
def test_old_drivers_read_the_identity_with_16_bits(host, offset, width, value):
    assert host.chip.bar_read(0, offset, width) == value


@pytest.mark.parametrize(
    ("offset", "width"), [(0x18C, 2), (0x188, 1), (0x97, 2), (0x99, 2), (0x9C, 4), (0x9A, 4), (0x720 + 0x14, 4)]
)
def test_reads_no_fact_allows(host, offset, width):
    with pytest.raises(TwinViolation):
        host.chip.bar_read(0, offset, width)


@pytest.mark.parametrize(("offset", "width"), [(0x98, 4), (0x18C, 2), (0x188, 1), (0x9C, 4), (0x190, 4), (0x3FFC, 4)])
def test_writes_no_fact_allows(host, offset, width):
    with pytest.raises(TwinViolation):
        host.chip.bar_write(0, offset, width, 0)


def test_no_except_exception_catches_a_violation():
    assert not issubclass(TwinViolation, Exception)


def test_mask_is_plain(host):
    for value in (0, 0xFFFFFFFF, 0x0E000000):
        host.bar0.write32(IMASK, value)
        assert host.bar0.read32(IMASK) == value


def test_status_is_cleared_by_ones_only_where_ones_are_written(host):
    host.chip.registers.raise_status(0x0F000003)
    host.bar0.write32(ISTATUS, 0x05000001)
    assert host.status() == 0x0A000002
    host.bar0.write32(ISTATUS, 0)
    assert host.status() == 0x0A000002
    host.bar0.write32(ISTATUS, 0xFFFFFFFF)
    assert host.status() == 0


@pytest.mark.parametrize(
    ("channel", "register", "status"),
    [
        (0, SOURCE, 1),
        (2, SOURCE, 1),
        (4, SOURCE, 2),
        (15, SOURCE, 8),
        (16, DESTINATION, 1 << 12),
        (31, DESTINATION, 1 << 15),
    ],
)
def test_channel_interrupts(host, channel, register, status):
    host.chip.registers.raise_channel(channel)
    assert host.status() == status
    assert host.bar0.read32(register) == 1 << channel
    assert host.bar0.read32(SOURCE + DESTINATION - register) == 0
    host.bar0.write32(register, 1 << channel)
    assert host.bar0.read32(register) == 0
    assert host.status() == status, "clearing the channel leaves the latched status"


def test_translation_tables_read_back_exactly(host):
    for n in range(4):
        for at in (0x00, 0x04, 0x08, 0x0C, 0x10):
            offset = 0x700 + n * 0x20 + at
            host.bar0.write32(offset, 0xA5A50000 + offset)
            assert host.bar0.read32(offset) == 0xA5A50000 + offset


# --- messages ----------------------------------------------------------------------------------------------------


def messages(host):
    sent, host.chip.msi.pending = host.chip.msi.pending, 0
    return sent


def test_a_message_per_gained_bit(host):
    raise_status = host.chip.registers.raise_status
    raise_status(0x04000000)
    assert messages(host) == 1
    raise_status(0x04000000)
    assert messages(host) == 0, "the bit was set already"
    raise_status(0x01)
    assert messages(host) == 1
    host.bar0.write32(ISTATUS, 0x04000001)
    raise_status(0x04000000)
    assert messages(host) == 1, "after clearing, it counts again"


def test_masked_bits_send_when_the_mask_opens(host):
    host.bar0.write32(IMASK, 0x0E000000)
    host.chip.registers.raise_status(0x01)
    assert messages(host) == 0
    assert host.status() == 1, "status shows what the mask holds back"
    host.bar0.write32(IMASK, 0x0E000001)
    assert messages(host) == 1
    host.bar0.write32(IMASK, 0x0E000003)
    assert messages(host) == 0, "nothing gained"


def test_closing_the_mask_sends_nothing(host):
    host.chip.registers.raise_status(0x06000000)
    messages(host)
    host.bar0.write32(IMASK, 0x02000000)
    assert messages(host) == 0
    host.bar0.write32(IMASK, 0x06000000)
    assert messages(host) == 1


@pytest.mark.parametrize("break_it", ["msi", "master", "sleep", "link"])
def test_messages_need_msi_bus_mastering_power_and_link(host, break_it):
    config = host.function.config
    {
        "msi": host.function.irq.disable,
        "master": lambda: config.write(0x04, 2, 0x0002),
        "sleep": lambda: config.write(0xFC, 2, 0x0003),
        "link": lambda: setattr(host.twin.faults, "link_down", True),
    }[break_it]()
    host.chip.registers.raise_status(0x04000000)
    assert messages(host) == 0


def test_lost_messages_leave_the_status(host):
    host.twin.faults.drop_interrupts = 1
    host.chip.registers.raise_status(0x04000000)
    assert messages(host) == 0
    assert host.status() == 0x04000000
    host.chip.registers.raise_status(0x08000000)
    assert messages(host) == 1


# --- the register file itself --------------------------------------------------------------------------------------


def block(access, reset=0):
    return RegBlock("b", (Reg("R", 8, access, reset=reset),))


@pytest.mark.parametrize(
    ("access", "stored"), [(Access.RW, 0x0F), (Access.RW1C, 0xF0), (Access.W1S, 0xFF), (Access.W, 0x0F)]
)
def test_access_kinds(access, stored):
    registers = RegisterFile(block(access, reset=0xFF if access is Access.RW1C else 0xF0))
    registers.write(8, 4, 0x0F)
    assert registers.values[8] == stored


def test_write_only_registers_do_not_read():
    with pytest.raises(TwinViolation):
        RegisterFile(block(Access.W)).read(8)


def test_hooks_see_what_was_written_and_what_is_stored():
    seen = []
    registers = RegisterFile(block(Access.RW1C, reset=0xFF))
    registers.on_write(8, lambda written, stored: seen.append((written, stored)))
    registers.write(8, 4, 0x3)
    assert seen == [(0x3, 0xFC)]


def test_reset_values_return():
    registers = RegisterFile(block(Access.RW, reset=7))
    registers.write(8, 4, 1)
    registers.reset()
    assert registers.read(8) == 7


def test_unaligned_declarations_are_refused():
    with pytest.raises(ValueError, match="aligned"):
        RegisterFile(RegBlock("b", (Reg("R", 2),)))
