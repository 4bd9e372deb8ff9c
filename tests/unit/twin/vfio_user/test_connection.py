"""Framing, negotiation and commands; errors first (vfio-user.md 1-4, 13, 16)."""

from __future__ import annotations

import json
import os
import struct

import pytest

from openhailo.testing.vfio_user_client import CONFIG, QUIET, Closed, ErrorReply, make_memory

EINVAL, EEXIST, ENOSPC, EOPNOTSUPP = 22, 17, 28, 95
ID = bytes.fromhex("601e6428")


def refused(client, command, payload=b"", **how):
    """The errno of the error reply, which is a header only."""
    reply = client.call(command, payload, **how)
    assert reply.flags == 0x21
    assert reply.payload == b""
    return reply.errno


def cut_off(client):
    """Whether the server has closed the connection."""
    with pytest.raises(Closed):
        while client.receive() is not None:
            pass
    return True


def decode(client):
    """Switch memory decoding and bus mastering on."""
    client.write(CONFIG, 4, b"\x06\x00")


# --- the stream -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 15, 0x100021, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_header_with_an_impossible_size_ends_the_connection(bench, client, size):
    client.send_raw(struct.pack("<HHIII", 1, 4, size, 0, 0))
    assert cut_off(client)
    assert bench.server.clients == 0


@pytest.mark.parametrize("flags", [1, 2, 3, 0xF, 0x11, 0x21])
def test_replies_nobody_asked_for_and_unknown_types_end_the_connection(client, flags):
    client.send_raw(struct.pack("<HHIII", 1, 4, 16, flags, 0))
    assert cut_off(client)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", bytes(16)])
def test_garbage_ends_the_connection(bench, garbage):
    client = bench.connect(negotiate=False)
    client.send_raw(garbage)
    assert cut_off(client)


@pytest.mark.parametrize(("flags", "errno"), [(0x40, 0), (0x20, 0), (0x80000000, 0), (0, 5)])
def test_undefined_header_bits_are_refused(client, flags, errno):
    client.send(4, struct.pack("<IIII", 16, 0, 0, 0), flags=flags, errno=errno)
    assert client.receive().errno == EINVAL


def test_messages_in_single_bytes(client):
    message = struct.pack("<HHIII", 7, 9, 32, 0, 0) + struct.pack("<QII", 0, CONFIG, 4)
    for at in range(len(message)):
        client.send_raw(message[at : at + 1])
        assert (client.receive() is None) == (at + 1 < len(message))


def test_many_messages_in_one_piece(client):
    message = struct.pack("<HHIII", 7, 9, 32, 0, 0) + struct.pack("<QII", 0, CONFIG, 4)
    client.send_raw(message * 50)
    assert [client.receive().payload[16:] for _ in range(50)] == [ID] * 50


def test_a_message_cut_off_by_the_end_leaves_nothing_behind(bench, open_fds):
    before = open_fds()
    client = bench.connect()
    client.send_raw(struct.pack("<HHIII", 7, 2, 48, 0, 0), [0, 1])
    bench.settle()
    client.close()
    bench.settle()
    assert open_fds() == before
    assert bench.device.notices.counts["disconnect"] == 1


@pytest.mark.parametrize("command", [0, 6, 11, 12, 14, 16, 17, 18, 19, 255, 0xFFFF])
def test_unknown_commands_are_refused_and_the_stream_goes_on(client, command):
    assert refused(client, command, bytes(24)) == EOPNOTSUPP
    assert client.read(CONFIG, 0) == ID


def test_refused_commands_without_reply_stay_silent(client):
    client.send(99, flags=QUIET)
    client.send(9, flags=QUIET)
    assert client.receive() is None
    assert client.read(CONFIG, 0) == ID


def test_too_many_descriptors_end_the_connection(bench, open_fds):
    before = open_fds()
    client = bench.connect()
    client.send(2, struct.pack("<IIQQQ", 32, 3, 0, 0, 4096), fds=[0] * 9)
    assert cut_off(client)
    client.close()
    assert open_fds() == before


def test_descriptors_piled_up_on_one_message_end_the_connection(bench, open_fds):
    before = open_fds()
    client = bench.connect()
    message = struct.pack("<HHIII", 1, 2, 48, 0, 0) + bytes(32)
    for at in range(3):
        client.send_raw(message[at : at + 1], [0] * 4)
    assert cut_off(client)
    client.close()
    assert open_fds() == before


