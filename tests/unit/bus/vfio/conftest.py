"""A kernel of our own: VFIO, iommufd and sysfs over a virtual chip, written from the interface's documentation.

Layouts are literals here; the code under test takes its own from `openhailo.spec.vfio`.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from openhailo.bus.vfio.endpoint import Way
from openhailo.spec.chip import CHIP
from openhailo.twin.board import TwinConfig
from openhailo.twin.chip import Chip
from openhailo.twin.clock import WallClock
from openhailo.twin.facade import load_firmware
from openhailo.twin.loop import EventLoop

ADDRESS = "0000:01:00.0"
MSI_CONTROL, COMMAND, DEVCTL = 0xE2, 0x04, 0x88
PAGE = mmap.PAGESIZE
HUGE = 2 << 20


class FakeIommu:
    """What the device may reach: bus address -> memory of this process. The chip's `HostMemory`."""

    def __init__(self) -> None:
        self.maps: dict[int, tuple[int, int, bool]] = {}
        self.released: list[Callable[[], None]] = []
        #: Without an IOMMU: addresses are looked up here, and everything may be written.
        self.physical: dict[int, tuple[int, int, bool]] | None = None

    def map(self, iova: int, address: int, size: int, writable: bool) -> None:
        if size <= 0 or iova % PAGE or address % PAGE or size % PAGE:
            raise OSError(errno.EINVAL, "Invalid argument")
        if any(start < iova + size and iova < start + length for start, (_, length, _) in self.maps.items()):
            raise OSError(errno.EEXIST, "File exists")
        self.maps[iova] = (address, size, writable)

    def unmap(self, iova: int, size: int) -> int:
        gone = [s for s, (_, length, _) in self.maps.items() if iova <= s and s + length <= iova + size]
        total = sum(self.maps.pop(start)[1] for start in gone)
        for callback in self.released:
            callback()
        return total

    def view(self, iova: int, size: int, *, write: bool) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
        for start, (address, length, writable) in (self.maps | (self.physical or {})).items():
            if start <= iova and iova + size <= start + length and (writable or not write):
                place = (ctypes.c_uint8 * size).from_address(address + iova - start)
                return np.ctypeslib.as_array(place)
        return None

    def on_release(self, callback: Callable[[], None]) -> None:
        self.released.append(callback)


class FakeWindow:
    """A mapped BAR."""

    def __init__(self, chip: Chip, bar: int, size: int) -> None:
        self.chip, self.bar, self.size_bytes = chip, bar, size
        self.closed = False

    def _check(self) -> None:
        if self.closed:
            raise ValueError("operation forbidden on released memoryview object")
        assert self.chip.config_read(COMMAND, 2) & 2, "SIGBUS: memory decoding is off"

    def read32(self, offset: int) -> int:
        self._check()
        return self.chip.bar_read(self.bar, offset, 4)

    def write32(self, offset: int, value: int) -> None:
        self._check()
        self.chip.bar_write(self.bar, offset, 4, value)

    def read_block(self, offset: int, size: int) -> bytes:
        return b"".join(self.read32(at).to_bytes(4, "little") for at in range(offset, offset + size, 4))

    def write_block(self, offset: int, data: bytes | memoryview) -> None:
        for at in range(0, len(data), 4):
            self.write32(offset + at, int.from_bytes(data[at : at + 4], "little"))


