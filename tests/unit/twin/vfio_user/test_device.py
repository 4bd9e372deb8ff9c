"""The chip behind the socket: interrupts, DMA with and without files, resets, power, unplugging (vfio-user.md 5-12)."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading

import numpy as np
import pytest

from openhailo.testing.vfio_user_client import CONFIG, Closed, VfioUserClient, make_memory
from openhailo.twin.board import ChannelFault, LoadedImage
from openhailo.twin.clock import SteppedClock
from openhailo.twin.ports.vfio_user.device import ServedDevice
from openhailo.twin.ports.vfio_user.server import Server

PAGE = 4096
LIST, DATA = 0x10000, 0x20000
STATUS, CONTROL_DONE = 0x18C, 0x04000000
IDENTIFY = struct.pack(">IIIII", 2, 1, 0, 0, 0)
ALL_ONES = 0xFFFFFFFF


def start(bench, client):
    """Firmware runs; decoding, mastering and MSI are on. Returns the eventfd of the message."""
    chip = bench.device.chip
    with chip.loop.lock:
        chip.start_firmware(LoadedImage((4, 23, 0), b"", (4, 23, 0), b""))
    client.write(CONFIG, 4, b"\x06\x04")
    client.write(CONFIG, 0xE2, b"\x81\x00")
    eventfd = os.eventfd(0, os.EFD_NONBLOCK)
    client.set_irqs(0x24, 1, 0, 1, fds=[eventfd])
    client.write32(0, 0x188, 0xFF00FFFF)
    return eventfd


def messages(eventfd):
    """How many messages came since the last look."""
    try:
        return os.eventfd_read(eventfd)
    except BlockingIOError:
        return 0


def ask(client, request):
    """Put a control into the mailbox and ring (driver.md 3)."""
    block = hashlib.md5(request).digest() + struct.pack("<I", len(request)) + request
    for at in range(0, len(block), 4):
        client.post(4, at, block[at : at + 4].ljust(4, b"\0"))
    client.write32(4, 0x1684, 1)


def test_what_qemu_does_at_creation(bench):
    config = bench.connect(negotiate=False).create_device()
    assert config[:4] == bytes.fromhex("601e6428")
    assert not bench.device.notices.counts


def test_a_control_is_answered_with_a_message(bench, client):
    eventfd = start(bench, client)
    ask(client, IDENTIFY)
    bench.settle()
    assert messages(eventfd) == 1
    assert client.read32(0, STATUS) == CONTROL_DONE
    length = client.read32(4, 0x650)
    answer = b"".join(client.read(4, 0x654 + at) for at in range(0, length, 4))[:length]
    digest = b"".join(client.read(4, 0x640 + at) for at in range(0, 16, 4))
    assert digest == hashlib.md5(answer).digest()
    os.close(eventfd)


@pytest.mark.parametrize("off", ["eventfd", "msi", "master", "sleep"])
def test_no_message_but_the_status_register_where_it_cannot_be_sent(bench, client, off):
    eventfd = start(bench, client)
    ask(client, IDENTIFY)
    bench.settle()
    assert messages(eventfd) == 1
    client.write32(0, STATUS, ALL_ONES)
    switch = {
        "eventfd": lambda: client.set_irqs(0x21, 1, 0, 0),
        "msi": lambda: client.write(CONFIG, 0xE2, b"\x80\x00"),
        "master": lambda: client.write(CONFIG, 4, b"\x02\x04"),
        "sleep": lambda: client.write(CONFIG, 0xFC, b"\x03\x00"),
    }
    chip = bench.device.chip
    switch[off]()
    with chip.loop.lock:
        chip.registers.raise_status(CONTROL_DONE)
    assert messages(eventfd) == 0
    client.write(CONFIG, 0xFC, bytes(4))
    assert client.read32(0, STATUS) == CONTROL_DONE
    os.close(eventfd)


# --- DMA --------------------------------------------------------------------------------------------------------


def descriptors(count, size, address):
    """A list of ``count`` pages of ``size`` bytes (driver.md 6.3)."""
    return b"".join(struct.pack("<IIII", size << 8 | 2, address + i * size, 0, 0) for i in range(count))


def open_channel(bench, client, channel=2):
    """Program a ring of 8 pages of 512 bytes and make 4 of them available."""
    vdma = bench.device.chip.vdma
    vdma.open_channel(channel, list_address=LIST, desc_count=8, page_size=512)
    half = channel * 0x20 + (0x10 if channel >= 16 else 0)
    word = client.read32(2, half)
    client.write32(2, half, word & 0xFFFF | 4 << 16)
    bench.settle()
    return vdma


@pytest.fixture
def ram():
    """Guest memory."""
    fd, view = make_memory(0x40000)
    view[LIST : LIST + 128] = descriptors(8, 512, DATA)
    yield fd, view
    view.close()
    os.close(fd)


FRAME = bytes(n % 251 for n in range(2048))


def test_dma_through_a_file(bench, client, ram):
    fd, view = ram
    os.close(start(bench, client))
    client.map(0, 0x40000, fd)
    view[DATA : DATA + 2048] = FRAME
    vdma = open_channel(bench, client)
    assert bytes(vdma.pull(2, 2048)) == FRAME
    assert open_channel(bench, client, 16).push(16, np.frombuffer(FRAME[::-1], np.uint8))
    assert view[DATA : DATA + 2048] == FRAME[::-1]


def test_dma_across_ranges_that_touch(bench, client, ram):
    """As behind an IOMMU: every page is a range of its own, out of order in the file."""
    fd, view = ram
    os.close(start(bench, client))
    client.map(LIST, PAGE, fd, offset=LIST)
    view[LIST : LIST + 128] = descriptors(8, 512, DATA + PAGE - 1024)
    client.map(DATA, PAGE, fd, offset=0x30000)
    client.map(DATA + PAGE, PAGE, fd, offset=0x8000)
    assert open_channel(bench, client, 16).push(16, np.frombuffer(FRAME, np.uint8))
    assert view[0x30C00:0x31000] + view[0x8000:0x8400] == FRAME


@pytest.mark.parametrize("how", ["read only", "unmapped", "not master"])
def test_refused_dma(bench, client, ram, how):
    fd, view = ram
    os.close(start(bench, client))
    client.map(0, DATA, fd)
    if how != "unmapped":
        client.map(DATA, 0x20000, fd, offset=DATA, flags=1 if how == "read only" else 3)
    vdma = open_channel(bench, client, 16)
    if how == "not master":
        client.write(CONFIG, 4, b"\x02\x04")
    with pytest.raises(ChannelFault):
        vdma.push(16, np.frombuffer(FRAME, np.uint8))
    assert view[DATA : DATA + 2048] == bytes(2048)


def test_an_unmapped_list_is_let_go(bench, client, ram):
    fd, _ = ram
    os.close(start(bench, client))
    client.map(0, 0x40000, fd)
    vdma = open_channel(bench, client)
    assert vdma.pull(2, 512) is not None
    client.unmap(0, 0x40000)
    with pytest.raises(ChannelFault):
        vdma.pull(2, 512)


class Guest:
    """A client that owns memory without a file, and answers requests for it from a thread of its own."""

    def __init__(self, bench, answer=None):
        ours, theirs = socket.socketpair()
        bench.server.adopt(bench.device, ours)
        self.memory = bytearray(0x40000)
        self.memory[LIST : LIST + 128] = descriptors(8, 512, DATA)
        self.memory[DATA : DATA + 2048] = FRAME
        self.requests = []
        self.leaves = False  # the thread ends after its answer
        self.settle = bench.settle
        self.client = VfioUserClient(theirs, bench.settle)
        bench.clients.append(self.client)
        self.client.negotiate()
        os.close(start(bench, self.client))
        self.client.map(0, 0x40000)
        self.answer = answer or self.obey

    def run_while(self, work):
        """Do ``work`` while a thread answers; returns its result."""
        self.client._step = None
        self.client.sock.settimeout(10)
        thread = threading.Thread(target=self.serve)
        thread.start()
        try:
            return work()
        finally:
            if not self.leaves:
                self.client.sock.shutdown(socket.SHUT_RD)
            thread.join()
            self.client.sock.settimeout(0)
            self.client._step = self.settle

    def serve(self):
        try:
            while not self.leaves:
                request = self.client.receive()
                self.requests.append(request)
                self.answer(request)
        except Closed:
            return

    def obey(self, request, errno=0):
        address, count = struct.unpack_from("<QQ", request.payload)
        payload = request.payload[:16]
        if request.command == 11:
            payload += bytes(self.memory[address : address + count])
        else:
            self.memory[address : address + count] = request.payload[16:]
        self.reply(request, payload)

    def reply(self, request, payload=b"", errno=0):
        flags = 0x21 if errno else 1
        header = struct.pack("<HHIII", request.id, request.command, 16 + len(payload), flags, errno)
        self.client.send_raw(header + payload)


def pull(bench, guest):
    """Open the channel and read a frame from the device's side."""
    vdma = bench.device.chip.vdma
    vdma.open_channel(2, list_address=LIST, desc_count=8, page_size=512)
    bench.device.write(2, 0x42, b"\4\0")
    return vdma.pull(2, 2048)


