"""Requests on an open device, with everything the kernel answers checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from errno import ENODEV
from struct import pack
from typing import Any, Final

from openhailo.bus.regions import Region, RegionFile
from openhailo.bus.syscalls import Kernel
from openhailo.errors import DeviceError, DeviceLost, MalformedReply, OpenHailoError
from openhailo.spec import vfio
from openhailo.spec.layout import Struct
from openhailo.spec.vfio import Request

#: No answer of the kernel is longer: capability lists are a few hundred bytes.
MAX_ANSWER_BYTES: Final = 1 << 16
#: A capability list is at most this long.
MAX_CAPABILITIES: Final = 64
#: The chip's BARs have 16 KiB; whatever else a function may be, it is not ours.
MAX_BAR_BYTES: Final = 1 << 28
MIN_CONFIG_BYTES: Final = 64
BARS: Final = 6


class DeviceRequests:
    """An open VFIO device."""

    def __init__(self, kernel: Kernel, fd: int, name: str) -> None:
        """Take the descriptor. Raises `DeviceError` unless it is a PCI device."""
        self.kernel, self.fd, self.name = kernel, fd, name
        info = self._ask(Request.DEVICE_GET_INFO, vfio.DEVICE_INFO)
        self._info: dict[str, int] = info
        if not info["flags"] & vfio.DeviceFlag.PCI:
            raise DeviceError(f"{name} is no PCI device for VFIO; check what is bound to vfio-pci")

    def bar(self, index: int) -> Region | None:
        """Return BAR ``index``; None where the function has none. Raises `MalformedReply`."""
        return self.region(index) if 0 <= index < BARS else None

    def region(self, index: int) -> Region | None:
        """Return region ``index``; None where the function has none. Raises `MalformedReply`."""
        if index >= self._info["num_regions"]:
            return None
        request = Request.DEVICE_GET_REGION_INFO
        try:
            answer = full_answer(self.kernel, self.fd, request, vfio.REGION_INFO, index=index)
        except OSError as error:
            raise device_error(error, self.name, request) from error
        info = vfio.REGION_INFO.unpack(answer)
        size, flags = info["size"], info["flags"]
        if not size:
            return None
        if size > MAX_BAR_BYTES or size % 4 or info["offset"] + size >= 1 << 63:
            raise MalformedReply(what=f"region {index}", detail=f"{size} bytes at 0x{info['offset']:X}")
        usable = vfio.RegionFlag.READ | vfio.RegionFlag.WRITE
        if flags & usable != usable:
            raise MalformedReply(what=f"region {index}", detail=f"flags 0x{flags:X} do not allow reading and writing")
        mappable = bool(flags & vfio.RegionFlag.MMAP)
        if flags & vfio.RegionFlag.CAPABILITIES:
            mappable = mappable and _is_whole(answer, info["cap_offset"], size)
        return Region(index, self.fd, size, info["offset"], mappable)

    def config(self) -> RegionFile:
        """Return the configuration space. Raises `MalformedReply`."""
        region = self.region(vfio.CONFIG_REGION)
        if region is None or region.size_bytes < MIN_CONFIG_BYTES:
            raise MalformedReply(what="configuration space", detail="missing or shorter than its header")
        return RegionFile(self.kernel, self.name, region)

    def irq_count(self, index: int) -> int:
        """Return how many eventfds interrupt ``index`` takes; 0 where it has none."""
        if index >= self._info["num_irqs"]:
            return 0
        info = self._ask(Request.DEVICE_GET_IRQ_INFO, vfio.IRQ_INFO, index=index)
        return info["count"] if info["flags"] & vfio.IrqFlag.EVENTFD else 0

    def set_irq(self, index: int, eventfds: Sequence[int]) -> None:
        """Send interrupt ``index`` to ``eventfds``; none switches it off. Raises `DeviceError`, `DeviceLost`."""
        data = vfio.SetIrqs.DATA_EVENTFD if eventfds else vfio.SetIrqs.DATA_NONE
        tail = pack(f"={len(eventfds)}i", *eventfds)
        head = vfio.IRQ_SET.pack(
            argsz=vfio.IRQ_SET.size + len(tail),
            flags=data | vfio.SetIrqs.TRIGGER,
            index=index,
            count=len(eventfds),
        )
        self._call(Request.DEVICE_SET_IRQS, bytearray(head + tail))

    def reset(self) -> None:
        """Reset the function. Raises `DeviceError` where the kernel knows no way to."""
        if not self._info["flags"] & vfio.DeviceFlag.RESET:
            raise DeviceError(f"the kernel knows no way to reset {self.name} alone; power-cycle the card")
        self._call(Request.DEVICE_RESET, 0)

    def _ask(self, request: Request, layout: Struct, **values: int) -> dict[str, Any]:
        argument = bytearray(layout.pack(argsz=layout.size, **values))
        self._call(request, argument)
        return layout.unpack(argument)

    def _call(self, request: Request, argument: bytearray | int) -> None:
        try:
            self.kernel.ioctl(self.fd, request, argument)
        except OSError as error:
            raise device_error(error, self.name, request) from error


def device_error(error: OSError, name: str, request: Request) -> OpenHailoError:
    """Return what a refused request on an open device means."""
    if error.errno == ENODEV:
        return DeviceLost(name=name, detail=f"{request.name}: the kernel has no such device any more")
    return DeviceError(f"{name}: {request.name} failed: {error.strerror or error}; the kernel log says why")


def full_answer(kernel: Kernel, fd: int, request: Request, layout: Struct, **values: int) -> bytes:
    """Make a request whose answer may be longer than ``layout``: capabilities follow. Raises `MalformedReply`.

    The kernel says in ``argsz`` how much it wants to say; then it is asked again with as much room.
    """
    size = layout.size
    for _ in range(2):
        argument = bytearray(layout.pack(argsz=size, **values).ljust(size, b"\0"))
        kernel.ioctl(fd, request, argument)
        wanted = layout.unpack(argument)["argsz"]
        if wanted <= size:
            return bytes(argument)
        if wanted > MAX_ANSWER_BYTES:
            break
        size = wanted
    raise MalformedReply(what=request.name, detail=f"the kernel wants {wanted} bytes for its answer")


def walk_capabilities(answer: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    """Yield (id, what follows the header to the end of the answer). Raises `MalformedReply`."""
    header, at = vfio.CAPABILITY_HEADER, first
    for _ in range(MAX_CAPABILITIES):
        if not at:
            return
        if at + header.size > len(answer):
            raise MalformedReply(what="capability list of the kernel", detail=f"offset {at} of {len(answer)} bytes")
        found = header.unpack(answer, at)
        yield found["id"], answer[at + header.size :]
        at = found["next"]
    raise MalformedReply(what="capability list of the kernel", detail=f"more than {MAX_CAPABILITIES} entries")


def unpack_array(body: bytes, element: Struct) -> list[dict[str, int]]:
    """Return the elements behind a count (`SPARSE_HEADER`). Raises `MalformedReply`."""
    head = vfio.SPARSE_HEADER
    if len(body) < head.size:
        raise MalformedReply(what="capability of the kernel", detail=f"{len(body)} bytes")
    count = head.unpack(body)["count"]
    if head.size + count * element.size > len(body):
        raise MalformedReply(what="capability of the kernel", detail=f"{count} elements in {len(body)} bytes")
    return [element.unpack(body, head.size + index * element.size) for index in range(count)]


def _is_whole(answer: bytes, first: int, size: int) -> bool:
    """Tell whether all of a region of ``size`` bytes can be mapped."""
    for identity, body in walk_capabilities(answer, first):
        if identity == vfio.RegionCapability.SPARSE_MMAP:
            areas = unpack_array(body, vfio.SPARSE_AREA)
            return any(area["offset"] == 0 and area["size"] >= size for area in areas)
    return True
