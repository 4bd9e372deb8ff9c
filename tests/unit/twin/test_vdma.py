"""vDMA channels and the engine (driver.md 6, 10.2, 10.4). Register addresses and bits are literals from there."""

from __future__ import annotations

import numpy as np
import pytest

from openhailo.bus.protocols import DmaDirection
from openhailo.twin.board import ChannelFault
from openhailo.twin.violation import TwinViolation

SOURCE, DESTINATION = 0x400, 0x500


@pytest.fixture
def h2d(make_ring):
    """Channel 2, 16 descriptors of 512 bytes, open, buffer filled with a pattern."""
    ring = make_ring(2, 16, 512)
    ring.bytes[:] = np.arange(len(ring.bytes), dtype=np.uint32).astype(np.uint8) ^ 0x5A
    ring.open()
    return ring


@pytest.fixture
def d2h(make_ring):
    """Channel 16, 16 descriptors of 64 bytes, open, every descriptor a transfer of its own."""
    ring = make_ring(16, 16, 64)
    for i in range(16):
        ring.describe(i, 64, ring.buffer.iova + 64 * i, 0x2E)
    ring.open()
    return ring


# --- registers --------------------------------------------------------------------------------------------------------


def test_firmware_programs_both_halves(host, make_ring):
    ring = make_ring(2, 32, 512)
    ring.open()
    address = ring.list.iova
    assert host.bar2.read32(0x40) == 0x2801, "running, depth 5, id 0"
    assert host.bar2.read32(0x50) == 0x2C01, "running, depth 5, id 4"
    assert host.bar2.read32(0x48) == address & 0xFFFF0000
    assert host.bar2.read32(0x4C) == address >> 32
    assert host.bar2.read32(0x44) == 0


def test_the_host_half_of_an_output_is_the_destination(host, d2h):
    assert host.bar2.read32(0x210) & 0xFF == 1
    d2h.launch(3)
    assert host.bar2.read32(0x210) == 0x0003_2001
    assert host.bar2.read32(0x200) == 0x2401


@pytest.mark.parametrize(("count", "depth"), [(2, 1), (3, 2), (128, 7), (129, 8), (32768, 15), (65536, 0)])
def test_depth(host, make_ring, count, depth):
    make_ring(0, count, 64, buffer_bytes=64).open()
    assert host.bar2.read32(0) == depth << 11 | 1


@pytest.mark.parametrize(("offset", "width", "value"), [(0x42, 2, 5), (0x40, 1, 1), (0x48, 1, 0), (0x41, 1, 0x20)])
def test_old_drivers_use_narrow_accesses(host, h2d, offset, width, value):
    h2d.launch(5)
    assert host.chip.bar_read(2, offset, width) == value


def test_narrow_num_available(host, h2d):
    h2d.program([512])
    host.chip.bar_write(2, 0x42, 2, 1)
    host.twin.run_until_idle()
    assert bytes(host.chip.vdma.pull(2, 512)) == h2d.bytes[:512].tobytes()


@pytest.mark.parametrize(("offset", "width"), [(0x400, 4), (0x41, 2), (0x42, 4), (-4, 4), (0x40, 8)])
def test_reads_outside_the_registers(host, offset, width):
    with pytest.raises(TwinViolation):
        host.chip.bar_read(2, offset, width)


@pytest.mark.parametrize("offset", [0x44, 0x50, 0x5C, 0x200, 0x204, 0x214, 0x400])
def test_registers_that_are_not_the_hosts(host, offset):
    with pytest.raises(TwinViolation):
        host.bar2.write32(offset, 0)


def test_num_available_beyond_the_ring(host, h2d):
    with pytest.raises(TwinViolation):
        host.bar2.write32(0x40, 0x0011_2001)


def test_num_available_stays_what_the_host_wrote(host, h2d):
    h2d.program([512])
    h2d.launch(1)
    host.chip.vdma.pull(2, 512)
    assert host.bar2.read32(0x40) == 0x0001_2001


# --- host to device -----------------------------------------------------------------------------------------------


