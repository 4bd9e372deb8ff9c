"""The archive writer against bytes written down by hand (cpio(5), newc), and what goes into a guest."""

from __future__ import annotations

import lzma

import pytest
from tests.vm.initramfs import Archive, Payload, build_initramfs
from tests.vm.kernel import BadKernel
from tests.vm.packages import Tree

ZERO, ONE = "00000000", "00000001"
# magic, inode, mode, uid, gid, links, time, size, device (2), special device (2), name size, checksum
FOLDER = f"070701{ONE}000041ED{ZERO}{ZERO}{ONE}{ZERO}{ZERO}{ZERO * 4}00000002{ZERO}d\0"
FILE = f"07070100000002000081ED{ZERO}{ZERO}{ONE}{ZERO}00000003{ZERO * 4}00000004{ZERO}d/f\0\0\0hi\n\0"
LINK = f"070701000000030000A1FF{ZERO}{ZERO}{ONE}{ZERO}00000001{ZERO * 4}00000004{ZERO}d/l\0\0\0f\0\0\0"
TRAILER = f"070701{ZERO}{ZERO}{ZERO}{ZERO}{ONE}{ZERO}{ZERO}{ZERO * 4}0000000B{ZERO}TRAILER!!!\0\0\0\0"


def test_known_bytes():
    archive = Archive()
    archive.folder("d")
    archive.file("d/f", b"hi\n")
    archive.link("d/l", "f")
    assert archive.finish() == (FOLDER + FILE + LINK + TRAILER).encode()
    assert all(len(part) % 4 == 0 for part in (FOLDER, FILE, LINK, TRAILER))


def entries(data: bytes) -> dict[str, bytes]:
    """Read an archive back, as a kernel does."""
    found, at = {}, 0
    while True:
        numbers = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = numbers[6], numbers[11]
        name = data[at + 110 : at + 109 + name_size].decode()
        at = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = data[at : at + size]
        at = (at + size + 3) & ~3


@pytest.fixture
def tree(tmp_path):
    """A tree with one packed and one plain module."""
    modules = tmp_path / "usr/lib/modules/6.1-test/kernel/drivers"
    modules.mkdir(parents=True)
    (modules / "one.ko.xz").write_bytes(lzma.compress(b"module one"))
    (modules / "two.ko").write_bytes(b"module two")
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/busybox").write_bytes(b"box")
    return Tree(tmp_path, {})


def test_what_a_guest_gets(tree):
    payload = Payload(["/bin/python", "-m", "it's"], {"A": "x y"}, ["drivers/two", "drivers/one"])
    found = entries(build_initramfs(tree, payload))
    assert found["modules/one.ko"] == b"module one"
    assert found["modules/two.ko"] == b"module two"
    assert found["modules/order"] == b"two\none\n"
    assert found["bin/busybox"] == b"box"
    assert found["bin/sh"] == b"busybox"
    assert found["environment"] == b"export A='x y'\n"
    init = found["init"].decode()
    assert init.startswith("#!/bin/sh\n")
    assert """chroot /host /bin/python -m 'it'"'"'s'\n""" in init
    assert "echo RIG-DONE rc=$?" in init


def test_modules_that_are_not_there(tree):
    with pytest.raises(BadKernel, match="drivers/three"):
        build_initramfs(tree, Payload(["x"], {}, ["drivers/three"]))


def test_modules_that_are_no_xz(tree, tmp_path):
    (tmp_path / "usr/lib/modules/6.1-test/kernel/drivers/four.ko.xz").write_bytes(b"nonsense")
    with pytest.raises(BadKernel, match="drivers/four"):
        build_initramfs(tree, Payload(["x"], {}, ["drivers/four"]))
