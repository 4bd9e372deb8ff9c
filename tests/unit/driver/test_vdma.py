"""Descriptors, rings and completions: literals, recorded frames, and a slow reference written from driver.md 6.5."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from driver_fakes import FakeChip
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from openhailo.bus.protocols import DmaDirection
from openhailo.driver.buffers import DmaArena, PcieBuffer, Segment
from openhailo.driver.descriptors import PcieDescriptorList
from openhailo.driver.link import ChannelError, ChannelEvent
from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.driver.state import LinkState
from openhailo.errors import DeviceBusy, DeviceLost, InputError, QueueFull, StateError
from openhailo.spec.chip import CHIP

TO, FROM = DmaDirection.TO_DEVICE, DmaDirection.FROM_DEVICE
Descriptor = tuple[int, int, int, int]


def descriptors(dlist: PcieDescriptorList, chip: FakeChip) -> list[Descriptor]:
    raw = chip.dma.memory(dlist.dma_address, dlist.count * 16)
    return list(struct.iter_unpack("<4I", raw))


def running(chip: FakeChip, link: PcieLink, channel: int, count: int = 128, page: int = 512) -> PcieDescriptorList:
    dlist = link.create_descriptor_list(count, page, circular=True)
    link.enable_channels(1 << channel)
    chip.start_channel(channel, count, dlist.dma_address)
    chip.log.clear()
    return dlist


# --- descriptor bytes ---------------------------------------------------------------------------------------------


def test_784_bytes_in_pages_of_512(chip: FakeChip, link: PcieLink) -> None:
    """driver.md 6.3: dword 0 of the two descriptors is 0x00020002 and 0x0001102E."""
    dlist = running(chip, link, 2)
    buffer = link.alloc_buffer(784, TO)
    assert link.launch(2, dlist, 0, [(buffer, 0, 784)]) == 2
    low, high = buffer.iova & 0xFFFFFFFF, buffer.iova >> 32
    assert high == 1
    assert descriptors(dlist, chip)[:3] == [
        (0x00020002, low, high, 0),
        (0x0001102E, low + 512, high, 0),
        (0, 0, 0, 0),
    ]


@pytest.mark.parametrize(("domain", "control"), [(0, 0x02), (1, 0x1E), (2, 0x2E), (3, 0x3E)])
def test_control_byte_per_domain(chip: FakeChip, link: PcieLink, domain: int, control: int) -> None:
    dlist = link.create_descriptor_list(20, 512, circular=False)
    buffer = link.alloc_buffer(4096, TO)
    assert link.program(dlist, buffer, size_bytes=64, last_domain=domain, channel=0) == 1
    assert descriptors(dlist, chip)[0][0] == 64 << 8 | control


def test_lists_are_64_kib_aligned_and_rounded_up(chip: FakeChip, link: PcieLink) -> None:
    dlist = link.create_descriptor_list(20, 512, circular=False)
    assert dlist.dma_address % 0x10000 == 0
    assert chip.dma.buffers[dlist.dma_address].size_bytes == 0x10000
    big = link.create_descriptor_list(65536, 64, circular=True)
    assert chip.dma.buffers[big.dma_address].size_bytes == 0x100000


@pytest.mark.parametrize(
    ("count", "page", "circular"),
    [
        (0, 512, False),
        (65537, 512, False),
        (100, 512, True),
        (128, 0, True),
        (128, 32, True),
        (128, 8192, True),
        (128, 513, True),
    ],
)
def test_impossible_lists(link: PcieLink, count: int, page: int, circular: bool) -> None:
    with pytest.raises(InputError):
        link.create_descriptor_list(count, page, circular=circular)


def test_small_read_requests_limit_the_page() -> None:
    chip = FakeChip()
    chip.config.write(0x78, 2, 0x1000)  # 256 bytes
    with PcieLink(chip, options=LinkOptions(clock=chip.clock, pause=chip.clock.sleep)) as link:
        assert link.info.desc_max_page_size == 256
        with pytest.raises(InputError):
            link.create_descriptor_list(128, 512, circular=True)


# --- recorded frames ----------------------------------------------------------------------------------------------

HEFS = ["mnist_cnn_28x28_h8_dfc3.27_v0", "mnist_cnn_32x32_h8_dfc3.27_v0", "arcface_mobilefacenet_h8_v2",
        "skillcheck_mobilenet_v2_224_h8_v2"]  # fmt: skip


@pytest.mark.facts
@pytest.mark.parametrize("hef", HEFS)
def test_launches_give_the_recorded_descriptors(shared_dir: Path, hef: str) -> None:
    """Each recorded frame of an input channel: same sizes, controls, first index and num available."""
    trace = shared_dir / "traces" / hef / "run_c8.jsonl"
    records = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    ring = next(r["f"] for r in records if r.get("io") == "DESC_LIST_CREATE" and r["f"]["is_circular"])
    count = ring["desc_count"]
    frames = [r for r in records if r["k"] == "dma" and r["dir"] == "h2d"]
    channel = frames[0]["channel"]
    available = [r["value"] for r in records if r["k"] == "num_avail" and r["channel"] == channel]
    assert len(frames) == len(available) >= 8
    chip = FakeChip()
    with PcieLink(chip, options=LinkOptions(clock=chip.clock, pause=chip.clock.sleep)) as link:
        dlist = running(chip, link, channel, count, ring["desc_page_size"])
        at = 0
        for frame, num_available in zip(frames, available, strict=True):
            size_bytes = sum(size * n for size, n in frame["descs"])
            buffer = link.alloc_buffer(size_bytes, TO)
            assert frame["first_desc"] == at
            at = (at + link.launch(channel, dlist, at, [(buffer, 0, size_bytes)])) % count
            assert chip.vdma[chip.half(channel)] >> 16 == num_available
            done = chip.run_channel(channel)
            assert _runs([size for size, _, _ in done]) == frame["descs"]
            assert _runs([control for _, control, _ in done]) == frame["control"]
            assert link.wait_channels(1 << channel, 1.0) == [ChannelEvent(channel, 1)]


def _runs(values: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    return runs


# --- program() against a slow reference ----------------------------------------------------------------------------


class Refused(Exception):
    """The reference refuses the arguments."""


def reference_program(
    table: list[Descriptor],
    segments: list[tuple[int, int, int]],
    *,
    page: int,
    circular: bool,
    size: int,
    offset: int,
    start: int,
    bind: bool,
    domain: int,
    batch: int,
) -> int:
    """driver.md 6.5, one descriptor at a time; ``table`` is changed only on success."""
    count = len(table)
    buffer_size = sum(length for _, length, _ in segments)
    control = {0: 0x02, 1: 0x1E, 2: 0x2E, 3: 0x3E}
    if not 0 <= start < count:
        raise Refused("starting descriptor")
    changed = dict(enumerate(table))
    used = 0
    for transfer in range(batch):
        if offset % page:
            raise Refused("offset")
        if offset + size > buffer_size:
            raise Refused("buffer shorter")
        pieces = []
        for seg_start, length, iova in segments:
            low, high = max(offset, seg_start), min(offset + size, seg_start + length)
            address = iova + low - seg_start
            while low < high:
                step = min(page, high - low)
                pieces.append((step, address))
                low += step
                address += page
        if not bind:
            pieces = [(min(page, size - at), 0) for at in range(0, size, page)]
        last_domain = domain if transfer == batch - 1 else 0
        for number, (length, address) in enumerate(pieces):
            at = start + used
            if used >= count or (not circular and at >= count):
                raise Refused("range past the list")
            is_last = number == len(pieces) - 1
            word = length << 8 | (control[last_domain] if is_last else 0x02)
            if bind:
                changed[at % count] = (word, address & 0xFFFFFFC0, address >> 32, 0)
            elif is_last:
                changed[at % count] = (word, *changed[at % count][1:])
            used += 1
        offset += len(pieces) * page
    table[:] = [changed[i] for i in range(count)]
    return used


@settings(max_examples=400, deadline=None)
@given(
    data=st.data(),
    page=st.sampled_from([64, 128, 512, 4096]),
    log_count=st.integers(0, 7),
    circular=st.booleans(),
    bind=st.booleans(),
    domain=st.integers(0, 3),
    batch=st.integers(1, 4),
)
def test_program_equals_the_reference(
    data: st.DataObject, page: int, log_count: int, circular: bool, bind: bool, domain: int, batch: int
) -> None:
    chip = FakeChip()
    arena = DmaArena(chip.dma)
    count = 1 << log_count if circular else data.draw(st.integers(1, 100))
    dlist = PcieDescriptorList(arena, CHIP, count, page, circular=circular)
    head = data.draw(st.integers(0, 4 * page))
    tail = data.draw(st.integers(1, 40 * page))
    segments = [Segment(0, head, 0x1_0000_0000)] if head else []
    segments.append(Segment(head, tail, 0x2_FFFF_0000))
    view = memoryview(bytearray(head + tail))
    buffer = PcieBuffer(arena, view, TO, tuple(segments), ())
    size = data.draw(st.integers(1, head + tail))
    offset = data.draw(st.one_of(st.integers(0, 8).map(lambda n: n * page), st.integers(0, 64)))
    start = data.draw(st.integers(0, count))
    if bind and any(
        (iova + max(offset, s) - s) % 64 for s, n, iova in segments if s < offset + size and offset < s + n
    ):
        return  # misaligned on the bus: refused, tested below
    table = descriptors(dlist, chip)
    try:
        expected = reference_program(
            table, [tuple(s) for s in segments], page=page, circular=circular, size=size, offset=offset, start=start,
            bind=bind, domain=domain, batch=batch,
        )  # fmt: skip
    except Refused:
        expected = None
    arguments = {"size_bytes": size, "offset": offset, "starting_desc": start, "bind": bind,
                 "last_domain": domain, "batch_size": batch}  # fmt: skip
    if expected is None:
        with pytest.raises(InputError):
            dlist.program(buffer, **arguments)
    else:
        try:
            assert dlist.program(buffer, **arguments) == expected
        except InputError as error:
            assert "aligned" in str(error) and batch > 1
            return
    assert descriptors(dlist, chip) == table


def test_misaligned_bus_addresses_are_refused(chip: FakeChip, link: PcieLink) -> None:
    """The hardware would drop the low six bits silently (driver.md 6.3)."""
    dlist = link.create_descriptor_list(16, 512, circular=True)
    buffer = PcieBuffer(DmaArena(chip.dma), memoryview(bytearray(512)), TO, (Segment(0, 512, 0x1020),), ())
    with pytest.raises(InputError, match="aligned"):
        dlist.program(buffer, size_bytes=512)


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"last_domain": 4}, {"size_bytes": 0}, {"offset": -512}])
def test_program_refuses(link: PcieLink, change: dict[str, int]) -> None:
    dlist = link.create_descriptor_list(16, 512, circular=True)
    with pytest.raises(InputError):
        link.program(dlist, link.alloc_buffer(4096, TO), **({"size_bytes": 512, "channel": 0} | change))


# --- launch ------------------------------------------------------------------------------------------------------


def test_accesses_of_a_launch_and_its_completion(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    buffer = link.alloc_buffer(784, TO)
    link.launch(2, dlist, 0, [(buffer, 0, 784)])
    assert chip.log == [("R", 2, 0x40, 0x3801), ("W", 2, 0x40, 0x00023801)]
    chip.log.clear()
    chip.run_channel(2)
    assert link.wait_channels(1 << 2, 1.0) == [ChannelEvent(2, 1)]
    assert chip.log == [
        ("R", 0, 0x18C, 1),
        ("W", 0, 0x18C, 1),
        ("W", 0, 0x400, 0xFFFFFFFF),
        ("R", 0, 0x18C, 0),
        ("R", 2, 0x44, 0x00020002),
    ]


def test_the_vendor_option_makes_the_recorded_accesses_of_a_frame() -> None:
    """Literals: run_bar_accesses of the recorded 28x28 network, the second frame."""
    chip = FakeChip()
    options = LinkOptions(clock=chip.clock, pause=chip.clock.sleep, vendor_accesses=True)
    with PcieLink(chip, options=options) as link:
        inputs, outputs = running(chip, link, 2), running(chip, link, 16, page=256)
        link.launch(16, outputs, 0, [(link.alloc_buffer(256, FROM), 0, 256)])
        chip.log.clear()
        link.launch(2, inputs, 0, [(link.alloc_buffer(784, TO), 0, 784)])
        chip.run_channel(2), chip.run_channel(16)
        assert link.wait_channels(0x10004, 1.0) == [ChannelEvent(2, 1), ChannelEvent(16, 1)]
        assert chip.log == [
            ("R", 2, 0x40, 0x3801), ("R", 2, 0x40, 0x3801), ("W", 2, 0x40, 0x00023801),
            ("R", 0, 0x98, 0x28641E60), ("R", 0, 0x18C, 0x1001), ("W", 0, 0x18C, 0x1001),
            ("R", 0, 0x400, 4), ("W", 0, 0x400, 4), ("R", 0, 0x500, 0x10000), ("W", 0, 0x500, 0x10000),
            ("R", 0, 0x98, 0x28641E60), ("R", 0, 0x18C, 0),
            ("R", 2, 0x44, 0x00020002), ("R", 2, 0x40, 0x00023801),
            ("R", 2, 0x214, 0x00010001), ("R", 2, 0x210, 0x00013801),
        ]  # fmt: skip


def test_device_to_host_uses_the_destination_half(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 16, page=256)
    buffer = link.alloc_buffer(256, FROM)
    link.launch(16, dlist, 0, [(buffer, 0, 256)])
    assert chip.log == [("R", 2, 0x210, 0x3801), ("W", 2, 0x210, 0x00013801)]
    chip.run_channel(16)
    assert link.wait_channels(1 << 16, 1.0) == [ChannelEvent(16, 1)]
    assert ("W", 0, 0x500, 0xFFFFFFFF) in chip.log


def test_two_channels_of_a_side_are_told_apart_by_the_register(chip: FakeChip, link: PcieLink) -> None:
    lists = {channel: running(chip, link, channel) for channel in (1, 2)}
    buffer = link.alloc_buffer(512, TO)
    for channel, dlist in lists.items():
        link.launch(channel, dlist, 0, [(buffer, 0, 512)])
    chip.log.clear()
    chip.run_channel(2)
    assert link.wait_channels(0b110, 1.0) == [ChannelEvent(2, 1)]
    assert ("R", 0, 0x400, 0b100) in chip.log and ("W", 0, 0x400, 0b100) in chip.log
    assert all(at != 0x24 for _, bar, at, _ in chip.log if bar == 2)


def test_relaunch_into_the_same_slots_writes_no_descriptor(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2, count=4)
    buffers = [link.alloc_buffer(1024, TO) for _ in range(2)]
    at = 0
    for lap in range(3):
        for buffer in buffers:
            if lap:
                # What the device would see: nothing may be written now, so a mark must survive.
                dlist.table[at, 3] = 0xAB00
            link.launch(2, dlist, at, [(buffer, 0, 1024)])
            assert dlist.table[at, 3] == (0xAB00 if lap else 0)
            assert dlist.table[at, 1] == buffer.iova & 0xFFFFFFFF
            at = (at + 2) % 4
            chip.run_channel(2)
            assert link.wait_channels(1 << 2, 1.0) == [ChannelEvent(2, 1)]
    link.launch(2, dlist, at, [(buffers[1], 0, 1024)])
    assert dlist.table[at, 1] == buffers[1].iova & 0xFFFFFFFF


def test_sizes_that_do_not_divide_the_ring_are_rewritten(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2, count=8)
    buffer = link.alloc_buffer(1300, TO)
    at = 0
    for _ in range(20):
        link.launch(2, dlist, at, [(buffer, 0, 1300)])
        done = chip.run_channel(2)
        assert done == [(512, 2, buffer.iova), (512, 2, buffer.iova + 512), (276, 0x2E, buffer.iova + 1024)]
        assert link.wait_channels(1 << 2, 1.0) == [ChannelEvent(2, 1)]
        at = (at + 3) % 8


def test_without_bind_sizes_and_controls_are_set(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 16, count=8, page=256)
    buffer = link.alloc_buffer(2048, FROM)
    link.program(dlist, buffer, size_bytes=2048, channel=16)
    link.launch(16, dlist, 0, [(buffer, 0, 600)], bind=False)
    assert chip.run_channel(16) == [(256, 2, buffer.iova), (256, 2, buffer.iova + 256), (88, 0x2E, buffer.iova + 512)]
    link.wait_channels(1 << 16, 1.0)
    for _ in range(2):  # later laps put full pages back where a short one was
        at = 3
        link.launch(16, dlist, at, [(buffer, 768, 1280)], bind=False, first_domain=1)
        assert [c for _, c, _ in chip.run_channel(16)] == [0x1E, 2, 2, 2, 0x2E]
        link.wait_channels(1 << 16, 1.0)
        link.launch(16, dlist, 0, [(buffer, 0, 768)], bind=False)
        assert [d[:2] for d in chip.run_channel(16)] == [(256, 2), (256, 2), (256, 0x2E)]
        link.wait_channels(1 << 16, 1.0)


def test_without_bind_across_the_end_of_the_ring(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 16, count=8, page=256)
    buffer = link.alloc_buffer(2048, FROM)
    link.program(dlist, buffer, size_bytes=2048, channel=16)
    at = 0
    for _ in range(12):
        link.launch(16, dlist, at, [(buffer, 0, 1100)], bind=False)
        assert [d[:2] for d in chip.run_channel(16)] == [(256, 2)] * 4 + [(76, 0x2E)]
        link.wait_channels(1 << 16, 1.0)
        at = (at + 5) % 8


def test_interrupts_that_bring_nothing_do_not_hold_the_wait(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    link.launch(2, dlist, 0, [(link.alloc_buffer(512, TO), 0, 512)])
    plain_wait = chip.irq.wait

    def storm(timeout_s: float) -> bool:
        chip.raise_channel(2)
        chip.clock.now += 0.125
        return plain_wait(timeout_s)

    chip.irq.wait = storm  # type: ignore[method-assign]
    started = chip.clock.now
    assert link.wait_channels(1 << 2, 1.0) == []
    assert chip.clock.now - started == pytest.approx(1.0)


def test_several_buffers_in_one_transfer(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    buffers = [link.alloc_buffer(600, TO) for _ in range(3)]
    used = link.launch(2, dlist, 0, [(b, 0, 600) for b in buffers], first_domain=1)
    assert used == 6
    done = chip.run_channel(2)
    assert [d[:2] for d in done] == [(512, 0x1E), (88, 2), (512, 2), (88, 2), (512, 2), (88, 0x2E)]
    assert link.wait_channels(1 << 2, 1.0) == [ChannelEvent(2, 1)]
    with pytest.raises(InputError):
        link.launch(2, dlist, 6, [(buffers[0], 0, 64)] * 9)


def test_unaligned_input_goes_through_a_short_head(chip: FakeChip, link: PcieLink) -> None:
    """context-switch.md trap 17: a bounce piece up to the page border, then the caller's own memory."""
    memory = page_aligned(3 * 4096)
    frame = memory[64 : 64 + 5000]
    frame[:] = np.arange(5000, dtype=np.uint32).astype(np.uint8)
    buffer = link.map_buffer(memoryview(frame), TO)
    dlist = running(chip, link, 2)
    link.launch(2, dlist, 0, [(buffer, 0, 5000)])
    done = chip.run_channel(2)
    assert [size for size, _, _ in done] == [512] * 7 + [448] + [512, 456]
    gathered = b"".join(bytes(chip.dma.memory(address, size)) for size, _, address in done)
    assert gathered == frame.tobytes()
    link.wait_channels(1 << 2, 1.0)
    frame[:10] = 7
    link.launch(2, dlist, 10, [(buffer, 0, 5000)])
    done = chip.run_channel(2)
    assert bytes(chip.dma.memory(done[0][2], 10)) == b"\7" * 10


