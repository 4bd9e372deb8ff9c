"""The real system calls, as far as any machine has what they need."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import termios
from pathlib import Path

import numpy as np
import pytest

from openhailo.bus import syscalls
from openhailo.bus.syscalls import LinuxKernel


def test_a_mapped_bar_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "resource0"
    path.write_bytes(bytes(4 * mmap.PAGESIZE))
    kernel = LinuxKernel()
    fd = kernel.open(path)
    window, unmap = kernel.map_bar(fd, 0x1000, mmap.PAGESIZE)
    kernel.close(fd)
    assert window.size_bytes == 0x1000
    window.write32(8, 0x11223344)
    assert path.read_bytes()[mmap.PAGESIZE + 8 :][:4] == bytes.fromhex("44332211")
    mapped = [line for line in Path("/proc/self/maps").read_text("utf-8").splitlines() if str(path) in line]
    assert mapped and mapped[0].split()[1] == "rw-s"
    unmap()
    unmap()
    assert str(path) not in Path("/proc/self/maps").read_text("utf-8")
    with pytest.raises(ValueError):
        window.read32(0)


def test_less_than_a_page_is_mapped_in_place(tmp_path: Path) -> None:
    path = tmp_path / "resource2"
    path.write_bytes(bytes(2 * mmap.PAGESIZE))
    kernel = LinuxKernel()
    fd = kernel.open(path)
    window, unmap = kernel.map_bar(fd, 256, mmap.PAGESIZE + 1024)
    window.write32(0, 1)
    assert window.size_bytes == 256
    assert path.read_bytes()[mmap.PAGESIZE + 1024] == 1
    unmap()
    kernel.close(fd)


def test_descriptors_are_not_inherited(tmp_path: Path) -> None:
    path = tmp_path / "node"
    path.write_bytes(b"abcd")
    kernel = LinuxKernel()
    assert kernel.exists(path) and not kernel.exists(tmp_path / "none")
    fd = kernel.open(path)
    assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert kernel.pread(fd, 2, 1) == b"bc"
    assert kernel.pwrite(fd, b"x", 3) == 1
    kernel.close(fd)
    assert path.read_bytes() == b"abcx"
    with pytest.raises(FileNotFoundError):
        kernel.open(tmp_path / "none")


def test_requests_read_and_write_their_argument() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"12345")
    argument = bytearray(4)
    assert LinuxKernel().ioctl(reader, termios.FIONREAD, argument) == 0
    assert struct.unpack("=i", argument) == (5,)
    with pytest.raises(OSError):
        LinuxKernel().ioctl(reader, 0x3B64)
    os.close(reader)
    os.close(writer)


def test_attributes_must_exist(tmp_path: Path) -> None:
    (tmp_path / "unbind").write_text("")
    LinuxKernel().write_attribute(tmp_path / "unbind", "0000:01:00.0")
    assert (tmp_path / "unbind").read_text() == "0000:01:00.0"
    with pytest.raises(FileNotFoundError):
        LinuxKernel().write_attribute(tmp_path / "bind", "x")


def test_memory_is_shared_with_children_and_lives_with_its_views() -> None:
    view = LinuxKernel().pages(3 * mmap.PAGESIZE)
    address = np.frombuffer(view, np.uint8).ctypes.data
    assert len(view) == 3 * mmap.PAGESIZE and address % mmap.PAGESIZE == 0
    assert bytes(view) == bytes(len(view))
    assert protection(address) == "rw-s"


def protection(address: int) -> str:
    for line in Path("/proc/self/maps").read_text("utf-8").splitlines():
        span, flags, *_ = line.split()
        first, end = (int(place, 16) for place in span.split("-"))
        if first <= address < end:
            return flags
    return "not mapped"


def test_the_size_of_huge_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "meminfo"
    monkeypatch.setattr(syscalls, "_MEMINFO", path)
    path.write_text("MemTotal: 5 kB\nHugepagesize:       2048 kB\nHugetlb: 0 kB\n")
    assert LinuxKernel().huge_page_bytes() == 2 << 20
    path.write_text("MemTotal: 5 kB\n")
    assert LinuxKernel().huge_page_bytes() == 0


def test_where_a_page_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit 63: in memory; bits 0 to 54: the frame, which only root sees."""
    path = tmp_path / "pagemap"
    monkeypatch.setattr(syscalls, "_PAGEMAP", str(path))
    entries = [0, 1 << 63 | 0x1234, 1 << 62 | 0x99, 1 << 63]
    path.write_bytes(struct.pack("<4Q", *entries))
    found = [LinuxKernel().physical_address(page * mmap.PAGESIZE) for page in range(4)]
    assert found == [0, 0x1234 * mmap.PAGESIZE, 0, 0]
    assert LinuxKernel().physical_address(99 * mmap.PAGESIZE) == 0


def test_huge_pages_are_given_or_refused() -> None:
    """A machine without any refuses at once, not when the memory is touched."""
    kernel = LinuxKernel()
    size = kernel.huge_page_bytes()
    if not size:
        pytest.skip("this kernel has no huge pages")
    try:
        view = kernel.huge_pages(size)
    except OSError as error:
        assert error.errno is not None
    else:
        assert bytes(view[:4096]) == bytes(4096)