@pytest.mark.parametrize("command", [3, 4, 5, 7, 9, 10, 13, 99])
def test_descriptors_with_a_command_that_takes_none(client, open_fds, command):
    before = open_fds()
    assert refused(client, command, bytes(24), fds=[0, 1, 2]) == EINVAL
    assert open_fds() == before


def test_a_client_that_does_not_read_is_not_read_either(bench, client):
    ask = struct.pack("<HHIII", 7, 9, 32, 0, 0) + struct.pack("<QII", 0, CONFIG, 4096)
    client.sock.setblocking(False)
    sent = 0
    with pytest.raises(BlockingIOError):
        for _ in range(100_000):
            sent += client.sock.send(ask)
            if sent % (64 * len(ask)) == 0:
                bench.settle()
    answers = 0
    while client.receive() is not None:
        answers += 1
    assert answers == sent // len(ask)


def test_a_flood_of_posted_writes_is_eaten(bench, client):
    decode(client)
    for value in range(5000):
        client.post(0, 0x188, value.to_bytes(4, "little"))
        client.post(0, 0x44, b"nope")
    while bench.device.notices.counts["violation"] < 5000:
        bench.settle()
    assert client.read32(0, 0x188) == 4999


# --- negotiation ------------------------------------------------------------------------------------------------


def test_version(bench):
    client = bench.connect(negotiate=False)
    text = client.negotiate()
    assert text[-1:] == b"\0"
    assert len(text) + 20 <= 214
    assert json.loads(text[:-1]) == {
        "capabilities": {
            "max_msg_fds": 8,
            "max_data_xfer_size": 1048576,
            "max_dma_maps": 65535,
            "pgsizes": 4096,
            "write_multiple": True,
        }
    }


@pytest.mark.parametrize("text", [b"", b"\0", b"{}\0", b'{"other": 1}\0', b'{"capabilities": {"new": [1]}}\0'])
def test_capabilities_are_optional(bench, text):
    bench.connect(negotiate=False).negotiate(text)


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b"{\0",
        b"\xff\xfe\0",
        b"[]\0",
        b"3\0",
        b"{}\0{}\0",
        b'{"capabilities": []}\0',
        b'{"capabilities": {"max_msg_fds": "8"}}\0',
        b'{"capabilities": {"max_msg_fds": -1}}\0',
        b'{"capabilities": {"max_msg_fds": true}}\0',
        b'{"capabilities": {"max_data_xfer_size": 1e99}}\0',
        b'{"capabilities": {"max_data_xfer_size": 0}}\0',
        b'{"capabilities": {"max_data_xfer_size": ' + b"9" * 4000 + b".5}}\0",
        b'{"capabilities": {"write_multiple": 1}}\0',
        b'{"capabilities": ' + b"[" * 2000 + b"]" * 2000 + b"}\0",
        b'{"capabilities": {"x": "' + b"y" * 5000 + b'"}}\0',
    ],
)
def test_bad_capabilities_end_the_connection(bench, text):
    client = bench.connect(negotiate=False)
    with pytest.raises(ErrorReply, match="22"):
        client.negotiate(text)
    assert cut_off(client)


def test_another_protocol_version_ends_the_connection(bench):
    client = bench.connect(negotiate=False)
    with pytest.raises(ErrorReply, match="22"):
        client.negotiate(major=1)
    assert cut_off(client)


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\0\0"])
def test_short_version(bench, payload):
    client = bench.connect(negotiate=False)
    assert refused(client, 1, payload) == EINVAL
    assert cut_off(client)


def test_anything_before_version_ends_the_connection(bench):
    client = bench.connect(negotiate=False)
    assert refused(client, 13) == EINVAL
    assert cut_off(client)


def test_a_second_version_ends_the_connection(client):
    with pytest.raises(ErrorReply, match="22"):
        client.negotiate()
    assert cut_off(client)


# --- device, regions, interrupts --------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "size"), [(2, 32), (3, 24), (4, 16), (5, 32), (7, 16), (8, 20), (9, 16), (10, 16)])
@pytest.mark.parametrize("change", [-1, 1, "empty", "argsz"])
def test_fixed_sizes(client, command, size, change):
    good = struct.pack("<I", size) + bytes(size - 4)
    payload = {-1: good[:-1], 1: good + b"\0", "empty": b"", "argsz": struct.pack("<I", size - 1) + good[4:]}[change]
    assert refused(client, command, payload) == EINVAL
    assert client.read(CONFIG, 0) == ID


