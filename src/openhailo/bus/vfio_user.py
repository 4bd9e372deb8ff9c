"""A PCI function behind a vfio-user socket: ``vfio-user:/path`` (vfio-user.md 1-8).

What QEMU's ``vfio-user-pci`` does for a guest, done for our own driver: a served twin, or any other device process, can
be used without a virtual machine. Memory is shared through one memfd, the message is an eventfd.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import threading
from array import array
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, cast

from openhailo._units import align_up
from openhailo.bus.capabilities import MSI, PCI_EXPRESS, find_capability
from openhailo.bus.message import MessageEvents
from openhailo.bus.protocols import DmaDirection, PciFunction
from openhailo.bus.ranges import FreeRanges
from openhailo.bus.registry import Endpoint
from openhailo.errors import AccessDenied, DeviceError, DeviceLost, DeviceNotFound, DmaMapError, InputError
from openhailo.spec.vfio_user import VFIO_USER, Command, DeviceFlag, DmaFlag, Irq, MessageFlag, SetIrqs, VfioUserSpec

PAGE: Final = 4096
#: The first address handed out: above 4 GiB, and aligned to more than the arena is large.
FIRST_IOVA: Final = 0x12_0000_0000
#: Address space for buffers; only what is used takes memory.
ARENA_BYTES: Final = 1 << 32
# Capability ids and offsets of the PCI specification, as far as a host needs them here (vfio-user.md 6.2).
_COMMAND = 0x04
_DEVCTL, _LNKCTL, _FUNCTION_RESET = 0x08, 0x10, 0x8000
_MEMORY_AND_MASTER, _MSI_ENABLE = 0x0006, 0x0001


class VfioUserChannel:
    """The connection: one command at a time, from any thread."""

    def __init__(self, path: str, spec: VfioUserSpec = VFIO_USER, timeout_s: float = 10.0) -> None:
        """Connect and negotiate. Raises `DeviceNotFound`, `AccessDenied`, `DeviceError`."""
        self.name, self.spec = f"vfio-user:{path}", spec
        self._lock = threading.Lock()
        self._header, self._access = spec.header.compiled, spec.region_access.compiled
        self._id = 0
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(timeout_s)
        try:
            self._sock.connect(path)
        except PermissionError as error:
            self._sock.close()
            raise AccessDenied(name=self.name, hint="the socket belongs to another user") from error
        except OSError as error:
            self._sock.close()
            raise DeviceNotFound(name=self.name, hint=f"nobody serves this socket ({error})") from error
        try:
            self._negotiate()
        except BaseException:
            self._sock.close()
            raise

    def _negotiate(self) -> None:
        rules = self.spec.rules
        text = json.dumps({"capabilities": {"max_msg_fds": 1, "max_data_xfer_size": rules.max_data_xfer_bytes}})
        version = self.spec.version.pack(major=rules.major, minor=rules.minor)
        answer = self.spec.version.unpack(self.call(Command.VERSION, version + text.encode() + b"\0"))
        info = self.spec.device_info.pack(argsz=self.spec.device_info.size)
        flags = self.spec.device_info.unpack(self.call(Command.DEVICE_GET_INFO, info))["flags"]
        if answer["major"] != rules.major or not flags & DeviceFlag.PCI:
            raise DeviceError(f"{self.name} is no PCI function of protocol {rules.major}; check what serves the socket")

    def call(self, command: Command, payload: bytes, fds: Sequence[int] = ()) -> bytes:
        """Send a command and return the payload of its reply. Raises `DeviceLost`, `DeviceError` (it was refused)."""
        with self._lock:
            number = self._send(command, payload, 0, fds)
            try:
                answer = self._receive(number, command)
            except OSError as error:
                raise self._lost(error) from error
        return answer

    def post(self, command: Command, payload: bytes) -> None:
        """Send a command that is not answered. Raises `DeviceLost`."""
        with self._lock:
            self._send(command, payload, MessageFlag.NO_REPLY, ())

    def _send(self, command: Command, payload: bytes, flags: int, fds: Sequence[int]) -> int:
        self._id = number = (self._id + 1) & 0xFFFF
        message = self._header.pack(number, command, self._header.size + len(payload), flags, 0) + payload
        try:
            if fds:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))]
                message = message[self._sock.sendmsg([message], rights) :]
            self._sock.sendall(message)
        except OSError as error:
            raise self._lost(error) from error
        return number

    def _receive(self, number: int, command: Command) -> bytes:
        header = self._header.unpack(self._exactly(self._header.size))
        longest = self._header.size * 2 + self.spec.rules.max_data_xfer_bytes
        if header[:2] != (number, command) or not self._header.size <= header[2] <= longest:
            raise self._lost("its replies are out of step")
        payload = self._exactly(header[2] - self._header.size)
        if header[3] & MessageFlag.ERROR:
            raise DeviceError(f"{self.name} refused {command.name}: {os.strerror(header[4])}; see the server's log")
        return payload

    def _exactly(self, size_bytes: int) -> bytes:
        data = self._sock.recv(size_bytes, socket.MSG_WAITALL) if size_bytes else b""
        if len(data) != size_bytes:
            raise self._lost("the server closed the connection")
        return data

    def _lost(self, reason: object) -> DeviceLost:
        return DeviceLost(name=self.name, detail=str(reason))

    def read(self, region: int, offset: int, count: int) -> bytes:
        """Read ``count`` bytes of a region."""
        request = self._access.pack(offset, region, count)
        answer = self.call(Command.REGION_READ, request)
        if len(answer) != len(request) + count:
            raise self._lost(f"{len(answer)} bytes in the reply to a read of {count}")
        return answer[len(request) :]

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Write a region and wait until that is done."""
        self.call(Command.REGION_WRITE, self._access.pack(offset, region, len(data)) + data)

    def write_posted(self, region: int, offset: int, data: bytes) -> None:
        """Write a region, as a bus does: without waiting, in order with everything else."""
        self.post(Command.REGION_WRITE, self._access.pack(offset, region, len(data)) + data)

    def close(self) -> None:
        """Disconnect: the device sees its card pulled. Idempotent."""
        self._sock.close()


