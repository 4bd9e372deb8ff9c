"""The client's side of vfio-user: what it shares, and what it makes of servers that misbehave."""

from __future__ import annotations

import socket
import struct
import threading
from types import SimpleNamespace

import pytest

from openhailo.bus.protocols import DmaDirection
from openhailo.bus.vfio_user import ARENA_BYTES, FIRST_IOVA, VfioUserChannel, VfioUserDma, VfioUserWindow
from openhailo.errors import DeviceError, DeviceLost, DeviceNotFound, DmaMapError
from openhailo.spec.vfio_user import VFIO_USER, Command


@pytest.fixture
def calls():
    return []


@pytest.fixture
def dma(calls):
    """An arena on a channel that only takes notes."""
    channel = SimpleNamespace(
        spec=VFIO_USER, call=lambda command, payload, fds=(): calls.append((command, payload, fds))
    )
    made = VfioUserDma(channel)
    yield made
    made.close()


def test_buffers_are_zeroed_aligned_and_apart(dma):
    buffers = [dma.alloc(size, alignment=alignment) for size, alignment in ((1, 1), (5000, 4096), (100, 0x10000))]
    assert [buffer.iova % 4096 for buffer in buffers] == [0, 0, 0]
    assert buffers[2].iova % 0x10000 == 0
    ends = [buffer.iova + -(-buffer.size_bytes // 4096) * 4096 for buffer in buffers]
    assert all(later.iova > end for later, end in zip(buffers[1:], ends, strict=False))
    for buffer in buffers:
        assert bytes(buffer.view) == bytes(buffer.size_bytes)
        buffer.view[:] = b"\xff" * buffer.size_bytes
        buffer.close()
        buffer.close()
    again = dma.alloc(5000)
    assert again.iova == FIRST_IOVA
    assert bytes(again.view) == bytes(5000)


def test_a_map_and_an_unmap_per_buffer(dma, calls):
    buffer = dma.alloc(5000)
    buffer.close()
    (mapped, request, fds), (unmapped, answer, none) = calls
    assert (mapped, unmapped) == (Command.DMA_MAP, Command.DMA_UNMAP)
    assert struct.unpack("<IIQQQ", request) == (32, 3, 0, 0x1200000000, 8192)
    assert struct.unpack("<IIQQ", answer) == (24, 0, 0x1200000000, 8192)
    assert len(fds) == 1
    assert not none


def test_freed_room_is_joined(dma):
    buffers = [dma.alloc(1 << 20) for _ in range(9)]
    for index in (1, 3, 5, 7, 0, 2, 4, 6, 8):
        buffers[index].close()
    assert list(dma._free) == [(0, ARENA_BYTES)]


@pytest.mark.parametrize(("size", "alignment"), [(0, 4096), (-1, 4096), (1, 3), (1, 0), (ARENA_BYTES, 4096)])
def test_refused_allocations(dma, size, alignment):
    with pytest.raises(DmaMapError):
        dma.alloc(size, alignment=alignment)
    assert list(dma._free) == [(0, ARENA_BYTES)]


def test_memory_of_the_caller_cannot_be_shared(dma):
    with pytest.raises(DmaMapError, match="alloc"):
        dma.map(memoryview(bytearray(4096)), DmaDirection.BOTH)


def test_a_refused_map_gives_its_room_back(dma):
    def refuse(*_args):
        raise DeviceError("no")

    dma._channel.call = refuse
    with pytest.raises(DmaMapError):
        dma.alloc(4096)
    assert list(dma._free) == [(0, ARENA_BYTES)]


VERSION = struct.pack("<HHIII", 1, 1, 20, 1, 0) + bytes(4)


def info(flags):
    return struct.pack("<HHIIIIIII", 2, 4, 32, 1, 0, 16, flags, 9, 5)


@pytest.fixture
def impostor(tmp_path):
    """A server that sends prepared bytes, whatever is asked."""
    path = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    threads = []

    def start(*answers):
        def serve():
            sock, _ = listener.accept()
            with sock:
                for answer in answers:
                    sock.recv(4096)
                    sock.sendall(answer)

        threads.append(threading.Thread(target=serve))
        threads[0].start()
        return path

    yield start
    threads[0].join()
    listener.close()


@pytest.mark.parametrize(
    "answers",
    [
        (),
        (VERSION[:10],),
        (VERSION[:16] + b"\0",),
        (struct.pack("<HHIII", 9, 1, 20, 1, 0) + bytes(4),),
        (struct.pack("<HHIII", 1, 2, 20, 1, 0) + bytes(4),),
        (struct.pack("<HHIII", 1, 1, 15, 1, 0) + bytes(4),),
        (struct.pack("<HHIII", 1, 1, 0xFFFFFFFF, 1, 0) + bytes(4),),
    ],
)
def test_servers_out_of_step_are_lost_devices(impostor, answers):
    with pytest.raises(DeviceLost):
        VfioUserChannel(impostor(*answers))


@pytest.mark.parametrize(
    "answers",
    [
        (struct.pack("<HHIII", 1, 1, 16, 0x21, 22),),
        (struct.pack("<HHIII", 1, 1, 20, 1, 0) + b"\1\0\0\0", info(3)),
        (VERSION, info(1)),
    ],
)
def test_servers_of_something_else_are_refused(impostor, answers):
    with pytest.raises(DeviceError):
        VfioUserChannel(impostor(*answers))


def test_a_region_that_is_not_there(impostor):
    absent = struct.pack("<HHIIIIIIIQQ", 3, 5, 48, 1, 0, 32, 0, 1, 0, 0, 0)
    channel = VfioUserChannel(impostor(VERSION, info(3), absent))
    with pytest.raises(DeviceLost, match="no BAR 1"):
        VfioUserWindow(channel, 1)
    channel.close()


def test_nobody_there(tmp_path):
    with pytest.raises(DeviceNotFound):
        VfioUserChannel(str(tmp_path / "none"))