class FakeKernel:
    """Implements `openhailo.bus.syscalls.Kernel`. Everything that can go wrong is an attribute to set.

    ``fail`` maps the path of a node or the number of a request to the errno to fail with; ``answer`` the number of a
    request to a function that changes the finished answer.
    """

    def __init__(self, dev: Path) -> None:
        self.dev = dev
        self.nodes = {dev / "vfio" / "vfio", dev / "vfio" / "4"}
        self.fail: dict[object, int] = {}
        self.answer: dict[int, Callable[[bytearray], None]] = {}
        self.log: list[str] = []
        self.open_fds: dict[int, str] = {}
        self.extensions = {1, 3, 4}
        self.group_flags = 1
        self.version = 0
        self.ranges = [(0, 0xFEDFFFFF), (0xFEF00000, 0xFFFFFFFFFFFF)]
        self.page_sizes = 0x40201000
        self.iova_alignment = PAGE
        self.mappable = True
        self.irqs = {1: 1, 3: 1, 4: 1}
        self.device_flags = 3
        self.short_io = False
        self.huge_order: list[int] = list(range(64))
        self.hugepages = True
        self.secret_addresses = False
        self.eventfds: dict[int, int] = {}
        self.memory: list[Any] = []
        self.iommu = FakeIommu()
        self._fd = 1000
        self._stopping = False
        loop = EventLoop(WallClock())
        config = TwinConfig("hailo8", None, None, {}, {})
        self.chip = Chip(CHIP, loop=loop, config=config, memory=self.iommu, make_firmware=load_firmware)
        self.chip.msi.on_message(self._message)
        self._pump = threading.Thread(target=loop.wait_for, args=(lambda: self._stopping,), daemon=True)
        self._pump.start()

    def stop(self) -> None:
        with self.chip.loop.lock:
            self._stopping = True
            self.chip.loop.wake()
        self._pump.join(10)
        assert not self._pump.is_alive()

    def _message(self) -> None:
        self.chip.msi.take()
        self.signal(1)

    def signal(self, index: int) -> None:
        """Set the eventfd of an interrupt: 1 message, 3 error, 4 request."""
        if index in self.eventfds:
            os.eventfd_write(self.eventfds[index], 1)

    # --- files --------------------------------------------------------------------------------------------------

    def exists(self, path: Path) -> bool:
        return path in self.nodes

    def open(self, path: Path) -> int:
        self._may_fail(path)
        if path in self.nodes:
            kind = path.name
        elif path.parent.name == ADDRESS and path.exists():
            kind = f"sysfs/{path.name}"
        else:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        if kind.startswith("vfio") and kind != "vfio":
            self.chip.reset_function()
        return self._new(kind)

    def _new(self, kind: str) -> int:
        self._fd += 1
        self.open_fds[self._fd] = kind
        self.log.append(f"open {kind}")
        return self._fd

    def close(self, fd: int) -> None:
        kind = self.open_fds.pop(fd)
        self.log.append(f"close {kind}")
        if kind in ("device", "vfio0"):
            self.eventfds.clear()
            self.chip.reset_function()

    def write_attribute(self, path: Path, text: str) -> None:
        self._may_fail(path)
        self.log.append(f"{path.name}={text}")
        if path.name == "reset":
            self.chip.reset_function()
        elif path.name == "enable":
            self.chip.config_write(COMMAND, 2, self.chip.config_read(COMMAND, 2) & ~6 | (2 if text == "1" else 0))

    def _may_fail(self, what: object) -> None:
        number = self.fail.get(what)
        if number is not None:
            raise OSError(number, os.strerror(number))

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._may_fail("pread")
        index, at = self._place(fd, offset)
        if self.short_io:
            return b""
        if index == 7:
            return self.chip.config_read(at, size).to_bytes(size, "little")
        return self.chip.bar_read(index, at, size).to_bytes(size, "little")

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self._may_fail("pwrite")
        index, at = self._place(fd, offset)
        if self.short_io:
            return 0
        if index == 7:
            self.chip.config_write(at, len(data), int.from_bytes(data, "little"))
        else:
            self.chip.bar_write(index, at, len(data), int.from_bytes(data, "little"))
        return len(data)

    def _place(self, fd: int, offset: int) -> tuple[int, int]:
        if self.open_fds[fd] == "sysfs/config":
            return 7, offset
        assert self.open_fds[fd] in ("device", "vfio0")
        return offset >> 40, offset & ((1 << 40) - 1)

    def map_bar(self, fd: int, size: int, offset: int) -> tuple[FakeWindow, Callable[[], None]]:
        self._may_fail("mmap")
        kind = self.open_fds[fd]
        bar = int(kind[-1]) if kind.startswith("sysfs/resource") else offset >> 40
        window = FakeWindow(self.chip, bar, size)
        self.log.append(f"map {bar}")

        def unmap() -> None:
            window.closed = True
            self.log.append(f"unmap {bar}")

        return window, unmap

    # --- memory -------------------------------------------------------------------------------------------------

    def pages(self, size: int) -> memoryview:
        self._may_fail("pages")
        made = mmap.mmap(-1, size)
        self.memory.append(made)
        return memoryview(made)

    def huge_page_bytes(self) -> int:
        self._may_fail("meminfo")
        return HUGE if self.hugepages else 0

    def huge_pages(self, size: int) -> memoryview:
        """Pages at the physical addresses that ``huge_order`` says, in units of a huge page from 4 GiB on."""
        self._may_fail("pages")
        count = size // HUGE
        places, self.huge_order = self.huge_order[:count], self.huge_order[count:]
        view = self.pages(size)
        base = np.frombuffer(view, np.uint8).ctypes.data
        self.iommu.physical = self.iommu.physical or {}
        for index, place in enumerate(places):
            self.iommu.physical[(1 << 32) + place * HUGE] = (base + index * HUGE, HUGE, True)
        return view

    def physical_address(self, address: int) -> int:
        self._may_fail("pagemap")
        if self.secret_addresses:
            return 0
        return next(place for place, (base, size, _) in self.iommu.physical.items() if base <= address < base + size)

    # --- requests -----------------------------------------------------------------------------------------------

    def ioctl(self, fd: int, request: int, argument: bytearray | int = 0) -> int:
        self._may_fail(int(request))
        handler = self._requests[int(request)]
        self.log.append(handler.__name__[1:])
        result = handler(self, fd, argument)
        if int(request) in self.answer:
            self.answer[int(request)](argument)
        return result or 0

    def _get_api_version(self, fd: int, _: int) -> int:
        return self.version

    def _check_extension(self, fd: int, number: int) -> int:
        assert self.open_fds[fd] == "vfio"
        return int(number in self.extensions)

    def _set_iommu(self, fd: int, number: int) -> None:
        assert self.open_fds[fd] == "vfio" and number in self.extensions

    def _group_status(self, fd: int, argument: bytearray) -> None:
        argument[4:8] = self.group_flags.to_bytes(4, "little")

    def _set_container(self, fd: int, argument: bytearray) -> None:
        assert self.open_fds[struct.unpack("<i", argument)[0]] == "vfio"

    def _unset_container(self, fd: int, _: int) -> None:
        assert self.open_fds[fd] in ("4", "noiommu-4")

    def _device_fd(self, fd: int, argument: bytearray) -> int:
        assert bytes(argument) == ADDRESS.encode() + b"\0"
        self.chip.reset_function()
        return self._new("device")

    def _device_info(self, fd: int, argument: bytearray) -> None:
        assert len(argument) == 16
        argument[4:16] = struct.pack("<III", self.device_flags, 9, 5)

    def _region_info(self, fd: int, argument: bytearray) -> None:
        _, _, index, _, _, _ = struct.unpack_from("<IIIIQQ", argument)
        size = {0: 0x4000, 2: 0x1000, 4: 0x4000, 7: 0x1000}.get(index, 0)
        flags = (7 if index < 6 and self.mappable else 3) if size else 0
        struct.pack_into("<IIIIQQ", argument, 0, 32, flags, index, 0, size, index << 40)

    def _irq_info(self, fd: int, argument: bytearray) -> None:
        count = self.irqs.get(struct.unpack_from("<I", argument, 8)[0], 0)
        argument[4:8] = (9 if count else 0).to_bytes(4, "little")
        argument[12:16] = count.to_bytes(4, "little")

    def _set_irqs(self, fd: int, argument: bytearray) -> None:
        argsz, flags, index, start, count = struct.unpack_from("<5I", argument)
        assert argsz == len(argument) and start == 0
        if flags == 0x24:
            assert count == 1 and len(argument) == 24
            self.eventfds[index] = struct.unpack_from("<i", argument, 20)[0]
        else:
            assert (flags, count, len(argument)) == (0x21, 0, 20)
            if self.eventfds.pop(index, None) is None:
                raise OSError(errno.EINVAL, "Invalid argument")
        if index == 1:
            self.chip.config_write(MSI_CONTROL, 2, 0x80 | (flags == 0x24))

    def _device_reset(self, fd: int, _: int) -> None:
        saved = [(at, self.chip.config_read(at, 2)) for at in (DEVCTL, MSI_CONTROL, COMMAND)]
        self.chip.reset_function()
        for at, value in saved:
            self.chip.config_write(at, 2, value)

    def _iommu_info(self, fd: int, argument: bytearray) -> None:
        body = b"".join(struct.pack("<QQ", *pair) for pair in self.ranges)
        caps = struct.pack("<HHI", 3, 1, 40) + struct.pack("<I", 65535) + bytes(4)
        caps += struct.pack("<HHI", 1, 1, 0) + struct.pack("<II", len(self.ranges), 0) + body
        wanted = 24 + len(caps)
        struct.pack_into("<IIQ", argument, 0, wanted, 3, self.page_sizes)
        if len(argument) >= wanted:
            struct.pack_into("<I", argument, 16, 24)
            argument[24:wanted] = caps

    def _map_dma(self, fd: int, argument: bytearray) -> None:
        argsz, flags, address, iova, size = struct.unpack("<IIQQQ", argument)
        assert argsz == 32 and flags in (1, 3)
        self.iommu.map(iova, address, size, flags == 3)

    def _unmap_dma(self, fd: int, argument: bytearray) -> None:
        _, _, iova, size = struct.unpack("<IIQQ", argument)
        argument[16:24] = self.iommu.unmap(iova, size).to_bytes(8, "little")

    def _bind(self, fd: int, argument: bytearray) -> None:
        argsz, flags, iommufd, _ = struct.unpack("<IIiI", argument)
        assert (argsz, flags, self.open_fds[fd], self.open_fds[iommufd]) == (16, 0, "vfio0", "iommu")

    def _attach(self, fd: int, argument: bytearray) -> None:
        argsz, flags, ioas = struct.unpack("<III", argument)
        assert (argsz, flags) == (12, 0)
        self._known(ioas)

    def _known(self, ioas: int) -> None:
        if ioas != 77:
            raise OSError(errno.ENOENT, "No such file or directory")

    def _ioas_alloc(self, fd: int, argument: bytearray) -> None:
        assert struct.unpack("<III", argument) == (12, 0, 0)
        argument[8:12] = (77).to_bytes(4, "little")

    def _ioas_ranges(self, fd: int, argument: bytearray) -> None:
        size, ioas, room, _, place, _ = struct.unpack("<IIIIQQ", argument)
        assert size == 32
        self._known(ioas)
        struct.pack_into("<I", argument, 8, len(self.ranges))
        struct.pack_into("<Q", argument, 24, self.iova_alignment)
        if len(self.ranges) > room:
            raise OSError(errno.EMSGSIZE, "Message too long")
        body = b"".join(struct.pack("<QQ", *pair) for pair in self.ranges)
        ctypes.memmove(place, body, len(body))

    def _ioas_map(self, fd: int, argument: bytearray) -> None:
        size, flags, ioas, _, address, length, iova = struct.unpack("<IIIIQQQ", argument)
        assert size == 40 and flags in (5, 7)
        self._known(ioas)
        self.iommu.map(iova, address, length, flags == 7)

    def _ioas_unmap(self, fd: int, argument: bytearray) -> None:
        _, ioas, iova, size = struct.unpack("<IIQQ", argument)
        self._known(ioas)
        argument[16:24] = self.iommu.unmap(iova, size).to_bytes(8, "little")

    _requests: ClassVar[dict[int, Callable[..., int | None]]] = {
        0x3B64: _get_api_version,
        0x3B65: _check_extension,
        0x3B66: _set_iommu,
        0x3B67: _group_status,
        0x3B68: _set_container,
        0x3B69: _unset_container,
        0x3B6A: _device_fd,
        0x3B6B: _device_info,
        0x3B6C: _region_info,
        0x3B6D: _irq_info,
        0x3B6E: _set_irqs,
        0x3B6F: _device_reset,
        0x3B70: _iommu_info,
        0x3B71: _map_dma,
        0x3B72: _unmap_dma,
        0x3B76: _bind,
        0x3B77: _attach,
        0x3B81: _ioas_alloc,
        0x3B84: _ioas_ranges,
        0x3B85: _ioas_map,
        0x3B86: _ioas_unmap,
    }


