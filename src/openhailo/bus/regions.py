"""Configuration space and BARs of a function whose regions lie in a file."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from errno import EIO, ENODEV

from openhailo.errors import DeviceError, DeviceLost, InputError, OpenHailoError

from .mmio import bad_access
from .protocols import ConfigSpace, Window
from .syscalls import Kernel

_COMMAND, _COMMAND_MEMORY = 0x04, 0x2


@dataclass(frozen=True)
class Region:
    """A region of a function: ``fd`` is the file it lies in, ``offset`` where."""

    index: int
    fd: int
    size_bytes: int
    offset: int
    mappable: bool


class RegionFile:
    """A region through reads and writes; implements `openhailo.bus.protocols.ConfigSpace`."""

    def __init__(self, kernel: Kernel, name: str, region: Region) -> None:
        """Take the region of the function ``name``."""
        self._kernel, self._fd, self._name = kernel, region.fd, name
        self.region, self.size_bytes = region, region.size_bytes

    def read(self, offset: int, width: int) -> int:
        """Read ``width`` bytes at ``offset``. Raises `DeviceLost`, `InputError`."""
        self._check(offset, width)
        try:
            data = self._kernel.pread(self._fd, width, self.region.offset + offset)
        except OSError as error:
            raise self._error(error) from error
        if len(data) != width:
            raise DeviceLost(name=self._name, detail=f"{len(data)} of {width} bytes were read at 0x{offset:X}")
        return int.from_bytes(data, "little")

    def write(self, offset: int, width: int, value: int) -> None:
        """Write ``width`` bytes at ``offset``. Raises `DeviceLost`, `InputError`."""
        self._check(offset, width)
        try:
            done = self._kernel.pwrite(self._fd, value.to_bytes(width, "little"), self.region.offset + offset)
        except OSError as error:
            raise self._error(error) from error
        if done != width:
            raise DeviceLost(name=self._name, detail=f"{done} of {width} bytes were written at 0x{offset:X}")

    def _check(self, offset: int, width: int) -> None:
        if width not in (1, 2, 4) or offset % width or not 0 <= offset <= self.size_bytes - width:
            raise InputError(what=f"region {self.region.index}", detail=f"{width} bytes at 0x{offset:X}")

    def _error(self, error: OSError) -> OpenHailoError:
        if error.errno in (EIO, ENODEV):
            return DeviceLost(name=self._name, detail=f"region {self.region.index}: {error.strerror}")
        return DeviceError(f"{self._name}: region {self.region.index}: {error.strerror}; the kernel log says why")


class FileWindow:
    """A BAR that cannot be mapped: every access is a system call. Implements `openhailo.bus.protocols.Window`."""

    def __init__(self, file: RegionFile) -> None:
        """Take the region."""
        self._file, self.size_bytes = file, file.size_bytes
        self._closed = False

    def read32(self, offset: int) -> int:
        """Load the dword at ``offset``."""
        self._check(offset, 4)
        return self._file.read(offset, 4)

    def write32(self, offset: int, value: int) -> None:
        """Store ``value`` at ``offset``."""
        self._check(offset, 4)
        self._file.write(offset, 4, value)

    def read_block(self, offset: int, size_bytes: int) -> bytes:
        """Load ``size_bytes`` as consecutive dwords."""
        self._check(offset, size_bytes)
        return array("I", [self._file.read(at, 4) for at in range(offset, offset + size_bytes, 4)]).tobytes()

    def write_block(self, offset: int, data: bytes | memoryview) -> None:
        """Store ``data`` as consecutive dwords."""
        self._check(offset, len(data))
        for at in range(0, len(data), 4):
            self._file.write(offset + at, 4, int.from_bytes(data[at : at + 4], "little"))

    def close(self) -> None:
        """Refuse every later access with ``ValueError``, as a mapped window does. Idempotent."""
        self._closed = True

    def _check(self, offset: int, size_bytes: int) -> None:
        if self._closed:
            raise ValueError("the window was closed")
        if offset & 3 or size_bytes & 3 or not 0 <= size_bytes <= self.size_bytes - offset or offset < 0:
            raise bad_access(offset, size_bytes, self.size_bytes)


class Bars:
    """The windows of a function, opened when they are asked for."""

    def __init__(self, kernel: Kernel, name: str, find: Callable[[int], Region | None], config: ConfigSpace) -> None:
        """Take what finds the region of a BAR (None: there is none), and the configuration space."""
        self._kernel, self._name, self._find, self._config = kernel, name, find, config
        self._open: dict[int, tuple[Window, Callable[[], None]]] = {}

    def window(self, bar: int) -> Window:
        """Return BAR ``bar``; the same object each time. Raises `DeviceLost`, `DeviceError`, `MalformedReply`."""
        if bar not in self._open:
            region = self._find(bar)
            if region is None:
                raise DeviceLost(name=self._name, detail=f"it has no BAR {bar}")
            self._decode()
            self._open[bar] = self._map(region)
        return self._open[bar][0]

    def _decode(self) -> None:
        """Switch memory decoding on: without it VFIO answers an access to a mapped BAR with SIGBUS."""
        command = self._config.read(_COMMAND, 2)
        if not command & _COMMAND_MEMORY:
            self._config.write(_COMMAND, 2, command | _COMMAND_MEMORY)

    def _map(self, region: Region) -> tuple[Window, Callable[[], None]]:
        if not region.mappable:
            window = FileWindow(RegionFile(self._kernel, self._name, region))
            return window, window.close
        try:
            return self._kernel.map_bar(region.fd, region.size_bytes, region.offset)
        except (OSError, ValueError) as error:
            raise DeviceError(f"{self._name}: BAR {region.index} cannot be mapped: {error}") from error

    def close(self) -> None:
        """Unmap everything. Idempotent."""
        while self._open:
            self._open.popitem()[1][1]()
