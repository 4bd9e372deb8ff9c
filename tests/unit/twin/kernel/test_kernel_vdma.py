"""Lists, launch, interrupts of every release: literal descriptors, entries and errnos of driver.md 6 and 8.1."""

from __future__ import annotations

import errno
import struct

import numpy as np
import pytest
from tests.unit.twin.kernel.calls import fails, watch

from openhailo.twin.violation import TwinViolation


def words(client, iova, count):
    return client.twin.dma.view(iova, count * 16, write=True).view(np.uint32).reshape(count, 4)


def bind_errno(client):
    return errno.EINVAL if client.family in "CD" else errno.EFAULT


def running(make_ring, client, channel=2, **options):
    ring = make_ring(client, channel, **options)
    ring.open()
    client.enable(1 << channel)
    return ring


# --- lists ------------------------------------------------------------------------------------------------------------


def test_create(client):
    handle, iova = client.create(128, 512)
    assert (handle, iova % 0x10000) == (4096, 0)
    assert client.create(20, 512, circular=False)[0] == 8192
    assert client.call("LOW_ALLOC", struct.pack("<QQ", 100, 0))[1][8:] == struct.pack("<Q", 12288)


def test_create_refuses(client):
    fails(errno.EINVAL, client.create, 20, 512)
    fails(errno.EINVAL, client.create, 128, 500)
    large = errno.ENOBUFS if client.release >= "4.20" else errno.ENOMEM
    fails(large, client.create, 1 << 20, 512)
    fails(errno.EINVAL if client.release >= "4.19" else errno.ENOMEM, client.create, 0x80000001, 512, False)


def test_page_size_zero(client, make_memory):
    """Accepted, and divides by zero when bound (8.1 row 11)."""
    handle, _ = client.create(16, 0)
    buffer = client.map(make_memory(4096), 4096)
    with pytest.raises(TwinViolation):
        client.program(buffer, 4096, handle)


def test_release(client):
    handle, iova = client.create(16, 512)
    client.call("RELEASE", struct.pack("<Q", handle))
    assert client.twin.dma.view(iova, 16, write=False) is None
    fails(errno.EINVAL, client.call, "RELEASE", struct.pack("<Q", handle))


def test_program_binds(client, make_memory):
    handle, iova = client.create(16, 512)
    buffer = client.map(make_memory(4096), 4096)
    address = client.file.memory.mapped[buffer].iova
    list_words = words(client, iova, 16)
    list_words[:, 3] = 0xFFFF
    assert client.program(buffer, 1000, handle, offset=512, start=15, last=2) == 2
    last = 488 << 8 | (0x02 if client.family == "A" else 0x2E)
    assert list_words[15].tolist() == [512 << 8 | 2, (address + 512) & 0xFFFFFFC0, address >> 32, 0]
    assert list_words[0].tolist() == [last, address + 1024 & 0xFFFFFFC0, address >> 32, 0]


@pytest.mark.parametrize(
    ("domain", "debug", "control"),
    [(0, 0, 0x02), (1, 0, 0x1E), (2, 0, 0x2E), (3, 0, 0x3E), (0, 1, 0x02), (1, 1, 0x1F), (2, 1, 0x2F), (3, 1, 0x3F)],
)
def test_control_bytes(make_client, make_memory, domain, debug, control):
    client = make_client("4.18.0")
    handle, iova = client.create(16, 512)
    client.program(client.map(make_memory(4096), 4096), 784, handle, last=domain, debug=bool(debug))
    assert words(client, iova, 2)[:, 0].tolist() == [0x00020002, 0x00011000 | control]


def test_program_refuses(client, make_memory):
    handle, _ = client.create(16, 512)
    line, _ = client.create(16, 512, circular=False)
    buffer = client.map(make_memory(16384), 16384)
    fails(bind_errno(client), client.program, buffer, 512, handle, start=16)
    fails(bind_errno(client), client.program, buffer, 512, handle, offset=100)
    fails(errno.ERANGE, client.program, buffer, 17 * 512, handle)
    fails(errno.ERANGE, client.program, buffer, 1024, line, start=15)
    fails(errno.EFAULT, client.program, buffer, 16384, handle, offset=12288)
    fails(errno.EFAULT, client.program, buffer, 16385, handle)
    fails(errno.EFAULT, client.program, buffer + 1, 512, handle)
    fails(errno.EFAULT, client.program, buffer, 512, handle + 1)
    assert client.program(buffer, 1024, handle, start=15) == 2


