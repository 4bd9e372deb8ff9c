"""Shared memory: only what can never shrink is mapped."""

from __future__ import annotations

import fcntl
import os

import numpy as np
import pytest

from openhailo.errors import DmaMapError, MalformedMessage
from openhailo.runtime.broker.memory import SEALS, SharedMemory, read_sealed
from openhailo.runtime.broker.rings import get_boxes, put_boxes


def memfd(size, seals=SEALS):
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def closed(fd):
    try:
        os.fstat(fd)
    except OSError:
        return True
    return False


def test_both_sides_see_the_same():
    ours = SharedMemory.create(8192)
    theirs = SharedMemory.adopt(os.dup(ours.fd), 8192)
    ours.view[8191] = 7
    assert theirs.view[8191] == 7
    assert theirs.fd == -1
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(ours.fd, 4096)
    ours.forget_descriptor()
    ours.forget_descriptor()


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SEAL])
def test_sizes_that_could_change_are_refused(seals):
    fd = memfd(4096, seals)
    with pytest.raises(MalformedMessage, match="not sealed"):
        SharedMemory.adopt(fd, 4096)
    assert closed(fd)


@pytest.mark.parametrize("told", [0, -1, 1, 4095, 8192, 1 << 50])
def test_other_sizes_than_announced_are_refused(told):
    fd = memfd(4096)
    with pytest.raises(MalformedMessage):
        SharedMemory.adopt(fd, told)
    assert closed(fd)


@pytest.mark.parametrize("seal", [fcntl.F_SEAL_WRITE, 0x10])
def test_memory_that_cannot_be_written_is_refused(seal):
    fd = memfd(4096, SEALS | seal)
    with pytest.raises(MalformedMessage, match="mapped"):
        SharedMemory.adopt(fd, 4096)
    assert closed(fd)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(bytes(4096))
    reader, writer = os.pipe()
    for fd in (os.open(tmp_path / "file", os.O_RDWR), reader, writer, os.open("/dev/zero", os.O_RDWR)):
        with pytest.raises(MalformedMessage):
            SharedMemory.adopt(fd, 4096)
        assert closed(fd)
    with pytest.raises(MalformedMessage, match="none"):
        read_sealed(-1, 10)


def test_content_is_read_whole():
    fd = memfd(5000)
    os.pwrite(fd, b"abc", 4997)
    assert read_sealed(fd, 5000)[-3:] == b"abc"
    os.close(fd)


def test_more_memory_than_there_is():
    with pytest.raises(DmaMapError):
        SharedMemory.create(1 << 62)


def test_boxes_in_a_slot():
    frame = [np.arange(3, dtype=np.uint64), np.empty(0, np.uint64), np.array([9], np.uint64)]
    row = put_boxes(frame, 3 + 12)
    for got, want in zip(get_boxes(row, 3), frame, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("counts", [(13, 0, 0), (5, 5, 5), (1 << 63, 1 << 63, 1), (1 << 62, 1 << 62, 1 << 63)])
def test_boxes_that_cannot_be(counts):
    row = np.zeros(15, np.uint64)
    row[:3] = counts
    with pytest.raises(MalformedMessage):
        get_boxes(row, 3)
