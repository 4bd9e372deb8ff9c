"""A client of the virtual kernel driver that packs the structures of driver.md 7.4 itself."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import struct

import numpy as np
import pytest

from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver

ALL_ONES = 0xFFFFFFFFFFFFFFFF
FAMILY = {
    "4.17.0": "A",
    "4.17.1": "A",
    "4.18.0": "B",
    "4.19.0": "B",
    "4.20.0": "B",
    "4.20.1": "B",
    "4.21.0": "C",
    "4.22.0": "C",
    "4.23.0": "D",
}
RELEASES = tuple(FAMILY)
#: Request numbers by family, from the table of driver.md 7.2.
NUMBERS = {
    "INFO": {"A": 0x400C6705, "*": 0x400C6702},
    "PROPERTIES": {"A": 0x40176704, "*": 0x40176701},
    "MEMORY": {"*": 0xD0186700},
    "CONTROL": {"A": 0xC5F86701, "*": 0xC5F86E00},
    "READ_NOTIFICATION": {"A": 0x45E46702, "*": 0x45E46E01},
    "DISABLE_NOTIFICATION": {"A": 0x00006703, "*": 0x00006E02},
    "LOG": {"A": 0xC2146706, "*": 0xC2146E03},
    "ENABLE": {"*": 0x800D7600},
    "DISABLE": {"*": 0x800C7601},
    "WAIT": {"A": 0xC30D7602, "B": 0xC2AD7602, "*": 0xC12D7602},
    "TIMESTAMPS": {"*": 0xCA067603},
    "MAP": {"A": 0xC0247604, "*": 0xC0287604},
    "UNMAP": {"*": 0x80087605},
    "SYNC": {"*": 0x801C7606},
    "CREATE": {"*": 0xC01B7607},
    "RELEASE": {"*": 0x80087608},
    "PROGRAM": {"A": 0x80257609, "B": 0x802B7609, "*": 0x80337609},
    "LOW_ALLOC": {"*": 0xC010760A},
    "LOW_FREE": {"*": 0x8008760B},
    "IN_USE": {"*": 0x4001760C},
    "CONTINUOUS_ALLOC": {"*": 0xC018760D},
    "CONTINUOUS_FREE": {"*": 0x8008760E},
    "LAUNCH": {"A": 0xC03D760F, "B": 0xC041760F, "*": 0x8099760F},
}


class FakeFirmware:
    """Answers every control with the request reversed; ``silent``: not at all."""

    def __init__(self, board, config):
        self.board, self.config = board, config
        self.calls, self.silent = [], False

    def boot(self, image):
        self.calls.append("boot")
        self.image = image

    def control(self, cpu, request, digest_ok):
        self.calls.append(("control", cpu, request, digest_ok))
        return None if self.silent else request[::-1]

    def driver_shutdown(self):
        self.calls.append("driver_shutdown")

    def soft_reset(self):
        self.calls.append("soft_reset")

    def halt(self):
        pass


class Memory:
    """Page-aligned memory of the client."""

    def __init__(self, size, offset=0):
        self.map = mmap.mmap(-1, -(-(size + offset) // 4096) * 4096)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.address = self.base + offset
        self.bytes = np.frombuffer(self.map, np.uint8)


class Client:
    """One open of a driver; methods raise the ioctl's `OSError`."""

    def __init__(self, driver):
        self.driver, self.twin = driver, driver.twin
        self.release = driver.release.text
        self.family = FAMILY[self.release]
        self.file = driver.open()

    def number(self, name):
        row = NUMBERS[name]
        return row.get(self.family, row.get("*"))

    def call(self, name, data=b""):
        number = self.number(name)
        argument = bytearray(data.ljust(number >> 16 & 0x3FFF, b"\0"))
        return self.file.ioctl(number, argument), argument

    def map(self, memory, size, direction=0, handle=ALL_ONES, address=None):
        kind = b"" if self.family == "A" else struct.pack("<I", 0)
        address = memory.address if address is None else address
        data = struct.pack("<QQI", address, size, direction) + kind + struct.pack("<QQ", handle, 0)
        _, out = self.call("MAP", data)
        return struct.unpack_from("<Q", out, 28 if self.family == "A" else 32)[0]

    def create(self, count, page, circular=True):
        _, out = self.call("CREATE", struct.pack("<QH?QQ", count, page, circular, 0, 0))
        return struct.unpack_from("<QQ", out, 11)

    def program(
        self, buffer, size, dlist, *, offset=0, start=0, channel=0, bind=True, last=0, debug=False, batch=1, stride=0
    ):
        data = struct.pack("<QQQ", buffer, size, offset)
        if self.family in "CD":
            data += struct.pack("<I", batch)
        data += struct.pack("<QBI", dlist, channel, start)
        if self.family != "A":
            data += struct.pack("<?I?", bind, last, debug)
        if self.family in "CD":
            data += struct.pack("<I", stride)
        return self.call("PROGRAM", data)[0]

    def launch(self, channel, dlist, start, buffers, *, bind=True, first=0, last=2, debug=False):
        """``buffers``: (mapped handle, address, offset, size); returns (descriptors, structure)."""
        entries = b"".join(
            struct.pack("<QII", handle, offset, size)
            if self.family in "AB"
            else struct.pack("<IQI", 0, address + offset, size)
            for handle, address, offset, size in buffers
        )
        room = 32 if self.family in "AB" else 128
        data = struct.pack("<BBQI?B", 0, channel, dlist, start, bind, len(buffers)) + entries.ljust(room, b"\0")[:room]
        result, out = self.call("LAUNCH", data + struct.pack("<II?", first, last, debug))
        if self.family in "CD":
            return result, out
        assert result == 0
        return struct.unpack_from("<I", out, 57)[0], out

    def enable(self, bitmap, measure=False):
        self.call("ENABLE", struct.pack("<III?", bitmap, 0, 0, measure))

    def disable(self, bitmap):
        self.call("DISABLE", struct.pack("<III", bitmap, 0, 0))

    def wait(self, bitmap):
        """Return the entries, each as its bytes."""
        _, out = self.call("WAIT", struct.pack("<III", bitmap, 0, 0))
        size = {"A": 8, "B": 7}.get(self.family, 3)
        return [bytes(out[13 + n * size : 13 + (n + 1) * size]) for n in range(out[12])]

    def control(self, payload, timeout_ms=1000, cpu=0, length=None, digest=None):
        length = len(payload) if length is None else length
        data = (digest or hashlib.md5(payload).digest()) + struct.pack("<I", length) + payload.ljust(1500, b"\0")
        _, out = self.call("CONTROL", data + struct.pack("<II", timeout_ms, cpu))
        size = struct.unpack_from("<I", out, 16)[0]
        return bytes(out[20 : 20 + size])