def test_program_without_binding(make_client, make_memory):
    for release in ("4.18.0", "4.21.0"):
        client = make_client(release)
        handle, iova = client.create(16, 512)
        buffer = client.map(make_memory(8192), 8192)
        client.program(buffer, 8192, handle)
        list_words = words(client, iova, 16)
        list_words[:, 3] = 7
        before = list_words.copy()
        assert client.program(buffer, 1000, handle, start=3, bind=False, last=1) == 2
        before[4, 0] = 488 << 8 | 0x1E
        assert list_words.tolist() == before.tolist()


@pytest.mark.parametrize("release", ["4.21.0", "4.23.0"])
def test_batches(make_client, make_memory, release):
    client = make_client(release)
    handle, iova = client.create(16, 512)
    buffer = client.map(make_memory(8192), 8192)
    assert client.program(buffer, 784, handle, batch=0) == 0
    assert client.program(buffer, 784, handle, batch=3, last=2) == 6
    sizes = [512 << 8 | 2, 272 << 8 | 2] * 2 + [512 << 8 | 2, 272 << 8 | 0x2E]
    list_words = words(client, iova, 16)
    assert list_words[:6, 0].tolist() == sizes
    assert (list_words[:6, 1] - list_words[0, 1]).tolist() == [0, 512, 1024, 1536, 2048, 2560]


def test_endless_batch(make_client, make_memory):
    client = make_client("4.21.0")
    handle, _ = client.create(16, 512)
    buffer = client.map(make_memory(4096), 4096)
    with pytest.raises(TwinViolation):
        client.program(buffer, 512, handle, bind=False, batch=0xFFFFFFFF)
    fails(errno.EFAULT, client.program, buffer, 512, handle, batch=0xFFFFFFFF)


def test_list_of_no_descriptors(client, make_ring):
    ring = make_ring(client, 2)
    handle, _ = client.create(0, 512)
    span = (ring.buffer, ring.memory.address, 0, 512)
    with pytest.raises(TwinViolation):
        client.launch(2, handle, 0, [span])
    fails(bind_errno(client), client.program, ring.buffer, 512, handle)


def test_strides(make_client, make_memory):
    client = make_client("4.22.0")
    handle, iova = client.create(16, 512)
    buffer = client.map(make_memory(8192), 8192)
    assert client.program(buffer, 1024, handle, stride=100) == 2
    assert (words(client, iova, 2)[:, 0] >> 8).tolist() == [100, 100]
    fails(errno.EINVAL, client.program, buffer, 1000, handle, stride=100)
    fails(errno.EINVAL, client.program, buffer, 1024, handle, stride=600)


def test_pages_larger_than_scatter_entries(make_client, make_memory):
    """Short descriptors appear in the middle (8.1 row 13)."""
    client = make_client(segment_bytes=4096)
    handle, iova = client.create(16, 16384)
    buffer = client.map(make_memory(16384), 16384)
    assert client.program(buffer, 10000, handle) == 3
    assert (words(client, iova, 3)[:, 0] >> 8).tolist() == [4096, 4096, 1808]


# --- launch -----------------------------------------------------------------------------------------------------------


def test_launch_and_wait(client, make_ring):
    ring = running(make_ring, client)
    ring.memory.bytes[:784] = np.arange(784) % 251
    used, out = ring.launch(784)
    assert used == 2
    if client.family == "B":
        assert out[57:] == struct.pack("<Ii", 2, 0)
    assert ring.available == 2
    assert bytes(ring.pull(784)) == bytes(i % 251 for i in range(784))
    entry = {"A": "0002010200000001", "B": "00020101000001"}.get(client.family, "000201")
    assert [e.hex() for e in client.wait(1 << 2)] == [entry]
    assert ring.words[:2, 0].tolist() == [512 << 8 | 2] * 2