def test_unaligned_output_is_bounced_as_a_whole(chip: FakeChip, link: PcieLink) -> None:
    memory = page_aligned(8192)
    out = memory[100:1124]
    buffer = link.map_buffer(memoryview(out), FROM)
    dlist = running(chip, link, 16)
    link.launch(16, dlist, 0, [(buffer, 0, 1024)])
    for size, _, address in chip.run_channel(16):
        chip.dma.memory(address, size)[:] = b"\x5a" * size
    assert not out.any()
    assert link.wait_channels(1 << 16, 1.0) == [ChannelEvent(16, 1)]
    assert (out == 0x5A).all() and not memory[:100].any() and not memory[1124:].any()


def test_aligned_memory_is_used_without_a_copy(chip: FakeChip, link: PcieLink) -> None:
    memory = page_aligned(4096)
    buffer = link.map_buffer(memoryview(memory), FROM)
    assert not buffer.bounces
    chip.dma.memory(buffer.iova, 4096)[:4] = b"abcd"
    assert memory[:4].tobytes() == b"abcd"


def test_memory_that_cannot_be_mapped_is_bounced(chip: FakeChip, link: PcieLink) -> None:
    chip.dma.refuse_mapping = True
    memory = page_aligned(4096)
    buffer = link.map_buffer(memoryview(memory), TO)
    memory[:4] = 9
    link.sync_buffer(buffer, 0, 4096, True)
    assert bytes(chip.dma.memory(buffer.iova, 4)) == b"\x09" * 4
    chip.dma.memory(buffer.iova, 4)[:] = b"wxyz"
    link.sync_buffer(buffer, 0, 4096, False)
    assert memory[:4].tobytes() == b"wxyz"
    with pytest.raises(InputError):
        link.sync_buffer(buffer, 4000, 100, True)


