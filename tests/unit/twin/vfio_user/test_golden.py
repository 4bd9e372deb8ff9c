"""Messages as QEMU 11.1.3 sent them, byte for byte (vfio-user.md 15)."""

from __future__ import annotations

import os

import pytest

from openhailo.testing.vfio_user_client import make_memory

VERSION = (
    "0000 0100 d6000000 00000000 00000000 0000 0000",
    b'{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, "max_data_xfer_size": 1048576, '
    b'"migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "write_multiple": true}}\0',
)
RAM = "0100 0200 30000000 00000000 00000000 20000000 03000000 0000000000000000 0000000000000000 0000002000000000"
UNMAP = "1d00 0300 28000000 00000000 00000000 18000000 00000000 0000000000000000 0000002000000000"
#: Request, reply. Where the page has no reply, it follows from the layouts of sections 1.2 and 4.
EXCHANGES = {
    "rom": (
        "0200 0200 30000000 00000000 00000000 20000000 01000000 0000000000000000 0000fcff00000000 0000040000000000",
        "0200 0200 10000000 01000000 00000000",
    ),
    "unmap": (UNMAP, "1d00 0300 28000000 01000000 00000000 18000000 00000000 0000000000000000 0000002000000000"),
    "info": (
        "0300 0400 20000000 00000000 00000000 10000000 00000000 00000000 00000000",
        "0300 0400 20000000 01000000 00000000 10000000 03000000 09000000 05000000",
    ),
    "region": (
        "0400 0500 30000000 00000000 00000000 20000000 00000000 00000000 00000000 0000000000000000 0000000000000000",
        "0400 0500 30000000 01000000 00000000 20000000 03000000 00000000 00000000 0040000000000000 0000000000000000",
    ),
    "irq 3": (
        "0b00 0700 20000000 00000000 00000000 10000000 00000000 03000000 00000000",
        "0b00 0700 10000000 21000000 16000000",
    ),
    "config write": (
        "1300 0a00 22000000 00000000 00000000 0400000000000000 07000000 02000000 0000",
        "1300 0a00 20000000 01000000 00000000 0400000000000000 07000000 02000000",
    ),
    "reset": ("1500 0d00 10000000 00000000 00000000", "1500 0d00 10000000 01000000 00000000"),
    "msi off": (
        "4904 0800 24000000 00000000 00000000 14000000 21000000 01000000 00000000 00000000",
        "4904 0800 10000000 01000000 00000000",
    ),
    "intx unmask": (
        "3013 0800 24000000 00000000 00000000 14000000 11000000 00000000 00000000 01000000",
        "3013 0800 10000000 21000000 16000000",
    ),
}
MSI_ON = "c101 0800 24000000 00000000 00000000 14000000 24000000 01000000 00000000 01000000"
CONFIG_READ = "0c00 0900 20000000 00000000 00000000 0000000000000000 07000000 00100000"
ID_READ = "b701 0900 20000000 00000000 00000000 9800000000000000 00000000 04000000"
ID_REPLY = "b701 0900 24000000 01000000 00000000 9800000000000000 00000000 04000000 601e6428"
POSTED = "c501 0a00 24000000 10000000 00000000 8801000000000000 00000000 04000000 ffffffff"
MULTI = "1106 0f00 d8120000 10000000 00000000 c800000000000000"
MULTI_FIRST = "8801000000000000 00000000 04000000 1905000000000000"


def exchange(bench, client, message, fds=()):
    """Send bytes, return the bytes that come back."""
    client.send_raw(bytes.fromhex(message), fds)
    bench.settle()
    try:
        return client.sock.recv(1 << 16)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("name", EXCHANGES)
def test_exchange(bench, client, name):
    request, reply = EXCHANGES[name]
    assert exchange(bench, client, request) == bytes.fromhex(reply)


def test_version(bench):
    client = bench.connect(negotiate=False)
    client.send_raw(bytes.fromhex(VERSION[0]) + VERSION[1])
    bench.settle()
    reply = client.sock.recv(4096)
    assert len(VERSION[1]) == 194
    assert len(reply) == int.from_bytes(reply[4:8], "little") <= 214
    assert reply[:4] + reply[8:20] == bytes.fromhex("0000 0100 01000000 00000000 0000 0000")


def test_ram(bench, client):
    fd, view = make_memory(0x20000000)
    assert exchange(bench, client, RAM, [fd]) == bytes.fromhex("0100 0200 10000000 01000000 00000000")
    assert exchange(bench, client, UNMAP)[:12] == bytes.fromhex("1d00 0300 28000000 01000000")
    assert len(bench.device.memory) == 0
    view.close()
    os.close(fd)


def test_msi_on(bench, client):
    eventfd = os.eventfd(0)
    assert exchange(bench, client, MSI_ON, [eventfd]) == bytes.fromhex("c101 0800 10000000 01000000 00000000")
    os.close(eventfd)


def test_configuration_space(bench, client):
    reply = exchange(bench, client, CONFIG_READ)
    assert reply[:32] == bytes.fromhex("0c00 0900 20100000 01000000 00000000 0000000000000000 07000000 00100000")
    config = reply[32:]
    assert len(config) == 4096
    assert config[0:16] == bytes.fromhex("601e6428 0000 1000 01 00400b 00000000")
    assert config[0x10:0x28] == bytes.fromhex("0c000000 00000000") * 3
    assert config[0x30:0x38] == bytes.fromhex("00000000 80000000")
    assert config[0x3D] == 0
    assert config[0x80:0x8A] == bytes.fromhex("10e0 0200 00000010 1028")
    assert config[0xE0:0xE4] == bytes.fromhex("05f8 8000")
    assert config[0xF8] == 1
    assert config[0xFC] == 8


def test_registers(bench, client):
    client.write(7, 4, b"\x06\x00")
    assert exchange(bench, client, ID_READ) == bytes.fromhex(ID_REPLY)
    assert exchange(bench, client, POSTED) == b""
    assert client.read(0, 0x188) == b"\xff" * 4
    assert exchange(bench, client, MULTI + MULTI_FIRST * 200) == b""
    assert client.read(0, 0x188) == bytes.fromhex("19050000")
