"""The device node: requests through the C library, and errno values as typed errors."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import pty
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openhailo.bus.chardev import CharDevice, driver_error, list_nodes, open_error, retry_interrupted
from openhailo.bus.protocols import DeviceFile
from openhailo.errors import (
    AccessDenied,
    Cancelled,
    DeviceError,
    DeviceLost,
    DeviceNotFound,
    DeviceTimeout,
    DmaMapError,
    OpenHailoError,
    StateError,
)


@pytest.fixture
def terminal() -> Iterator[tuple[int, CharDevice]]:
    """A pseudo terminal: a character device whose requests are known."""
    master, slave = pty.openpty()
    device = CharDevice(os.ttyname(slave))
    os.close(slave)
    yield master, device
    device.close()
    os.close(master)


def test_a_request_reads_and_writes_its_argument(terminal: tuple[int, CharDevice]) -> None:
    _, device = terminal
    argument = bytearray(struct.pack("<4H", 24, 80, 0, 0))
    assert device.ioctl(termios.TIOCSWINSZ, argument) == 0
    seen = bytearray(8)
    assert device.ioctl(termios.TIOCGWINSZ, seen) == 0
    assert struct.unpack("<4H", seen) == (24, 80, 0, 0)
    assert isinstance(device, DeviceFile)


def test_the_argument_can_be_resized_afterwards(terminal: tuple[int, CharDevice]) -> None:
    seen = bytearray(8)
    terminal[1].ioctl(termios.TIOCGWINSZ, seen)
    seen.extend(b"x")
    assert len(seen) == 9


def test_a_failure_keeps_its_errno(terminal: tuple[int, CharDevice]) -> None:
    with pytest.raises(OSError) as caught:
        terminal[1].ioctl(0x400C6702, bytearray(12))
    assert caught.value.errno == errno.ENOTTY
    with pytest.raises(OSError) as caught:
        terminal[1].ioctl(0x6E02, bytearray())
    assert caught.value.errno == errno.ENOTTY


def test_a_child_does_not_inherit_the_open(terminal: tuple[int, CharDevice]) -> None:
    assert fcntl.fcntl(terminal[1]._fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_closing_twice_is_harmless(terminal: tuple[int, CharDevice]) -> None:
    terminal[1].close()
    terminal[1].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        terminal[1].ioctl(termios.TIOCGWINSZ, bytearray(8))


def test_memory_is_mapped_shared(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(bytes(8192))
    device = CharDevice(str(path))
    view = device.mmap(4096, 4096)
    view[:3] = b"abc"
    device.close()
    assert path.read_bytes()[4096:4099] == b"abc"


def test_a_missing_node_says_so() -> None:
    with pytest.raises(DeviceNotFound, match="no such board"):
        CharDevice("/dev/hailo-that-is-not-there")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, DeviceNotFound),
        (errno.ENODEV, DeviceNotFound),
        (errno.EACCES, AccessDenied),
        (errno.EPERM, AccessDenied),
        (errno.ENXIO, DeviceLost),
        (errno.ENOMEM, DeviceError),
    ],
)
def test_what_opening_can_say(number: int, kind: type[OpenHailoError]) -> None:
    assert type(open_error(OSError(number, os.strerror(number)), "/dev/hailo0")) is kind


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENODEV, DeviceLost),
        (errno.EIO, DeviceLost),
        (errno.ENXIO, DmaMapError),
        (errno.ENOMEM, DmaMapError),
        (errno.ENOBUFS, DmaMapError),
        (errno.ECONNRESET, StateError),
        (errno.EBUSY, StateError),
        (errno.EINVAL, DeviceError),
        (errno.EFAULT, DeviceError),
        (errno.ERANGE, DeviceError),
        (errno.ENOTTY, DeviceError),
        (errno.ETIMEDOUT, DeviceTimeout),
        (errno.ECANCELED, Cancelled),
        (errno.EINTR, Cancelled),
        (errno.EPIPE, DeviceError),
    ],
)
def test_what_a_request_can_say(number: int, kind: type[OpenHailoError]) -> None:
    error = driver_error(OSError(number, os.strerror(number)), name="/dev/hailo0", what="DESC_LIST_CREATE", budget_s=2)
    assert type(error) is kind
    assert "DESC_LIST_CREATE" in str(error)


def test_interrupted_requests_are_repeated() -> None:
    answers: list[Exception | int] = [InterruptedError(), InterruptedError(), 7]

    def call() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retry_interrupted(call) == 7


def test_interruptions_come_to_an_end() -> None:
    def call() -> int:
        raise InterruptedError

    with pytest.raises(Cancelled, match="signals"):
        retry_interrupted(call)


def test_nodes_are_listed_by_number(tmp_path: Path) -> None:
    for name in ("hailo10", "hailo2", "hailo", "hailo1x", "null"):
        (tmp_path / name).touch()
    assert list_nodes(tmp_path) == [str(tmp_path / "hailo2"), str(tmp_path / "hailo10")]
    assert list_nodes(tmp_path / "missing") == []


def test_a_node_that_can_be_opened_again_is_alive(terminal: tuple[int, CharDevice], monkeypatch: Any) -> None:
    _, device = terminal
    assert device.is_alive()
    assert device.page_size == mmap.PAGESIZE
    for number, alive in ((errno.ENXIO, False), (errno.ENODEV, False), (errno.EMFILE, True)):

        def refuse(*_: Any, number: int = number) -> int:
            raise OSError(number, "scripted")

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            assert device.is_alive() is alive