def test_buffers_give_their_memory_back(chip: FakeChip, link: PcieLink) -> None:
    before = len(chip.dma.buffers)
    buffer = link.map_buffer(memoryview(page_aligned(8192)[64:]), TO)
    assert len(chip.dma.buffers) == before + 2
    buffer.close()
    buffer.close()
    assert len(chip.dma.buffers) == before
    dlist = running(chip, link, 2)
    with pytest.raises(InputError, match="closed"):
        link.launch(2, dlist, 0, [(buffer, 0, 512)])


@pytest.mark.parametrize("view", [memoryview(b""), memoryview(bytearray(64))[::2]])
def test_impossible_memory(link: PcieLink, view: memoryview) -> None:
    with pytest.raises(InputError):
        link.map_buffer(view, TO)


def test_impossible_allocations(link: PcieLink) -> None:
    with pytest.raises(InputError):
        link.alloc_buffer(0, TO)


def page_aligned(size_bytes: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    raw = np.zeros(size_bytes + 4096, np.uint8)
    start = -raw.ctypes.data % 4096
    return raw[start : start + size_bytes]


def test_launch_refusals_leave_the_ring_alone(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2, count=8)
    buffer = link.alloc_buffer(4096, TO)
    link.launch(2, dlist, 0, [(buffer, 0, 1024)])
    chip.log.clear()
    for wrong, error in (
        ({"starting_desc": 3}, InputError),
        ({"buffers": []}, InputError),
        ({"buffers": [(buffer, 100, 512)]}, InputError),
        ({"buffers": [(buffer, 4096, 512)]}, InputError),
        ({"buffers": [(buffer, 0, 4096)]}, QueueFull),
        ({"dlist": link.create_descriptor_list(8, 512, circular=True)}, InputError),
        ({"channel": 32}, InputError),
        ({"channel": 3}, StateError),
    ):
        arguments = {"channel": 2, "dlist": dlist, "starting_desc": 2, "buffers": [(buffer, 0, 512)]} | wrong
        with pytest.raises(error):
            link.launch(**arguments)
    assert not [entry for entry in chip.log if entry[0] == "W"]
    assert link.launch(2, dlist, 2, [(buffer, 0, 512)]) == 1


def test_several_transfers_cost_one_doorbell(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2, count=8)
    buffer = link.alloc_buffer(4096, TO)
    frames = [[(buffer, 0, 784)], [(buffer, 1024, 784)], [(buffer, 2048, 784)]]
    assert link.launch_many(2, dlist, 0, frames) == 6
    assert chip.log == [("R", 2, 0x40, 3 << 11 | 1), ("W", 2, 0x40, 6 << 16 | 3 << 11 | 1)]
    assert [d[:2] for d in chip.run_channel(2)] == [(512, 0x02), (272, 0x2E)] * 3
    assert link.wait_channels(1 << 2, 1.0) == [ChannelEvent(2, 3)]


def test_several_transfers_start_all_or_none(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2, count=8)
    buffer = link.alloc_buffer(4096, TO)
    for frames, error in (
        ([[(buffer, 0, 784)]] * 4, QueueFull),
        ([[(buffer, 0, 784)], [(buffer, 4096, 784)]], InputError),
        ([], InputError),
    ):
        with pytest.raises(error):
            link.launch_many(2, dlist, 0, frames)
    assert not [entry for entry in chip.log if entry[0] == "W"]
    assert link.progress() == {2: (0, 0)}
    assert link.launch(2, dlist, 0, [(buffer, 0, 784)]) == 2


def test_the_vendor_option_rings_for_each_transfer() -> None:
    chip = FakeChip()
    options = LinkOptions(clock=chip.clock, pause=chip.clock.sleep, vendor_accesses=True)
    with PcieLink(chip, options=options) as link:
        dlist = running(chip, link, 2, count=8)
        buffer = link.alloc_buffer(784, TO)
        assert link.launch_many(2, dlist, 0, [[(buffer, 0, 784)]] * 2) == 4
        assert [value >> 16 for kind, _, _, value in chip.log if kind == "W"] == [2, 4]


def test_one_descriptor_always_stays_free(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2, count=8)
    buffer = link.alloc_buffer(512, TO)
    for at in range(7):
        link.launch(2, dlist, at, [(buffer, 0, 512)])
    with pytest.raises(QueueFull):
        link.launch(2, dlist, 7, [(buffer, 0, 512)])
    chip.run_channel(2, 3)
    assert link.wait_channels(1 << 2, 1.0) == [ChannelEvent(2, 3)]
    link.launch(2, dlist, 7, [(buffer, 0, 512)])


def test_at_most_127_transfers(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2, count=256)
    buffer = link.alloc_buffer(512, TO)
    for at in range(127):
        link.launch(2, dlist, at, [(buffer, 0, 512)])
    with pytest.raises(QueueFull):
        link.launch(2, dlist, 127, [(buffer, 0, 512)])


def test_a_list_for_launches_needs_a_power_of_two(chip: FakeChip, link: PcieLink) -> None:
    dlist = link.create_descriptor_list(20, 512, circular=False)
    link.enable_channels(4)
    with pytest.raises(InputError, match="power of two"):
        link.launch(2, dlist, 0, [(link.alloc_buffer(512, TO), 0, 512)])


def test_channel_not_running_or_restarted(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    buffer = link.alloc_buffer(512, TO)
    chip.stop_channel(2)
    with pytest.raises(StateError, match="stopped"):
        link.launch(2, dlist, 0, [(buffer, 0, 512)])
    chip.start_channel(2, 128, dlist.dma_address)
    link.launch(2, dlist, 0, [(buffer, 0, 512)])
    chip.start_channel(2, 128, dlist.dma_address)
    with pytest.raises(StateError, match="restarted"):
        link.launch(2, dlist, 1, [(buffer, 0, 512)])
    chip.dead = True
    with pytest.raises(DeviceLost):
        link.launch(2, dlist, 1, [(buffer, 0, 512)])


# --- waiting -----------------------------------------------------------------------------------------------------


def test_nothing_happens_until_the_timeout(chip: FakeChip, link: PcieLink) -> None:
    running(chip, link, 2)
    started = chip.clock.now
    assert link.wait_channels(1 << 2, 0.5) == []
    assert chip.clock.now - started == pytest.approx(0.5)


def test_stopped_channel_is_reported_when_the_wait_ends(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    link.launch(2, dlist, 0, [(link.alloc_buffer(512, TO), 0, 512)])
    chip.stop_channel(2)
    assert link.wait_channels(1 << 2, 0.5) == [ChannelEvent(2, 0, ChannelError.INACTIVE)]


def test_error_register_is_reported_at_once(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    link.launch(2, dlist, 0, [(link.alloc_buffer(512, TO), 0, 512)])
    chip.vdma[0x48] |= 0x01
    chip.raise_channel(2)
    started = chip.clock.now
    assert link.wait_channels(1 << 2, 5.0) == [ChannelEvent(2, 0, ChannelError.ENGINE)]
    assert chip.clock.now == started


def test_error_in_a_descriptor_is_reported_with_what_completed(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    buffer = link.alloc_buffer(512, TO)
    for at in range(3):
        link.launch(2, dlist, at, [(buffer, 0, 512)])
    chip.run_channel(2, 1)
    struct.pack_into("<I", chip.dma.memory(dlist.dma_address + 16, 16), 12, 2)
    assert link.wait_channels(1 << 2, 1.0) == [ChannelEvent(2, 1, ChannelError.ENGINE)]
    link.disable_channels(1 << 2)
    assert not dlist.table[:, 3].any()


def test_an_engine_ahead_of_the_host_is_an_error(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    link.launch(2, dlist, 0, [(link.alloc_buffer(512, TO), 0, 512)])
    chip.vdma[0x44] = 5
    chip.raise_channel(2)
    assert link.wait_channels(1 << 2, 1.0) == [ChannelEvent(2, 0, ChannelError.ENGINE)]


def test_dead_link_while_waiting(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    link.launch(2, dlist, 0, [(link.alloc_buffer(512, TO), 0, 512)])
    chip.dead = True
    with pytest.raises(DeviceLost):
        link.wait_channels(1 << 2, 1.0)


def test_events_of_other_channels_are_kept(chip: FakeChip, link: PcieLink) -> None:
    lists = {channel: running(chip, link, channel) for channel in (2, 16)}
    link.launch(2, lists[2], 0, [(link.alloc_buffer(512, TO), 0, 512)])
    link.launch(16, lists[16], 0, [(link.alloc_buffer(512, FROM), 0, 512)])
    chip.run_channel(2), chip.run_channel(16)
    assert link.wait_channels(1 << 16, 1.0) == [ChannelEvent(16, 1)]
    assert link.wait_channels(1 << 2, 0.0) == [ChannelEvent(2, 1)]


def test_claiming(chip: FakeChip, link: PcieLink) -> None:
    assert link.state is LinkState.READY
    link.enable_channels(0b101)
    assert link.state is LinkState.RUNNING
    with pytest.raises(DeviceBusy):
        link.enable_channels(0b100)
    with pytest.raises(InputError):
        link.enable_channels(1 << 32)
    link.disable_channels(0b001)
    assert link.state is LinkState.RUNNING
    link.disable_channels(0b111)
    assert link.state is LinkState.READY
    link.disable_channels(0b111)


def test_after_disable_the_ring_starts_at_zero(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    buffer = link.alloc_buffer(784, TO)
    link.launch(2, dlist, 0, [(buffer, 0, 784)])
    link.disable_channels(1 << 2)
    with pytest.raises(StateError):
        link.launch(2, dlist, 2, [(buffer, 0, 784)])
    link.enable_channels(1 << 2)
    chip.start_channel(2, 128, dlist.dma_address)
    assert link.launch(2, dlist, 0, [(buffer, 0, 784)]) == 2


def test_progress(chip: FakeChip, link: PcieLink) -> None:
    dlist = running(chip, link, 2)
    buffer = link.alloc_buffer(512, TO)
    for at in range(3):
        link.launch(2, dlist, at, [(buffer, 0, 512)])
    chip.run_channel(2, 2)
    link.wait_channels(1 << 2, 1.0)
    assert link.progress() == {2: (1, 2)}


def test_foreign_buffers_are_refused(chip: FakeChip, link: PcieLink) -> None:
    class Foreign:
        size_bytes, direction, view = 512, TO, memoryview(bytearray(512))

        def close(self) -> None:
            """Nothing to do."""

    dlist = running(chip, link, 2)
    for call in (
        lambda: link.launch(2, dlist, 0, [(Foreign(), 0, 512)]),
        lambda: link.program(dlist, Foreign(), size_bytes=512, channel=2),
        lambda: link.sync_buffer(Foreign(), 0, 1, True),
    ):
        with pytest.raises(InputError, match="another kind of link"):
            call()


# --- a ring against a slow model ------------------------------------------------------------------------------------


class RingMachine(RuleBasedStateMachine):
    """Random launches, progress and harvests; the model keeps every transfer's descriptors one by one."""

    COUNT, PAGE, CHANNEL = 16, 64, 3

    def __init__(self) -> None:
        super().__init__()
        self.chip = FakeChip()
        self.link = PcieLink(self.chip, options=LinkOptions(clock=self.chip.clock, pause=self.chip.clock.sleep))
        self.dlist = running(self.chip, self.link, self.CHANNEL, self.COUNT, self.PAGE)
        self.buffer = self.link.alloc_buffer(1024, TO)
        self.at = 0
        self.flying: list[int] = []  # descriptors left of each transfer
        self.finished = 0
        self.expected: list[tuple[int, int, int]] = []

    @rule(size=st.integers(1, 1024), page=st.integers(0, 15))
    def launch(self, size: int, page: int) -> None:
        offset = page * self.PAGE
        size = min(size, 1024 - offset)
        need = -(-size // self.PAGE)
        arguments = (self.CHANNEL, self.dlist, self.at, [(self.buffer, offset, size)])
        unharvested = self.finished_descriptors + sum(self.flying)
        if unharvested + need > self.COUNT - 1:
            with pytest.raises(QueueFull):
                self.link.launch(*arguments)
            return
        assert self.link.launch(*arguments) == need
        self.at = (self.at + need) % self.COUNT
        self.flying.append(need)
        self.lengths.append(need)
        for index in range(need):
            length = min(self.PAGE, size - index * self.PAGE)
            control = 0x2E if index == need - 1 else 0x02
            self.expected.append((length, control, self.buffer.iova + offset + index * self.PAGE))

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def progress(self, data: st.DataObject) -> None:
        steps = data.draw(st.integers(1, sum(self.flying)))
        assert self.chip.run_channel(self.CHANNEL, steps) == self.expected[:steps]
        del self.expected[:steps]
        while steps:
            taken = min(steps, self.flying[0])
            self.flying[0] -= taken
            steps -= taken
            if not self.flying[0]:
                del self.flying[0]
                self.finished += 1

    @rule()
    def harvest(self) -> None:
        events = self.link.wait_channels(1 << self.CHANNEL, 0.01)
        assert events == ([ChannelEvent(self.CHANNEL, self.finished)] if self.finished else [])
        del self.lengths[: self.finished]
        self.finished = 0

    @property
    def finished_descriptors(self) -> int:
        """Descriptors that the engine is through with but the host has not harvested, partial transfers included."""
        return sum(self.lengths) - sum(self.flying)

    @property
    def lengths(self) -> list[int]:
        return self.__dict__.setdefault("_lengths", [])

    @invariant()
    def register_shows_the_ring(self) -> None:
        assert self.chip.vdma[self.chip.half(self.CHANNEL)] >> 16 == self.at

    def teardown(self) -> None:
        self.link.close()


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
