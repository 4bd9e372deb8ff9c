"""What the checks of the kernel driver have in common: a node whose release is known, errno values, launched rings."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from openhailo.bus.protocols import DeviceFile
from openhailo.testing.check import Mismatch, expect, expect_error
from openhailo.testing.rig import Rig
from openhailo.testing.rig_kernel import KernelRig

from .raw.ioctl_host import IoctlHost
from .raw.lists import CORE_CPU, Network, Ring, buffer, reset
from .raw.node import FAMILIES, Node


class Facts(NamedTuple):
    """A release in numbers (driver.md 4.1, 5.2, 6.4-6.8, 7.5, 7.6)."""

    #: Errno of a reader whose notifications were disabled, of missing contiguous memory, of a wrong place in a list.
    disabled: int
    contiguous: int
    place: int
    #: Interrupt mask without channels.
    mask: int
    #: A launch looks whether its channel runs, and moves the counter although it fails.
    checks_channel: bool
    #: Disabling a channel forgets all of them.
    wipes_all: bool
    #: The firmware is loaded again, and it has to be there.
    reloads: bool
    needs_firmware: bool


_EINVAL, _ENOMEM, _EFAULT, _ENOBUFS, _ECANCELED = 22, 12, 14, 105, 125
_417 = Facts(_EINVAL, _ENOMEM, _EFAULT, 0x0E000000, False, True, False, False)
_420 = Facts(_ECANCELED, _ENOBUFS, _EFAULT, 0xFF000000, True, False, True, True)
_421 = Facts(_ECANCELED, _ENOBUFS, _EINVAL, 0xFF00FFFF, True, False, True, True)
FACTS = {
    "4.17.0": _417,
    "4.17.1": _417,
    "4.18.0": Facts(_EINVAL, _ENOMEM, _EFAULT, 0x1E000000, True, True, False, False),
    "4.19.0": Facts(_EINVAL, _ENOMEM, _EFAULT, 0x3E000000, True, False, False, True),
    "4.20.0": _420,
    "4.20.1": _420,
    "4.21.0": _421,
    "4.22.0": _421,
    "4.23.0": _421,
}
#: The two numbers that ask for the version: since 4.18, and before.
VERSION_REQUESTS = (0x400C6702, 0x400C6705)


def node_of(rig: Rig, file: DeviceFile | None = None) -> Node:
    """Open the node and ask for the release."""
    file = file or rig.open_file()
    for number in VERSION_REQUESTS:
        argument = bytearray(12)
        try:
            file.ioctl(number, argument)
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise
            continue
        release = ".".join(str(int.from_bytes(argument[at : at + 4], "little")) for at in (0, 4, 8))
        if release not in FAMILIES:
            raise Mismatch(f"release {release} is not one of {', '.join(FAMILIES)}")
        return Node(file, release)
    raise Mismatch("no request asks this driver for its version")


def virtual(rig: Rig) -> KernelRig:
    """Return ``rig``, which has ``state`` and a node, so that it is a virtual kernel driver."""
    assert isinstance(rig, KernelRig), "only virtual kernel drivers have state"
    return rig


def host_of(rig: Rig) -> IoctlHost:
    """Return the raw host on a node."""
    host = rig.raw_host()
    assert isinstance(host, IoctlHost), "behind a kernel driver the raw host makes requests"
    return host


def expect_errno(what: str, code: int, action: Callable[[], object]) -> None:
    """Expect that ``action`` fails with errno ``code``."""
    error = expect_error(what, OSError, action)
    seen = errno.errorcode.get(error.errno or 0, str(error.errno))
    expect(f"errno of {what}", seen, errno.errorcode.get(code, str(code)))


class LaunchedRing(Ring):
    """A boundary channel on a list of the driver's, moved by launches."""

    def __init__(self, node: Node, channel: int, count: int, page: int, frame_bytes: int) -> None:
        self.node, self.channel, self.count, self.page, self.frame_bytes = node, channel, count, page, frame_bytes
        self.dlist, self.address = node.create(count, page)
        self.buffer = node.memory(count * page)
        self.next = 0

    @property
    def info(self) -> bytes:
        """The channel's host_buffer_info."""
        return buffer(self.address, self.page, self.count, self.frame_bytes)

    def hand_over(self, descriptors: int) -> None:
        """Launch as many frames of one descriptor."""
        for _ in range(descriptors):
            self.launch()

    def launch(self, *, debug: bool = False, last: int = 2) -> int:
        """Launch one frame from its slot; return the descriptors."""
        piece = (self.buffer, self.next * self.page, self.frame_bytes)
        used = self.node.launch(self.channel, self.dlist, self.next, [piece], debug=debug, last=last)
        self.next = (self.next + used) % self.count
        return used

    def put(self, data: bytes) -> None:
        """Put a frame into the next slot."""
        self.buffer.view[self.next * self.page :][: len(data)] = data

    def send(self, frame: bytes) -> None:
        """Put a frame into the next slot and launch it."""
        self.put(frame)
        self.launch()

    def take(self, slot: int, size_bytes: int | None = None) -> bytes:
        """Return what lies in a slot."""
        at = slot % self.count * self.page
        return bytes(self.buffer.view[at : at + (size_bytes or self.frame_bytes)])


class Launched:
    """A network on channels 1 and 16 whose rings are the driver's; frames of 192 bytes in, 16 out."""

    bitmap = 1 << 1 | 1 << 16

    def __init__(self, rig: Rig, *, count: int = 32, measure: bool = False, pages: tuple[int, int] = (256, 64)) -> None:
        from .vdma import SILICON, reverse

        rig.bind(reverse)
        self.host = host_of(rig)
        self.node = self.host.node
        reset(self.host)
        self.host.control(CORE_CPU, 71)  # forget what an earlier owner configured
        self.input = LaunchedRing(self.node, 1, count, pages[0], 192)
        self.output = LaunchedRing(self.node, 16, count, pages[1], 16)
        self.network = Network(self.host, SILICON, rings=(self.input, self.output))
        self.network.start()
        self.node.enable(self.bitmap, measure=measure)

    def poll(self, channel: int | None = None) -> list[tuple[int, int]]:
        """Let the device work and return (channel, amount) of what the driver tells, of one channel or both."""
        self.host.rest(0.01)
        wanted = self.bitmap if channel is None else 1 << channel
        return [(entry.channel, entry.amount) for entry in self.node.wait(wanted | 1 << 31)]