def test_pull_moves_the_bytes_and_the_counters(host, h2d):
    h2d.program([512, 272])
    h2d.launch(2)
    frame = host.chip.vdma.pull(2, 784)
    assert bytes(frame) == h2d.bytes[:784].tobytes()
    assert (h2d.num_processed, h2d.num_ongoing) == (2, 2)
    assert host.status() == 1
    assert host.bar0.read32(SOURCE) == 4
    assert host.bar0.read32(DESTINATION) == 0
    assert h2d.words[:, 3].tolist() == [0] * 16, "no write-back was asked for"


def test_pull_waits_for_the_whole_frame(host, h2d):
    h2d.program([512, 272])
    assert host.chip.vdma.pull(2, 784) is None
    h2d.launch(1)
    assert host.chip.vdma.pull(2, 784) is None
    assert h2d.num_processed == 0
    h2d.launch(1)
    assert host.chip.vdma.pull(2, 784) is not None
    assert host.chip.vdma.pull(2, 784) is None


def test_frames_in_several_buffers(host, h2d):
    """A short descriptor in the middle: bytes count, not descriptors (context-switch.md trap 17)."""
    h2d.program([448, 512, 64])
    h2d.words[1, 1] += 0x400  # the second buffer lies elsewhere
    h2d.words[2, 1] += 0x400
    h2d.launch(3)
    expected = np.concatenate((h2d.bytes[:448], h2d.bytes[448 + 0x400 : 1024 + 0x400]))
    assert bytes(host.chip.vdma.pull(2, 1024)) == expected.tobytes()
    assert h2d.num_processed == 3


def test_pull_into_a_buffer(host, h2d):
    h2d.program([512])
    h2d.launch(1)
    out = np.zeros((2, 256), np.uint8)
    host.chip.vdma.pull(2, 512, out)
    assert out.tobytes() == h2d.bytes[:512].tobytes()
    h2d.program([512])
    h2d.launch(1)
    with pytest.raises(ValueError, match="out holds"):
        host.chip.vdma.pull(2, 512, bytearray(511))


def test_wrap_shows_the_count_not_zero(host, h2d):
    for n in range(1, 35):
        h2d.program([512])
        h2d.launch(1)
        assert host.chip.vdma.pull(2, 512) is not None
        assert h2d.num_processed == (n % 16 or 16)
        assert h2d.num_ongoing == h2d.num_processed


def test_65536_descriptors_show_zero(host, make_ring):
    ring = make_ring(0, 65536, 64, buffer_bytes=64 * 65536)
    index = np.arange(65536)
    address = ring.buffer.iova + 64 * index
    ring.words[:, 0], ring.words[:, 1], ring.words[:, 2] = 64 << 8 | 2, address & 0xFFFFFFFF, address >> 32
    ring.open()
    ring.launch(65535)
    assert host.chip.vdma.pull(0, 64 * 65535) is not None
    ring.launch(1)
    assert host.chip.vdma.pull(0, 64) is not None
    assert ring.num_processed == 0