class Ring:
    """A launched channel: a list, a mapped buffer, and the firmware's side of it opened."""

    def __init__(self, client, channel, count=32, page=512, pages=64):
        self.client, self.channel, self.count, self.page = client, channel, count, page
        self.memory = Memory(pages * 4096)
        self.buffer = client.map(self.memory, pages * 4096, 1 if channel < 16 else 2)
        self.handle, self.iova = client.create(count, page)
        self.words = client.twin.dma.view(self.iova, count * 16, write=True).view(np.uint32).reshape(count, 4)
        self.next = 0

    def open(self):
        vdma = self.client.twin.chip.vdma
        vdma.open_channel(self.channel, list_address=self.iova, desc_count=self.count, page_size=self.page)

    def launch(self, size, offset=0, start=None, **options):
        start = self.next if start is None else start
        used, out = self.client.launch(
            self.channel, self.handle, start, [(self.buffer, self.memory.address, offset, size)], **options
        )
        self.next = (self.next + used) % self.count
        return used, out

    def pull(self, size):
        with self.client.twin.chip.loop.lock:
            return self.client.twin.chip.vdma.pull(self.channel, size)

    @property
    def available(self):
        half = self.channel * 0x20 + (0 if self.channel < 16 else 0x10)
        return self.client.twin.chip.vdma.read(half, 4) >> 16


@pytest.fixture
def make_client():
    """Make a client of a new driver of ``release`` on a new twin; keywords go to the driver."""
    drivers = []

    def make(release="4.23.0", **options):
        twin = Twin(clock=SteppedClock(), firmware=FakeFirmware)
        drivers.append(VirtualKernelDriver(twin, release, **options))
        return Client(drivers[-1])

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture
def make_ring():
    """Make a ring: ``make_ring(client, channel)``."""
    return Ring


@pytest.fixture
def make_memory():
    """Make page-aligned memory of the client: ``make_memory(size, offset)``."""
    return Memory


@pytest.fixture
def make_open():
    """Open the driver of a client once more: ``make_open(client)``."""
    return lambda client: Client(client.driver)


@pytest.fixture(params=RELEASES)
def release(request):
    """Each release in turn."""
    return request.param


@pytest.fixture
def client(make_client, release):
    """A client of each release in turn."""
    return make_client(release)