def test_reset_has_no_payload(client):
    assert refused(client, 13, b"\0") == EINVAL


def test_device_info(client):
    assert client.ask(4, struct.pack("<IIII", 16, 0, 0, 0)) == struct.pack("<IIII", 16, 3, 9, 5)


def test_region_info(client):
    seen = [client.region_info(index) for index in range(9)]
    assert all(row[0] == 32 and row[2] == index and row[3] == row[5] == 0 for index, row in enumerate(seen))
    assert [(row[1], row[4]) for row in seen] == [
        (3, 0x4000), (0, 0), (3, 0x1000), (0, 0), (3, 0x4000), (0, 0), (0, 0), (3, 0x1000), (0, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("index", [9, 255, 0xFFFFFFFF])
def test_no_such_region(client, index):
    assert refused(client, 5, struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0)) == EINVAL
    assert refused(client, 9, struct.pack("<QII", 0, index, 4)) == EINVAL
    assert refused(client, 10, struct.pack("<QII", 0, index, 4) + bytes(4)) == EINVAL


def test_irq_info(client):
    assert [client.irq_info(index)[3] for index in (0, 1, 2)] == [0, 1, 0]
    assert client.irq_info(1)[1] & 1
    for index in (3, 4, 5, 0xFFFFFFFF):
        with pytest.raises(ErrorReply, match="22"):
            client.irq_info(index)


@pytest.mark.parametrize(
    ("region", "offset", "count"),
    [
        (0, 0x3FFE, 4),
        (0, 0x4000, 4),
        (0, 0x3FFC, 8),
        (0, 0xFFFFFFFFFFFFFFFC, 4),
        (0, 0xFFFFFFFFFFFFFFFF, 1),
        (0, 0, 0),
        (0, 0, 3),
        (0, 0, 16),
        (0, 2, 4),
        (0, 4, 8),
        (0, 1, 2),
        (1, 0, 4),
        (6, 0, 4),
        (8, 0, 1),
        (CONFIG, 0x1000, 1),
        (CONFIG, 0, 4097),
        (CONFIG, 0, 0),
        (CONFIG, 0, 0x200000),
        (CONFIG, 0, 0xFFFFFFFF),
    ],
)
def test_accesses_outside_and_of_odd_widths(client, region, offset, count):
    decode(client)
    assert refused(client, 9, struct.pack("<QII", offset, region, count)) == EINVAL
    if count < 5000:
        assert refused(client, 10, struct.pack("<QII", offset, region, count) + bytes(count)) == EINVAL


@pytest.mark.parametrize(("count", "data"), [(4, 3), (4, 5), (0xFFFFFFFF, 4), (0, 4)])
def test_a_write_whose_count_is_not_its_data(client, count, data):
    assert refused(client, 10, struct.pack("<QII", 0x188, 0, count) + bytes(data)) == EINVAL


def test_the_last_dword_is_readable(client):
    decode(client)
    assert len(client.read(0, 0x3FFC)) == 4
    assert client.read(CONFIG, 0xFFF, 1) == b"\0"


def test_where_no_register_is_the_bus_reads_all_ones(bench, client):
    decode(client)
    assert client.read32(0, 0x44) == 0xFFFFFFFF
    client.write(0, 0x44, bytes(4))
    assert bench.device.notices.counts["violation"] == 2


def test_eight_bytes_are_two_dwords(client):
    decode(client)
    assert client.read(0, 0x98, 8)[:4] == ID
    client.write(0, 0x188, struct.pack("<II", 0x1234, 0))
    assert client.read32(0, 0x188) == 0x1234


def test_configuration_space_at_any_alignment(client):
    whole = client.read(CONFIG, 0, 4096)
    assert whole[:4] == ID
    for offset, count in ((0, 1), (1, 3), (3, 8), (0x7F, 33), (0xFFD, 3)):
        assert client.read(CONFIG, offset, count) == whole[offset : offset + count]


def test_a_posted_write_is_seen_by_the_next_read_and_not_answered(client):
    decode(client)
    client.post(0, 0x188, b"\x01\x02\x03\x00")
    assert client.receive() is None
    assert client.read(0, 0x188) == b"\x01\x02\x03\x00"


def test_many_writes_in_one_message_keep_their_place(client):
    decode(client)
    client.post(0, 0x188, struct.pack("<I", 1))
    client.post_many([(0, 0x188, struct.pack("<I", 2)), (9, 0, b"1234"), (0, 0x4000, b"1234"), (0, 0x188, b"\3\0\0\0")])
    assert client.read32(0, 0x188) == 3
    client.post(0, 0x188, struct.pack("<I", 4))
    assert client.read32(0, 0x188) == 4


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(7),
        struct.pack("<Q", 1),
        struct.pack("<Q", 0) + bytes(24),
        struct.pack("<Q", 1) + bytes(25),
        struct.pack("<Q", 1 << 63) + bytes(24),
        struct.pack("<Q", 201) + bytes(24 * 201),
    ],
)
def test_bad_lists_of_writes(bench, client, payload):
    client.send(15, payload, flags=QUIET)
    assert client.receive() is None
    assert bench.device.notices.counts["refused"] == 1


