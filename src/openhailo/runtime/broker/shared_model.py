"""One model of one client, at the broker: frames of its rings go to the scheduler, news of them back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from openhailo.errors import MalformedMessage, OpenHailoError
from openhailo.runtime.broker import wire
from openhailo.runtime.broker.memory import SharedMemory
from openhailo.runtime.broker.messages import to_bytes
from openhailo.runtime.broker.raw_plan import RawPlan, Rings
from openhailo.runtime.broker.refusals import refusal_of
from openhailo.runtime.broker.wire import FRAMES_BYTES, FramesKind
from openhailo.runtime.frame_plan import FramePlan
from openhailo.runtime.network_group import NetworkGroup
from openhailo.runtime.request import FrameRequest

#: What one turn of a hostile or dying client may cost the others.
SETTLE_TIMEOUT_S = 10.0
#: So long the thread that takes frames works for the device.
_HELP_S = 0.1
#: Plans whose memory a device that does not answer may still write to.
_LEFT_BEHIND: list[RawPlan] = []


class SharedModel:
    """A network group of the broker's virtual device, with the rings of a client.

    ``on_broken`` is told when the client breaks the rules of the rings.
    """

    def __init__(self, group: NetworkGroup, memory: SharedMemory, rings: Rings, on_broken: Callable[[], None]) -> None:
        """Begin to take frames; the client's end of the socket is to be taken with `client_end`."""
        self.group, self.memory_bytes, self.depth = group, memory.size_bytes, rings.depth
        self._on_broken = on_broken
        self._plans = [RawPlan(network, rings) for network in group.networks]
        self._inputs, self._outputs = self._plans[0].inputs, self._plans[0].outputs
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._epoch = self._slot = self._under_way = 0
        self._failed = self._closed = False
        self._socket, self._other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._thread = threading.Thread(target=self._serve, name=f"openhailo frames {group.name}", daemon=True)
        self._thread.start()

    def client_end(self) -> socket.socket:
        """Return the socket that the client has to get; close it when it was sent."""
        return self._other

    # --- frames -----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Take frames until the client ends, or we do."""
        try:
            while packet := self._socket.recv(FRAMES_BYTES + 1):
                kind, epoch, count, rest = wire.parse_frames(packet)
                if kind not in (FramesKind.RUN, FramesKind.RUN_AWAITED) or rest:
                    raise MalformedMessage(what="message about frames", detail=kind.name)
                self._run(epoch, count, is_awaited=kind is FramesKind.RUN_AWAITED)
        except (OSError, MalformedMessage):
            pass
        except OpenHailoError as error:
            self._fail(self._epoch, error)
        if not self._closed:
            self._on_broken()

    def _run(self, epoch: int, count: int, *, is_awaited: bool) -> None:
        """Hand the next ``count`` frames to the scheduler, unless they are of earlier times.

        This thread works for the device itself when the client does nothing but wait: that saves waking another one.
        """
        with self._lock:
            if self._closed or epoch < self._epoch or self._failed:
                return
            if epoch > self._epoch or not 0 < count <= self.depth - self._under_way:
                raise MalformedMessage(what="message about frames", detail=f"{count} frames of time {epoch}")
            self._under_way += count
            requests = self._requests(epoch, count)
            is_awaited = is_awaited and len(requests) == 1 and self._under_way == count
            requests[0].is_awaited = is_awaited
        try:
            self.group.submit(requests, room=0)
        except OpenHailoError as error:
            with self._lock:
                self._under_way -= count
                self._idle.notify_all()
            self._fail(epoch, error)
        else:
            if is_awaited:
                self.group.dispatcher.wait(requests[0], _HELP_S)

    def _requests(self, epoch: int, count: int) -> list[FrameRequest]:
        """Return requests for slots; those beyond the end of the ring are another one."""
        made: list[FrameRequest] = []
        plans: Sequence[FramePlan] = self._plans  # type: ignore[assignment]
        while count:
            first = self._slot
            some = min(count, self.depth - first)
            ins = [ring[first : first + some] for ring in self._inputs]
            outs = [ring[first : first + some] for ring in self._outputs]
            made.append(FrameRequest(plans, ins, outs, partial(self._on_done, epoch)))
            self._slot = (first + some) % self.depth
            count -= some
        return made

    def _on_done(self, epoch: int, request: FrameRequest) -> None:
        with self._lock:
            self._under_way -= request.count
            if not self._under_way:
                self._idle.notify_all()
            is_news = epoch == self._epoch and not self._failed
        if is_news:
            if request.error is None:
                self._tell(wire.build_frames(FramesKind.DONE, epoch, request.count))
            else:
                self._fail(epoch, request.error)

    def _fail(self, epoch: int, error: BaseException) -> None:
        """Say once that frames failed; whatever follows in these times fails with them."""
        with self._lock:
            if self._failed or epoch != self._epoch:
                return
            self._failed = True
        self._tell(wire.build_frames(FramesKind.FAILED, epoch, 0) + to_bytes(refusal_of(error)))

    def _tell(self, packet: bytes) -> None:
        try:
            self._socket.send(packet, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            # A client that does not read what it asked for, or is gone.
            if not self._closed:
                self._on_broken()

    # --- requests of the client -------------------------------------------------------------------------------------

    def begin_anew(self) -> int:
        """Cancel what is under way and begin the rings at slot 0; return the number of the new time."""
        with self._lock:
            self._failed = True
        self._settle("it was begun anew")
        with self._lock:
            self._epoch += 1
            self._slot, self._failed = 0, False
            return self._epoch

    def _settle(self, reason: str) -> bool:
        """Cancel what waits and let devices finish what they began; True when no transfer uses the rings any more."""
        dispatcher, model = self.group.dispatcher, self.group.model
        dispatcher.cancel(model, reason)
        if self._wait_idle():
            return True
        dispatcher.settle(model, 0.0)
        return self._wait_idle()

    def _wait_idle(self) -> bool:
        with self._idle:
            return self._idle.wait_for(lambda: not self._under_way, SETTLE_TIMEOUT_S)

    def close(self) -> None:
        """End it: frames that wait are cancelled, those on devices finish, then the rings are unmapped. Idempotent.

        Rings that a device may still write to stay mapped for good: their pages are not given to anybody else.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = self._failed = True
        self._other.close()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread is not threading.current_thread():
            self._thread.join(SETTLE_TIMEOUT_S)
        is_idle = self._settle("its client ended")
        self.group.close()
        self._socket.close()
        if is_idle:
            for plan in self._plans:
                plan.close()
        else:
            _LEFT_BEHIND.extend(self._plans)