def add_function(root: Path, address: str = ADDRESS, *, driver: str = "vfio-pci", group: int | None = 4) -> Path:
    """Add a function of the chip to a ``/sys`` tree."""
    folder = root / "devices" / "pci0000:00" / address
    folder.mkdir(parents=True)
    devices = root / "bus" / "pci" / "devices"
    devices.mkdir(parents=True, exist_ok=True)
    (devices / address).symlink_to(folder)
    resource = "0xfe000000 0xfe003fff 0x14220c\n0x0 0x0 0x0\n0xfe004000 0xfe004fff 0x14220c\n0x0 0x0 0x0\n"
    resource += "0xfe008000 0xfe00bfff 0x14220c\n0x0 0x0 0x0\n"
    for name, text in {"vendor": "0x1e60\n", "device": "0x2864\n", "resource": resource}.items():
        (folder / name).write_text(text)
    for name in ("config", "resource0", "resource2", "resource4"):
        (folder / name).write_bytes(b"")
    if driver:
        place = root / "bus" / "pci" / "drivers" / driver
        place.mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(place)
    if group is not None:
        place = root / "kernel" / "iommu_groups" / str(group)
        (place / "devices").mkdir(parents=True, exist_ok=True)
        (place / "devices" / address).symlink_to(folder)
        (folder / "iommu_group").symlink_to(place)
    return folder