def test_an_entry_of_a_list_of_writes_has_eight_bytes_at_most(bench, client):
    client.send(15, struct.pack("<Q", 1) + struct.pack("<QII8s", 0, CONFIG, 9, b""), flags=QUIET)
    assert client.receive() is None
    assert bench.device.notices.counts["refused"] == 1


def test_a_list_of_writes_is_always_posted(client):
    assert refused(client, 15, struct.pack("<Q", 0)) == EOPNOTSUPP


# --- SET_IRQS ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "index", "start", "count", "data", "fds"),
    [
        (0, 1, 0, 1, b"", 0),
        (0x20, 1, 0, 1, b"", 0),
        (0x04, 1, 0, 1, b"", 1),
        (0x25, 1, 0, 1, b"", 1),
        (0x3C, 1, 0, 1, b"", 1),
        (0x64, 1, 0, 1, b"", 1),
        (0x24, 0, 0, 1, b"", 1),
        (0x24, 2, 0, 1, b"", 1),
        (0x24, 3, 0, 1, b"", 1),
        (0x24, 4, 0, 1, b"", 1),
        (0x24, 5, 0, 1, b"", 1),
        (0x24, 0xFFFFFFFF, 0, 1, b"", 1),
        (0x24, 1, 1, 1, b"", 1),
        (0x24, 1, 0, 2, b"", 2),
        (0x24, 1, 0xFFFFFFFF, 1, b"", 1),
        (0x24, 1, 0, 0xFFFFFFFF, b"", 1),
        (0x24, 1, 0, 1, b"", 2),
        (0x24, 1, 0, 0, b"", 0),
        (0x24, 1, 0, 1, b"x", 1),
        (0x21, 1, 0, 1, b"", 1),
        (0x21, 1, 1, 0, b"", 0),
        (0x22, 1, 0, 1, b"", 0),
        (0x22, 1, 0, 1, b"12", 0),
        (0x22, 1, 0, 1, b"1", 1),
        (0x09, 1, 0, 1, b"", 0),
        (0x11, 1, 0, 1, b"", 0),
        (0x11, 0, 0, 1, b"", 0),
    ],
)
def test_bad_interrupt_settings(client, open_fds, flags, index, start, count, data, fds):
    with_fds = [os.eventfd(0) for _ in range(fds)]
    before = open_fds()
    payload = struct.pack("<IIIII", 20 + len(data), flags, index, start, count) + data
    assert refused(client, 8, payload, fds=with_fds) == EINVAL
    assert open_fds() == before
    for fd in with_fds:
        os.close(fd)


def test_only_an_eventfd_can_be_a_vector(client, open_fds):
    before = open_fds()
    reader, writer = os.pipe()
    for fd in (reader, writer, 0):
        with pytest.raises(ErrorReply, match="22"):
            client.set_irqs(0x24, 1, 0, 1, fds=[fd])
    os.close(reader)
    os.close(writer)
    assert open_fds() == before


def test_interrupts_on_off_and_replaced(client, open_fds):
    eventfds = [os.eventfd(0) for _ in range(2)]
    before = open_fds()
    for round_number in range(6):
        client.set_irqs(0x24, 1, 0, 1, fds=[eventfds[round_number % 2]])
        assert open_fds() == before + 1
    client.set_irqs(0x24, 1, 0, 1)
    assert open_fds() == before
    client.set_irqs(0x24, 1, 0, 1, fds=eventfds[:1])
    client.set_irqs(0x21, 1, 0, 0)
    client.set_irqs(0x21, 0, 0, 0)
    assert open_fds() == before
    for fd in eventfds:
        os.close(fd)