def test_launch_from_device(client, make_ring):
    ring = running(make_ring, client, 16)
    ring.launch(256)
    with client.twin.chip.loop.lock:
        assert client.twin.chip.vdma.push(16, bytes(range(256)))
    assert client.wait(1 << 16)[0][1] == 16
    assert bytes(ring.memory.bytes[:256]) == bytes(range(256))


def test_counter_shows_count_after_the_last_index(client, make_ring):
    """Hardware counts 1..count; the driver masks it (6.7, 10.4)."""
    ring = running(make_ring, client, count=4)
    for _ in range(2):
        ring.launch(1024)
        ring.pull(1024)
    assert client.twin.chip.vdma.read(0x44, 4) & 0xFFFF == 4
    (entry,) = client.wait(4)
    assert entry.hex() == {"A": "0002010000000001", "B": "00020102000001"}.get(client.family, "000202")


def test_launch_needs_a_running_channel(client, make_ring):
    ring = make_ring(client, 2)
    client.enable(4)
    if client.family == "A":
        fails(errno.EBUSY, ring.launch, 512, debug=True)
        assert ring.launch(512)[0] == 1  # nobody looks without debugging
    else:
        fails(errno.ECONNRESET, ring.launch, 512)


def test_launch_order(client, make_ring):
    ring = running(make_ring, client)
    other = make_ring(client, 2)
    ring.launch(512)
    fails(errno.EFAULT, ring.launch, 512, start=0)
    fails(errno.EINVAL, other.launch, 512, start=1)


def test_the_counter_must_be_the_drivers(client, make_ring):
    ring = running(make_ring, client)
    client.twin.chip.bar_write(2, 0x40, 4, client.twin.chip.vdma.read(0x40, 4) & 0xFFFF | 3 << 16)
    if client.family == "A":
        assert ring.launch(512)[0] == 1
    else:
        fails(errno.EFAULT, ring.launch, 512)


def test_launch_arguments(client, make_ring):
    ring = running(make_ring, client)
    span = (ring.buffer, ring.memory.address, 0, 512)
    fails(errno.EINVAL, client.launch, 32, ring.handle, 0, [span])
    fails(errno.EFAULT, client.launch, 2, ring.handle + 1, 0, [span])
    fails(errno.EINVAL, client.launch, 2, ring.handle, 0, [span] * (3 if client.family in "AB" else 9))
    beyond = (ring.buffer, ring.memory.address, 0, 65 * 4096)
    fails(errno.EINVAL if client.family in "AB" else errno.EFAULT, client.launch, 2, ring.handle, 0, [beyond])
    foreign = (ring.buffer + 7, ring.memory.address + (1 << 30), 0, 512)
    fails(errno.EFAULT, client.launch, 2, ring.handle, 0, [foreign])


def test_wrong_direction(client, make_ring):
    ring = make_ring(client, 2)
    span = (ring.buffer, ring.memory.address, 0, 512)
    fails(errno.EINVAL if client.family in "AB" else errno.EFAULT, client.launch, 16, ring.handle, 0, [span])


def test_several_buffers(client, make_ring):
    ring = running(make_ring, client)
    at = ring.memory.address
    spans = [(ring.buffer, at, 0, 700), (ring.buffer, at, 4096, 512)]
    assert client.launch(2, ring.handle, 0, spans, first=1)[0] == 3
    assert ring.words[:3, 0].tolist() == [512 << 8 | 0x1E, 188 << 8 | 2, 512 << 8 | 0x2E]


@pytest.mark.parametrize(("release", "code", "lands"), [("4.18.0", 14, 20), ("4.20.1", 14, 20), ("4.21.0", 22, 12)])
def test_a_failed_launch_moves_the_counter(make_client, make_ring, release, code, lands):
    """8.1 row 14, as it was seen: from 2 to 12 or 20."""
    client = make_client(release)
    ring = running(make_ring, client)
    ring.launch(784)
    fails(code, ring.launch, 512, offset=100)
    assert ring.available == lands
    assert len(client.driver.channels.states[2].ongoing) == 2


