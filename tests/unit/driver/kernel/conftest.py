"""A kernel driver that plays a script: structures packed here from driver.md 7.4, nothing shared with the link."""

from __future__ import annotations

import errno
import hashlib
import mmap
import queue
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.kernel.resources import KernelOptions

#: driver.md 7.2, by family.
_ALL = {
    "READ_TIMESTAMPS": 0xCA067603,
    "UNMAP": 0x80087605,
    "SYNC": 0x801C7606,
    "LIST_CREATE": 0xC01B7607,
    "LIST_RELEASE": 0x80087608,
    "LOW_ALLOC": 0xC010760A,
    "LOW_FREE": 0x8008760B,
    "MARK": 0x4001760C,
    "CCB_ALLOC": 0xC018760D,
    "CCB_FREE": 0x8008760E,
    "ENABLE": 0x800D7600,
    "DISABLE": 0x800C7601,
}
_NEW = {
    "INFO": 0x400C6702,
    "PROPERTIES": 0x40176701,
    "CONTROL": 0xC5F86E00,
    "READ_NOTIFICATION": 0x45E46E01,
    "DISABLE_NOTIFICATION": 0x00006E02,
    "READ_LOG": 0xC2146E03,
    "MAP": 0xC0287604,
}
_A = {
    "INFO": 0x400C6705,
    "PROPERTIES": 0x40176704,
    "CONTROL": 0xC5F86701,
    "READ_NOTIFICATION": 0x45E46702,
    "DISABLE_NOTIFICATION": 0x00006703,
    "READ_LOG": 0xC2146706,
    "MAP": 0xC0247604,
    "WAIT": 0xC30D7602,
    "PROGRAM": 0x80257609,
    "LAUNCH": 0xC03D760F,
}
_B = {"WAIT": 0xC2AD7602, "PROGRAM": 0x802B7609, "LAUNCH": 0xC041760F}
_C = {"WAIT": 0xC12D7602, "PROGRAM": 0x80337609, "LAUNCH": 0x8099760F}
NUMBERS = {"A": _ALL | _A, "B": _ALL | _NEW | _B, "C": _ALL | _NEW | _C, "D": _ALL | _NEW | _C}
FAMILIES = {"4.17.1": "A", "4.18.0": "B", "4.20.1": "B", "4.22.0": "C", "4.23.0": "D"}

Handler = Callable[[bytearray], int]