class VfioUserWindow:
    """A BAR; implements `openhailo.bus.protocols.Window`."""

    def __init__(self, channel: VfioUserChannel, bar: int) -> None:
        layout = channel.spec.region_info
        info = layout.unpack(channel.call(Command.DEVICE_GET_REGION_INFO, layout.pack(argsz=layout.size, index=bar)))
        if not info["size"]:
            raise DeviceLost(name=channel.name, detail=f"it has no BAR {bar}")
        self.size_bytes: int = info["size"]
        self._channel, self._bar = channel, bar

    def read32(self, offset: int) -> int:
        """Load the dword at ``offset``."""
        return int.from_bytes(self._channel.read(self._bar, offset, 4), "little")

    def write32(self, offset: int, value: int) -> None:
        """Store ``value`` at ``offset``."""
        self._channel.write_posted(self._bar, offset, value.to_bytes(4, "little"))

    def read_block(self, offset: int, size_bytes: int) -> bytes:
        """Load ``size_bytes`` as consecutive dwords."""
        self._check(offset, size_bytes)
        return b"".join(self._channel.read(self._bar, at, 4) for at in range(offset, offset + size_bytes, 4))

    def write_block(self, offset: int, data: bytes | memoryview) -> None:
        """Store ``data`` as consecutive dwords."""
        self._check(offset, len(data))
        for at in range(0, len(data), 4):
            self._channel.write_posted(self._bar, offset + at, bytes(data[at : at + 4]))

    def _check(self, offset: int, size_bytes: int) -> None:
        if offset & 3 or size_bytes & 3:
            raise InputError(what="BAR access", detail=f"{size_bytes} bytes at 0x{offset:X} are not aligned dwords")