def test_a_failed_launch_of_417_moves_nothing(make_client, make_ring):
    client = make_client("4.17.1")
    ring = running(make_ring, client)
    fails(errno.EFAULT, ring.launch, 512, offset=100)
    assert ring.available == 0


def test_ring_of_transfers_is_full(client, make_ring):
    ring = running(make_ring, client, count=256, page=64, pages=4)
    for _ in range(127):
        ring.launch(64)
    fails(errno.EFAULT, ring.launch, 64)
    assert ring.available == 127


def test_debug_status_is_sticky(make_client, make_ring):
    """4.18-4.20: one bad transfer spoils the later channels of the call (6.7); 4.21 and later: only its own."""
    for release, sticky in (("4.18.0", True), ("4.21.0", False)):
        client = make_client(release)
        rings = [running(make_ring, client, channel) for channel in (1, 2)]
        for ring, debug in zip(rings, (True, False), strict=True):
            ring.launch(512, debug=debug)
            ring.pull(512)
        rings[0].words[0, 3] = 0  # the device never said "done"
        first, second = client.wait(0b110)
        if sticky:
            assert (first[-1], second[-1]) == (0, 0)
        else:
            assert (first[2], second[2]) == (0xFE, 1)


def test_debug_status_good(client, make_ring):
    ring = running(make_ring, client)
    ring.launch(512, debug=True)
    ring.pull(512)
    (entry,) = client.wait(4)
    assert entry[-1] == 1


def test_inactive_channel(client, make_ring):
    ring = running(make_ring, client)
    ring.launch(512)
    ring.pull(512)
    client.twin.chip.vdma.close_channel(2)
    (entry,) = client.wait(4)
    assert entry[2] == (0 if client.family in "AB" else 0xFF)
    assert not client.driver.channels.states[2].ongoing


# --- enable, disable, wait --------------------------------------------------------------------------------------------


def test_enable_twice(client, make_open):
    client.enable(0b110)
    fails(errno.EINVAL, client.enable, 0b100)
    fails(errno.EINVAL, make_open(client).enable, 0b010)
    client.disable(0b110)
    client.enable(0b110)


def test_disable_what_is_not_enabled(client):
    if client.family == "A":
        fails(errno.EINVAL, client.disable, 1)
    else:
        client.disable(1)


def test_interrupt_mask_follows_the_channels(client):
    def mask():
        return client.twin.chip.registers.values[0x188] & 0xFFFF

    always = 0xFFFF if client.family in "CD" else None
    client.enable(1 << 2 | 1 << 16)
    assert mask() == (always or 0x1001)
    client.disable(1 << 16)
    assert mask() == (always or 0x0001)


def test_disable_forgets(client, make_ring):
    """Up to 4.18 disabling one channel wipes all; from 4.19 on only that one (8.1 row 19)."""
    one, two = running(make_ring, client, 1), running(make_ring, client, 2)
    for ring in (one, two):
        ring.launch(512)
    client.disable(1 << 1)
    states = client.driver.channels.states
    assert (states[1].num_available, states[1].descriptors, len(states[1].ongoing)) == (0, None, 0)
    assert states[2].num_available == (0 if client.release < "4.19" else 1)
    assert one.words[0, 0] == 512 << 8 | 2
    assert two.words[0, 0] == 512 << 8 | (2 if client.release < "4.19" else 0x2E)


def test_wait_without_channels(client):
    fails(errno.EINVAL, client.wait, 0)


def test_wait_returns_where_a_channel_is_not_enabled(client):
    client.enable(1)
    assert client.wait(0b11) == []


def test_bits_from_before_enable_wake_the_first_wait(client, make_ring):
    """8.1 row 34: count 0."""
    with client.twin.chip.loop.lock:
        client.twin.chip.registers.values[0x188] |= 0xFFFF
        client.twin.chip.registers.raise_channel(2)
    client.twin.run_until_idle()
    client.enable(4)
    assert client.driver.channels.pending == 4
    assert client.wait(4) == []
    assert client.driver.channels.pending == 0


