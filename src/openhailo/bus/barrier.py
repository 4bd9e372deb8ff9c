"""Ordering memory and device accesses on processors that do not do it by themselves (driver.md 8.2 row 3).

Python has no such instruction, so it is made: a page with the instruction and a return, called as a function.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

import numpy as np

from openhailo.errors import DeviceError

Barrier = Callable[[], None]

#: Processors on which stores to memory and to uncached device memory, and loads of both, keep their order.
STRONGLY_ORDERED: Final = frozenset({"x86_64", "AMD64", "i386", "i486", "i586", "i686"})

#: Machine -> a full barrier over memory and device accesses, and a return, as the bytes of the two instructions.
INSTRUCTIONS: Final[Mapping[str, bytes]] = {
    "aarch64": bytes.fromhex("9f3f03d5c0035fd6"),  # dsb sy; ret
    "armv7l": bytes.fromhex("4ff07ff51eff2fe1"),  # dsb sy; bx lr
    "armv8l": bytes.fromhex("4ff07ff51eff2fe1"),  # a 32-bit process on a 64-bit kernel
    "riscv64": bytes.fromhex("0f00f00f67800000"),  # fence iorw, iorw; ret
}


def barrier_for(machine: str) -> Barrier | None:
    """Return what must run between memory and device accesses on ``machine``; None where nothing must.

    Raises `DeviceError` for a processor whose barrier is not known: without one, the device would read stale memory.
    """
    if machine in STRONGLY_ORDERED:
        return None
    code = INSTRUCTIONS.get(machine)
    if code is None:
        raise DeviceError(
            f"no memory barrier is known for the processor {machine!r}; use the kernel driver (kernel:/dev/hailo0)"
        )
    return compile_barrier(code)


@cache
def host_barrier() -> Barrier | None:
    """Return the barrier of this machine (see `barrier_for`)."""
    return barrier_for(platform.machine())


def compile_barrier(code: bytes) -> Barrier:
    """Return a callable that runs the machine ``code``, which must end in a return and touch no register.

    The code is written through a file and mapped read-and-execute afterwards: no page is ever writable and executable,
    and the kernel makes the instruction cache see it. Raises `DeviceError` where the system forbids executable memory.
    """
    fd = os.memfd_create("openhailo-barrier", os.MFD_CLOEXEC)
    try:
        os.write(fd, code.ljust(mmap.PAGESIZE, b"\0"))
        page = mmap.mmap(fd, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
    except OSError as error:
        raise DeviceError(
            f"the memory barrier cannot be made ({error.strerror}); allow this program executable memory, "
            "or use the kernel driver (kernel:/dev/hailo0)"
        ) from error
    finally:
        os.close(fd)
    view = np.frombuffer(page, np.uint8)
    # The interpreter's lock is kept: giving it up would cost more than the barrier.
    call = ctypes.PYFUNCTYPE(None)(view.ctypes.data)

    def barrier(_page: object = view) -> None:
        call()

    return barrier