class VfioUserConfig:
    """Configuration space; implements `openhailo.bus.protocols.ConfigSpace`."""

    def __init__(self, channel: VfioUserChannel) -> None:
        self._channel, self._region = channel, channel.spec.rules.config_region

    def read(self, offset: int, width: int) -> int:
        """Read ``width`` bytes at ``offset``."""
        return int.from_bytes(self._channel.read(self._region, offset, width), "little")

    def write(self, offset: int, width: int, value: int) -> None:
        """Write ``width`` bytes at ``offset``."""
        self._channel.write(self._region, offset, value.to_bytes(width, "little"))

    def capability(self, wanted: int) -> int:
        """Return the offset of a capability, by id. Raises `DeviceLost` where there is none."""
        at = find_capability(self, wanted)
        if not at:
            raise DeviceLost(name=self._channel.name, detail=f"it has no PCI capability 0x{wanted:02X}")
        return at


class VfioUserBuffer:
    """A part of the arena; implements `openhailo.bus.protocols.DmaBuffer`."""

    def __init__(self, dma: VfioUserDma, offset: int, size_bytes: int, view: memoryview) -> None:
        self.iova, self.size_bytes, self.view = FIRST_IOVA + offset, size_bytes, view
        self.offset = offset
        self._dma: VfioUserDma | None = dma

    def close(self) -> None:
        """Take it away from the device. Idempotent."""
        dma, self._dma = self._dma, None
        if dma is not None:
            dma.release(self)


