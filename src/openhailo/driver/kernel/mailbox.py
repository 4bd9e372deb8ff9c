"""Controls through the driver: one request, one answer (driver.md 3, control-protocol.md 1-3)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from openhailo.bus.chardev import driver_error, not_running
from openhailo.driver.link import CPU_CORE
from openhailo.errors import DeviceLost, DeviceTimeout, InputError, MalformedReply, OpenHailoError, SequenceMismatch
from openhailo.spec.ioctl import CpuId

from .calls import Calls

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

_NAME = "FW_CONTROL"


class KernelMailbox:
    """FW_CONTROL: the driver rings the doorbell and waits; it checks neither digests nor sequence numbers."""

    def __init__(self, calls: Calls, spec: ChipSpec, clock: Callable[[], float]) -> None:
        self._calls, self._clock = calls, clock
        self._request_header, self._response_header = spec.request_header, spec.response_header
        self._limit = calls.rules.max_control_bytes
        self._lock = threading.Lock()
        #: An answer to a request that was given up may still come.
        self._late_answer_possible = False
        #: Exchanges that were started.
        self.exchanges = 0

    def exchange(self, request: bytes, cpu: int, timeout_s: float) -> bytes:
        """Send ``request`` and return the response (see `openhailo.driver.link.ChipLink.control`)."""
        # The driver does not bound the length: it would read past its structure and write past the mailbox
        # (driver.md 8.1 row 22).
        if not self._request_header.size <= len(request) <= self._limit:
            raise InputError(what="control", detail=f"{len(request)} bytes; 20 to {self._limit} are possible")
        layout = self._calls.release[_NAME].struct
        argument = bytearray(
            layout.pack(
                expected_md5=_digest(request),
                buffer_len=len(request),
                buffer=request,
                timeout_ms=max(1, round(timeout_s * 1000)),  # 0 would give up before the answer can come
                cpu_id=CpuId.CORE if cpu == CPU_CORE else CpuId.APP,
            )
        )
        with self._lock:
            self.exchanges += 1
            self._send(request, argument, timeout_s)
            answer = layout.unpack(argument)
            response = self._verified(answer["buffer"], answer["buffer_len"], answer["expected_md5"])
            self._check_current(request, response)
            return response

    def _send(self, request: bytes, argument: bytearray, timeout_s: float) -> None:
        started = self._clock()
        try:
            # A signal would end the wait after the request was sent (driver.md 8.1 row 28), so it has to wait instead.
            with _signals_held():
                self._calls.file.ioctl(self._calls.release[_NAME].number, argument)
        except OSError as error:
            self._late_answer_possible |= error.errno in (errno.ETIMEDOUT, errno.EINTR)
            raise self._typed(error, request, timeout_s, self._clock() - started) from error

    def _typed(self, error: OSError, request: bytes, budget_s: float, elapsed_s: float) -> OpenHailoError:
        name = self._calls.file.name
        if error.errno == errno.ETIMEDOUT:
            opcode = self._request_header.unpack(request)["opcode"]
            return DeviceTimeout(what=f"answer to control {opcode}", budget_s=budget_s, elapsed_s=elapsed_s)
        if error.errno == errno.ENODEV and not self._is_gone():
            if not self._calls.file.is_alive():
                return DeviceLost(name=name, detail="the driver does not find the card alive")
            return not_running(name)
        if error.errno == errno.EINVAL:
            typed = self._calls.typed(error, _NAME)
            if isinstance(typed, DeviceLost):
                return typed
            return MalformedReply(what="control response", detail=f"the driver found a length above {self._limit}")
        return driver_error(error, name=name, what=_NAME, budget_s=budget_s)

    def _is_gone(self) -> bool:
        try:
            self._calls.call("QUERY_DEVICE_PROPERTIES")
        except OpenHailoError:
            return True
        return False

    def _verified(self, buffer: bytes, length: int, digest: bytes) -> bytes:
        if length > self._limit:
            raise MalformedReply(what="control response", detail=f"length {length} above {self._limit}")
        response = buffer[:length]
        seen = _digest(response)
        if seen != digest:
            raise MalformedReply(
                what="control response", detail=f"digest {digest.hex()} over bytes that give {seen.hex()}"
            )
        return response

    def _check_current(self, request: bytes, response: bytes) -> None:
        """Refuse the late answer to an earlier request, which the driver takes for this one's (driver.md 3).

        The answer to this request is lost by then: the driver listens for one answer per request.
        """
        header = self._response_header
        if len(response) < header["opcode"].offset + 4:
            return  # too short to tell; the reader of the response says so
        asked = self._request_header.unpack(request)
        given = header.unpack(response.ljust(header.size, b"\0"))
        late = self._late_answer_possible and given["opcode"] != asked["opcode"]
        if late or given["sequence"] != asked["sequence"]:
            raise SequenceMismatch(expected=asked["sequence"], seen=given["sequence"])
        self._late_answer_possible = False


def _digest(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