def test_a_full_eventfd_blocks_nobody(client):
    eventfd = os.eventfd(0)
    client.set_irqs(0x24, 1, 0, 1, fds=[eventfd])
    os.eventfd_write(eventfd, 0xFFFFFFFFFFFFFFFE)
    client.set_irqs(0x21, 1, 0, 1)
    assert os.eventfd_read(eventfd) == 0xFFFFFFFFFFFFFFFE
    client.set_irqs(0x22, 1, 0, 1, b"\0")
    client.set_irqs(0x22, 1, 0, 1, b"\1")
    assert os.eventfd_read(eventfd) == 1
    os.close(eventfd)


# --- memory -----------------------------------------------------------------------------------------------------

PAGE = 4096


@pytest.fixture
def memory():
    fd, view = make_memory(16 * PAGE)
    yield fd
    view.close()
    os.close(fd)


@pytest.mark.parametrize(
    ("flags", "offset", "address", "size", "error"),
    [
        (0, 0, 0, PAGE, EINVAL),
        (4, 0, 0, PAGE, EINVAL),
        (7, 0, 0, PAGE, EINVAL),
        (3, 0, 0, 0, EINVAL),
        (3, 0, 0, 100, EINVAL),
        (3, 0, 100, PAGE, EINVAL),
        (3, 100, 0, PAGE, EINVAL),
        (3, 0, 0xFFFFFFFFFFFFF000, 2 * PAGE, EINVAL),
        (3, 0, PAGE, 0xFFFFFFFFFFFFF000, EINVAL),
        (3, 0, 0, 17 * PAGE, EINVAL),
        (3, 16 * PAGE, 0, PAGE, EINVAL),
        (3, 0xFFFFFFFFFFFFF000, 0, PAGE, EINVAL),
        (3, 0x7FFFFFFFFFFFF000, 0, PAGE, EINVAL),
    ],
)
def test_bad_ranges(bench, client, memory, open_fds, flags, offset, address, size, error):
    before = open_fds()
    assert refused(client, 2, struct.pack("<IIQQQ", 32, flags, offset, address, size), fds=[memory]) == error
    assert open_fds() == before
    assert len(bench.device.memory) == 0


@pytest.mark.parametrize(("address", "pages"), [(4, 1), (3, 2), (5, 4), (0, 16), (7, 2), (4, 4)])
def test_overlapping_ranges(bench, client, memory, address, pages):
    client.map(4 * PAGE, 4 * PAGE, memory)
    with pytest.raises(ErrorReply, match=str(EEXIST)):
        client.map(address * PAGE, pages * PAGE, memory)
    assert len(bench.device.memory) == 1


def test_two_descriptors_for_one_range(client, memory):
    assert refused(client, 2, struct.pack("<IIQQQ", 32, 3, 0, 0, PAGE), fds=[memory, memory]) == EINVAL


def test_a_range_must_be_a_file(client):
    reader, writer = os.pipe()
    for fd in (reader, writer):
        with pytest.raises(ErrorReply, match="22"):
            client.map(0, PAGE, fd)
        os.close(fd)


def test_a_file_that_may_not_be_written(client, tmp_path):
    path = tmp_path / "ram"
    path.write_bytes(bytes(PAGE))
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(ErrorReply, match="22"):
        client.map(0, PAGE, fd)
    client.map(0, PAGE, fd, flags=1)
    os.close(fd)


def test_too_many_files_and_too_many_bytes(client, open_fds):
    fds = [make_memory(PAGE)[0] for _ in range(257)]
    for index in range(256):
        client.map(index * PAGE, PAGE, fds[index])
    with pytest.raises(ErrorReply, match=str(ENOSPC)):
        client.map(256 * PAGE, PAGE, fds[256])
    client.unmap(0, 1 << 63)
    client.map(256 * PAGE, PAGE, fds[256])
    os.truncate(huge := os.memfd_create("huge"), 1 << 43)
    with pytest.raises(ErrorReply, match=str(ENOSPC)):
        client.map(0, PAGE, huge)
    for fd in (*fds, huge):
        os.close(fd)


