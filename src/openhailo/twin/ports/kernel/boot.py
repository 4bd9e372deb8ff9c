"""Loading firmware as each release does it (driver.md 2)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from .registers import ACCESS_BAR, Registers, failure
from .releases import Release

FIRMWARE_FILE = "hailo/hailo8_fw.bin"
BOARD_CONFIG_FILE, FIRMWARE_CONFIG_FILE = "hailo/hailo8_board_cfg.bin", "hailo/hailo8_fw_cfg.bin"
MAX_FILE_BYTES, MAX_CONFIG_BYTES = 0x50000, 0x500
HEADER_BYTES, CERTIFICATE_BYTES = 24, 8
MAGIC, MIN_CODE_BYTES, MAX_APP_BYTES, MAX_CORE_BYTES, MAX_BLOB_BYTES = 0x1DD89DE0, 80, 0x40000, 0x20000, 0x1000

APP_HEADER, APP_CODE, KEY, CONTENT = 0xE0030, 0x60000, 0xE0048, 0xE0390
CORE_HEADER, CORE_CODE = 0xA0000, 0xC0000
BOARD_CONFIG, FIRMWARE_CONFIG = 0x60001000, 0x60001500
TRIGGER, BOOT_STATUS, BOOT_IDLE = 0xE0980, 0xE0000, 1
DOORBELL, SOFT_RESET = 0x1684, 8

BOOT_TIMEOUT_S = 5.0
BOOT_TIMEOUT_JIFFIES = 5000
SOFT_RESET_TIMEOUT_MS = 5000
SOFT_RESET_PAUSE_S, STATUS_PAUSE_S, STATUS_TRIES = 0.010, 0.001, 10


@dataclass(frozen=True)
class Image:
    """The parts of a firmware file."""

    app_header: bytes
    app_code: bytes
    key: bytes
    content: bytes
    core_header: bytes
    core_code: bytes


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size_bytes: int) -> bytes:
        piece = self.data[self.at : self.at + size_bytes]
        if len(piece) != size_bytes:
            raise failure(errno.EINVAL, "the firmware file is too short")
        self.at += size_bytes
        return piece

    def take_part(self, max_code_bytes: int) -> tuple[bytes, bytes]:
        header = self.take(HEADER_BYTES)
        magic, version, *_, size = struct.unpack("<6I", header)
        if magic != MAGIC or version or not MIN_CODE_BYTES <= size <= max_code_bytes:
            raise failure(errno.EINVAL, f"firmware header 0x{magic:08X} {version}, {size} bytes of code")
        return header, self.take(size)


def parse_image(data: bytes) -> Image:
    """Check a firmware file as the driver does (2.3); `OSError` EINVAL."""
    reader = _Reader(data)
    app_header, app_code = reader.take_part(MAX_APP_BYTES)
    key_size, content_size = struct.unpack("<2I", reader.take(CERTIFICATE_BYTES))
    if key_size > MAX_BLOB_BYTES or content_size > MAX_BLOB_BYTES:
        raise failure(errno.EINVAL, f"certificates of {key_size} and {content_size} bytes")
    key, content = reader.take(key_size), reader.take(content_size)
    core_header, core_code = reader.take_part(MAX_CORE_BYTES)
    if reader.at != len(data):
        raise failure(errno.EINVAL, f"{len(data) - reader.at} bytes after the firmware")
    return Image(app_header, app_code, key, content, core_header, core_code)


class Loader:
    """Loads firmware into one board.

    Args:
        files: contents of the firmware folder by name.
        soft_reset: module parameter ``support_soft_reset``.
        jiffies_per_s: the kernel's HZ; some timeouts are counted in it (2.4).
        wait: ``wait(ready, timeout_s)`` blocks until an interrupt made ``ready()`` true; False when it did not.
        hold: keeps accesses together in the chip's time.
    """

    def __init__(
        self,
        registers: Registers,
        release: Release,
        *,
        files: Mapping[str, bytes],
        soft_reset: bool,
        jiffies_per_s: int,
        wait: Callable[[Callable[[], bool], float], bool],
        hold: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._registers, self._release, self._files = registers, release, files
        self._soft_reset, self._jiffies_per_s, self._wait, self._hold = soft_reset, jiffies_per_s, wait, hold

    def load(
        self, rearm: Callable[[], None], boot_done: Callable[[], bool], soft_reset_done: Callable[[], bool]
    ) -> None:
        """Bring firmware up (2.4). Raises `OSError` where the probe fails."""
        if self._registers.is_firmware_loaded():
            if not (self._release.reloads and self._soft_reset):
                return
            if not self.reset(rearm, soft_reset_done):
                return  # logged, and the board comes up with whatever runs
        rearm()
        blocks = self._batch() if self._release.batch_loader else self._one_by_one()
        if blocks is None:
            return
        for address, data in blocks:
            self._write(address, data)
        with self._hold():  # the chip boots milliseconds later, not before the window is put back (10.3)
            self._write(TRIGGER, (1).to_bytes(4, "little"))
        timeout_s = BOOT_TIMEOUT_S
        if self._release.family == "A":
            timeout_s = BOOT_TIMEOUT_JIFFIES / self._jiffies_per_s
        if not self._wait(boot_done, timeout_s):
            raise failure(errno.ETIMEDOUT, f"no boot within {timeout_s} s")

    def _write(self, address: int, data: bytes) -> None:
        self._registers.write_memory(address, data, restore=self._release.restores_window)

    def reset(self, rearm: Callable[[], None], done: Callable[[], bool]) -> bool:
        """Soft reset; False if the chip did not answer. The completion is armed after ringing (10.3)."""
        self._registers.write32(ACCESS_BAR, DOORBELL, SOFT_RESET)
        rearm()
        if not self._wait(done, SOFT_RESET_TIMEOUT_MS * self._jiffies_per_s // 1000 / 1000):
            return False
        if not self._release.polls_boot_status:
            self._wait(lambda: False, SOFT_RESET_PAUSE_S)
            return True
        for _ in range(STATUS_TRIES):
            if self._registers.read_memory(BOOT_STATUS, 4) == BOOT_IDLE.to_bytes(4, "little"):
                return True
            self._wait(lambda: False, STATUS_PAUSE_S)
        return False

    # --- what is written, in which order (2.4) --------------------------------------------------------------------

    def _one_by_one(self) -> list[tuple[int, bytes]] | None:
        """4.17 and 4.18: configs first; without a firmware file nothing is loaded and the probe succeeds.

        GUESS: EINVAL where a config is too big ("fail" in 2.4).
        """
        blocks = []
        for address, name in ((BOARD_CONFIG, BOARD_CONFIG_FILE), (FIRMWARE_CONFIG, FIRMWARE_CONFIG_FILE)):
            data = self._files.get(name)
            if data is not None and len(data) > MAX_CONFIG_BYTES:
                raise failure(errno.EINVAL, f"{name} has {len(data)} bytes")
            if data is not None:
                blocks.append((address, data))
        data = self._files.get(FIRMWARE_FILE)
        if data is None:
            return None
        image = parse_image(data)
        return [
            *blocks,
            *self._app(image),
            (CORE_CODE, image.core_code),
            (CORE_HEADER, image.core_header),
        ]

    def _batch(self) -> list[tuple[int, bytes]]:
        """4.19 and later: configs last and optional in every way. GUESS: ENOENT without a firmware file."""
        data = self._files.get(FIRMWARE_FILE)
        if data is None:
            raise failure(errno.ENOENT, f"no {FIRMWARE_FILE}")
        if len(data) > MAX_FILE_BYTES:
            raise failure(errno.EFBIG, f"{FIRMWARE_FILE} has {len(data)} bytes")
        image = parse_image(data)
        blocks = [*self._app(image), (CORE_CODE, image.core_code), (CORE_HEADER, image.core_header)]
        for address, name in ((BOARD_CONFIG, BOARD_CONFIG_FILE), (FIRMWARE_CONFIG, FIRMWARE_CONFIG_FILE)):
            data = self._files.get(name)
            if data is not None and len(data) <= MAX_CONFIG_BYTES:
                blocks.append((address, data))
        return blocks

    @staticmethod
    def _app(image: Image) -> list[tuple[int, bytes]]:
        return [
            (APP_HEADER, image.app_header),
            (APP_CODE, image.app_code),
            (KEY, image.key),
            (CONTENT, image.content),
        ]
