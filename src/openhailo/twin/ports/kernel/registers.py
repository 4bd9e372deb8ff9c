"""Register accesses as each release makes them: which widths, what is read back (driver.md 2.1, 6.1)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .releases import Release

if TYPE_CHECKING:
    from openhailo.twin.chip import Chip

CONFIG_BAR, VDMA_BAR, ACCESS_BAR = 0, 2, 4
DEVICE_ID, VENDOR = 0x098, 0x1E60
ATR0, ATR_DWORDS, ATR0_TRANSLATION_LOW = 0x700, 5, 0x708
ATR_PARAM, ATR_TRANSLATION_PARAM = 0x17, 6
FIRMWARE_BASE = 0x60000000
WINDOW = 0x1000

#: Half of a channel: num available and control, num processed, error (6.1).
CONTROL, NUM_AVAILABLE, NUM_PROCESSED, ERROR = 0x0, 0x2, 0x4, 0x8
CHANNEL_STRIDE, DESTINATION_HALF, SOURCE_CHANNELS = 0x20, 0x10, 16


class Registers:
    """The BARs of one chip, accessed in the manner of one release."""

    def __init__(self, chip: Chip, release: Release) -> None:
        self._chip, self._release = chip, release

    def read32(self, bar: int, offset: int) -> int:
        """Load a dword."""
        return self._chip.bar_read(bar, offset, 4)

    def write32(self, bar: int, offset: int, value: int) -> None:
        """Store a dword."""
        self._chip.bar_write(bar, offset, 4, value)

    def is_connected(self) -> bool:
        """Tell whether the card answers (1.1)."""
        if self._release.narrow_bars:
            return self._chip.bar_read(CONFIG_BAR, DEVICE_ID, 2) == VENDOR
        return self.read32(CONFIG_BAR, DEVICE_ID) & 0xFFFF == VENDOR

    def is_firmware_loaded(self) -> bool:
        """Tell whether window 0 leads to the mailbox (0)."""
        return self.read32(CONFIG_BAR, ATR0_TRANSLATION_LOW) == FIRMWARE_BASE

    # --- blocks ---------------------------------------------------------------------------------------------------

    def read_block(self, bar: int, offset: int, size_bytes: int) -> bytes:
        """Load a block: dwords, and what is not aligned in single bytes (before 4.19) or out of whole dwords."""
        if not (offset | size_bytes) & 3:
            words = [self.read32(bar, at) for at in range(offset, offset + size_bytes, 4)]
            return b"".join(word.to_bytes(4, "little") for word in words)
        return b"".join(self._read_piece(bar, at, size) for at, size in _pieces(offset, size_bytes))

    def _read_piece(self, bar: int, at: int, size: int) -> bytes:
        if size == 4 or self._release.narrow_bars:
            return self._chip.bar_read(bar, at, size).to_bytes(size, "little")
        word = self.read32(bar, at & ~3)
        return (word >> 8 * (at & 3) & 0xFF).to_bytes(1, "little")

    def write_block(self, bar: int, offset: int, data: bytes | bytearray | memoryview) -> bool:
        """Store a block, read each piece back; False if something else came back (2.1: "write verification")."""
        good = True
        for at, size in _pieces(offset, len(data)):
            value = int.from_bytes(data[at - offset : at - offset + size], "little")
            good &= self._write_piece(bar, at, size, value)
            if not good:
                break
        return good

    def _write_piece(self, bar: int, at: int, size: int, value: int) -> bool:
        if size == 4 or self._release.narrow_bars:
            self._chip.bar_write(bar, at, size, value)
            return self._chip.bar_read(bar, at, size) == value
        aligned, shift = at & ~3, 8 * (at & 3)
        word = self.read32(bar, aligned) & ~(0xFF << shift) | value << shift
        self.write32(bar, aligned, word)
        return self.read32(bar, aligned) == word

    def clear16(self, bar: int, offset: int) -> None:
        """Store zero in 16 bits: as such before 4.19, later by changing the dword (4.1)."""
        if self._release.narrow_bars:
            self._chip.bar_write(bar, offset, 2, 0)
        else:
            shift = 8 * (offset & 2)
            word = self.read32(bar, offset & ~3)
            self.write32(bar, offset & ~3, word & ~(0xFFFF << shift))

    # --- device memory through window 0 -----------------------------------------------------------------------------

    def write_memory(self, address: int, data: bytes, *, restore: bool) -> None:
        """Store ``data`` in device memory; nobody looks at what is read back (2.1)."""
        saved = self._window() if restore else 0
        for at, size in _windows(address, len(data)):
            self._point(at & ~(WINDOW - 1))
            self.write_block(ACCESS_BAR, at % WINDOW, data[at - address : at - address + size])
        if restore:
            self._point(saved)

    def read_memory(self, address: int, size_bytes: int) -> bytes:
        """Load from device memory; the window is put back."""
        saved = self._window()
        parts = []
        for at, size in _windows(address, size_bytes):
            self._point(at & ~(WINDOW - 1))
            parts.append(self.read_block(ACCESS_BAR, at % WINDOW, size))
        self._point(saved)
        return b"".join(parts)

    def _window(self) -> int:
        """Read the whole table of window 0 and return where it leads."""
        words = [self.read32(CONFIG_BAR, ATR0 + 4 * n) for n in range(ATR_DWORDS)]
        return words[3] << 32 | words[2]

    def _point(self, address: int) -> None:
        row = (ATR_PARAM, 0, address & 0xFFFFFFFF, address >> 32, ATR_TRANSLATION_PARAM)
        data = b"".join(word.to_bytes(4, "little") for word in row)
        self.write_block(CONFIG_BAR, ATR0, data)

    # --- vDMA channels ----------------------------------------------------------------------------------------------

    def channel_control(self, channel: int, *, host: bool = True) -> tuple[int, int]:
        """Return (control byte, num available) of a half; one dword from 4.18 on."""
        half = _half(channel, host=host)
        if self._release.narrow_channels:
            control = self._chip.bar_read(VDMA_BAR, half + CONTROL, 1)
            return control, self._chip.bar_read(VDMA_BAR, half + NUM_AVAILABLE, 2)
        word = self.read32(VDMA_BAR, half)
        return word & 0xFF, word >> 16

    def is_running(self, channel: int, *, host: bool) -> bool:
        """Tell whether a half is started (control bit 0)."""
        half = _half(channel, host=host)
        width = 1 if self._release.narrow_channels else 4
        return self._chip.bar_read(VDMA_BAR, half + CONTROL, width) & 1 == 1

    def num_processed(self, channel: int) -> int:
        """Return num processed of the host half as the hardware counts (1..count)."""
        half = _half(channel, host=True)
        width = 2 if self._release.narrow_channels else 4
        return self._chip.bar_read(VDMA_BAR, half + NUM_PROCESSED, width) & 0xFFFF

    def set_num_available(self, channel: int, value: int) -> None:
        """Move the host's end of the ring."""
        half = _half(channel, host=True)
        if self._release.narrow_channels:
            self._chip.bar_write(VDMA_BAR, half + NUM_AVAILABLE, 2, value)
        else:
            word = self.read32(VDMA_BAR, half)
            self.write32(VDMA_BAR, half, word & 0xFFFF | value << 16)

    def channel_error(self, channel: int, *, host: bool) -> int:
        """Return the error byte of a half."""
        half = _half(channel, host=host)
        width = 1 if self._release.narrow_channels else 4
        return self._chip.bar_read(VDMA_BAR, half + ERROR, width) & 0xFF


