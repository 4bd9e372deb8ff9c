"""Configuration space (driver.md 10.1; vfio-user.md 6.2, 6.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.spec.chip import CHIP
from openhailo.twin.blocks.pci_config import PciConfigBlock
from openhailo.twin.clock import SteppedClock
from openhailo.twin.observe import Observers
from openhailo.twin.violation import TwinViolation


@pytest.fixture
def space():
    return make_space()


def make_space():
    resets = []
    block = PciConfigBlock(CHIP, reset_function=lambda: resets.append(1), observers=Observers(SteppedClock().now_ns))
    block.resets = resets
    return block


def test_identity(space):
    assert space.read(0x00, 4) == 0x28641E60
    assert space.read(0x08, 4) >> 8 == 0x0B4000
    assert space.read(0x0E, 1) == 0
    assert space.read(0x3D, 1) == 0, "no INTx"


def test_capability_chain(space):
    """Walk the list as an operating system does."""
    assert space.read(0x06, 2) & 0x10
    at, found = space.read(0x34, 1), {}
    while at:
        found[space.read(at, 1)] = at
        at = space.read(at + 1, 1)
    assert found == {0x10: 0x80, 0x05: 0xE0, 0x01: 0xF8}
    assert space.read(0x84, 4) >> 28 & 1, "function-level reset"
    assert space.read(0x88, 2) >> 12 & 7 == 2, "MaxReadReq 512"
    assert space.read(0xE2, 2) == 0x0080, "64-bit address, one vector, off"
    assert space.read(0xFA, 2) & 7 == 3


@pytest.mark.parametrize(("bar", "size"), [(0, 0x4000), (2, 0x1000), (4, 0x4000)])
def test_bar_sizing(space, bar, size):
    at = 0x10 + 4 * bar
    assert space.read(at, 4) == 0xC, "64-bit, prefetchable"
    space.write(at, 4, 0xFFFFFFFF)
    space.write(at + 4, 4, 0xFFFFFFFF)
    low, high = space.read(at, 4), space.read(at + 4, 4)
    assert (1 << 64) - (high << 32 | low & ~0xF) == size
    space.write(at, 4, 0xFE00_0000)
    space.write(at + 4, 4, 0x1)
    assert (space.read(at, 4), space.read(at + 4, 4)) == (0xFE00_000C, 1)


def test_rom_is_absent(space):
    space.write(0x30, 4, 0xFFFFF800)
    assert space.read(0x30, 4) == 0


@given(st.integers(0, 4095), st.sampled_from([1, 2, 4]), st.integers(0, 0xFFFFFFFF))
def test_identity_survives_any_write(offset, width, value):
    space = make_space()
    offset -= offset % width
    before = [space.read(at, 4) for at in (0x00, 0x08, 0x2C, 0x34, 0x80, 0x84)]
    chain = [space.read(at, 2) for at in (0xE0, 0xF8, 0xFA)]
    space.write(offset, width, value)
    assert [space.read(at, 4) for at in (0x00, 0x08, 0x2C, 0x34, 0x80, 0x84)] == before
    assert [space.read(at, 2) for at in (0xE0, 0xF8, 0xFA)] == chain
    assert space.read(0xFC, 1) & 0x08, "no soft reset"


@pytest.mark.parametrize(("written", "stored"), [(0xFFFF, 0x0547), (0x0006, 0x0006), (0x0400, 0x0400), (0x0000, 0)])
def test_command(space, written, stored):
    space.write(0x04, 2, written)
    assert space.read(0x04, 2) == stored
    assert space.decodes is bool(stored & 2)
    assert space.masters is bool(stored & 4)


def test_command_and_status_in_one_write(space):
    space.write(0x04, 4, 0xFFFF0006)
    assert space.read(0x04, 4) == 0x0010_0006


@pytest.mark.parametrize(("state", "read"), [(3, 0x0B), (0xB, 0x0B), (0, 0x08), (1, 0x08), (2, 0x08)])
def test_power_states(space, state, read):
    space.write(0x04, 2, 6)
    space.write(0xFC, 2, state)
    assert space.read(0xFC, 2) == read
    assert space.decodes is space.masters is (read == 0x08)
    space.write(0xFC, 2, 0)
    assert space.read(0xFC, 2) == 0x08
    assert space.decodes


def test_msi_needs_its_bit_and_bus_mastering(space):
    space.write(0xE2, 2, 0x0081)
    assert not space.messages
    space.write(0x04, 2, 4)
    assert space.messages
    space.write(0xE2, 2, 0x0080)
    assert not space.messages


def test_function_level_reset_bit(space):
    space.write(0x88, 2, 0xA810)
    assert space.resets == [1]
    assert space.read(0x88, 2) == 0x2810, "reads zero"
    space.write(0x89, 1, 0x80)
    assert space.resets == [1, 1]
    space.write(0x88, 2, 0x5810)
    assert space.resets == [1, 1]
    assert space.read(0x88, 2) == 0x5810


def test_link_control_is_writable(space):
    space.write(0x90, 2, 0x0041)
    assert space.read(0x90, 2) == 0x0041


def test_pme_status_is_cleared_by_one(space):
    space._bytes[0xFD] |= 0x80
    space.write(0xFC, 2, 0)
    assert space.read(0xFC, 2) == 0x8008
    space.write(0xFC, 2, 0x8000)
    assert space.read(0xFC, 2) == 0x0008


@pytest.mark.parametrize(("offset", "width"), [(1, 2), (2, 4), (0, 8), (4096, 1), (-4, 4)])
def test_bad_accesses(space, offset, width):
    with pytest.raises(TwinViolation):
        space.read(offset, width)
    with pytest.raises(TwinViolation):
        space.write(offset, width, 0)


# --- what it switches on the chip -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["decode", "d3hot", "link"])
def test_bars_read_all_ones_and_lose_writes(host, how):
    host.bar0.write32(0x188, 0x12345678)
    config = host.function.config

    def switch(on):
        if how == "decode":
            config.write(0x04, 2, 0x0004 if on else 0x0006)
        elif how == "d3hot":
            config.write(0xFC, 2, 3 if on else 0)
        else:
            host.twin.faults.link_down = on

    switch(True)
    assert host.bar0.read32(0x98) == 0xFFFFFFFF
    assert host.chip.bar_read(4, 0, 2) == 0xFFFF
    host.bar0.write32(0x188, 0)
    host.bar4.write32(0x1684, 8)
    assert config.read(0x00, 4) == (0xFFFFFFFF if how == "link" else 0x28641E60)
    switch(False)
    assert host.bar0.read32(0x188) == 0x12345678, "state survives"
    assert host.bar0.read32(0x708) == 0x60000000