def test_pending_bits_of_others_stay(client, make_ring):
    ring = running(make_ring, client)
    ring.launch(512)
    ring.pull(512)
    client.twin.run_until_idle()
    client.enable(1)
    assert client.wait(0b1 | 1 << 5) == []  # 5 is not enabled
    assert client.driver.channels.pending == 4
    assert len(client.wait(4)) == 1


def test_disable_wakes_the_waiter(client):
    client.enable(0b101)
    waiter = watch(client, lambda: client.wait(0b101))
    client.disable(0b100)
    assert waiter() == []


def test_a_signal_wakes_the_waiter(client):
    client.enable(1)
    waiter = watch(client, lambda: client.wait(1))
    client.file.interrupt()
    assert waiter() == errno.EINTR


def test_hot_removal_does_not_wake_the_waiter(client):
    """8.1 row 36; a signal does."""
    client.enable(1)
    waiter = watch(client, lambda: client.wait(1))
    client.driver.remove()
    client.file.interrupt()
    assert waiter() == errno.EINTR


def test_the_waiter_runs_the_chip(client, make_ring):
    """A launch from another thread: firmware takes it and the waiter returns."""
    ring = running(make_ring, client)
    waiter = watch(client, lambda: client.wait(4))
    with client.twin.chip.loop.lock:
        client.twin.chip.vdma.on_work(lambda channel: client.twin.chip.vdma.pull(channel, 512))
    ring.launch(512)
    assert waiter()[0][1] == 2


def test_control_while_a_waiter_blocks(client):
    client.enable(1)
    waiter = watch(client, lambda: client.wait(1))
    assert client.control(b"0123456789" * 2) == b"9876543210" * 2
    client.twin.firmware.silent = True
    fails(errno.ETIMEDOUT, client.control, b"0123456789" * 2, timeout_ms=5)
    client.disable(1)
    assert waiter() == []


def test_timestamps(client, make_ring):
    ring = make_ring(client, 2)
    ring.open()
    client.enable(4, measure=True)
    for n in range(2):
        ring.launch(512, start=n)
        ring.pull(512)
        client.twin.run_until_idle()

    def read(channel=2, engine=0):
        out = client.call("TIMESTAMPS", bytes((engine, channel)))[1]
        (count,) = struct.unpack_from("<I", out, 2)
        return [struct.unpack_from("<QH", out, 6 + 10 * n) for n in range(count)]

    stamps = read()
    assert [done for _, done in stamps] == [1, 2]
    assert stamps[0][0] < stamps[1][0] <= client.twin.chip.clock.now_ns()
    assert read() == []
    fails(errno.EINVAL, read, 32)
    fails(errno.EINVAL, read, 0, 1)


def test_close_disables(client, make_open, make_ring):
    """From 4.19 on an open's own channels; up to 4.18 all, but only by the owner (1.3)."""
    other = make_open(client)
    running(make_ring, client, 1)
    other.enable(4)
    client.file.close()
    assert client.driver.channels.enabled == (0b110 if client.release < "4.19" else 0b100)
    other.call("IN_USE")
    if client.release >= "4.19":
        other.file.close()
        assert client.driver.channels.enabled == 0


def test_owner_closes_all_channels_before_419(make_client, make_open):
    client = make_client("4.18.0")
    make_open(client).enable(0b10)
    client.enable(0b100)
    client.call("IN_USE")
    client.file.close()
    assert client.driver.channels.enabled == 0


def test_memory_taken_away_in_flight(client, make_ring):
    """8.1 row 10: the kernel would use freed memory."""
    ring = running(make_ring, client)
    ring.launch(512)
    client.call("RELEASE", struct.pack("<Q", ring.handle))
    with pytest.raises(TwinViolation):
        client.disable(4)
    client.driver.channels.states[2].ongoing.clear()


def test_buffer_unmapped_in_flight(client, make_ring):
    ring = running(make_ring, client)
    ring.launch(512)
    ring.pull(512)
    client.call("UNMAP", struct.pack("<Q", ring.buffer))
    with pytest.raises(TwinViolation):
        client.wait(4)