def _half(channel: int, *, host: bool) -> int:
    """Return the offset of the host's or the device's half of ``channel`` (6.1)."""
    destination = (channel >= SOURCE_CHANNELS) == host
    return channel * CHANNEL_STRIDE + (DESTINATION_HALF if destination else 0)


def _pieces(offset: int, size_bytes: int) -> list[tuple[int, int]]:
    """Cut a block into bytes up to a dword, dwords, and the bytes that are left."""
    end = offset + size_bytes
    head = min(-offset % 4, size_bytes)
    middle = (end - offset - head) & ~3
    start = offset + head
    return [
        *((at, 1) for at in range(offset, start)),
        *((at, 4) for at in range(start, start + middle, 4)),
        *((at, 1) for at in range(start + middle, end)),
    ]


def _windows(address: int, size_bytes: int) -> list[tuple[int, int]]:
    """Cut at window boundaries of the device address."""
    pieces, end = [], address + size_bytes
    at = address
    while at < end:
        size = min(end - at, WINDOW - at % WINDOW)
        pieces.append((at, size))
        at += size
    return pieces


def failure(code: int, detail: str) -> OSError:
    """Make the error of a call that returns ``-code``; ``detail`` says what the driver did not like."""
    return OSError(code, f"{errno.errorcode.get(code, code)}: {detail}")
