"""Regions that lie in a file, and what configuration space says of capabilities."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from openhailo.bus.capabilities import MSI, PCI_EXPRESS, find_capability, forbid_no_snoop
from openhailo.bus.protocols import Window
from openhailo.bus.regions import Bars, FileWindow, Region, RegionFile
from openhailo.bus.syscalls import LinuxKernel
from openhailo.errors import DeviceLost, InputError


@pytest.fixture
def region(tmp_path):
    """A region of 64 bytes at 0x100 of a file, and that file."""
    path = tmp_path / "device"
    path.write_bytes(bytes(range(256)) * 2)
    fd = os.open(path, os.O_RDWR)
    yield Region(0, fd, 64, 0x100, mappable=False), path
    os.close(fd)


@pytest.fixture
def file(region):
    return RegionFile(LinuxKernel(), "pci:x", region[0])


def test_reads_and_writes_of_each_width(file, region):
    assert [file.read(4, width) for width in (1, 2, 4)] == [4, 0x0504, 0x07060504]
    file.write(8, 2, 0xAABB)
    assert region[1].read_bytes()[0x108:0x10B] == bytes.fromhex("bbaa0a")


@pytest.mark.parametrize(("offset", "width"), [(0, 3), (0, 8), (1, 2), (2, 4), (64, 1), (62, 4), (-4, 4), (-1, 1)])
def test_accesses_that_make_no_sense(file, offset, width):
    with pytest.raises(InputError):
        file.read(offset, width)
    with pytest.raises(InputError):
        file.write(offset, width, 0)


def test_a_window_of_system_calls(file, region):
    window = FileWindow(file)
    assert isinstance(window, Window) and window.size_bytes == 64
    assert window.read32(8) == 0x0B0A0908
    window.write32(8, 0x01020304)
    window.write_block(12, memoryview(b"abcdefgh"))
    assert window.read_block(8, 12) == bytes.fromhex("04030201") + b"abcdefgh"
    assert region[1].read_bytes()[0x10C:0x114] == b"abcdefgh"
    assert window.read_block(64, 0) == b""


REFUSED: list[Callable[[FileWindow], object]] = [
    lambda window: window.read32(64),
    lambda window: window.read32(2),
    lambda window: window.write32(-4, 0),
    lambda window: window.read_block(60, 8),
    lambda window: window.read_block(0, -4),
    lambda window: window.write_block(0, b"abc"),
    lambda window: window.write_block(64, b"abcd"),
]


@pytest.mark.parametrize("access", REFUSED, ids=range(len(REFUSED)))
def test_a_window_ends(file, access):
    with pytest.raises(InputError, match="BAR access"):
        access(FileWindow(file))


def test_a_closed_window(file):
    window = FileWindow(file)
    window.close()
    window.close()
    for access in (lambda: window.read32(0), lambda: window.write32(0, 0), lambda: window.read_block(0, 4)):
        with pytest.raises(ValueError, match="closed"):
            access()


def test_windows_are_closed_once_and_made_anew(region):
    config = Config()
    bars = Bars(LinuxKernel(), "pci:x", lambda bar: region[0] if bar == 0 else None, config)
    window = bars.window(0)
    assert config.read(4, 2) & 2
    bars.close()
    bars.close()
    with pytest.raises(ValueError):
        window.read32(0)
    with pytest.raises(DeviceLost):
        bars.window(1)


# --- capabilities ----------------------------------------------------------------------------------------------------


class Config:
    """Configuration space with capabilities at given offsets: {offset: (id, next)}."""

    def __init__(self, capabilities=None, first=0x40, status=0x10):
        self.bytes = bytearray(256)
        self.bytes[6:8] = status.to_bytes(2, "little")
        self.bytes[0x34] = first
        for at, (identity, following) in (capabilities or {}).items():
            self.bytes[at : at + 2] = bytes((identity, following))
        self.reads = 0

    def read(self, offset, width):
        self.reads += 1
        return int.from_bytes(self.bytes[offset : offset + width], "little")

    def write(self, offset, width, value):
        self.bytes[offset : offset + width] = value.to_bytes(width, "little")


def test_capabilities_are_found():
    config = Config({0x40: (1, 0x50), 0x50: (PCI_EXPRESS, 0x83), 0x80: (MSI, 0)})
    assert (find_capability(config, PCI_EXPRESS), find_capability(config, MSI)) == (0x50, 0x80)
    assert find_capability(config, 0x11) == 0


@pytest.mark.parametrize("config", [Config(status=0), Config(status=0xFFFF), Config({}, first=0)])
def test_no_capabilities(config):
    assert find_capability(config, MSI) == 0


def test_a_list_in_a_circle_ends():
    config = Config({0x40: (1, 0x50), 0x50: (2, 0x40)})
    assert find_capability(config, MSI) == 0
    assert config.reads < 200


def test_no_snoop_is_switched_off_and_nothing_else():
    config = Config({0x40: (PCI_EXPRESS, 0)})
    config.write(0x48, 2, 0x2810)
    forbid_no_snoop(config)
    assert config.read(0x48, 2) == 0x2010
    config.write = None
    forbid_no_snoop(config)
    forbid_no_snoop(Config())