@pytest.mark.parametrize("frame", [6 * 512, 7 * 512 + 100, 15 * 512])
def test_frames_around_the_end_of_the_list(host, h2d, frame):
    sizes = [512] * (frame // 512) + ([frame % 512] if frame % 512 else [])
    for n in range(20):
        offset = 512 * (n % 1)
        h2d.program(sizes, offset=offset)
        h2d.launch(len(sizes))
        assert bytes(host.chip.vdma.pull(2, frame)) == h2d.bytes[offset : offset + frame].tobytes()
        assert host.bar0.read32(SOURCE) == 4
        host.bar0.write32(SOURCE, 4)


def test_large_frame_in_one_buffer(host, make_ring):
    ring = make_ring(3, 2048, 512)
    ring.bytes[:] = np.random.default_rng(1).integers(0, 256, len(ring.bytes), np.uint8)
    ring.open()
    for _ in range(5):
        ring.program([512] * 1014)
        ring.launch(1014)
        assert bytes(host.chip.vdma.pull(3, 519168)) == ring.bytes[:519168].tobytes()
    assert ring.num_processed == 5 * 1014 % 2048
    assert host.bar0.read32(SOURCE) == 8


def test_large_frame_scattered(host, make_ring):
    ring = make_ring(3, 128, 512)
    ring.bytes[:] = np.random.default_rng(2).integers(0, 256, len(ring.bytes), np.uint8)
    ring.open()
    order = np.random.default_rng(3).permutation(100)
    for i, page in enumerate(order):
        ring.describe(i, 512, ring.buffer.iova + 512 * int(page), 0x2E if i == 99 else 0x02)
    ring.launch(100)
    expected = ring.bytes.reshape(-1, 512)[order].tobytes()
    assert bytes(host.chip.vdma.pull(3, 51200)) == expected


def test_lists_may_hold_smaller_or_larger_pages_than_told(host, make_ring):
    for channel, told in ((4, 64), (5, 4096)):
        ring = make_ring(channel, 64, 512)
        ring.bytes[:] = np.arange(len(ring.bytes), dtype=np.uint32) // 512
        ring.page = told
        ring.open()
        ring.program([512] * 20)
        ring.launch(20)
        assert bytes(host.chip.vdma.pull(channel, 10 * 512)) == ring.bytes[: 10 * 512].tobytes()
        assert ring.num_processed == 10


def test_a_fresh_open_starts_at_zero(host, h2d):
    h2d.program([512])
    h2d.launch(1)
    host.chip.vdma.pull(2, 512)
    h2d.open()
    assert (h2d.num_processed, h2d.num_available) == (0, 0)
    assert host.chip.vdma.available(2) == 0


# --- device to host -----------------------------------------------------------------------------------------------


def test_push(host, d2h):
    data = np.arange(64, dtype=np.uint8)
    assert not host.chip.vdma.push(16, data)
    d2h.launch(1)
    assert host.chip.vdma.push(16, data)
    assert d2h.bytes[:64].tobytes() == data.tobytes()
    assert host.status() == 1 << 12
    assert host.bar0.read32(DESTINATION) == 1 << 16
    assert not host.chip.vdma.push(16, data)


def test_push_of_several_descriptors_waits_for_all(host, d2h):
    d2h.launch(2)
    data = bytes(range(150))
    assert not host.chip.vdma.push(16, data)
    assert d2h.num_processed == 0
    d2h.launch(1)
    assert host.chip.vdma.push(16, data)
    assert d2h.bytes[:150].tobytes() == data
    assert d2h.bytes[150:].sum() == 0
    assert d2h.num_processed == 3


@pytest.mark.parametrize("size", [64 * 7, 64 * 12 + 5])
def test_push_around_the_end_of_the_list(host, d2h, size):
    rng = np.random.default_rng(5)
    for _ in range(9):
        start = d2h.next
        d2h.launch(-(-size // 64))
        data = rng.integers(0, 256, size, np.uint8)
        assert host.chip.vdma.push(16, data)
        rolled = np.roll(d2h.bytes, -64 * start)
        assert rolled[:size].tobytes() == data.tobytes()


def test_float_arrays_are_pushed_as_bytes(host, d2h):
    d2h.launch(1)
    data = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert host.chip.vdma.push(16, data)
    assert d2h.bytes[:64].tobytes() == data.tobytes()


def test_directions(host, h2d, d2h):
    with pytest.raises(ValueError, match="other way"):
        host.chip.vdma.push(2, b"x")
    with pytest.raises(ValueError, match="other way"):
        host.chip.vdma.pull(16, 1)


# --- status write-back and interrupts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 9])
def test_status_write_back_where_asked(host, h2d, count):
    h2d.program([64] * count, last=0x2F)
    h2d.words[0, 0] = 64 << 8 | 0x03
    h2d.words[:count, 3] = 0
    h2d.launch(count)
    assert host.chip.vdma.pull(2, 64 * count) is not None
    assert h2d.words[:count, 3].tolist() == [1] + [0] * (count - 2) + [1]


@pytest.mark.parametrize("size", [70, 500])
def test_remaining_bytes_of_a_partly_filled_descriptor(host, d2h, size):
    descriptors = -(-size // 64)
    d2h.words[:, 0] = 64 << 8 | 0x2F
    d2h.launch(descriptors)
    assert host.chip.vdma.push(16, bytes(size))
    assert d2h.words[descriptors - 1, 3] == (64 * descriptors - size) << 8 | 1


@pytest.mark.parametrize(
    ("control", "interrupts"),
    [(0x02, False), (0x06, False), (0x22, False), (0x1E, False), (0x26, True), (0x2E, True), (0x3E, True)],
)
@pytest.mark.parametrize("count", [1, 8])
def test_host_interrupts_need_bits_2_and_5(host, h2d, control, interrupts, count):
    h2d.program([64] * count, last=control)
    h2d.launch(count)
    assert host.chip.vdma.pull(2, 64 * count) is not None
    assert (host.bar0.read32(SOURCE) == 4) is interrupts
    assert host.function.irq.wait(0) is interrupts


def test_an_interrupt_of_the_first_descriptor(host, h2d):
    h2d.program([64] * 8, last=0x02)
    h2d.words[0, 0] |= 0x2C
    h2d.launch(8)
    assert host.chip.vdma.pull(2, 512) is not None
    assert host.bar0.read32(SOURCE) == 4


# --- work callbacks ---------------------------------------------------------------------------------------------------


def test_work_is_announced_later_and_once(host, h2d):
    seen = []
    host.chip.vdma.on_work(seen.append)
    for _ in range(3):
        h2d.program([512])
        host.chip.bar_write(2, 0x42, 2, h2d.next + 1)
        h2d.next += 1
    assert seen == [] or len(seen) < 3
    host.twin.run_until_idle()
    count = len(seen)
    assert set(seen) == {2}
    host.bar2.write32(0x40, host.bar2.read32(0x40))
    host.twin.run_until_idle()
    assert len(seen) == count + 1, "still waiting descriptors are announced again"


def test_rewriting_the_same_word_is_not_a_restart(host, h2d):
    h2d.program([512])
    h2d.launch(1)
    host.chip.vdma.pull(2, 512)
    host.bar2.write32(0x40, host.bar2.read32(0x40))
    assert host.chip.vdma.available(2) == 0
    assert h2d.num_processed == 1


def test_closed_channels_announce_nothing(host, h2d):
    seen = []
    host.chip.vdma.on_work(seen.append)
    h2d.program([512])
    h2d.launch(1)
    host.chip.vdma.close_channel(2)
    host.twin.run_until_idle()
    assert seen == []
    assert host.chip.vdma.pull(2, 512) is None


# --- start, pause, abort ----------------------------------------------------------------------------------------------


def test_pause_and_resume(host, h2d):
    seen = []
    h2d.program([512])
    h2d.launch(1)
    host.chip.vdma.pause_channel(2)
    assert h2d.control == 3
    assert host.chip.vdma.pull(2, 512) is None
    host.twin.run_until_idle()
    host.chip.vdma.on_work(seen.append)
    host.chip.vdma.resume_channel(2)
    host.twin.run_until_idle()
    assert seen == [2]
    assert host.chip.vdma.pull(2, 512) is not None


def test_the_host_pauses_and_aborts(host, h2d):
    """The driver's own stop sequence (driver.md 6.2)."""
    h2d.program([512])
    h2d.launch(1)
    word = host.bar2.read32(0x40)
    host.bar2.write32(0x40, word | 3)
    assert host.chip.vdma.pull(2, 512) is None
    host.bar2.write32(0x40, word & ~3)
    assert not host.chip.vdma.is_open(2)
    assert host.chip.vdma.pull(2, 512) is None


def test_the_host_starts_a_channel(host, make_ring):
    """The driver's own start sequence (driver.md 6.2)."""
    ring = make_ring(5, 8, 64)
    ring.bytes[:] = 7
    half = 5 * 0x20
    host.bar2.write32(half + 8, ring.list.iova & 0xFFFF0000)
    host.bar2.write32(half + 0xC, ring.list.iova >> 32)
    host.bar2.write32(half, 3 << 11)
    host.bar2.write32(half, 3 << 11 | 1)
    ring.program([64, 64])
    ring.launch(2)
    assert bytes(host.chip.vdma.pull(5, 128)) == b"\7" * 128


def test_depth_may_not_change_while_running(host, h2d):
    with pytest.raises(TwinViolation):
        host.bar2.write32(0x40, 0x2801)


def test_launching_on_a_closed_channel_moves_nothing(host, h2d):
    host.chip.vdma.close_channel(2)
    h2d.program([512])
    h2d.launch(1)
    assert host.chip.vdma.pull(2, 512) is None
    assert h2d.num_available == 1


def test_close_is_idempotent_and_aborts(host, h2d):
    host.chip.vdma.close_channel(2)
    host.chip.vdma.close_channel(2)
    assert h2d.control == 0
    assert host.bar2.read32(0x50) & 3 == 0


# --- device-managed lists ---------------------------------------------------------------------------------------------


@pytest.fixture
def config_list(make_ring):
    """Channel 0 with groups of 64, 64, 512 and 100 bytes, as a configuration stream has them."""
    ring = make_ring(0, 5, 512)
    ring.bytes[:] = np.random.default_rng(9).integers(0, 256, len(ring.bytes), np.uint8)
    for i, size in enumerate((64, 64, 512, 100, 512)):
        ring.describe(i, size, ring.buffer.iova + 512 * i, 0x1E)
    ring.open(device_managed=True)
    return ring


def test_fetch_takes_each_descriptors_own_size(host, config_list):
    pages = config_list.bytes.reshape(5, 512)
    assert host.chip.vdma.fetch(0, 1) == pages[0, :64].tobytes()
    assert host.chip.vdma.fetch(0, 3) == pages[1, :64].tobytes() + pages[2].tobytes() + pages[3, :100].tobytes()
    assert host.status() == 0, "the device domain never interrupts the host"


def test_fetch_past_the_end(host, config_list):
    host.chip.vdma.fetch(0, 4)
    with pytest.raises(ChannelFault, match="fetch of 2"):
        host.chip.vdma.fetch(0, 2)
    assert config_list.error != 0


def test_fetch_of_nothing(host, config_list):
    assert host.chip.vdma.fetch(0, 0) == b""


def test_fetch_needs_a_managed_channel(host, h2d):
    with pytest.raises(ChannelFault, match="device-managed"):
        host.chip.vdma.fetch(2, 1)


def test_a_host_that_starts_a_config_channel_again_stops_the_fetch(host, config_list):
    word = host.bar2.read32(0)
    host.bar2.write32(0, word & ~1)
    host.bar2.write32(0, word)
    with pytest.raises(ChannelFault, match="device-managed"):
        host.chip.vdma.fetch(0, 1)
    assert config_list.error != 0


def test_a_tensor_between_contexts(host, make_ring):
    """Written by one channel and read by another over the same list, without the host."""
    ring = make_ring(17, 9, 512)
    for i in range(9):
        ring.describe(i, 512, ring.buffer.iova + 512 * i, 0x1E)
    ring.open(device_managed=True)
    host.chip.vdma.open_channel(3, list_address=ring.list.iova, desc_count=9, page_size=512, device_managed=True)
    frames = [bytes([n]) * 1024 for n in range(4)]
    for frame in frames:
        assert host.chip.vdma.push(17, frame)
    assert [bytes(host.chip.vdma.pull(3, 1024)) for _ in frames] == frames
    assert host.status() == 0


def test_host_writes_do_not_disturb_a_managed_channel(host, config_list):
    config_list.launch(2)
    assert host.chip.vdma.available(0) == 5


# --- hostile lists ----------------------------------------------------------------------------------------------------


def assert_stopped(host, ring, code):
    assert ring.error == code
    assert not host.chip.vdma.is_open(ring.channel)
    with_more = host.chip.vdma.pull(ring.channel, 512) if ring.channel < 16 else host.chip.vdma.push(ring.channel, b"x")
    assert not with_more


@pytest.mark.parametrize("address", [0x1_0000_8000, 0x40, 1 << 64])
def test_bad_list_addresses(host, address):
    with pytest.raises(ChannelFault, match="64 KiB"):
        host.chip.vdma.open_channel(1, list_address=address, desc_count=8, page_size=512)
    assert host.bar2.read32(0x28) & 0xFF != 0


@pytest.mark.parametrize("count", [0, 1, 65537])
def test_bad_list_lengths(host, count):
    with pytest.raises(ChannelFault, match="list of"):
        host.chip.vdma.open_channel(1, list_address=0x10000, desc_count=count, page_size=512)


@pytest.mark.parametrize("index", [-1, 32])
def test_channels_that_do_not_exist(host, index):
    with pytest.raises(ChannelFault, match="no such"):
        host.chip.vdma.close_channel(index)


def test_list_that_is_not_registered(host):
    host.chip.vdma.open_channel(1, list_address=0x77_0000_0000, desc_count=8, page_size=512)
    host.bar2.write32(0x20, host.bar2.read32(0x20) | 1 << 16)
    with pytest.raises(ChannelFault, match="unregistered"):
        host.chip.vdma.pull(1, 512)


@pytest.mark.parametrize("position", [0, 3, 9])
@pytest.mark.parametrize(
    ("size", "address_low", "code"), [(0, None, 2), (4097, None, 2), (0xFFFFFF, None, 2), (512, 4, 2), (512, 0x40, 4)]
)
def test_bad_descriptors_stop_the_channel_where_they_are(host, h2d, position, size, address_low, code):
    """Among ten descriptors, and asked to report errors (control 0x2E)."""
    h2d.program([512] * 10)
    if address_low == 0x40:
        h2d.describe(position, size, 0x66_0000_0040, 0x2E)
    else:
        h2d.words[position, 0] = size << 8 | 0x2E
        h2d.words[position, 1] |= address_low or 0
    h2d.launch(10)
    with pytest.raises(ChannelFault):
        host.chip.vdma.pull(2, 10 * 512)
    assert_stopped(host, h2d, code)
    if code == 2:
        assert h2d.num_processed == position
        assert h2d.words[position, 3] == 2, "error status"
    assert host.bar0.read32(SOURCE) == 4


def test_errors_interrupt_only_where_asked(host, h2d):
    h2d.program([512] * 2)
    h2d.describe(0, 512, 0x66_0000_0000, 0x02)
    h2d.launch(2)
    with pytest.raises(ChannelFault):
        host.chip.vdma.pull(2, 1024)
    assert host.status() == 0
    assert h2d.words[0, 3] == 2


def test_sizes_that_step_over_the_frame(host, h2d):
    h2d.program([512, 512])
    h2d.launch(2)
    with pytest.raises(ChannelFault, match="step over"):
        host.chip.vdma.pull(2, 784)


def test_descriptors_that_run_out_of_the_buffer(host, d2h):
    d2h.describe(0, 128, d2h.buffer.iova + len(d2h.bytes) - 64)
    d2h.launch(1)
    with pytest.raises(ChannelFault, match="unregistered"):
        host.chip.vdma.push(16, bytes(128))
    assert d2h.bytes.sum() == 0


def test_read_only_memory_is_not_written(host, d2h):
    read_only = host.dma.map(memoryview(bytearray(64)), DmaDirection.TO_DEVICE)
    d2h.describe(0, 64, read_only.iova, 0x2E)
    d2h.launch(1)
    with pytest.raises(ChannelFault, match="write of 64"):
        host.chip.vdma.push(16, b"\1" * 64)
    assert bytes(read_only.view) == bytes(64)


def test_memory_taken_away_is_out_of_reach(host, h2d):
    h2d.program([512])
    h2d.launch(1)
    h2d.buffer.close()
    with pytest.raises(ChannelFault, match="unregistered"):
        host.chip.vdma.pull(2, 512)


def test_a_list_taken_away_is_out_of_reach(host, h2d):
    h2d.program([512] * 2)
    h2d.launch(2)
    assert host.chip.vdma.pull(2, 512) is not None
    h2d.list.close()
    with pytest.raises(ChannelFault, match="list at unregistered"):
        host.chip.vdma.pull(2, 512)


def test_no_dma_without_bus_mastering(host, h2d):
    h2d.program([512])
    h2d.launch(1)
    host.function.config.write(0x04, 2, 0x0002)
    with pytest.raises(ChannelFault, match="bus mastering"):
        host.chip.vdma.pull(2, 512)
    assert_stopped(host, h2d, 8)


def test_faults_in_events_only_stop_the_channel(host, h2d):
    host.chip.vdma.on_work(lambda channel: host.chip.vdma.pull(channel, 512))
    h2d.program([512])
    h2d.buffer.close()
    h2d.launch(1)
    host.twin.run_until_idle()
    assert h2d.error == 4


def test_injected_descriptor_error(host, h2d):
    host.twin.faults.descriptor_errors[2] = 1
    for _ in range(2):
        h2d.program([512])
        h2d.launch(1)
    assert host.chip.vdma.pull(2, 512) is not None
    with pytest.raises(ChannelFault, match="injected"):
        host.chip.vdma.pull(2, 512)
    h2d.open()
    h2d.next = 0
    h2d.program([512])
    h2d.launch(1)
    assert host.chip.vdma.pull(2, 512) is not None
    assert h2d.error == 0


def test_stalled_channel(host, d2h):
    host.twin.faults.stalled_channels.add(16)
    d2h.launch(1)
    assert not host.chip.vdma.push(16, bytes(64))
    host.twin.faults.clear()
    assert host.chip.vdma.push(16, bytes(64))


# --- registered page by page -------------------------------------------------------------------------------------


class Pages:
    """Host memory registered in 4 KiB ranges that touch, as a guest behind an IOMMU registers it."""

    def __init__(self, base, pages):
        self.base, self.pages = base, [np.zeros(4096, np.uint8) for _ in range(pages)]
        self.read_only = set()

    def on_release(self, callback):
        pass

    def view(self, iova, size_bytes, *, write):
        page, offset = divmod(iova - self.base, 4096)
        if not 0 <= page < len(self.pages) or offset + size_bytes > 4096 or (write and page in self.read_only):
            return None
        return self.pages[page][offset : offset + size_bytes]

    def fill(self, offset, data):
        for i, byte in enumerate(data, offset):
            self.pages[i // 4096][i % 4096] = byte


def test_lists_and_buffers_across_touching_ranges(host):
    from openhailo.twin.blocks.vdma import VdmaBlock

    memory = Pages(0x10000, 16)
    count = 512  # the list takes two pages
    descriptors = np.zeros((count, 4), "<u4")
    address = 0x10000 + 0x2000 + 256 * np.arange(count) % 0x8000
    descriptors[:, 0], descriptors[:, 1] = 256 << 8 | 0x2F, address
    memory.fill(0, descriptors.tobytes())
    raised = []
    vdma = VdmaBlock(
        host.chip.spec,
        memory=memory,
        may_master=lambda: True,
        raise_channel=raised.append,
        schedule=lambda _delay, _action: None,
        faults=host.chip.faults,
        observers=host.chip.observers,
    )
    vdma.open_channel(16, list_address=0x10000, desc_count=count, page_size=256)
    vdma.write(0x210, 4, vdma.read(0x210) | 300 << 16)
    data = np.random.default_rng(4).integers(0, 256, 20 * 256, np.uint8)
    for start in range(0, 300, 20):
        if start < 280:
            assert vdma.push(16, data)
    assert raised == [16] * 14
    written = np.concatenate(memory.pages[2:10])
    expected = np.zeros(0x8000, np.uint8)
    stream = np.tile(data, 14)
    for start in range(0, len(stream), 0x8000):
        piece = stream[start : start + 0x8000]
        expected[: len(piece)] = piece
    assert written.tobytes() == expected.tobytes()
    status = np.concatenate(memory.pages[:2]).view("<u4").reshape(count, 4)[:, 3]
    assert status[:280].tolist() == [1] * 280
    assert status[280:].sum() == 0
    memory.read_only.add(4)
    vdma.open_channel(16, list_address=0x10000, desc_count=count, page_size=256)
    vdma.write(0x210, 4, vdma.read(0x210) | 300 << 16)
    with pytest.raises(ChannelFault):
        vdma.push(16, np.zeros(4 * 4096, np.uint8))
