"""The way of frames to a broker: stands where `ChipLink` is in streams and pipelines of a client.

Slots lie in shared memory. A launch of all streams says "run the next frames of the rings"; the broker says how many
are done, always the oldest ones.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from openhailo.driver.link import BufferRange, ChannelEvent, DescriptorList, DmaDirection, HostBuffer
from openhailo.errors import DmaMapError
from openhailo.runtime.broker import wire
from openhailo.runtime.broker.client import Owner, keep_from_children, lost
from openhailo.runtime.broker.messages import Refusal, from_bytes
from openhailo.runtime.broker.refusals import error_of
from openhailo.runtime.broker.wire import FRAMES_BYTES, MAX_BODY_BYTES, FramesKind


class SlotsBuffer:
    """The ring of one stream."""

    def __init__(self, view: memoryview, direction: DmaDirection) -> None:
        self.view, self.direction, self.size_bytes = view, direction, view.nbytes

    def close(self) -> None:
        """Nothing to do: the memory is the network's."""


class FramesLink:
    """Launches and completions of one network. Channels are numbered from 0, inputs first."""

    def __init__(self, view: memoryview, sizes: Sequence[int], inputs: int, path: Path) -> None:
        """Deal out ``view`` to `alloc_buffer` in pieces of ``sizes`` bytes; the first ``inputs`` streams are inputs."""
        self._view, self._sizes, self._last_input, self._path = view, list(sizes), inputs - 1, path
        self._owner = Owner()
        self._at = self._dealt = 0
        self._bitmap = (1 << len(sizes)) - 1
        self._channels = range(len(sizes))
        self._socket: socket.socket | None = None
        self._epoch = 0
        #: A hint for the broker: whoever sends the next frames does nothing but wait for them.
        self.is_awaited = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    # --- as streams see it ------------------------------------------------------------------------------------------

    def alloc_buffer(self, size_bytes: int, direction: DmaDirection) -> HostBuffer:
        """Return the next ring."""
        assert size_bytes == self._sizes[self._dealt], "rings are opened in the order in which they were laid out"
        self._at, self._dealt, at = self._at + size_bytes, self._dealt + 1, self._at
        return SlotsBuffer(self._view[at : at + size_bytes], direction)

    def map_buffer(self, buffer: memoryview, direction: DmaDirection) -> HostBuffer:
        """Memory of the user's is not the broker's to map."""
        raise DmaMapError(detail="frames of a broker lie in shared memory", size_bytes=buffer.nbytes)

    def launch_many(
        self,
        channel: int,
        dlist: DescriptorList,
        starting_desc: int,
        transfers: Sequence[Sequence[BufferRange]],
        **_: Any,
    ) -> int:
        """Hand frames over when the last input has them; outputs follow by themselves. Raises `BrokerLost`."""
        if channel == self._last_input:
            sock = self._socket
            if sock is None:
                raise lost(self._path)
            try:
                kind = FramesKind.RUN_AWAITED if self.is_awaited else FramesKind.RUN
                sock.send(wire.build_frames(kind, self._epoch, len(transfers)), socket.MSG_NOSIGNAL)
            except OSError as error:
                raise lost(self._path) from error
        return len(transfers)

    def wait_channels(self, bitmap: int, timeout_s: float) -> list[ChannelEvent]:
        """Wait until frames are done; empty after ``timeout_s`` or `wake`.

        Raises what a frame failed with, `BrokerLost`.
        """
        sock = self._socket
        if sock is None:
            raise lost(self._path)
        try:
            ready = wire.wait_readable([sock.fileno(), self._wake], timeout_s)
        except (OSError, ValueError) as error:
            raise lost(self._path) from error
        if self._wake in ready:
            self._drain_wake()
        done = self._receive(sock) if sock.fileno() in ready else 0
        return [ChannelEvent(channel, done) for channel in self._channels] if done else []

    def _receive(self, sock: socket.socket) -> int:
        """Return the frames that are done, of all messages that are there."""
        done = 0
        while True:
            try:
                packet = sock.recv(FRAMES_BYTES + MAX_BODY_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return done
            except OSError as error:
                raise lost(self._path) from error
            if not packet:
                if done:
                    return done
                raise lost(self._path)
            kind, epoch, count, rest = wire.parse_frames(packet)
            if epoch != self._epoch:
                continue
            if kind is FramesKind.FAILED:
                raise error_of(from_bytes(Refusal, rest))
            done += count

    def _drain_wake(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return

    def wake(self) -> None:
        """Make a wait return early."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    # --- as networks see it -----------------------------------------------------------------------------------------

    @property
    def is_attached(self) -> bool:
        """Whether the broker takes frames."""
        return self._socket is not None

    def attach(self, fd: int) -> None:
        """Use the socket ``fd`` from now on, for rings that stand at slot 0."""
        self.detach()
        self._socket, self._epoch = keep_from_children(socket.socket(fileno=fd)), 0

    def begin_anew(self, epoch: int) -> None:
        """The rings stand at slot 0 again; what is said of earlier times is of no interest."""
        self._epoch = epoch

    def detach(self) -> None:
        """Let go of the socket; the waiter hears of it. Idempotent."""
        sock, self._socket = self._socket, None
        if sock is not None:
            if self._owner.is_us:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def close(self) -> None:
        """Free what is ours. Idempotent."""
        self.detach()
        wake, self._wake = self._wake, -1
        if wake >= 0:
            os.close(wake)
