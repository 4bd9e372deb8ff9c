"""Flash contents: user config, board config, firmware update, second stage (opcodes 14-21, 47, 48, 56, 57).

Everything lives in memory; the flash outlives resets of the firmware, so one `Flash` belongs to the chip's firmware for
good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openhailo.errors import BadImage
from openhailo.twin.firmware.image import parse_image
from openhailo.twin.firmware.parts import Handler, Parts
from openhailo.twin.firmware.refusal import Refused

USER_CONFIG_BYTES = 0x1000  # GUESS: the size of the flash section is not public
SECOND_STAGE_BYTES = 0x20000  # GUESS: likewise


@dataclass
class Flash:
    """What survives a reset."""

    user_config: bytearray = field(default_factory=bytearray)
    board_config: bytearray = field(default_factory=bytearray)
    image: bytes = b""
    second_stage: bytes = b""


@dataclass
class _Update:
    """A firmware update under way."""

    data: bytearray = field(default_factory=bytearray)
    validated: bytes = b""


def write_at(store: bytearray, offset: int, data: bytes, limit: int) -> bool:
    """Put ``data`` at ``offset``, growing ``store`` with erased flash; False when it would pass ``limit``."""
    if offset + len(data) > limit:
        return False
    if len(store) < offset:
        store.extend(b"\xff" * (offset - len(store)))
    store[offset : offset + len(data)] = data
    return True


class StorageControls:
    """Handlers of everything that is kept in flash."""

    def __init__(self, parts: Parts, flash: Flash, is_idle: Callable[[], bool]) -> None:
        self._parts, self._flash, self._is_idle = parts, flash, is_idle
        self._update: _Update | None = None
        self._second_stage = bytearray()

    def handlers(self) -> dict[str, Handler]:
        """Opcode name -> handler."""
        return {
            "START_FIRMWARE_UPDATE": self.start_update,
            "WRITE_FIRMWARE_UPDATE": self.write_update,
            "VALIDATE_FIRMWARE_UPDATE": self.validate_update,
            "FINISH_FIRMWARE_UPDATE": self.finish_update,
            "EXAMINE_USER_CONFIG": self.examine_user_config,
            "READ_USER_CONFIG": self.read_user_config,
            "ERASE_USER_CONFIG": self.erase_user_config,
            "WRITE_USER_CONFIG": self.write_user_config,
            "READ_BOARD_CONFIG": self.read_board_config,
            "WRITE_BOARD_CONFIG": self.write_board_config,
            "WRITE_SECOND_STAGE_TO_INTERNAL_MEMORY": self.write_second_stage,
            "COPY_SECOND_STAGE_TO_FLASH": self.copy_second_stage,
        }

    def start_update(self, args: Mapping[str, Any]) -> None:
        """Opcode 14: erase the section."""
        self._update = _Update()

    def write_update(self, args: Mapping[str, Any]) -> None:
        """Opcode 15."""
        failed = "CONTROL_PROTOCOL_STATUS_WRITE_FIRMWARE_UPDATE_FAILED"
        if self._update is None:
            raise Refused(failed, "FIRMWARE_UPDATE_STATUS_FIRMWARE_UPDATE_NOT_STARTED")
        if not write_at(self._update.data, args["offset"], args["data"], self._parts.spec.firmware.max_file_bytes):
            raise Refused(failed, "FIRMWARE_UPDATE_STATUS_FIRMWARE_SIZE_EXCEEDED")
        self._update.validated = b""

    def validate_update(self, args: Mapping[str, Any]) -> None:
        """Opcode 16: MD5 and headers of the first ``firmware_size`` bytes written."""
        failed = "CONTROL_PROTOCOL_STATUS_VALIDATE_FIRMWARE_UPDATE_FAILED"
        if self._update is None:
            raise Refused(failed, "FIRMWARE_UPDATE_STATUS_FIRMWARE_UPDATE_NOT_STARTED")
        image = bytes(self._update.data[: args["firmware_size"]])
        if len(image) != args["firmware_size"]:
            raise Refused(failed, "FIRMWARE_UPDATE_STATUS_INVALID_PARAMETERS")
        if hashlib.md5(image, usedforsecurity=False).digest() != args["expected_md5"]:
            raise Refused(failed, "FIRMWARE_UPDATE_STATUS_MISMATCHING_MD5")
        try:
            parse_image(image, spec=self._parts.spec)
        except BadImage as error:
            raise Refused(failed, "FIRMWARE_UPDATE_STATUS_INVALID_FIRMWARE") from error
        self._update.validated = image

    def finish_update(self, args: Mapping[str, Any]) -> None:
        """Opcode 17: switch to the new image; it runs after the next soft reset (7.5)."""
        failed = "CONTROL_PROTOCOL_STATUS_FINISH_FIRMWARE_UPDATE_FAILED"
        if self._update is None:
            raise Refused(failed, "FIRMWARE_UPDATE_STATUS_FIRMWARE_UPDATE_NOT_STARTED")
        if not self._update.validated:
            raise Refused(failed, "FIRMWARE_UPDATE_STATUS_FIRMWARE_UPDATE_NOT_VALIDATED")
        self._flash.image, self._update = self._update.validated, None

    def examine_user_config(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 18: header words and size of a valid blob."""
        header, size = self._examine()
        return {"version": header["version"], "entry_count": header["entry_count"], "total_size": size}

    def _examine(self) -> tuple[dict[str, Any], int]:
        failed = "CONTROL_PROTOCOL_STATUS_USER_CONFIG_EXAMINE_FAILED"
        spec, blob = self._parts.spec, self._flash.user_config
        if len(blob) < spec.user_config_header.size:
            raise Refused(failed, "FIRMWARE_CONFIGS_STATUS_USER_CONFIG_NOT_LOADED")
        header = spec.user_config_header.unpack(blob)
        if header["magic"] != spec.user_config.magic:
            raise Refused(failed, "FIRMWARE_CONFIGS_STATUS_USER_CONFIG_NOT_LOADED")
        if header["version"] != spec.user_config.version:
            raise Refused(failed, "USER_CONFIG_INVALID_VERSION")
        at = spec.user_config_header.size
        for _ in range(header["entry_count"]):
            at = self._check_entry(blob, at, failed)
        return header, at

    def _check_entry(self, blob: bytearray, at: int, failed: str) -> int:
        """Return where the entry at ``at`` ends. Raises `Refused`: unknown, of another size, or cut."""
        layout = self._parts.spec.user_config_entry
        if at + layout.size > len(blob):
            raise Refused(failed, "USER_CONFIG_STATUS_INVALID_ENTRY_SIZE")
        entry = layout.unpack(blob, at)
        known = [e for e in self._parts.spec.user_config.entries if e.category == entry["category"]]
        if not known:
            raise Refused(failed, "USER_CONFIG_STATUS_INVALID_CATEGORY")
        sizes = [e.size * e.count for e in known if e.entry_id == entry["entry_id"]]
        if not sizes:
            raise Refused(failed, "USER_CONFIG_STATUS_INVALID_ENTRY_ID")
        end = at + layout.size + int(entry["entry_size"])
        if entry["entry_size"] not in sizes or end > len(blob):
            raise Refused(failed, "USER_CONFIG_STATUS_INVALID_ENTRY_SIZE")
        return end

    def read_user_config(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 19."""
        return {"data": self._read(self._flash.user_config, args, "FIRMWARE_CONFIGS_STATUS_USER_CONFIG_OVERRUN")}

    def _read(self, store: bytearray, args: Mapping[str, Any], overrun: str) -> bytes:
        end = args["address"] + args["data_count"]
        if args["data_count"] > self._parts.spec.control_rules.max_data_bytes or end > len(store):
            raise Refused(overrun)
        return bytes(store[args["address"] : end])

    def erase_user_config(self, args: Mapping[str, Any]) -> None:
        """Opcode 20."""
        self._flash.user_config.clear()

    def write_user_config(self, args: Mapping[str, Any]) -> None:
        """Opcode 21."""
        if not write_at(self._flash.user_config, args["address"], args["data"], USER_CONFIG_BYTES):
            raise Refused("FIRMWARE_CONFIGS_STATUS_USER_CONFIG_OVERRUN", "USER_CONFIG_STATUS_MAXIMUM_SIZE_EXCEEDED")

    def read_board_config(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 47: the blob has 500 bytes; what was never written reads as zero."""
        size = self._parts.spec.control_rules.board_config_bytes
        blob = self._flash.board_config
        blob.extend(bytes(max(0, size - len(blob))))
        return {"data": self._read(blob, args, "FIRMWARE_CONFIGS_STATUS_BOARD_CONFIG_OVERRUN")}

    def write_board_config(self, args: Mapping[str, Any]) -> None:
        """Opcode 48."""
        limit = self._parts.spec.control_rules.board_config_bytes
        if not write_at(self._flash.board_config, args["address"], args["data"], limit):
            raise Refused("FIRMWARE_CONFIGS_STATUS_BOARD_CONFIG_OVERRUN")

    def write_second_stage(self, args: Mapping[str, Any]) -> None:
        """Opcode 56: stage into memory."""
        if not write_at(self._second_stage, args["offset"], args["data"], SECOND_STAGE_BYTES):
            raise Refused(
                "CONTROL_PROTOCOL_STATUS_INVALID_SECOND_STAGE_SIZE", "SECOND_STAGE_UPDATE_STATUS_BINARY_SIZE_EXCEEDED"
            )

    def copy_second_stage(self, args: Mapping[str, Any]) -> None:
        """Opcode 57: MD5 of what was staged, then flash."""
        failed = "CONTROL_PROTOCOL_STATUS_COPY_SECOND_STAGE_TO_FLASH_FAILED"
        if not self._is_idle():
            raise Refused(failed, "SECOND_STAGE_UPDATE_STATUS_CORE_IS_NOT_IDLE")
        staged = bytes(self._second_stage[: args["second_stage_size"]])
        if not staged or len(staged) != args["second_stage_size"]:
            raise Refused(failed, "SECOND_STAGE_UPDATE_STATUS_INVALID_PARAMETERS")
        if hashlib.md5(staged, usedforsecurity=False).digest() != args["expected_md5"]:
            raise Refused(failed, "SECOND_STAGE_UPDATE_STATUS_MISMATCHING_MD5")
        self._flash.second_stage = staged

    def snapshot(self) -> dict[str, Any]:
        """Return the flash, and what is staged on its way there."""
        flash, update = self._flash, self._update
        return {
            "user_config": bytes(flash.user_config),
            "board_config": bytes(flash.board_config),
            "image": flash.image,
            "second_stage": flash.second_stage,
            "staged_second_stage": bytes(self._second_stage),
            "update": None if update is None else bytes(update.data),
            "is_validated": update is not None and bool(update.validated),
        }
