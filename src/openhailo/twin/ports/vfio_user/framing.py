"""Messages out of a stream socket, each with the descriptors that came with its bytes (vfio-user.md 1.3, 1.4)."""

from __future__ import annotations

import os
import socket
from array import array
from collections.abc import Iterable

from .protocol import Disconnect, Header, Wire

#: Most bytes taken at once: what a header announces is only allocated as it really arrives.
_CHUNK = 65536
_FLAGS = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


class Framing:
    """Cuts the stream into messages and queues what goes out.

    Reads never cross the end of a message, so descriptors always belong to the message whose bytes they came with.
    """

    def __init__(self, sock: socket.socket, wire: Wire) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._wire = wire
        self._room = socket.CMSG_SPACE(array("i").itemsize * wire.rules.max_msg_fds)
        self._most_fds = wire.rules.max_msg_fds
        self._header: Header | None = None
        self._data = bytearray()
        self._fds: list[int] = []
        self._outgoing = b""

    @property
    def blocked(self) -> bool:
        """Whether replies wait for the client to read."""
        return bool(self._outgoing)

    def receive(self) -> tuple[Header, bytes, list[int]] | None:
        """Return the next message and its descriptors, now the caller's; None until it is there.

        Raises `Disconnect` (also at the end of the stream).
        """
        while True:
            header = self._header
            need = (self._wire.header.size if header is None else header.size - self._wire.header.size) - len(
                self._data
            )
            if need and not self._fill(need):
                return None
            if len(self._data) < need:
                continue
            if header is None:
                if len(self._data) < self._wire.header.size:
                    continue
                self._header = self._wire.parse_header(self._data)
                self._data.clear()
            elif len(self._data) == header.size - self._wire.header.size:
                message = header, bytes(self._data), self._fds
                self._header, self._fds = None, []
                self._data.clear()
                return message

    def _fill(self, need: int) -> bool:
        """Take up to ``need`` bytes; False if there are none now."""
        try:
            data, ancillary, flags, _ = self.sock.recvmsg(min(need, _CHUNK), self._room, _FLAGS)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Disconnect(f"the connection broke: {error}") from error
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array("i")
                received.frombytes(value[: len(value) - len(value) % received.itemsize])
                self._fds.extend(received)
        if flags & socket.MSG_CTRUNC or len(self._fds) > self._most_fds:
            raise Disconnect(f"more than {self._most_fds} descriptors in one message")
        if not data:
            raise Disconnect("closed by the client" if self._header is None and not self._data else "cut off")
        self._data += data
        return True

    def send(self, data: bytes) -> None:
        """Send, or keep for `flush`. Raises `Disconnect`."""
        self._outgoing += data
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the client reads. Raises `Disconnect`."""
        try:
            while self._outgoing:
                sent = self.sock.send(self._outgoing, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                self._outgoing = self._outgoing[sent:]
        except BlockingIOError:
            return
        except OSError as error:
            raise Disconnect(f"the connection broke: {error}") from error

    def close(self) -> None:
        """Close the socket, and the descriptors of an unfinished message. Idempotent."""
        close_all(self._fds)
        self._fds = []
        self.sock.close()