class VfioUserDma:
    """Memory that client and server share; implements `openhailo.bus.protocols.DmaSpace`."""

    def __init__(self, channel: VfioUserChannel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._fd = os.memfd_create("openhailo-dma", os.MFD_CLOEXEC)
        os.truncate(self._fd, ARENA_BYTES)
        self._arena = mmap.mmap(self._fd, ARENA_BYTES)
        self._whole = memoryview(self._arena)
        self._free = FreeRanges([(0, ARENA_BYTES)])

    def alloc(self, size_bytes: int, *, alignment: int = PAGE) -> VfioUserBuffer:
        """Allocate zeroed memory; a page behind it stays unused, so that no buffer touches another."""
        if size_bytes < 1 or alignment < 1 or alignment & (alignment - 1):
            raise DmaMapError(size_bytes=size_bytes, detail=f"needs a size, and a power of two instead of {alignment}")
        offset = self._take(align_up(size_bytes, PAGE) + PAGE, max(alignment, PAGE), size_bytes)
        layout = self._channel.spec.dma_map
        request = layout.pack(
            argsz=layout.size,
            flags=DmaFlag.READ | DmaFlag.WRITE,
            offset=offset,
            address=FIRST_IOVA + offset,
            size=align_up(size_bytes, PAGE),
        )
        try:
            self._channel.call(Command.DMA_MAP, request, [self._fd])
        except DeviceError as error:
            self._give(offset, align_up(size_bytes, PAGE) + PAGE)
            raise DmaMapError(size_bytes=size_bytes, detail=str(error)) from error
        return VfioUserBuffer(self, offset, size_bytes, self._whole[offset : offset + size_bytes])

    def map(self, buffer: memoryview, direction: DmaDirection) -> VfioUserBuffer:
        """Refuse: memory of the caller has no descriptor that another process could map."""
        del direction
        raise DmaMapError(
            size_bytes=buffer.nbytes, detail="only memory from `alloc` can be shared with another process"
        )

    def _take(self, size: int, alignment: int, wanted: int) -> int:
        with self._lock:
            offset = self._free.take(size, alignment)
        if offset is None:
            raise DmaMapError(size_bytes=wanted, detail=f"no room in {ARENA_BYTES} bytes of shared memory")
        return offset

    def _give(self, offset: int, size: int) -> None:
        self._arena.madvise(mmap.MADV_REMOVE, offset, size)
        with self._lock:
            self._free.give(offset, size)

    def release(self, buffer: VfioUserBuffer) -> None:
        """Unmap ``buffer`` and free its memory; where the device is gone, only the latter."""
        layout = self._channel.spec.dma_unmap
        size = align_up(buffer.size_bytes, PAGE)
        with suppress(DeviceError):
            self._channel.call(Command.DMA_UNMAP, layout.pack(argsz=layout.size, address=buffer.iova, size=size))
        self._give(buffer.offset, size + PAGE)

    def close(self) -> None:
        """Let go of the arena; views of it stay valid as long as somebody holds them. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class VfioUserInterrupts:
    """The message as an eventfd; implements `openhailo.bus.protocols.Interrupts`."""

    def __init__(self, channel: VfioUserChannel, config: VfioUserConfig) -> None:
        self._channel, self._config = channel, config
        self._control = config.capability(MSI) + 2
        self._events = MessageEvents()

    def enable(self) -> None:
        """Switch MSI on (one vector): the bit first, then the eventfd, as QEMU does (vfio-user.md 11.2)."""
        self._config.write(self._control, 2, self._config.read(self._control, 2) | _MSI_ENABLE)
        self._set(SetIrqs.DATA_EVENTFD | SetIrqs.TRIGGER, 1, [self._events.message])

    def _set(self, flags: int, count: int, fds: Sequence[int]) -> None:
        layout = self._channel.spec.irq_set
        request = layout.pack(argsz=layout.size, flags=flags, index=Irq.MSI, count=count)
        self._channel.call(Command.DEVICE_SET_IRQS, request, fds)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a message; True when at least one arrived since the last call."""
        return self._events.message in self._events.wait(timeout_s)

    def wake(self) -> None:
        """Make a concurrent or the next `wait` return early."""
        self._events.wake()

    def disable(self) -> None:
        """Switch MSI off. Idempotent."""
        self._config.write(self._control, 2, self._config.read(self._control, 2) & ~_MSI_ENABLE & 0xFFFF)
        self._set(SetIrqs.DATA_NONE | SetIrqs.TRIGGER, 0, ())

    def close(self) -> None:
        """Close the eventfds. Idempotent."""
        self._events.close()


class VfioUserFunction:
    """A PCI function in another process; implements `openhailo.bus.protocols.PciFunction`."""

    def __init__(self, path: str, spec: VfioUserSpec = VFIO_USER) -> None:
        """Connect. Raises `DeviceNotFound`, `AccessDenied`, `DeviceLost`, `DeviceError`."""
        self._channel = VfioUserChannel(path, spec)
        self.name = self._channel.name
        self._windows: dict[int, VfioUserWindow] = {}
        self._closed = False
        try:
            self.config = VfioUserConfig(self._channel)
            self.irq = VfioUserInterrupts(self._channel, self.config)
            self.dma = VfioUserDma(self._channel)
        except BaseException:
            self._channel.close()
            raise

    def window(self, bar: int) -> VfioUserWindow:
        """Return BAR ``bar``; the same object each time. Raises `DeviceLost` for a BAR the function does not have."""
        if bar not in self._windows:
            self._windows[bar] = VfioUserWindow(self._channel, bar)
        return self._windows[bar]

    def reset(self) -> None:
        """Function-level reset; command, device and link control are put back, as an operating system does."""
        express = self.config.capability(PCI_EXPRESS)
        places = (express + _DEVCTL, express + _LNKCTL, self.config.capability(MSI) + 2, _COMMAND)
        saved = [(at, self.config.read(at, 2)) for at in places]
        self.config.write(express + _DEVCTL, 2, saved[0][1] | _FUNCTION_RESET)
        for at, value in saved:
            self.config.write(at, 2, value)

    def close(self) -> None:
        """Stop messages and bus mastering as far as somebody listens, and disconnect. Idempotent."""
        if self._closed:
            return
        self._closed = True
        with suppress(DeviceError):
            self.irq.disable()
            self.config.write(_COMMAND, 2, self.config.read(_COMMAND, 2) & ~_MEMORY_AND_MASTER & 0xFFFF)
        self._channel.close()
        self.irq.wake()
        self.dma.close()


def open_endpoint(target: str, *, firmware: bytes | None = None) -> Endpoint:
    """Connect to the socket ``target``; ``firmware`` is loaded if none runs. Raises as `VfioUserFunction`."""
    if not target:
        raise DeviceNotFound(name="vfio-user:", hint="a path of a socket must follow, as in vfio-user:/run/hailo.sock")
    return Endpoint(function=cast(PciFunction, VfioUserFunction(target)), firmware=firmware)
