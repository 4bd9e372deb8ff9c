"""Options that make the kernel driver's accesses, no more and no less."""

from __future__ import annotations

from dataclasses import replace

import pytest
from driver_fakes import FakeChip

from openhailo.bus.protocols import DmaDirection
from openhailo.driver.pcie_link import LinkOptions, PcieLink

FROM = DmaDirection.FROM_DEVICE


@pytest.fixture
def exact(chip: FakeChip) -> LinkOptions:
    return LinkOptions(clock=chip.clock, pause=chip.clock.sleep, vendor_accesses=True)


def writes(chip: FakeChip, bar: int, offset: int) -> list[int]:
    return [value for kind, b, at, value in chip.log if (kind, b, at) == ("W", bar, offset)]


@pytest.mark.parametrize("announce", [True, False])
def test_the_shutdown_is_announced_unless_told_otherwise(chip: FakeChip, exact: LinkOptions, announce: bool) -> None:
    PcieLink(chip, options=replace(exact, announce_shutdown=announce)).close()
    assert writes(chip, 4, 0x1684) == ([4] if announce else [])
    assert chip.mask == 0


def test_the_announcement_asks_for_nothing_first(chip: FakeChip, exact: LinkOptions) -> None:
    link = PcieLink(chip, options=exact)
    chip.log.clear()
    link.close()
    assert chip.log[0] == ("W", 4, 0x1684, 4)


def test_without_an_interrupt_the_handler_does_not_run(exact: LinkOptions) -> None:
    for options, looks in ((exact, 0), (replace(exact, vendor_accesses=False), 1)):
        fresh = FakeChip()
        link = PcieLink(fresh, options=replace(options, clock=fresh.clock, pause=fresh.clock.sleep))
        fresh.log.clear()
        assert link.read_notification(1.0) is None
        assert bool([entry for entry in fresh.log if entry[1:3] == (0, 0x18C)]) == bool(looks)
        link.close()


def test_each_transfer_moves_the_ring_on_its_own(exact: LinkOptions) -> None:
    for options, moves in ((exact, [1, 2, 3]), (replace(exact, vendor_accesses=False), [3])):
        fresh = FakeChip()
        link = PcieLink(fresh, options=replace(options, clock=fresh.clock, pause=fresh.clock.sleep))
        dlist = link.create_descriptor_list(128, 256, circular=True)
        buffer = link.alloc_buffer(1024, FROM)
        link.enable_channels(1 << 16)
        fresh.start_channel(16, 128, dlist.dma_address)
        fresh.log.clear()
        assert link.launch_many(16, dlist, 0, [[(buffer, at, 256)] for at in (0, 256, 512)]) == 3
        assert [value >> 16 for value in writes(fresh, 2, 0x210)] == moves
        link.close()


def test_a_log_is_read_in_pieces(chip: FakeChip, exact: LinkOptions) -> None:
    data = bytes(range(200))
    chip.bar4[0x2000], chip.bar4[0x2004] = 4000, 112
    ring = (data[88:] + bytes(4088 - len(data)) + data[:88]).ljust(4088, b"\0")
    for at in range(0, 4088, 4):
        chip.bar4[0x2008 + at] = int.from_bytes(ring[at : at + 4], "little")
    with PcieLink(chip, options=exact) as link:
        chip.log.clear()
        assert [link.read_log(0, 80) for _ in range(4)] == [data[:80], data[80:160], data[160:], b""]
        # The offset wraps at 4088, and an empty log is not written to.
        assert writes(chip, 4, 0x2000) == [4080, 72, 112]
