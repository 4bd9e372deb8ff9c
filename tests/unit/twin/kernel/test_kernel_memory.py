"""Memory by address: pages, ranges, handles, what is allocated by the driver (driver.md 7.1, 7.5, 8.1)."""

from __future__ import annotations

import errno
import mmap
import struct

import numpy as np
import pytest
from tests.unit.twin.kernel.calls import fails


def device_bytes(client, handle, size):
    return client.twin.dma.view(client.file.memory.mapped[handle].iova, size, write=False)


def sync(client, handle, kind, offset, count):
    client.call("SYNC", struct.pack("<QIQQ", handle, kind, offset, count))


def test_map_is_the_clients_memory(client, make_memory):
    memory = make_memory(10000)
    handle = client.map(memory, 10000, 2)
    assert handle == 1
    device_bytes(client, handle, 10000)[:] = 0x5A
    assert memory.bytes[:10000].tolist() == [0x5A] * 10000
    assert client.map(memory, 100, 1) == 2
    client.call("UNMAP", struct.pack("<Q", handle))
    fails(errno.EINVAL, client.call, "UNMAP", struct.pack("<Q", handle))
    assert len(client.twin.dma) == 1


def test_map_directions(client, make_memory):
    memory = make_memory(4096)
    assert client.map(memory, 4096, 0)
    for direction in (3, 4):
        fails(errno.EINVAL, client.map, memory, 4096, direction)
    handle = client.map(memory, 4096, 1)
    assert client.twin.dma.view(client.file.memory.mapped[handle].iova, 16, write=True) is None


def test_unaligned_pointer_is_mapped_from_its_page(client, make_memory):
    """8.1 row 7: the device starts 64 bytes too early, and misses the end of the client's buffer."""
    memory = make_memory(8192, offset=64)
    memory.bytes[:] = np.arange(memory.bytes.size) % 253
    client.driver.user.own(memory.map)
    handle = client.map(memory, 4096, 1)
    assert device_bytes(client, handle, 4096).tolist() == memory.bytes[:4096].tolist()
    assert device_bytes(client, handle, 4097) is None


def test_unaligned_pointer_into_foreign_memory(client, make_memory):
    memory = make_memory(8192, offset=64)
    fails(errno.EFAULT, client.map, memory, 4096, 1)
    end = client.driver.user.own(memory.map)
    client.map(memory, 4096, 1)
    end()
    fails(errno.EFAULT, client.map, memory, 4096, 1)


def test_addresses_without_memory(client, make_memory):
    memory = make_memory(4096)
    gone = mmap.mmap(-1, 256 << 20)  # so large that nothing else takes all of its place
    address = np.frombuffer(gone, np.uint8).ctypes.data + (128 << 20)
    gone.close()
    for bad in (0, 4096, address, 1 << 62, (1 << 64) - 4096):
        fails(errno.EFAULT, client.map, memory, 4096, 1, address=bad)


def test_read_only_memory(client):
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ)
    address = np.frombuffer(memory, np.uint8).ctypes.data
    assert client.map(None, 4096, 1, address=address)
    fails(errno.EFAULT, client.map, None, 4096, 2, address=address)


def test_pages_of_a_big_page_kernel(make_client, make_memory):
    client = make_client("4.23.0", page_size=16384)
    memory = make_memory(1 << 16)
    inside = -memory.address % 16384 + 4096
    client.driver.user.own(memory.map)
    memory.bytes[:] = np.arange(memory.bytes.size) >> 12
    handle = client.map(memory, 4096, 1, address=memory.address + inside)
    assert set(device_bytes(client, handle, 4096).tolist()) == {(inside >> 12) - 1}
    assert client.create(16, 512)[0] == 16384


def test_dma_buffers_do_not_exist(client, make_memory):
    if client.family != "A":
        data = struct.pack("<QQIIQQ", 3, 4096, 1, 1, 0xFFFFFFFFFFFFFFFF, 0)
        fails(errno.EINVAL, client.call, "MAP", data)


