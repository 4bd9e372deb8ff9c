"""The kernel driver's device node, and what its errno values mean."""

from __future__ import annotations

import ctypes
import errno
import mmap as _mmap
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from openhailo.errors import (
    AccessDenied,
    BootFailed,
    Cancelled,
    DeviceError,
    DeviceLost,
    DeviceNotFound,
    DeviceTimeout,
    DmaMapError,
    OpenHailoError,
    StateError,
)

#: A request is repeated at most this often when signals interrupt it.
_MAX_INTERRUPTIONS: Final = 1000

_UDEV_HINT = (
    "the node's permissions keep you out; install the udev rule "
    'SUBSYSTEM=="hailo_chardev", MODE="0666" and plug the card again, or run as root'
)


class CharDevice:
    """``/dev/hailoN`` (`openhailo.bus.protocols.DeviceFile`).

    Not ``fcntl.ioctl``: that keeps the interpreter's lock for arguments above 1024 bytes, so one thread that waits for
    a notification (1508 bytes) or a control (1528 bytes) would stop the whole process.
    """

    def __init__(self, path: str) -> None:
        """Open the node. Raises `DeviceNotFound`, `AccessDenied`, `DeviceLost`, `DeviceError`."""
        if struct.calcsize("P") != 8:
            # The driver has no 32-bit entry on a 64-bit kernel (driver.md 1.3, 8.1 row 35).
            raise DeviceError(f"{path}: a 32-bit Python cannot talk to the kernel driver; use a 64-bit one")
        self.name = path
        try:
            # A child must not inherit the open: its pinned pages and channels are ours (driver.md 8.1 row 6).
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise open_error(error, path) from error
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)

    @property
    def page_size(self) -> int:
        """Bytes of a page of this kernel."""
        return _mmap.PAGESIZE

    def ioctl(self, request: int, argument: bytearray) -> int:
        """Make one request (see `openhailo.bus.protocols.DeviceFile.ioctl`)."""
        place = (ctypes.c_char * len(argument)).from_buffer(argument) if argument else None
        result: int = self._libc.ioctl(self._fd, request, place)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), self.name)
        return result

    def mmap(self, length: int, offset: int) -> memoryview:
        """Map a buffer of the driver; it is unmapped when the last view of it goes."""
        return memoryview(_mmap.mmap(self._fd, length, flags=_mmap.MAP_SHARED, offset=offset))

    def is_alive(self) -> bool:
        """Open the node once more: the driver looks at the card then, and at no other time."""
        try:
            os.close(os.open(self.name, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            return error.errno not in (errno.ENXIO, errno.ENODEV)
        return True

    def close(self) -> None:
        """Close the node. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def list_nodes(folder: Path = Path("/dev")) -> list[str]:
    """Return the paths of the kernel driver's nodes, in the order of their numbers."""
    found = [(int(path.name[5:]), str(path)) for path in folder.glob("hailo[0-9]*") if path.name[5:].isdecimal()]
    return [path for _, path in sorted(found)]


def retry_interrupted(call: Callable[[], int]) -> int:
    """Call again as long as a signal interrupts it, which changes nothing in the driver (driver.md 7.1, 8.1 row 28)."""
    for _ in range(_MAX_INTERRUPTIONS):
        try:
            return call()
        except InterruptedError:
            continue
    raise Cancelled(what="request to the kernel driver", reason=f"{_MAX_INTERRUPTIONS} signals interrupted it")


def open_error(error: OSError, path: str) -> OpenHailoError:
    """Return what ``open`` of a node means (driver.md 1.3)."""
    if error.errno in (errno.ENOENT, errno.ENODEV):
        return DeviceNotFound(name=path, hint="there is no such board; `openhailo devices` lists the nodes")
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessDenied(name=path, hint=_UDEV_HINT)
    if error.errno == errno.ENXIO:
        return DeviceLost(name=path, detail="the driver does not find the card alive")
    return DeviceError(f"{path} cannot be opened: {error.strerror}; the kernel log says why")


def driver_error(error: OSError, *, name: str, what: str, budget_s: float = 0.0) -> OpenHailoError:
    """Return the typed error for an errno of the driver (driver.md 7.5, control-protocol.md 1)."""
    make = _BY_ERRNO.get(error.errno or 0)
    if make is not None:
        return make(name, what, budget_s)
    return DeviceError(f"{name}: {what} failed: {error.strerror or error}; the kernel log says why")


def _lost(detail: str) -> Callable[[str, str, float], OpenHailoError]:
    return lambda name, what, _: DeviceLost(name=name, detail=f"{what}: {detail}")


def _no_memory(detail: str) -> Callable[[str, str, float], OpenHailoError]:
    return lambda name, what, _: DmaMapError(detail=f"{name}: {what}: {detail}")


def _stopped(name: str, what: str, _: float) -> OpenHailoError:
    return StateError(
        what=what,
        state=f"the channel of {name} is stopped",
        hint="activate the network first, or activate it again after an error",
    )


def _refused(name: str, what: str, _: float) -> OpenHailoError:
    return DeviceError(
        f"{name}: the driver refuses {what} as invalid; after a suspend every open is invalid, so open the device again"
    )


_BY_ERRNO: Mapping[int, Callable[[str, str, float], OpenHailoError]] = {
    errno.ENODEV: _lost("the driver has no such board any more"),
    errno.EIO: _lost("the card does not keep what is written to it"),
    errno.ENXIO: _no_memory("the memory could not be mapped for DMA"),
    errno.ENOMEM: _no_memory("the kernel has no memory for it"),
    errno.ENOBUFS: _no_memory("no contiguous memory (CMA) is left; free some or raise cma= on the kernel command line"),
    errno.ECONNRESET: _stopped,
    errno.EBUSY: _stopped,
    errno.EINVAL: _refused,
    errno.EFAULT: lambda name, what, _: DeviceError(
        f"{name}: the driver cannot reach the memory or handle of {what}; close the network and configure it again"
    ),
    errno.ERANGE: lambda name, what, _: DeviceError(f"{name}: {what} leaves the descriptor list; use a longer one"),
    errno.ENOTTY: lambda name, what, _: DeviceError(
        f"{name}: the driver does not know {what}; it is of another release than it says, install it again"
    ),
    errno.ETIMEDOUT: lambda name, what, budget_s: DeviceTimeout(what=what, budget_s=budget_s, elapsed_s=budget_s),
    errno.ECANCELED: lambda name, what, _: Cancelled(what=what, reason=f"it was switched off on {name}"),
    errno.EINTR: lambda name, what, _: Cancelled(what=what, reason="a signal interrupted it"),
}


def not_running(name: str) -> OpenHailoError:
    """Return the error for a control to a card without firmware."""
    return BootFailed(stage="control", detail=f"no firmware is running on {name}; load the kernel driver again")
