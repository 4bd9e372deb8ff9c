"""Device memory: sparse pages, with hooks where a write means something (driver.md 2.1, 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from openhailo._units import align_up

from .board import MemoryFault
from .violation import TwinViolation

PAGE = 0x1000
_CODES = {1: "B", 2: "H", 4: "I"}


class Region(NamedTuple):
    """A stretch of device memory that exists."""

    name: str
    base: int
    size_bytes: int


class Page(Protocol):
    """4 KiB of device address space as a BAR4 window shows it."""

    def read(self, offset: int, width: int) -> int:
        """Load ``width`` bytes at ``offset`` of the page."""
        ...

    def write(self, offset: int, width: int, value: int) -> None:
        """Store ``width`` bytes at ``offset`` of the page."""
        ...


class RamPage:
    """Plain memory; a write to a hooked dword calls its hook after the store."""

    __slots__ = ("_views", "hooks", "store", "words")

    def __init__(self) -> None:
        self.store = bytearray(PAGE)
        view = memoryview(self.store)
        self.words = view.cast("I")
        self._views = {1: view, 2: view.cast("H"), 4: self.words}
        self.hooks: dict[int, Callable[[int], None]] = {}

    def read(self, offset: int, width: int) -> int:
        """Load ``width`` bytes; 8 and 16 bits for kernel drivers before 4.19."""
        if width == 4 and not offset & 3:
            return self.words[offset >> 2]
        return self._view(offset, width)[offset // width]

    def write(self, offset: int, width: int, value: int) -> None:
        """Store ``width`` bytes."""
        if width == 4 and not offset & 3:
            self.words[offset >> 2] = value
        else:
            self._view(offset, width)[offset // width] = value
        if self.hooks:
            hook = self.hooks.get(offset >> 2)
            if hook is not None:
                hook(self.words[offset >> 2])

    def _view(self, offset: int, width: int) -> memoryview:
        if width not in _CODES or offset % width:
            raise TwinViolation(f"device memory: {8 * width}-bit access at page offset 0x{offset:X}")
        return self._views[width]


class DeviceMemory:
    """The chip's address space: RAM in ``regions``, made when first touched, and device pages put in by blocks."""

    def __init__(self, regions: Iterable[Region]) -> None:
        self._spans = tuple((r.base // PAGE, align_up(r.base + r.size_bytes, PAGE) // PAGE) for r in regions)
        self._ram: dict[int, RamPage] = {}
        self._devices: dict[int, Page] = {}
        self._hooks: dict[int, dict[int, Callable[[int], None]]] = {}

    def place(self, address: int, page: Page) -> None:
        """Put a device at the page of ``address``."""
        self._devices[address // PAGE] = page

    def on_write(self, address: int, hook: Callable[[int], None]) -> None:
        """Call ``hook(stored)`` after each host write to the dword at ``address``."""
        self._hooks.setdefault(address // PAGE, {})[address % PAGE >> 2] = hook

    def clear(self) -> None:
        """Lose all contents, as without power."""
        self._ram.clear()

    def page(self, address: int) -> Page | None:
        """Return what lies at the page of ``address``, or None."""
        number = address // PAGE
        return self._devices.get(number) or self._ram_page(number)

    def _ram_page(self, number: int) -> RamPage | None:
        page = self._ram.get(number)
        if page is None and any(first <= number < end for first, end in self._spans):
            page = self._ram[number] = RamPage()
            page.hooks = self._hooks.get(number, {})
        return page

    def _pieces(self, address: int, size_bytes: int) -> Iterable[tuple[RamPage, slice]]:
        end = address + size_bytes
        at = address
        while at < end:
            page = self._ram_page(at // PAGE)
            if page is None:
                raise MemoryFault(address=address, size_bytes=size_bytes)
            stop = min(end, (at // PAGE + 1) * PAGE)
            yield page, slice(at % PAGE, at % PAGE + stop - at)
            at = stop

    def read(self, address: int, size_bytes: int) -> bytes:
        """Read as the chip's own processors do; `MemoryFault` where there is no RAM."""
        return b"".join(bytes(page.store[where]) for page, where in self._pieces(address, size_bytes))

    def write(self, address: int, data: bytes) -> None:
        """Write as the chip's own processors do: hooks are not called. Nothing is written on a `MemoryFault`."""
        at = 0
        for page, where in list(self._pieces(address, len(data))):
            size = where.stop - where.start
            page.store[where] = data[at : at + size]
            at += size

    def read32(self, address: int) -> int:
        """Read one little-endian dword."""
        return int.from_bytes(self.read(address, 4), "little")

    def write32(self, address: int, value: int) -> None:
        """Write one little-endian dword."""
        self.write(address, value.to_bytes(4, "little"))