class FakeDriver:
    """One open of a node. ``log`` has (name, argument before the call); ``fail`` makes a request fail once."""

    name = "/dev/hailo7"

    def __init__(self, release: str = "4.23.0", version: tuple[int, ...] | None = None) -> None:
        self.release, self.family = release, FAMILIES[release]
        self.version = version or tuple(map(int, release.split(".")))
        self._names = {number: name for name, number in NUMBERS[self.family].items()}
        self.log: list[tuple[str, bytes]] = []
        self.failures: dict[str, int] = {}
        self.answers: dict[str, bytes] = {}
        self.reported_page, self.mode, self.loaded, self.owner = 4096, 0, 1, 0
        self.memory: dict[int, mmap.mmap] = {}
        self._interrupts: list[bytes] = []
        self._changed, self._enabled = threading.Condition(), 0
        self._notifications: queue.Queue[bytes | None] = queue.Queue()
        self._handle = 0
        self.answer: Callable[[bytes], bytes] = lambda request: request
        self._lock = threading.Lock()
        self.closed, self.alive = 0, True

    def ioctl(self, request: int, argument: bytearray) -> int:
        """Play the request."""
        name = self._names.get(request)
        if name is None or len(argument) != request >> 16 & 0x3FFF:
            raise OSError(errno.ENOTTY, "no such request")
        with self._lock:
            self.log.append((name, bytes(argument)))
            number = self.failures.pop(name, 0)
        if number:
            raise OSError(number, "scripted")
        handler: Handler = getattr(self, f"_{name.lower()}", lambda _: 0)
        return handler(argument)

    @property
    def page_size(self) -> int:
        """The kernel's page: what it reports, as without a module parameter."""
        return max(self.reported_page, 4096)

    def mmap(self, length: int, offset: int) -> memoryview:
        """Map scripted memory."""
        self.log.append(("MMAP", struct.pack("<QQ", length, offset)))
        return memoryview(self.memory.setdefault(offset, mmap.mmap(-1, length)))

    def is_alive(self) -> bool:
        """The card answers."""
        return self.alive

    def close(self) -> None:
        """Count."""
        self.closed += 1
        self.log.append(("CLOSE", b""))

    def calls(self, name: str) -> list[bytes]:
        """The arguments of every request ``name`` so far."""
        return [argument for called, argument in self.log if called == name]

    def interrupt(self, *entries: bytes) -> None:
        """Let INTERRUPTS_WAIT return these entries."""
        with self._changed:
            self._interrupts.append(bytes([len(entries)]) + b"".join(entries))
            self._changed.notify_all()

    def notify(self, payload: bytes) -> None:
        """Let READ_NOTIFICATION return this."""
        self._notifications.put(payload)

    def _next(self) -> int:
        self._handle += 1
        return self._handle

    def _info(self, argument: bytearray) -> int:
        argument[:] = struct.pack("<III", *self.version)
        return 0

    def _properties(self, argument: bytearray) -> int:
        argument[:] = struct.pack("<HIIIQB", self.reported_page, 0, self.mode, 0, 1, self.loaded)
        return 0

    def _mark(self, argument: bytearray) -> int:
        argument[0] = self.owner
        return 0

    def _control(self, argument: bytearray) -> int:
        length = struct.unpack_from("<I", argument, 16)[0]
        answer = self.answer(bytes(argument[20 : 20 + length]))
        argument[:20] = hashlib.md5(answer).digest() + struct.pack("<I", len(answer))
        argument[20 : 20 + len(answer)] = answer
        return 0

    def _read_notification(self, argument: bytearray) -> int:
        payload = self._notifications.get(timeout=20)
        if payload is None:
            raise OSError(22 if self.family == "A" or self.release == "4.18.0" else 125, "disabled")
        argument[: 8 + len(payload)] = struct.pack("<Q", len(payload)) + payload
        return 0

    def _disable_notification(self, _: bytearray) -> int:
        self._notifications.put(None)
        return 0

    def _read_log(self, argument: bytearray) -> int:
        text = self.answers.get("READ_LOG", b"")
        want = struct.unpack_from("<Q", argument, 516)[0]
        piece, self.answers["READ_LOG"] = text[:want], text[want:]
        argument[4 : 4 + len(piece)] = piece
        struct.pack_into("<Q", argument, 524, len(piece))
        return 0

    def _map(self, argument: bytearray) -> int:
        struct.pack_into("<Q", argument, 28 if self.family == "A" else 32, self._next())
        return 0

    def _list_create(self, argument: bytearray) -> int:
        handle = self._next() << 12
        struct.pack_into("<QQ", argument, 11, handle, handle << 8)
        return 0

    def _low_alloc(self, argument: bytearray) -> int:
        struct.pack_into("<Q", argument, 8, self._next() << 12)
        return 0

    def _ccb_alloc(self, argument: bytearray) -> int:
        struct.pack_into("<QQ", argument, 8, self._next() << 12, 0x7700000)
        return 0

    def _program(self, argument: bytearray) -> int:
        used: int = -(-struct.unpack_from("<Q", argument, 8)[0] // 512)
        return used

    def _launch(self, argument: bytearray) -> int:
        element = (4, 12) if self.family in "CD" else (12, 12)
        used = 0
        for index in range(argument[15]):
            used += -(-struct.unpack_from("<I", argument, 16 + 16 * index + element[1])[0] // 512)
        if self.family in "CD":
            return used
        struct.pack_into("<I", argument, 57, used)
        return 0

    def _wait(self, argument: bytearray) -> int:
        """Return when there is an interrupt, or at once when a channel is not enabled (driver.md 8.1 row 5)."""
        bitmap = struct.unpack_from("<I", argument)[0]
        with self._changed:
            assert self._changed.wait_for(lambda: bitmap & ~self._enabled or self._interrupts, 20)
            entries = b"\0" if bitmap & ~self._enabled else self._interrupts.pop(0)
        argument[12 : 12 + len(entries)] = entries
        return 0

    def _enable(self, argument: bytearray) -> int:
        self._enabled |= struct.unpack_from("<I", argument)[0]
        return 0

    def _disable(self, argument: bytearray) -> int:
        with self._changed:
            self._enabled &= ~struct.unpack_from("<I", argument)[0]
            self._changed.notify_all()
        return 0

    def _read_timestamps(self, argument: bytearray) -> int:
        struct.pack_into("<IQHQH", argument, 2, 2, 1000, 1, 2500, 2)
        return 0


def entry(family: str, channel: int, value: int, *, active: bool = True, error: int = 0) -> bytes:
    """An entry of INTERRUPTS_WAIT (driver.md 7.4)."""
    if family == "A":
        return struct.pack("<BBBHBBB", 0, channel, active, value, error, 0, 1)
    if family == "B":
        return struct.pack("<BBBBBBB", 0, channel, active, value, error, 0, 1)
    mark = 0xFE if error else value if active else 0xFF
    return struct.pack("<BBB", 0, channel, mark)


@pytest.fixture
def entries() -> Any:
    return entry


@pytest.fixture(params=FAMILIES)
def driver(request: pytest.FixtureRequest) -> FakeDriver:
    """A driver of each kind of release."""
    return FakeDriver(request.param)


@pytest.fixture
def make() -> type[FakeDriver]:
    return FakeDriver


@pytest.fixture
def link(driver: FakeDriver) -> Iterator[KernelLink]:
    """A link over it."""
    with KernelLink(driver, options=KernelOptions()) as opened:
        yield opened
