"""Registers with access semantics, made from a declaration."""

from __future__ import annotations

from collections.abc import Callable, Collection

from openhailo.spec.layout import Access, RegBlock

from .violation import TwinViolation

ALL_ONES = 0xFFFFFFFF

#: What a written value does to the stored one, per access kind. Read-only registers are not in it.
_STORE: dict[Access, Callable[[int, int], int]] = {
    Access.RW: lambda old, value: value,
    Access.W: lambda old, value: value,
    Access.RW1C: lambda old, value: old & ~value,
    Access.W1S: lambda old, value: old | value,
}


class RegisterFile:
    """The dword registers of one block; anything else at its addresses is a `TwinViolation`.

    Args:
        block: the declaration; every register is one aligned dword.
        narrow_reads: names of registers that old kernel drivers read with 8 or 16 bits (driver.md 10.2).
    """

    def __init__(self, block: RegBlock, *, narrow_reads: Collection[str] = ()) -> None:
        self.name = block.name
        self.values: dict[int, int] = {}
        self._reset: dict[int, int] = {}
        self._store: dict[int, Callable[[int, int], int]] = {}
        self._hooks: dict[int, Callable[[int, int], None]] = {}
        for reg in block:
            if reg.offset & 3 or reg.width_bytes != 4:
                raise ValueError(f"{block.name}.{reg.name} is not an aligned dword")
            self._reset[reg.offset] = reg.reset
            if reg.access is not Access.R:
                self._store[reg.offset] = _STORE[reg.access]
        self._unreadable = {r.offset for r in block if r.access in (Access.W, Access.W1S)}
        self._narrow = {block[name].offset for name in narrow_reads}
        self.reset()

    def reset(self) -> None:
        """Give every register its reset value; hooks are not called."""
        self.values.clear()
        self.values.update(self._reset)

    def on_write(self, offset: int, hook: Callable[[int, int], None]) -> None:
        """Call ``hook(written, stored)`` after each host write of the register at ``offset``."""
        self._hooks[offset] = hook

    def read(self, offset: int, width: int = 4) -> int:
        """Host load of ``width`` bytes."""
        if width != 4:
            return self._read_narrow(offset, width)
        value = self.values.get(offset)
        if value is None or offset in self._unreadable:
            raise TwinViolation(f"{self.name}: 32-bit read at 0x{offset:X}, where there is no readable register")
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        """Host store of ``width`` bytes."""
        store = self._store.get(offset)
        if store is None or width != 4:
            raise TwinViolation(f"{self.name}: {8 * width}-bit write at 0x{offset:X} (0x{value:X}), not a writable one")
        stored = store(self.values[offset], value & ALL_ONES)
        self.values[offset] = stored
        hook = self._hooks.get(offset)
        if hook is not None:
            hook(value, stored)

    def _read_narrow(self, offset: int, width: int) -> int:
        dword = offset & ~3
        if dword not in self._narrow or width not in (1, 2) or offset % width:
            raise TwinViolation(f"{self.name}: {8 * width}-bit read at 0x{offset:X}")
        return (self.values[dword] >> 8 * (offset & 3)) & ((1 << 8 * width) - 1)
