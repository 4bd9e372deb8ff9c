"""BAR4: four windows onto device memory, placed by the address translation tables of BAR0 (driver.md 2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openhailo.twin.faults import Faults
from openhailo.twin.memory import PAGE, DeviceMemory, Page
from openhailo.twin.violation import TwinViolation

from .config import ConfigBlock

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

#: The names of a table's registers, in `ConfigBlock`.
_NAMES = ("PARAM", "SOURCE_HIGH", "TRANSLATION_LOW", "TRANSLATION_HIGH", "TRANSLATION_PARAM")


class WindowBlock:
    """The windows. A window whose table is off, half programmed or points nowhere must not be touched."""

    def __init__(self, spec: ChipSpec, config: ConfigBlock, memory: DeviceMemory, faults: Faults) -> None:
        self._rules = spec.atr
        self._param = spec.config["ATR0_PARAM"]
        self._values = config.values
        self._memory = memory
        self._faults = faults
        self._size_bytes = next(b.size_bytes for b in spec.pci.bars if b.index == spec.pci.fw_access_bar)
        self._tables = [
            tuple(spec.config[f"ATR{n}_{name}"].offset for name in _NAMES) for n in range(self._rules.tables)
        ]
        self._pages: dict[int, Page] = {}
        for table in self._tables:
            for offset in table:
                config.on_atr_write(offset, self._moved)

    def _moved(self, _written: int, _stored: int) -> None:
        self._pages.clear()

    def point(self, index: int, target: int) -> None:
        """Point window ``index`` at ``target``, as boot code and firmware do."""
        rules = self._rules
        param = rules.enabled_param | index << rules.source_page_shift
        row = (param, 0, target & 0xFFFFFFFF, target >> 32, rules.translation_param)
        self._values.update(zip(self._tables[index], row, strict=True))
        self._pages.clear()

    def retarget(self, index: int, target: int) -> None:
        """Change only the translation address of window ``index``."""
        self._values[self._tables[index][2]] = target & 0xFFFFFFFF
        self._values[self._tables[index][3]] = target >> 32
        self._pages.clear()

    def read(self, offset: int, width: int = 4) -> int:
        """Host load through a window."""
        page = self._pages.get(offset >> 12) or self._resolve(offset)
        value = page.read(offset & 0xFFF, width)
        if self._faults.corrupt_readbacks and self._faults.strikes("corrupt_readbacks"):
            value ^= self._faults.readback_xor & ((1 << 8 * width) - 1)
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        """Host store through a window."""
        page = self._pages.get(offset >> 12) or self._resolve(offset)
        page.write(offset & 0xFFF, width, value)

    def _resolve(self, offset: int) -> Page:
        base = offset & ~(PAGE - 1)
        address = self._translate(base)
        page = self._memory.page(address)
        if page is None:
            raise TwinViolation(f"BAR4 offset 0x{offset:X} leads to 0x{address:X}, where there is nothing")
        self._pages[offset >> 12] = page
        return page

    def _translate(self, base: int) -> int:
        """Return the device address of the page at BAR4 offset ``base``."""
        if not 0 <= base < self._size_bytes:
            raise TwinViolation(f"BAR4 offset 0x{base:X} is outside the BAR")
        for index, table in enumerate(self._tables):
            param, source_high, low, high, target_bus = (self._values[at] for at in table)
            source = source_high << 32 | self._param["source_page"].get(param) << self._rules.source_page_shift
            if self._param["enable"].get(param) and source == base:
                size = 2 << self._param["log2_size_minus_1"].get(param)
                address = high << 32 | low
                if (
                    size != self._rules.window_size_bytes
                    or address % PAGE
                    or target_bus != self._rules.translation_param
                ):
                    raise TwinViolation(f"window {index} is used half programmed (param 0x{param:X}, to 0x{address:X})")
                return address
        raise TwinViolation(f"BAR4 offset 0x{base:X} is used while no window is there")
