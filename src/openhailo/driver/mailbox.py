"""The control mailbox: one request, one answer (driver.md 3, control-protocol.md 1-3)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from openhailo.bus.protocols import Window
from openhailo.errors import BootFailed, DeviceLost, DeviceTimeout, InputError, MalformedReply, SequenceMismatch

from .interrupts import InterruptHub
from .link import CPU_CORE

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec


class Mailbox:
    """Request and response areas of BAR4, the doorbell, and the wait for the answer."""

    def __init__(
        self,
        name: str,
        bars: tuple[Window, Window],
        lock: threading.RLock,
        hub: InterruptHub,
        spec: ChipSpec,
        *,
        clock: Callable[[], float],
        vendor_accesses: bool = False,
    ) -> None:
        """Take BAR0 and BAR4, the lock of BAR4's first window, and the hub."""
        self._name, (self._config, self._window), self._window_lock, self._hub = name, bars, lock, hub
        self._rules, self._header, self._clock, self._exact = spec.mailbox, spec.mailbox_header, clock, vendor_accesses
        self._request_header, self._response_header = spec.request_header, spec.response_header
        self._doorbell = spec.doorbell
        self._running_at = spec.config["ATR0_TRANSLATION_LOW"].offset
        self._running_value = spec.atr.mailbox_base
        self._exchange_lock = threading.RLock()
        #: An answer to a request that was given up may still come.
        self._late_answer_possible = False
        #: Exchanges that were started.
        self.exchanges = 0

    @property
    def exclusive(self) -> threading.RLock:
        """Held for the whole of an exchange; take it to keep controls away."""
        return self._exchange_lock

    def is_firmware_running(self) -> bool:
        """Tell whether the first window points at the mailbox memory (driver.md 0, 2.2)."""
        word = self._config.read32(self._running_at)
        if word == 0xFFFFFFFF:
            raise DeviceLost(name=self._name, detail="its registers read all ones")
        return word == self._running_value

    def exchange(self, request: bytes, cpu: int, timeout_s: float) -> bytes:
        """Send ``request`` and return the response (see `openhailo.driver.link.ChipLink.control`)."""
        if not self._request_header.size <= len(request) <= self._rules.max_message_bytes:
            limits = f"{self._request_header.size}..{self._rules.max_message_bytes}"
            raise InputError(what="control request", detail=f"{len(request)} bytes; {limits} are possible")
        with self._exchange_lock:
            if not self.is_firmware_running():
                raise BootFailed(stage="control", detail="no firmware is running")
            answers = self._hub.control_answers
            self.exchanges += 1
            self._write_request(request)
            started = self._clock()
            bits = self._doorbell
            self._window.write32(
                self._rules.doorbell, bits.core_cpu_control if cpu == CPU_CORE else bits.app_cpu_control
            )
            return self._await_answer(request, answers, started, timeout_s)

    def _await_answer(self, request: bytes, answers: int, started: float, timeout_s: float) -> bytes:
        """Wait for the answer to ``request``, passing over late answers to requests that were given up."""
        stale: SequenceMismatch | None = None
        while True:
            remaining = timeout_s - (self._clock() - started)
            if remaining < 0 or not self._hub.wait_for_answer(answers, remaining):
                self._late_answer_possible = True
                if stale is not None:
                    raise stale
                opcode = self._request_header.unpack(request)["opcode"]
                raise DeviceTimeout(
                    what=f"answer to control {opcode}", budget_s=timeout_s, elapsed_s=self._clock() - started
                )
            answers = self._hub.control_answers
            response = self._read_response()
            stale = self._find_mismatch(request, response)
            if stale is None:
                self._late_answer_possible = False
                return response
            if not self._late_answer_possible:
                raise stale

    def _find_mismatch(self, request: bytes, response: bytes) -> SequenceMismatch | None:
        """Tell a late answer by its opcode or sequence; too short ones are left to the reader of the response."""
        common = self._response_header["opcode"].offset + 4
        if len(response) < common:
            return None
        asked = self._request_header.unpack(request)
        padded = response.ljust(self._response_header.size, b"\0")
        given = self._response_header.unpack(padded)
        if given["sequence"] != asked["sequence"]:
            return SequenceMismatch(expected=asked["sequence"], seen=given["sequence"])
        if self._late_answer_possible and given["opcode"] != asked["opcode"]:
            return SequenceMismatch(expected=asked["sequence"], seen=given["sequence"])
        return None

    def _write_request(self, request: bytes) -> None:
        """Write header and payload; each dword is read back, which is the only sign of a dead link here."""
        digest = hashlib.md5(request, usedforsecurity=False).digest()
        message = self._header.pack(digest=digest, length=len(request)) + request
        message = message.ljust(-(-len(message) // 4) * 4, b"\0")
        with self._window_lock:
            for at in range(0, len(message), 4):
                word = int.from_bytes(message[at : at + 4], "little")
                self._window.write32(self._rules.request + at, word)
                if self._window.read32(self._rules.request + at) != word:
                    self._hub.check_alive()
                    raise DeviceLost(name=self._name, detail="the mailbox does not keep what is written to it")

    def _read_response(self) -> bytes:
        """Read and verify one response: length first, then payload, then digest."""
        base = self._rules.response
        with self._window_lock:
            header = self._header.unpack(self._window.read_block(base, self._header.size))
            length = header["length"]
            if length > self._rules.max_message_bytes:
                self._hub.check_alive()
                raise MalformedReply(
                    what="control response", detail=f"length {length} above {self._rules.max_message_bytes}"
                )
            response = self._read_bytes(base + self._header.size, length)
        digest = hashlib.md5(response, usedforsecurity=False).digest()
        if digest != header["digest"]:
            raise MalformedReply(
                what="control response", detail=f"digest {header['digest'].hex()} over bytes that give {digest.hex()}"
            )
        return response

    def _read_bytes(self, at: int, length: int) -> bytes:
        if not self._exact:
            return self._window.read_block(at, -(-length // 4) * 4)[:length]
        # The kernel driver fetches each byte of a broken last dword on its own.
        whole = length & ~3
        data = self._window.read_block(at, whole)
        for _ in range(length - whole):
            tail = self._window.read_block(at + whole, 4)
        return data + tail[: length - whole] if length > whole else data