def test_sync(client, make_memory):
    handle = client.map(make_memory(4096), 4096, 1)
    sync(client, handle, 0, 0, 4096)
    sync(client, handle, 1, 4000, 96)
    for bad in ((handle, 2, 0, 1), (handle, 0, 4000, 97), (handle + 1, 0, 0, 1)):
        fails(errno.EINVAL, sync, client, *bad)


def test_low_memory(client, make_memory):
    _, out = client.call("LOW_ALLOC", struct.pack("<QQ", 10240, 0))
    (handle,) = struct.unpack_from("<Q", out, 8)
    for bad in (4096, 8192, 16384):
        fails(errno.EINVAL, client.file.mmap, bad, handle)
    view = client.file.mmap(10240, handle)
    mapped = client.map(None, 10240, 1, handle=handle, address=np.frombuffer(view, np.uint8).ctypes.data)
    view[9999] = 0x77
    assert device_bytes(client, mapped, 10240)[9999] == 0x77
    fails(errno.EINVAL, client.map, None, 4096, 1, handle=handle, address=0)
    fails(errno.EINVAL, client.map, make_memory(4096), 4096, 1, handle=0)
    client.call("LOW_FREE", struct.pack("<Q", handle))
    fails(errno.EINVAL, client.call, "LOW_FREE", struct.pack("<Q", handle))
    fails(errno.EINVAL, client.file.mmap, 10240, handle)
    fails(errno.ENOMEM, client.call, "LOW_ALLOC", struct.pack("<QQ", 0, 0))


def test_continuous(client):
    _, out = client.call("CONTINUOUS_ALLOC", struct.pack("<QQQ", 10000, 0, 0))
    handle, iova = struct.unpack_from("<QQ", out, 8)
    view = client.file.mmap(12288, handle)
    view[5] = 9
    assert client.twin.dma.view(iova, 12288, write=True)[5] == 9
    fails(errno.EINVAL, client.file.mmap, 12289, handle)
    client.call("CONTINUOUS_FREE", struct.pack("<Q", handle))
    fails(errno.EINVAL, client.call, "CONTINUOUS_FREE", struct.pack("<Q", handle))
    large = errno.ENOBUFS if client.release >= "4.20" else errno.ENOMEM
    fails(large, client.call, "CONTINUOUS_ALLOC", struct.pack("<QQQ", 1 << 30, 0, 0))
    fails(large, client.call, "CONTINUOUS_ALLOC", struct.pack("<QQQ", 0, 0, 0))


def test_list_mmap(client):
    """Only 4.17 maps descriptor lists (7.1)."""
    handle, iova = client.create(128, 512)
    if client.family == "A":
        client.file.mmap(2048, handle)[4] = 0x42
        assert client.twin.dma.view(iova, 16, write=False)[4] == 0x42
    else:
        fails(errno.EINVAL, client.file.mmap, 2048, handle)


def test_close_gives_everything_back(client, make_memory, make_open):
    other = make_open(client)
    other.create(16, 512)
    client.map(make_memory(4096), 4096, 1)
    client.create(16, 512)
    client.call("LOW_ALLOC", struct.pack("<QQ", 10240, 0))
    client.call("CONTINUOUS_ALLOC", struct.pack("<QQQ", 10000, 0, 0))
    client.file.close()
    assert len(client.twin.dma) == 1
    client.file.close()


def test_handles_belong_to_an_open(client, make_memory, make_open):
    handle = client.map(make_memory(4096), 4096, 1)
    fails(errno.EINVAL, make_open(client).call, "UNMAP", struct.pack("<Q", handle))


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097])
def test_sizes(make_client, make_memory, size):
    client = make_client("4.20.0")
    assert device_bytes(client, client.map(make_memory(8192), size, 1), size).size == size
