"""Launches that repeat cost no descriptors, and never leave wrong ones in the list."""

from __future__ import annotations

import pytest
from driver_fakes import FakeChip

from openhailo.bus.protocols import DmaDirection
from openhailo.driver.buffers import PcieBuffer
from openhailo.driver.descriptors import PcieDescriptorList
from openhailo.driver.link import DOMAIN_HOST, ChannelEvent
from openhailo.driver.pcie_link import PcieLink
from openhailo.errors import InputError, QueueFull

SLOT = 1024
Transfers = tuple[tuple[tuple[PcieBuffer, int, int]], ...]


@pytest.fixture
def dlist(chip: FakeChip, link: PcieLink) -> PcieDescriptorList:
    dlist = link.create_descriptor_list(8, 512, circular=True)
    link.enable_channels(1 << 2)
    chip.start_channel(2, 8, dlist.dma_address)
    return dlist


@pytest.fixture
def buffer(link: PcieLink) -> PcieBuffer:
    return link.alloc_buffer(4 * SLOT, DmaDirection.TO_DEVICE)


def slots(buffer: PcieBuffer, *numbers: int) -> Transfers:
    return tuple(((buffer, SLOT * number, 784),) for number in numbers)


def lap(chip: FakeChip, link: PcieLink, dlist: PcieDescriptorList, *launches: Transfers, **options: int) -> list[int]:
    """Launch and complete each, around the ring; return the slots that the device read."""
    read: list[int] = []
    for transfers in launches:
        start = len(read) * 2 % 8
        assert link.launch_many(2, dlist, start, transfers, **options) == 2 * len(transfers)
        done = chip.run_channel(2)
        assert [size for size, _, _ in done] == [512, 272] * len(transfers)
        first = transfers[0][0][0].iova
        read += [(address - first) // SLOT for _, _, address in done[::2]]
        assert link.wait_channels(1 << 2, 1.0) == [ChannelEvent(2, len(transfers))]
    return read


def test_the_second_lap_writes_nothing(
    chip: FakeChip, link: PcieLink, dlist: PcieDescriptorList, buffer: PcieBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = slots(buffer, 0, 1), slots(buffer, 2, 3)
    assert lap(chip, link, dlist, *pairs, *pairs) == [0, 1, 2, 3] * 2
    written: list[int] = []
    monkeypatch.setattr(dlist, "_write", lambda start, _rows: written.append(start))
    assert lap(chip, link, dlist, *pairs) == [0, 1, 2, 3]
    assert not written


def test_other_slots_at_the_same_place_are_written(
    chip: FakeChip, link: PcieLink, dlist: PcieDescriptorList, buffer: PcieBuffer
) -> None:
    pairs = slots(buffer, 0, 1), slots(buffer, 2, 3)
    swapped = slots(buffer, 3, 2), slots(buffer, 1, 0)
    for _ in range(2):
        assert lap(chip, link, dlist, *pairs, *pairs) == [0, 1, 2, 3] * 2
        assert lap(chip, link, dlist, *swapped) == [3, 2, 1, 0]


def test_other_groupings_of_the_same_slots(
    chip: FakeChip, link: PcieLink, dlist: PcieDescriptorList, buffer: PcieBuffer
) -> None:
    pairs, three = (slots(buffer, 0, 1), slots(buffer, 2, 3)), (slots(buffer, 0), slots(buffer, 1, 2, 3))
    for launches in (pairs, pairs, three, three, pairs):
        assert lap(chip, link, dlist, *launches) == [0, 1, 2, 3]


def test_a_program_in_between_is_noticed(
    chip: FakeChip, link: PcieLink, dlist: PcieDescriptorList, buffer: PcieBuffer
) -> None:
    pairs = slots(buffer, 0, 1), slots(buffer, 2, 3)
    assert lap(chip, link, dlist, *pairs, *pairs) == [0, 1, 2, 3] * 2
    link.program(dlist, buffer, size_bytes=784, offset=3 * SLOT, channel=2)
    assert lap(chip, link, dlist, *pairs) == [0, 1, 2, 3]


def test_other_interrupts_are_noticed(
    chip: FakeChip, link: PcieLink, dlist: PcieDescriptorList, buffer: PcieBuffer
) -> None:
    pairs = slots(buffer, 0, 1), slots(buffer, 2, 3)
    assert lap(chip, link, dlist, *pairs, *pairs) == [0, 1, 2, 3] * 2
    link.launch_many(2, dlist, 0, pairs[0], first_domain=DOMAIN_HOST)
    assert [control for _, control, _ in chip.run_channel(2)] == [0x2E] * 4


def test_closed_memory_is_refused(
    chip: FakeChip, link: PcieLink, dlist: PcieDescriptorList, buffer: PcieBuffer
) -> None:
    pairs = slots(buffer, 0, 1), slots(buffer, 2, 3)
    lap(chip, link, dlist, *pairs, *pairs)
    buffer.close()
    with pytest.raises(InputError, match="closed"):
        link.launch_many(2, dlist, 0, pairs[0])


def test_room_is_counted(chip: FakeChip, link: PcieLink, dlist: PcieDescriptorList, buffer: PcieBuffer) -> None:
    pairs = slots(buffer, 0, 1), slots(buffer, 2, 3)
    lap(chip, link, dlist, *pairs, *pairs)
    link.launch_many(2, dlist, 0, pairs[0])
    chip.log.clear()
    with pytest.raises(QueueFull):
        link.launch_many(2, dlist, 4, pairs[1])
    assert not [entry for entry in chip.log if entry[0] == "W"]
    assert link.progress() == {2: (2, 8)}
