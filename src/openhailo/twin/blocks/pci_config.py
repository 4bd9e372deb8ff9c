"""PCI configuration space: identity, BARs, MSI, power management, PCI Express (driver.md 10.1; vfio-user.md 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from openhailo.twin.observe import Observers
from openhailo.twin.violation import TwinViolation

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

SIZE = 4096
COMMAND, STATUS, BAR0, CAPABILITIES = 0x04, 0x06, 0x10, 0x34
# Capability offsets: a layout that the official driver and Linux accept (vfio-user.md 6.2).
PCIE, MSI, PM = 0x80, 0xE0, 0xF8
DEVCTL, MSI_CONTROL, PMCSR = PCIE + 0x08, MSI + 0x02, PM + 0x04

COMMAND_MEMORY, COMMAND_MASTER = 0x0002, 0x0004
MSI_ENABLE = 0x0001
FUNCTION_RESET = 0x8000
D0, D3HOT = 0, 3

#: (offset, width, value at power-on, bits the host may write). Values: vfio-user.md 6.2; the rest is read-only zero.
_FIELDS = (
    (COMMAND, 2, 0x0000, 0x0547),
    (STATUS, 2, 0x0010, 0),
    (0x0C, 1, 0, 0xFF),  # cache line size
    (0x3C, 1, 0, 0xFF),  # interrupt line
    (CAPABILITIES, 1, PCIE, 0),
    (PCIE, 2, 0x10 | MSI << 8, 0),
    (PCIE + 0x02, 2, 0x0002, 0),  # version 2, endpoint
    (PCIE + 0x04, 4, 0x10000000, 0),  # function-level reset
    (DEVCTL, 2, 0x2810, 0x7FFF),  # MaxReadReq 512
    (PCIE + 0x0C, 4, 0x00436443, 0),  # 8 GT/s, x4
    (PCIE + 0x10, 2, 0, 0x0FFB),
    (PCIE + 0x12, 2, 0x1043, 0),
    (PCIE + 0x28, 2, 0, 0x041F),
    (PCIE + 0x2C, 4, 0x0000000E, 0),
    (PCIE + 0x30, 2, 0x0003, 0x0FFF),
    (MSI, 2, 0x05 | PM << 8, 0),
    (MSI + 0x04, 4, 0, 0xFFFFFFFC),
    (MSI + 0x08, 4, 0, 0xFFFFFFFF),
    (MSI + 0x0C, 2, 0, 0xFFFF),
    (PM, 2, 0x01, 0),
    (PM + 0x02, 2, 0x4003, 0),  # version 3, PME from D3hot
    (PMCSR, 2, 0x0008, 0x0103),  # no soft reset: state survives D3hot
)
#: Write-one-to-clear bits: (offset, width, mask).
_CLEARED_BY_ONE = ((PCIE + 0x0A, 2, 0x000F), (PMCSR, 2, 0x8000))


class PciConfigBlock:
    """The 4 KiB of configuration space, and what it switches.

    ``decodes``: BARs answer (memory decode on, D0). ``masters``: DMA is allowed. ``messages``: MSI may be sent.
    """

    def __init__(self, spec: ChipSpec, *, reset_function: Callable[[], None], observers: Observers) -> None:
        self._identity = spec.pci
        self._reset_function = reset_function
        self._observers = observers
        self._writable = bytearray(SIZE)
        self._clearable = bytearray(SIZE)
        self._bytes = bytearray(SIZE)
        self.decodes = self.masters = self.messages = False
        for offset, width, mask in _CLEARED_BY_ONE:
            self._clearable[offset : offset + width] = mask.to_bytes(width, "little")
        self.reset()

    def reset(self) -> None:
        """Back to power-on values: nothing decoded, no bus mastering, MSI off, D0."""
        identity = self._identity
        self._bytes[:] = bytes(SIZE)
        fixed: tuple[tuple[int, int, int, int], ...] = (
            (0x00, 2, identity.vendor_id, 0),
            (0x02, 2, identity.device_id, 0),
            (0x08, 1, identity.revision_id, 0),
            (0x09, 3, identity.class_code, 0),
            (0x2C, 2, identity.vendor_id, 0),  # subsystem ids: GUESS, no driver uses them (driver.md 12 row 8)
            (0x2E, 2, identity.device_id, 0),
        )
        vectors = 0x0080 | (identity.msi_vectors - 1).bit_length() << 1  # 64-bit address, log2 of the vectors
        fixed += ((MSI_CONTROL, 2, vectors, 0x0071),)
        for offset, width, value, mask in (*fixed, *_FIELDS):
            self._bytes[offset : offset + width] = value.to_bytes(width, "little")
            self._writable[offset : offset + width] = mask.to_bytes(width, "little")
        for bar in identity.bars:  # the upper half of a 64-bit one is the next BAR
            at, width = BAR0 + 4 * bar.index, 8 if bar.is_64bit else 4
            kind = (0x4 if bar.is_64bit else 0) | (0x8 if bar.prefetchable else 0)
            mask = (1 << 8 * width) - bar.size_bytes
            self._bytes[at : at + width] = kind.to_bytes(width, "little")
            self._writable[at : at + width] = mask.to_bytes(width, "little")
        self._update()

    def read(self, offset: int, width: int) -> int:
        """Host read of 1, 2 or 4 bytes."""
        self._check(offset, width)
        value = int.from_bytes(self._bytes[offset : offset + width], "little")
        if self._observers.watched:
            self._observers.report("config_read", {"offset": offset, "width": width, "value": value})
        return value

    def write(self, offset: int, width: int, value: int) -> None:
        """Host write of 1, 2 or 4 bytes; read-only bits stay."""
        self._check(offset, width)
        if self._observers.watched:
            self._observers.report("config_write", {"offset": offset, "width": width, "value": value})
        data = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
        power = self._bytes[PMCSR] & 3
        for at, byte in enumerate(data, offset):
            mask = self._writable[at]
            kept = self._bytes[at] & ~(byte & self._clearable[at])
            self._bytes[at] = kept & ~mask | byte & mask
        if self._bytes[PMCSR] & 3 not in (D0, D3HOT):  # D1 and D2 are not supported: the write of the state is ignored
            self._bytes[PMCSR] = self._bytes[PMCSR] & ~3 | power
        self._update()
        if offset <= DEVCTL + 1 < offset + width and data[DEVCTL + 1 - offset] & FUNCTION_RESET >> 8:
            self._reset_function()

    def _check(self, offset: int, width: int) -> None:
        if width not in (1, 2, 4) or offset % width or not 0 <= offset <= SIZE - width:
            raise TwinViolation(f"configuration space: {8 * width}-bit access at 0x{offset:X}")

    def _update(self) -> None:
        command = int.from_bytes(self._bytes[COMMAND : COMMAND + 2], "little")
        awake = self._bytes[PMCSR] & 3 == D0
        self.decodes = awake and bool(command & COMMAND_MEMORY)
        self.masters = awake and bool(command & COMMAND_MASTER)
        self.messages = self.masters and bool(self._bytes[MSI_CONTROL] & MSI_ENABLE)
