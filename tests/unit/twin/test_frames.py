"""Many transfers at once are the same as one after the other, whatever the descriptors look like."""

from __future__ import annotations

import numpy as np
import pytest

from openhailo.twin.board import ChannelFault

SOURCE, DESTINATION = 0x400, 0x500
FRAME_BYTES = 100
#: Sizes of a frame's descriptors: mostly a page and the rest; wrong sums and other cuts now and then.
CUTS = [(64, 36)] * 12 + [(64, 64), (36, 64), (100,), (64, 30), (64, 0)]
#: Control of the last descriptor: nothing, interrupts and status on error, status on completion as well.
CONTROLS = [0x02] * 2 + [0x2E] * 6 + [0x2F]
DISTANCES = [128] * 12 + [64, 192, 1024, 4032]


def pull_singly(vdma, channel, out):
    return next((i for i, row in enumerate(out) if vdma.pull(channel, len(row), row) is None), len(out))


def push_singly(vdma, channel, data):
    return next((i for i, row in enumerate(data) if not vdma.push(channel, row)), len(data))


def attempt(move, ring, table):
    try:
        return move(ring.channel, table)
    except ChannelFault as fault:
        return fault.code


def describe(ring, rng, regular):
    """Put a few frames into the ring, as many as have room, and launch them."""
    free = (ring.num_processed - ring.next - 1) % ring.count
    address, used = ring.buffer.iova + 64 * int(rng.integers(0, 4)), 0
    for _ in range(int(rng.integers(1, 9))):
        sizes = CUTS[0] if regular else CUTS[rng.integers(len(CUTS))]
        if used + len(sizes) > free:
            break
        at = address
        for size in sizes:
            last = size is sizes[-1]
            ring.describe(ring.next + used, size, at, CONTROLS[rng.integers(len(CONTROLS))] if last else 0x02)
            at, used = at + size, used + 1
        address += 128 if regular else DISTANCES[rng.integers(len(DISTANCES))]
    ring.launch(used)


def visible(host, ring):
    """Everything a host can see of a ring and of its channel's interrupt, which it acknowledges."""
    register = SOURCE if ring.channel < 16 else DESTINATION
    interrupt = host.bar0.read32(register) >> ring.channel & 1
    host.bar0.write32(register, 1 << ring.channel)
    registers = ring.control, ring.num_processed, ring.num_ongoing, ring.num_available, ring.error
    return registers, interrupt, ring.bytes.tobytes(), ring.words[:, 3].tolist()


@pytest.mark.parametrize("channel", [2, 18])
@pytest.mark.parametrize("seed", range(40))
def test_at_once_and_singly_are_the_same(host, make_ring, channel, seed):
    vdma = host.chip.vdma
    if channel < 16:
        moves = vdma.pull_frames, lambda index, table: pull_singly(vdma, index, table)
    else:
        moves = vdma.push_frames, lambda index, table: push_singly(vdma, index, table)
    rings = [make_ring(channel + i, 16, 64, buffer_bytes=8192) for i in range(2)]
    for ring in rings:
        ring.bytes[:] = np.arange(8192, dtype=np.uint32).astype(np.uint8) ^ 0x5A
        ring.open()
    rng = np.random.default_rng(seed)
    tables = [np.zeros((6, FRAME_BYTES), np.uint8) for _ in rings]
    moved = 0
    for _ in range(12):
        draw, regular = int(rng.integers(1 << 30)), bool(rng.integers(4))
        for ring in rings:
            describe(ring, np.random.default_rng(draw), regular)
        frames = rng.integers(0, 256, (int(rng.integers(1, 7)), FRAME_BYTES), np.uint8)
        for table in tables:
            table[: len(frames)] = frames
        seen = [attempt(*pair) for pair in zip(moves, rings, (t[: len(frames)] for t in tables), strict=True)]
        assert seen[0] == seen[1]
        assert visible(host, rings[0]) == visible(host, rings[1])
        assert (tables[0] == tables[1]).all()
        if host.chip.vdma.is_open(channel):
            moved += seen[0]
    assert moved or rings[0].error


@pytest.fixture
def streaming(make_ring):
    """Channel 2 with eight frames of two descriptors each, the same slots again and again."""
    ring = make_ring(2, 16, 64, buffer_bytes=8 * 128)
    ring.bytes[:] = np.arange(8 * 128, dtype=np.uint32).astype(np.uint8)
    for slot in range(8):
        ring.describe(2 * slot, 64, ring.buffer.iova + 128 * slot)
        ring.describe(2 * slot + 1, 36, ring.buffer.iova + 128 * slot + 64, 0x2E)
    ring.open()
    return ring


def pulled(host, frames):
    out = np.zeros((8, FRAME_BYTES), np.uint8)
    assert host.chip.vdma.pull_frames(2, out) == frames
    return out[:frames]


def test_changed_memory_and_descriptors_are_seen(host, streaming):
    for lap in range(3):
        streaming.bytes[:] = lap
        streaming.launch(8)
        assert (pulled(host, 4) == lap).all()
        streaming.launch(8)
        assert (pulled(host, 4) == lap).all()
    streaming.bytes[512:] = 77
    streaming.describe(2, 64, streaming.buffer.iova + 512)
    streaming.launch(8)
    frames = pulled(host, 4)
    assert (frames[1, :64] == 77).all()
    assert (frames[1, 64:] == 2).all()


def test_memory_that_was_taken_away_is_not_touched(host, streaming):
    streaming.launch(8)
    pulled(host, 4)
    streaming.launch(8)
    pulled(host, 4)
    host.dma.release(streaming.buffer)
    streaming.launch(8)
    with pytest.raises(ChannelFault, match="unregistered"):
        host.chip.vdma.pull_frames(2, np.zeros((8, FRAME_BYTES), np.uint8))
    assert streaming.error


def test_bus_mastering_is_asked_every_time(host, streaming):
    streaming.launch(8)
    pulled(host, 4)
    streaming.launch(8)
    pulled(host, 4)
    streaming.launch(8)
    host.function.config.write(0x04, 2, 0x0002)
    with pytest.raises(ChannelFault, match="bus mastering"):
        host.chip.vdma.pull_frames(2, np.zeros((8, FRAME_BYTES), np.uint8))


def test_observers_hear_of_every_transfer(host, streaming):
    events = []
    host.chip.observe(lambda event: events.append(event.kind))
    streaming.launch(8)
    pulled(host, 4)
    assert events.count("transfer") == 4
    assert events.count("descriptors") == 4


def test_a_fault_strikes_at_its_transfer(host, streaming):
    host.chip.faults.descriptor_errors[2] = 2
    streaming.launch(8)
    with pytest.raises(ChannelFault, match="injected"):
        host.chip.vdma.pull_frames(2, np.zeros((8, FRAME_BYTES), np.uint8))
    assert streaming.num_processed == 4


def test_one_message_for_many_frames(host, streaming):
    streaming.launch(8)
    host.chip.msi.take()
    pulled(host, 4)
    assert host.bar0.read32(SOURCE) == 1 << 2
    assert host.chip.msi.pending == 1