def test_dma_by_message(bench):
    guest = Guest(bench)
    assert bytes(guest.run_while(lambda: pull(bench, guest))) == FRAME
    assert {request.command for request in guest.requests} == {11}
    assert sum(len(request.payload) for request in guest.requests) == 16 * len(guest.requests)


def test_device_writes_by_message(bench):
    guest = Guest(bench)

    def push():
        vdma = bench.device.chip.vdma
        vdma.open_channel(16, list_address=LIST, desc_count=8, page_size=512)
        bench.device.write(2, 0x212, b"\4\0")
        return vdma.push(16, np.frombuffer(FRAME[::-1], np.uint8))

    assert guest.run_while(push)
    assert guest.memory[DATA : DATA + 2048] == FRAME[::-1]


def test_the_client_is_served_while_it_owes_an_answer(bench):
    """It cannot answer before its own read is answered: QEMU holds its big lock (vfio-user.md 9)."""
    seen = []

    def busy(request):
        guest.client.post(0, 0x188, b"\x01\x02\x03\x00")
        seen.append(guest.client.read32(0, 0x188))
        guest.obey(request)

    guest = Guest(bench, busy)
    assert bytes(guest.run_while(lambda: pull(bench, guest))) == FRAME
    assert set(seen) == {0x030201}


