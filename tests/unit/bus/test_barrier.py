"""Memory barriers: which one, and that made code runs."""

from __future__ import annotations

import errno
import mmap
import os
import platform
from pathlib import Path

import pytest

from openhailo.bus import barrier
from openhailo.errors import DeviceError

#: A return, and a barrier with a return, as this machine runs them.
NATIVE = {
    "x86_64": bytes.fromhex("0faef0c3"),  # mfence; ret
    "aarch64": bytes.fromhex("9f3f03d5c0035fd6"),
}


@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "i686"])
def test_x86_needs_none(machine: str) -> None:
    assert barrier.barrier_for(machine) is None


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ("aarch64", (0xD5033F9F, 0xD65F03C0)),
        ("armv7l", (0xF57FF04F, 0xE12FFF1E)),
        ("armv8l", (0xF57FF04F, 0xE12FFF1E)),
        ("riscv64", (0x0FF0000F, 0x00008067)),
    ],
)
def test_each_processor_gets_its_instructions(
    machine: str, words: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []

    def compile_barrier(code: bytes) -> barrier.Barrier:
        made.append(code)
        return lambda: None

    monkeypatch.setattr(barrier, "compile_barrier", compile_barrier)
    assert barrier.barrier_for(machine) is not None
    assert made == [b"".join(word.to_bytes(4, "little") for word in words)]


@pytest.mark.parametrize("machine", ["ppc64le", "s390x", ""])
def test_an_unknown_processor_is_refused(machine: str) -> None:
    with pytest.raises(DeviceError, match=r"no memory barrier is known.*kernel driver"):
        barrier.barrier_for(machine)


@pytest.mark.skipif(platform.machine() not in NATIVE, reason="no instructions of this processor are at hand")
def test_the_code_runs_and_its_page_cannot_be_written() -> None:
    made = barrier.compile_barrier(NATIVE[platform.machine()])
    for _ in range(1000):
        assert made() is None
    maps = Path("/proc/self/maps").read_text("ascii").splitlines()
    lines = [line for line in maps if "openhailo-barrier" in line]
    assert lines and all(line.split()[1] == "r-xp" for line in lines)


def test_a_system_that_forbids_it_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(DeviceError, match="executable memory"):
        barrier.compile_barrier(b"\xc3")


def test_this_machine_is_asked_once() -> None:
    assert barrier.host_barrier() is barrier.host_barrier()