def test_the_number_of_ranges_is_bounded(bench, client):
    for index in range(65535):
        bench.device.memory.map(index * PAGE, PAGE, 3, 0, None)
    with pytest.raises(ErrorReply, match=str(ENOSPC)):
        client.map(65535 * PAGE, PAGE)


def test_the_descriptor_goes_with_its_own_range(bench, client, memory):
    """A range without and one with descriptor, back to back in the stream."""
    rom = struct.pack("<HHIII", 1, 2, 48, 0, 0) + struct.pack("<IIQQQ", 32, 1, 0, 0xFFFC0000, 0x40000)
    ram = struct.pack("<HHIII", 2, 2, 48, 0, 0) + struct.pack("<IIQQQ", 32, 3, 0, 0, 4 * PAGE)
    client.send_raw(rom)
    client.send_raw(ram, [memory])
    assert [client.receive().flags for _ in range(2)] == [1, 1]
    assert bench.device.memory.view(0xFFFC0000, 16, write=False) is None
    assert bench.device.memory.view(0, 4 * PAGE, write=True) is not None


@pytest.mark.parametrize(("flags", "address", "size"), [(1, 0, PAGE), (3, 0, 0), (4, 0, 0), (2, PAGE, 0), (2, 0, PAGE)])
def test_bad_unmaps(client, flags, address, size):
    assert refused(client, 3, struct.pack("<IIQQ", 24, flags, address, size)) == EINVAL


def test_an_unmap_beyond_the_end_of_addresses(client):
    assert refused(client, 3, struct.pack("<IIQQ", 24, 0, 0xFFFFFFFFFFFFF000, 2 * PAGE)) == EINVAL


def test_what_unmap_takes(bench, client, memory, open_fds):
    before = open_fds()
    client.unmap(0, PAGE)  # nothing there
    for page in (0, 1, 2, 8):
        client.map(page * PAGE, PAGE, memory, offset=page * PAGE)
    assert open_fds() == before + 1  # one mapping of the file
    client.unmap(PAGE, 0xFFFFFFFFFFFFF000)  # ends exactly at 2**64
    assert len(bench.device.memory) == 1
    client.map(4 * PAGE, 4 * PAGE, memory)
    client.unmap(5 * PAGE, 3 * PAGE)  # part of a range: stays
    client.unmap(3 * PAGE, 4 * PAGE)
    assert len(bench.device.memory) == 2
    client.unmap(0, 0, flags=2)
    assert len(bench.device.memory) == 0
    assert open_fds() == before


def test_a_file_that_has_grown_is_mapped_anew(bench, client):
    fd, view = make_memory(PAGE, seal=False)
    client.map(0, PAGE, fd)
    os.truncate(fd, 4 * PAGE)
    client.map(PAGE, 3 * PAGE, fd, offset=PAGE)
    bench.device.memory.view(3 * PAGE, 1, write=True)[:] = 7
    assert os.pread(fd, 1, 3 * PAGE) == b"\7"
    client.unmap(0, 4 * PAGE)
    view.close()
    os.close(fd)


def test_read_only_ranges_cannot_be_written(bench, client, memory):
    client.map(0, PAGE, memory, flags=1)
    assert bench.device.memory.view(0, 4, write=True) is None
    assert not bench.device.memory.view(0, 4, write=False).flags.writeable
    client.map(PAGE, PAGE, memory, flags=2)
    assert bench.device.memory.view(PAGE, 4, write=False) is None
    assert bench.device.memory.view(PAGE, 4, write=True) is not None


def test_views_end_with_their_range(bench, client, memory):
    client.map(PAGE, PAGE, memory)
    table = bench.device.memory
    assert table.view(0, 1, write=False) is None
    assert table.view(PAGE, PAGE, write=False) is not None
    assert table.view(PAGE, PAGE + 1, write=False) is None
    assert table.view(2 * PAGE, 1, write=False) is None


def test_reset_keeps_memory_and_eventfds(bench, client, memory, open_fds):
    client.map(0, PAGE, memory)
    eventfd = os.eventfd(0)
    client.set_irqs(0x24, 1, 0, 1, fds=[eventfd])
    before = open_fds()
    decode(client)
    client.write32(0, 0x188, 5)
    client.reset()
    assert open_fds() == before
    assert len(bench.device.memory) == 1
    decode(client)
    assert client.read32(0, 0x188) == 0
    os.close(eventfd)
