"""One control from name and values to parsed answer: retries, sequence numbers, chunks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from openhailo.errors import DeviceTimeout, InputError, MalformedReply, SequenceMismatch
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.messages import Control

from .link import ChipLink
from .messages import build_request, parse_response

#: Controls that may be sent twice without harm: they change nothing, or to the same value.
IDEMPOTENT = frozenset(
    {
        "IDENTIFY",
        "CORE_IDENTIFY",
        "READ_MEMORY",
        "POWER_MEASUREMENT",
        "EXAMINE_USER_CONFIG",
        "READ_USER_CONFIG",
        "READ_BOARD_CONFIG",
        "SENSOR_GET_CONFIG",
        "SENSOR_GET_SECTIONS_INFO",
        "IDLE_TIME_GET_MEASUREMENT",
        "DOWNLOAD_CONTEXT_ACTION_LIST",
        "APP_PREVIOUS_SYSTEM_STATE",
        "CORE_PREVIOUS_SYSTEM_STATE",
        "GET_CHIP_TEMPERATURE",
        "GET_DEVICE_INFORMATION",
        "GET_CONTEXT_SWITCH_BREAKPOINT_STATUS",
        "GET_CONTEXT_SWITCH_MAIN_HEADER",
        "GET_HEALTH_INFORMATION",
        "GET_THROTTLING_STATE",
        "GET_OVERCURRENT_STATE",
        "GET_HW_CONSTS",
        "SET_THROTTLING_STATE",
        "SET_OVERCURRENT_STATE",
        "SET_FW_LOGGER",
        "SET_SLEEP_STATE",
    }
)


class ControlCaller:
    """Sends controls over a link. Safe for several threads."""

    def __init__(self, link: ChipLink, spec: ChipSpec = CHIP, *, timeout_s: float | None = None) -> None:
        """Take the link and, in seconds, how long an answer may take (default: the vendor library's 1 s)."""
        self._link, self._spec = link, spec
        self._timeout_s = spec.limits.control_timeout_s if timeout_s is None else timeout_s
        self._by_name = {control.name: control for control in spec.controls.values()}
        self._lock = threading.Lock()
        self._sequence = spec.control_rules.sequence

    def call(self, name: str, /, *, timeout_s: float | None = None, **values: Any) -> dict[str, Any]:
        """Send control ``name`` with one keyword per parameter; return the response's parameters by name.

        A control that may be repeated is sent once more when its answer is late or broken. Raises `ControlFailed`,
        `DeviceTimeout`, `MalformedReply`, `SequenceMismatch`, `DeviceLost`, `InputError`.
        """
        control = self._control(name)
        try:
            return self._call_once(control, timeout_s, values)
        except (DeviceTimeout, MalformedReply, SequenceMismatch):
            if name not in IDEMPOTENT:
                raise
        return self._call_once(control, timeout_s, values)

    def call_without_answer(self, name: str, /, *, timeout_s: float | None = None, **values: Any) -> None:
        """Send a control that the firmware does not answer (control-protocol.md 7.6); an answer is `MalformedReply`."""
        request = build_request(self._spec, self._control(name), values, self._next_sequence())
        try:
            self._link.control(request, self._control(name).cpu, self._budget_s(timeout_s))
        except DeviceTimeout:
            return
        raise MalformedReply(what=f"answer to {name}", detail="there should be none")

    def read_chunks(self, name: str, address: int, size_bytes: int, address_name: str = "address") -> bytes:
        """Read ``size_bytes`` in pieces; each must have the length that was asked for."""
        data = bytearray()
        for at, length in self._pieces(size_bytes):
            piece = self.call(name, **{address_name: address + at}, data_count=length)["data"]
            if len(piece) != length:
                raise MalformedReply(what=f"answer to {name}", detail=f"{len(piece)} bytes instead of {length}")
            data += piece
        return bytes(data)

    def write_chunks(self, name: str, address: int, data: bytes, address_name: str = "address") -> None:
        """Write ``data`` in pieces."""
        for at, length in self._pieces(len(data)):
            self.call(name, **{address_name: address + at}, data=data[at : at + length])

    def _pieces(self, size_bytes: int) -> Iterator[tuple[int, int]]:
        if size_bytes < 0:
            raise InputError(what="size", detail=f"{size_bytes} bytes")
        step = self._spec.control_rules.max_data_bytes
        return ((at, min(step, size_bytes - at)) for at in range(0, size_bytes, step))

    def _control(self, name: str) -> Control:
        try:
            return self._by_name[name]
        except KeyError:
            raise InputError(what="control", detail=f"there is no {name!r}") from None

    def _call_once(self, control: Control, timeout_s: float | None, values: dict[str, Any]) -> dict[str, Any]:
        sequence = self._next_sequence()
        request = build_request(self._spec, control, values, sequence)
        try:
            response = self._link.control(request, control.cpu, self._budget_s(timeout_s))
        except DeviceTimeout:
            self._begin_numbering()
            raise
        return parse_response(self._spec, control, response, sequence)

    def _budget_s(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s

    def _next_sequence(self) -> int:
        """Return 0, as on PCIe always (control-protocol.md 3.4), until an answer went missing.

        From then on requests are numbered, because the missing answer may still come and must not be taken for another.
        """
        with self._lock:
            if self._sequence:
                self._sequence = self._sequence % 0xFFFFFFFE + 1
            return self._sequence

    def _begin_numbering(self) -> None:
        with self._lock:
            self._sequence = self._sequence or 1
