"""Firmware: the image, device memory through BAR4, and the boot (driver.md 2)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openhailo.bus.mmio import ALL_ONES
from openhailo.bus.protocols import Window
from openhailo.errors import BadImage, BootFailed, DeviceLost, DeviceTimeout

from .interrupts import InterruptHub

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec


@dataclass(frozen=True)
class FirmwareImage:
    """The parts of a firmware file, each as bytes; ``version`` is what the application header says."""

    version: tuple[int, int, int]
    app_header: bytes
    app_code: bytes
    key: bytes
    content: bytes
    core_header: bytes
    core_code: bytes


def parse_image(data: bytes, spec: ChipSpec) -> FirmwareImage:
    """Take a firmware file apart and check it as the kernel driver does (driver.md 2.3). Raises `BadImage`."""
    rules = spec.firmware
    if len(data) > rules.max_file_bytes:
        raise BadImage(detail=f"{len(data)} bytes, at most {rules.max_file_bytes} are possible")
    reader = _Reader(data)
    app_header, version, app_size = _read_header(reader, spec, "application", rules.max_app_code_bytes)
    app_code = reader.take(app_size, "application code")
    certificate = spec.certificate_header.unpack(reader.take(spec.certificate_header.size, "certificate header"))
    for name, limit in (("key_size", rules.max_key_bytes), ("content_size", rules.max_content_bytes)):
        if certificate[name] > limit:
            raise BadImage(detail=f"{name} of {certificate[name]} bytes, at most {limit} are possible")
    key = reader.take(certificate["key_size"], "key")
    content = reader.take(certificate["content_size"], "content")
    core_header, _, core_size = _read_header(reader, spec, "core", rules.max_core_code_bytes)
    core_code = reader.take(core_size, "core code")
    if reader.left:
        raise BadImage(detail=f"{reader.left} bytes follow the core code, nothing may")
    return FirmwareImage(version, app_header, app_code, key, content, core_header, core_code)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size_bytes: int, what: str) -> bytes:
        if size_bytes > self.left:
            raise BadImage(detail=f"{what} needs {size_bytes} bytes, {self.left} are there")
        self._at += size_bytes
        return self._data[self._at - size_bytes : self._at]


def _read_header(reader: _Reader, spec: ChipSpec, cpu: str, limit: int) -> tuple[bytes, tuple[int, int, int], int]:
    rules = spec.firmware
    raw = reader.take(spec.image_header.size, f"{cpu} header")
    header = spec.image_header.unpack(raw)
    if header["magic"] != rules.magic:
        raise BadImage(detail=f"{cpu} header has magic 0x{header['magic']:08X}, not 0x{rules.magic:08X}")
    if header["header_version"] != rules.header_version:
        raise BadImage(detail=f"{cpu} header has version {header['header_version']}, not {rules.header_version}")
    size_bytes = header["code_size"]
    if not rules.min_code_bytes <= size_bytes <= limit:
        raise BadImage(detail=f"{cpu} code of {size_bytes} bytes, {rules.min_code_bytes}..{limit} are possible")
    version = (header["firmware_major"], header["firmware_minor"], header["firmware_revision"])
    return raw, version, size_bytes


class DeviceMemory:
    """Memory of the chip, reached by pointing the first window of BAR4 at it (driver.md 2.1).

    The window belongs to the mailbox while firmware runs; it is pointed back after every block.
    """

    def __init__(self, config: Window, window: Window, lock: threading.RLock, spec: ChipSpec) -> None:
        """Take BAR0, BAR4 and the lock that guards the window."""
        self._config, self._window, self._lock, self._atr = config, window, lock, spec.atr
        registers = spec.config
        names = ("PARAM", "SOURCE_HIGH", "TRANSLATION_LOW", "TRANSLATION_HIGH", "TRANSLATION_PARAM")
        self._table = tuple(registers[f"ATR0_{name}"].offset for name in names)

    def write_block(self, address: int, data: bytes) -> None:
        """Write ``data`` at device ``address`` (both 4-aligned; a short last dword keeps its other bytes).

        Every dword is read back. Raises `BootFailed` when memory does not keep it.
        """
        with self._lock:
            saved = self._save()
            try:
                for piece_at, piece in self._pieces(address, data):
                    self._point_at(piece_at - piece_at % self._atr.window_size_bytes)
                    self._copy(piece_at % self._atr.window_size_bytes, piece, piece_at)
            finally:
                self._point_at(saved)

    def read_dword(self, address: int) -> int:
        """Read the dword at device ``address``."""
        with self._lock:
            saved = self._save()
            try:
                self._point_at(address - address % self._atr.window_size_bytes)
                return self._window.read32(address % self._atr.window_size_bytes)
            finally:
                self._point_at(saved)

    def _save(self) -> int:
        _, _, low, high, _ = (self._config.read32(at) for at in self._table)
        return low | high << 32

    def _point_at(self, address: int) -> None:
        atr = self._atr
        values = (atr.enabled_param, 0, address & 0xFFFFFFFF, address >> 32, atr.translation_param)
        for at, value in zip(self._table, values, strict=True):
            self._config.write32(at, value)
            self._expect(self._config.read32(at), value, "address translation", f"register 0x{at:X}")

    def _pieces(self, address: int, data: bytes) -> list[tuple[int, bytes]]:
        """Split at window borders; no data still makes the accesses around it, but no piece."""
        size_bytes = self._atr.window_size_bytes
        pieces, at = [], 0
        while at < len(data):
            length = min(size_bytes - (address + at) % size_bytes, len(data) - at)
            pieces.append((address + at, data[at : at + length]))
            at += length
        return pieces

    def _copy(self, offset: int, piece: bytes, address: int) -> None:
        for at in range(0, len(piece), 4):
            raw = piece[at : at + 4]
            if len(raw) < 4:
                raw += self._window.read32(offset + at).to_bytes(4, "little")[len(raw) :]
            word = int.from_bytes(raw, "little")
            self._window.write32(offset + at, word)
            self._expect(self._window.read32(offset + at), word, "memory", f"device memory at 0x{address + at:X}")

    def _expect(self, seen: int, written: int, stage: str, place: str) -> None:
        if seen == written:
            return
        if seen == ALL_ONES:
            raise DeviceLost(name="the card", detail=f"{place} reads all ones")
        raise BootFailed(stage=stage, detail=f"{place} gives 0x{seen:X} after 0x{written:X} was written")


class Boot:
    """Loads firmware and restarts it."""

    def __init__(
        self,
        hub: InterruptHub,
        memory: DeviceMemory,
        window: Window,
        spec: ChipSpec,
        *,
        pause: Callable[[float], None],
    ) -> None:
        """Take the hub, device memory, BAR4 for the doorbell, and how to pause."""
        self._hub, self._memory, self._window, self._spec, self._pause = hub, memory, window, spec, pause

    def load(self, image: FirmwareImage, board_config: bytes = b"", firmware_config: bytes = b"") -> None:
        """Write all blocks, pull the trigger and wait for the boot interrupt (driver.md 2.4, 4.19 and later).

        Raises `BadImage` (a config file above 0x500 bytes), `BootFailed`, `DeviceLost`. The hub is in boot mode.
        """
        boot = self._spec.boot
        for name, data in (("board config", board_config), ("firmware config", firmware_config)):
            if len(data) > boot.config_max_bytes:
                raise BadImage(detail=f"{name} of {len(data)} bytes, at most {boot.config_max_bytes} are possible")
        blocks = [
            (boot.app_header, image.app_header),
            (boot.app_code, image.app_code),
            (boot.key_certificate, image.key),
            (boot.content_certificate, image.content),
            (boot.core_code, image.core_code),
            (boot.core_header, image.core_header),
        ]
        configs = [(boot.board_config, board_config), (boot.firmware_config, firmware_config)]
        boots = self._hub.boots
        for address, data in blocks + [config for config in configs if config[1]]:
            self._memory.write_block(address, data)
        self._memory.write_block(boot.trigger, boot.trigger_value.to_bytes(4, "little"))
        budget_s = self._spec.limits.boot_timeout_s
        if not self._hub.wait(lambda: self._hub.boots != boots, budget_s):
            raise BootFailed(stage="start", detail=f"no boot interrupt within {budget_s} s after the trigger")

    def reset(self) -> None:
        """Restart the chip into its boot code (driver.md 2.4, 4.21 and later). Raises `DeviceTimeout`, `BootFailed`."""
        limits, boot = self._spec.limits, self._spec.boot
        resets = self._hub.soft_resets
        self._window.write32(self._spec.mailbox.doorbell, self._spec.doorbell.soft_reset)
        if not self._hub.wait(lambda: self._hub.soft_resets != resets, limits.soft_reset_timeout_s):
            budget_s = limits.soft_reset_timeout_s
            raise DeviceTimeout(
                what="soft reset", budget_s=budget_s, elapsed_s=budget_s, hint="power-cycle the card and try again"
            )
        for _ in range(limits.boot_status_polls):
            status = self._memory.read_dword(boot.boot_status)
            if status == boot.boot_status_idle:
                return
            self._pause(0.001)
        raise BootFailed(stage="boot code", detail=f"boot status stays at 0x{status:X} after a soft reset")