@pytest.mark.parametrize("fault", ["error", "short", "long", "other address"])
def test_bad_answers_fail_the_transfer(bench, fault):
    def bad(request):
        good = request.payload[:16] + bytes(struct.unpack_from("<Q", request.payload, 8)[0])
        if fault == "error":
            guest.reply(request, errno=14)
        else:
            guest.reply(request, {"short": good[:-1], "long": good + b"\0", "other address": b"\1" + good[1:]}[fault])

    guest = Guest(bench, bad)
    with pytest.raises(ChannelFault):
        guest.run_while(lambda: pull(bench, guest))
    assert bench.device.notices.counts["dma"]


def test_an_answer_to_something_else_ends_the_connection(bench):
    guest = Guest(bench, lambda request: guest.reply(request._replace(id=request.id + 1)))
    with pytest.raises(ChannelFault):
        guest.run_while(lambda: pull(bench, guest))
    bench.settle()
    assert bench.server.clients == 0


def test_a_reset_during_dma_gives_the_transfer_up(bench):
    def reset(_request):
        guest.leaves = True
        guest.client.send(13)

    guest = Guest(bench, reset)
    with pytest.raises(ChannelFault):
        guest.run_while(lambda: pull(bench, guest))
    reply = guest.client.receive()
    assert (reply.command, reply.flags) == (13, 1)
    assert bench.device.chip.state.name == "COLD"
    guest.reply(guest.requests[0], guest.requests[0].payload + bytes(64))  # late: of no use to anybody, and no crime
    assert guest.client.read(CONFIG, 0) == bytes.fromhex("601e6428")


# --- life -------------------------------------------------------------------------------------------------------


