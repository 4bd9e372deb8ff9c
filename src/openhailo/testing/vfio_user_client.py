"""A raw vfio-user client: literal formats, no code in common with the server (vfio-user.md 1-4, 11, 15).

It says what it is told to, also what is forbidden, and plays the part of QEMU where a test needs a well-behaved one.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

VERSION_TEXT = (
    b'{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, "max_data_xfer_size": 1048576, '
    b'"migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "write_multiple": true}}\0'
)
CONFIG = 7
QUIET = 0x10


class Reply(NamedTuple):
    """A whole message from the server; ``errno`` is 0 unless it is an error reply."""

    id: int
    command: int
    flags: int
    errno: int
    payload: bytes


class Closed(Exception):
    """The server closed the connection."""


class ErrorReply(Exception):
    """The server answered with an error, where a good answer was needed."""

    def __init__(self, command: int, number: int) -> None:
        self.command, self.number = command, number
        super().__init__(f"command {command}: {os.strerror(number)} ({number})")


class VfioUserClient:
    """One connection.

    Args:
        sock: a connected stream socket; becomes this object's.
        step: called before the client looks for a reply, for a server that runs in the same thread; None: the server
            runs by itself, and replies are waited for.
        timeout_s: most seconds to wait for a reply.
    """

    def __init__(self, sock: socket.socket, step: Callable[[], object] | None = None, timeout_s: float = 10.0) -> None:
        self.sock, self._step = sock, step
        sock.settimeout(0.0 if step else timeout_s)
        self._id = 0
        self._rest = b""

    # --- messages -------------------------------------------------------------------------------------------------

    def send_raw(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send bytes as they are, with descriptors on the first of them; all of it, or `Closed`."""
        try:
            sent = 0
            while sent < len(data):
                try:
                    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds and not sent else []
                    sent += self.sock.sendmsg([data[sent:]], rights, socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    assert self._step is not None
                    self._step()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from error

    def send(
        self, command: int, payload: bytes = b"", *, fds: Sequence[int] = (), flags: int = 0, errno: int = 0
    ) -> int:
        """Send a command and return its id."""
        self._id = (self._id + 1) & 0xFFFF
        self.send_raw(struct.pack("<HHIII", self._id, command, 16 + len(payload), flags, errno) + payload, fds)
        return self._id

    def receive(self) -> Reply | None:
        """Return the next message; None if there is none (only with ``step``). Raises `Closed`."""
        if self._step:
            self._step()
        while True:
            if len(self._rest) >= 16:
                number, command, size, flags, errno = struct.unpack_from("<HHIII", self._rest)
                if len(self._rest) >= size:
                    payload, self._rest = self._rest[16:size], self._rest[size:]
                    return Reply(number, command, flags, errno, payload)
            try:
                data = self.sock.recv(1 << 16)
            except BlockingIOError:
                return None
            except ConnectionResetError as error:
                raise Closed(str(error)) from error
            if not data:
                raise Closed("end of stream")
            self._rest += data

    def call(self, command: int, payload: bytes = b"", *, fds: Sequence[int] = (), flags: int = 0) -> Reply:
        """Send a command and return its reply, which must be the next message."""
        number = self.send(command, payload, fds=fds, flags=flags)
        reply = self.receive()
        assert reply is not None, f"no reply to command {command}"
        assert (reply.id, reply.command) == (number, command), f"{reply} does not answer {number}/{command}"
        return reply

    def ask(self, command: int, payload: bytes = b"", *, fds: Sequence[int] = ()) -> bytes:
        """Return the payload of a good reply. Raises `ErrorReply`."""
        reply = self.call(command, payload, fds=fds)
        if reply.flags != 1:
            raise ErrorReply(command, reply.errno)
        return reply.payload

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    # --- commands -------------------------------------------------------------------------------------------------

    def negotiate(self, text: bytes = VERSION_TEXT, major: int = 0, minor: int = 0) -> bytes:
        """VERSION; returns the server's text."""
        return self.ask(1, struct.pack("<HH", major, minor) + text)[4:]

    def map(self, address: int, size: int, fd: int | None = None, *, flags: int = 3, offset: int = 0) -> None:
        """DMA_MAP."""
        self.ask(2, struct.pack("<IIQQQ", 32, flags, offset, address, size), fds=() if fd is None else (fd,))

    def unmap(self, address: int, size: int, flags: int = 0) -> bytes:
        """DMA_UNMAP."""
        return self.ask(3, struct.pack("<IIQQ", 24, flags, address, size))

    def region_info(self, index: int) -> tuple[int, ...]:
        """GET_REGION_INFO: argsz, flags, index, capabilities, size, offset."""
        return struct.unpack("<IIIIQQ", self.ask(5, struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0)))

    def irq_info(self, index: int) -> tuple[int, ...]:
        """GET_IRQ_INFO: argsz, flags, index, count."""
        return struct.unpack("<IIII", self.ask(7, struct.pack("<IIII", 16, 0, index, 0)))

    def set_irqs(
        self, flags: int, index: int, start: int, count: int, data: bytes = b"", fds: Sequence[int] = ()
    ) -> None:
        """SET_IRQS."""
        self.ask(8, struct.pack("<IIIII", 20 + len(data), flags, index, start, count) + data, fds=fds)

    def read(self, region: int, offset: int, count: int = 4) -> bytes:
        """REGION_READ."""
        request = struct.pack("<QII", offset, region, count)
        payload = self.ask(9, request)
        assert payload[:16] == request, "the reply to a read does not echo it"
        assert len(payload) == 16 + count, f"{len(payload) - 16} bytes where {count} were asked for"
        return payload[16:]

    def read32(self, region: int, offset: int) -> int:
        """REGION_READ of a dword."""
        return int.from_bytes(self.read(region, offset, 4), "little")

    def write(self, region: int, offset: int, data: bytes) -> None:
        """REGION_WRITE that waits for its reply."""
        request = struct.pack("<QII", offset, region, len(data))
        assert self.ask(10, request + data) == request, "the reply to a write does not echo it"

    def write32(self, region: int, offset: int, value: int) -> None:
        """REGION_WRITE of a dword, posted for BARs and waited for in configuration space, as QEMU does."""
        data = value.to_bytes(4, "little")
        if region == CONFIG:
            self.write(region, offset, data)
        else:
            self.post(region, offset, data)

    def post(self, region: int, offset: int, data: bytes) -> None:
        """Posted REGION_WRITE."""
        self.send(10, struct.pack("<QII", offset, region, len(data)) + data, flags=QUIET)

    def post_many(self, writes: Sequence[tuple[int, int, bytes]]) -> None:
        """REGION_WRITE_MULTI of (region, offset, data)."""
        entries = b"".join(struct.pack("<QII8s", at, region, len(data), data) for region, at, data in writes)
        self.send(15, struct.pack("<Q", len(writes)) + entries, flags=QUIET)

    def reset(self) -> None:
        """DEVICE_RESET."""
        self.ask(13)

    def create_device(self) -> bytes:
        """Do what QEMU does at creation (vfio-user.md 11.1); returns configuration space."""
        self.negotiate()
        self.ask(4, struct.pack("<IIII", 16, 0, 0, 0))
        for index in (0, 1, 2, 3, 4, 5, 7):
            self.region_info(index)
        assert self.call(7, struct.pack("<IIII", 16, 0, 3, 0)).errno, "interrupt index 3 makes QEMU print a warning"
        config = self.read(CONFIG, 0, 4096)
        for at in (0x10, 0x18, 0x20):
            self.read32(CONFIG, at)
        self.reset()
        return config


def make_memory(size_bytes: int, *, seal: bool = True) -> tuple[int, mmap.mmap]:
    """Return a memfd as QEMU backs guest RAM with, and the guest's own mapping of it."""
    fd = os.memfd_create("guest", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(fd, size_bytes)
    if seal:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd, mmap.mmap(fd, size_bytes)