@pytest.fixture
def tools() -> SimpleNamespace:
    """What tests need from this file."""
    return SimpleNamespace(add_function=add_function, address=ADDRESS, page=PAGE, huge=HUGE)


class Machine:
    """A kernel with one chip on its bus: ``way`` is "group", "iommufd", "no-IOMMU" or "sysfs"."""

    def __init__(self, folder: Path) -> None:
        self.root, self.dev = folder / "sys", folder / "dev"
        self.kernel = FakeKernel(self.dev)

    def add(self, way: str) -> Machine:
        folder = add_function(
            self.root,
            driver="" if way == "sysfs" else "vfio-pci",
            group=None if way == "sysfs" else 4,
        )
        if way == "iommufd":
            (folder / "vfio-dev" / "vfio0").mkdir(parents=True)
            self.kernel.nodes |= {self.dev / "iommu", self.dev / "vfio" / "devices" / "vfio0"}
        if way == "no-IOMMU":
            self.kernel.nodes ^= {self.dev / "vfio" / "4", self.dev / "vfio" / "noiommu-4"}
            self.kernel.extensions = {8}
        return self

    def way(self, **options: Any) -> Way:
        """Return how our code reaches this machine."""
        return Way(self.kernel, self.root, self.dev, **options)

    @property
    def options(self) -> dict[str, Any]:
        """What `open_endpoint` is told to find this machine."""
        return {"kernel": self.kernel, "root": self.root, "dev": self.dev}


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Machine]:
    """A machine without a chip; `Machine.add` adds it. Nothing may be left open."""
    machine = Machine(tmp_path)
    yield machine
    machine.kernel.stop()
    assert machine.kernel.open_fds == {}
    assert machine.kernel.iommu.maps == {}


@pytest.fixture(params=["group", "iommufd"])
def vfio(request: pytest.FixtureRequest, bare: Machine) -> Machine:
    """A machine whose chip is behind an IOMMU, in both of VFIO's ways."""
    return bare.add(request.param)


@pytest.fixture(params=["group", "iommufd", "no-IOMMU", "sysfs"])
def any_way(request: pytest.FixtureRequest, bare: Machine) -> Machine:
    """A machine for each way there is."""
    return bare.add(request.param)