def test_function_level_reset(bench, client):
    eventfd = start(bench, client)
    client.write(CONFIG, 0x88, b"\x10\xa8")
    assert client.read(CONFIG, 0x88, 2) == b"\x10\x28"
    assert client.read(CONFIG, 4, 2) == b"\0\0"
    assert client.read32(0, 0x98) == ALL_ONES  # nothing is decoded
    client.write(CONFIG, 4, b"\x06\x04")
    assert client.read32(0, 0x98) == 0x28641E60
    assert bench.device.chip.state.name == "COLD"
    os.close(eventfd)


def test_sleep_and_wake(bench, client):
    os.close(start(bench, client))
    client.write(CONFIG, 0xFC, b"\x03\x00")
    assert client.read32(0, 0x98) == ALL_ONES
    client.write(CONFIG, 0xFC, b"\x00\x00")
    assert client.read(CONFIG, 0xFC, 2) == b"\x08\x00"  # no soft reset: the state is kept
    assert client.read32(0, 0x188) == 0xFF00FFFF
    assert bench.device.chip.state.name == "RUNNING"


def test_sizing_writes_are_harmless(client):
    for at, size in ((0x10, 0x4000), (0x18, 0x1000), (0x20, 0x4000)):
        client.write(CONFIG, at, b"\xff" * 4)
        assert client.read32(CONFIG, at) == (ALL_ONES & ~(size - 1)) | 0xC
        client.write(CONFIG, at, bytes(4))
    client.write(CONFIG, 0x30, b"\x00\xf8\xff\xff")
    assert client.read32(CONFIG, 0x30) == 0
    client.write(CONFIG, 0, b"\xff" * 4)
    assert client.read32(CONFIG, 0) == 0x28641E60


def test_unplugged_and_plugged_again(bench, ram, open_fds):
    fd, _ = ram
    before = open_fds()
    for _ in range(3):
        client = bench.connect()
        eventfd = start(bench, client)
        client.map(0, 0x40000, fd)
        ask(client, IDENTIFY)
        client.close()
        os.close(eventfd)
        bench.settle()
        assert bench.server.clients == 0
        assert bench.server._slots == []
        assert bench.device.chip.state.name == "COLD"
        assert len(bench.device.memory) == 0
        assert open_fds() == before


# --- the server -------------------------------------------------------------------------------------------------


def connect(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(path))
    return sock


@pytest.fixture
def listening(tmp_path):
    """Two devices behind two sockets."""
    with Server() as server:
        paths = [tmp_path / name for name in ("a", "b")]
        for path in paths:
            server.listen(ServedDevice(path.name, clock=SteppedClock()), path)
        yield server, paths
    assert not any(path.exists() for path in paths)
    assert server.failures == 0


def test_sockets_are_private(listening):
    _, paths = listening
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}


def test_two_devices_do_not_see_each_other(listening):
    server, paths = listening
    clients = [VfioUserClient(connect(path), lambda: [server.step(0.0) for _ in range(4)]) for path in paths]
    for number, client in enumerate(clients):
        client.negotiate()
        client.write(CONFIG, 4, b"\x06\x00")
        client.write32(0, 0x188, number + 1)
    assert [client.read32(0, 0x188) for client in clients] == [1, 2]
    clients[0].send_raw(bytes(16))
    with pytest.raises(Closed):
        clients[0].receive()
    assert clients[1].read32(0, 0x188) == 2
    for client in clients:
        client.close()


def test_a_second_client_is_refused_until_the_first_has_gone(listening):
    server, paths = listening
    step = lambda: [server.step(0.0) for _ in range(4)]  # noqa: E731
    first, second = (VfioUserClient(connect(paths[0]), step) for _ in range(2))
    first.negotiate()
    with pytest.raises(Closed):
        second.receive()
    first.close()
    third = VfioUserClient(connect(paths[0]), step)
    third.negotiate()
    for client in (second, third):
        client.close()


def test_a_silent_client_is_dropped(listening):
    server, paths = listening
    client = VfioUserClient(connect(paths[0]), lambda: server.step(0.0))
    assert client.receive() is None
    server._slots[0].deadline = 0.0
    with pytest.raises(Closed):
        while client.receive() is None:
            pass
    assert server.clients == 0
    client.close()
