"""One client: negotiation, commands, and DMA by message (vfio-user.md 2-4, 9, 10, 13).

Every byte may come from an attacker. A command that is wrong is answered with an error and changes nothing; a stream
that cannot be trusted any more ends the connection; descriptors are closed on every path; work and memory per message
are bounded, and nothing is read while the client does not take its replies.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable

import numpy as np

from openhailo.spec.vfio_user import Command, DeviceFlag, DmaFlag, MessageFlag, SetIrqs
from openhailo.twin.hostmem import Bytes

from .device import ServedDevice
from .framing import Framing, close_all
from .protocol import ClientLimits, Disconnect, Header, Refusal, build_version, parse_version

Handler = Callable[[bytes, list[int]], bytes]
#: Messages that one `Connection.step` handles before the chip and other clients get their turn.
BATCH = 256
#: Requests for memory that the client may leave unanswered, by resetting or unplugging meanwhile, before it is dropped.
MOST_GIVEN_UP = 16
#: Plain numbers: the complement of a flag holds no bits without a name.
_KNOWN_FLAGS = int(MessageFlag.TYPE_MASK | MessageFlag.NO_REPLY)
#: Commands that are carried out while the device waits for DMA by message; any other one ends that wait.
_DURING_DMA = frozenset(
    {
        Command.REGION_READ,
        Command.REGION_WRITE_MULTI,
        Command.DMA_MAP,
        Command.DEVICE_GET_INFO,
        Command.DEVICE_GET_REGION_INFO,
        Command.DEVICE_GET_IRQ_INFO,
    }
)


class Connection:
    """A client of ``device`` on a connected stream socket, which becomes this object's."""

    def __init__(self, sock: socket.socket, device: ServedDevice) -> None:
        self._framing = Framing(sock, device.wire)
        self._device, self._wire, self._rules = device, device.wire, device.wire.rules
        self._notices = device.notices
        self._limits: ClientLimits | None = None
        self._postponed: list[tuple[Header, bytes, list[int]]] = []
        self._next_id = 0
        self._given_up: set[int] = set()
        self._awaited: Header | None = None
        self._answer: bytes | None = None
        self._broken: Disconnect | None = None
        self.closed = False
        self._handlers: dict[int, Handler] = {
            Command.DMA_MAP: self._dma_map,
            Command.DMA_UNMAP: self._dma_unmap,
            Command.DEVICE_GET_INFO: self._get_info,
            Command.DEVICE_GET_REGION_INFO: self._get_region_info,
            Command.DEVICE_GET_IRQ_INFO: self._get_irq_info,
            Command.DEVICE_SET_IRQS: self._set_irqs,
            Command.REGION_READ: self._region_read,
            Command.REGION_WRITE: self._region_write,
            Command.DEVICE_RESET: self._reset,
        }
        device.memory.messages = self

    # --- for the server -------------------------------------------------------------------------------------------

    @property
    def sock(self) -> socket.socket:
        """The client's socket, to wait for."""
        return self._framing.sock

    @property
    def negotiated(self) -> bool:
        """Whether VERSION is through."""
        return self._limits is not None

    @property
    def blocked(self) -> bool:
        """Whether the client must read its replies before anything more of it is taken."""
        return self._framing.blocked

    def step(self, limit: int = BATCH) -> int:
        """Handle up to ``limit`` messages that are there; returns how many. Never waits, closes itself if it must."""
        handled = 0
        try:
            self._framing.flush()
            while handled < limit and not self.blocked:
                message = self._postponed.pop(0) if self._postponed else self._framing.receive()
                if message is None:
                    break
                handled += 1
                self._take(*message)
        except Disconnect as reason:
            self._end(reason)
        return handled

    def pump(self) -> float | None:
        """Run the chip, see `ServedDevice.pump`; ends the connection if DMA by message broke it."""
        left = self._device.pump()
        if self._broken is not None:
            self._end(self._broken)
        elif self._postponed:  # whatever waits in the socket came after it
            self.step()
        return 0.0 if self._postponed else left

    def _end(self, reason: Disconnect) -> None:
        self._notices.add("disconnect", reason)
        self.close()

    def close(self) -> None:
        """End it: the device sees its card pulled. Idempotent."""
        if self.closed:
            return
        self.closed = True
        for _, _, fds in self._postponed:
            close_all(fds)
        self._postponed.clear()
        self._framing.close()
        self._device.memory.messages = None
        self._device.detach()

    # --- messages -------------------------------------------------------------------------------------------------

    def _take(self, header: Header, payload: bytes, fds: list[int]) -> None:
        """Handle one message; ``fds`` are closed but for those that somebody keeps."""
        try:
            if header.flags & MessageFlag.TYPE_MASK:
                self._drop_reply(header, fds)
                return
            reply = self._answer_to(header, payload, fds)
        finally:
            close_all(fds)
        if reply:
            self._framing.send(reply)
        if self._limits is None:
            raise Disconnect("the client did not negotiate")

    def _drop_reply(self, header: Header, fds: list[int]) -> None:
        if fds or header.id not in self._given_up or header.command not in (Command.DMA_READ, Command.DMA_WRITE):
            raise Disconnect(f"a reply that nobody asked for (command {header.command})")
        self._given_up.discard(header.id)

    def _answer_to(self, header: Header, payload: bytes, fds: list[int]) -> bytes:
        quiet = header.flags & MessageFlag.NO_REPLY
        try:
            if header.flags & ~_KNOWN_FLAGS or header.errno:
                raise Refusal(errno.EINVAL, f"flags 0x{header.flags:X}, errno {header.errno} in a command")
            answer = self._carry_out(header, payload, fds)
        except Refusal as refusal:
            if not refusal.expected:
                self._notices.add("refused", f"command {header.command}: {refusal}")
            return b"" if quiet else self._wire.build_error(header, refusal.number)
        return b"" if quiet else self._wire.build_reply(header, answer)

    def _carry_out(self, header: Header, payload: bytes, fds: list[int]) -> bytes:
        command = header.command
        if self._limits is None:
            return self._version(command, payload, fds)
        if fds and command not in (Command.DMA_MAP, Command.DEVICE_SET_IRQS):
            raise Refusal(errno.EINVAL, f"{len(fds)} descriptors with a command that takes none")
        if command == Command.REGION_WRITE_MULTI and header.flags & MessageFlag.NO_REPLY:
            return self._write_multi(payload)
        handler = self._handlers.get(command)
        if handler is None:
            if command == Command.VERSION:
                self._limits = None  # ends the connection once the error is sent
                raise Refusal(errno.EINVAL, "negotiated already")
            raise Refusal(errno.EOPNOTSUPP, "not a command of this server")
        return handler(payload, fds)

    def _version(self, command: int, payload: bytes, fds: list[int]) -> bytes:
        if command != Command.VERSION or fds:
            raise Refusal(errno.EINVAL, "the first message must be VERSION, without descriptors")
        self._limits = parse_version(self._wire, payload)
        return build_version(self._wire)

    # --- commands -------------------------------------------------------------------------------------------------

    def _dma_map(self, payload: bytes, fds: list[int]) -> bytes:
        argsz, flags, offset, address, size = self._wire.dma_map.parse(payload)
        self._check_argsz(argsz, self._wire.dma_map.size)
        if len(fds) > 1:
            raise Refusal(errno.EINVAL, f"{len(fds)} descriptors for one range")
        self._device.memory.map(address, size, flags, offset, fds[0] if fds else None)
        return b""

    def _dma_unmap(self, payload: bytes, _fds: list[int]) -> bytes:
        argsz, flags, address, size = self._wire.dma_unmap.parse(payload)
        self._check_argsz(argsz, self._wire.dma_unmap.size)
        if flags not in (0, DmaFlag.UNMAP_ALL) or (flags and (address or size)):
            raise Refusal(errno.EINVAL, f"flags 0x{flags:X} with 0x{address:X}+0x{size:X}")
        if flags:
            self._device.memory.unmap_all()
        else:
            self._device.memory.unmap(address, size)
        return payload

    def _get_info(self, payload: bytes, _fds: list[int]) -> bytes:
        layout = self._wire.device_info
        self._check_argsz(layout.parse(payload)[0], layout.size)
        return layout.pack(layout.size, DeviceFlag.RESET | DeviceFlag.PCI, self._rules.regions, self._rules.irqs)

    def _get_region_info(self, payload: bytes, _fds: list[int]) -> bytes:
        layout = self._wire.region_info
        argsz, _, index, *_ = layout.parse(payload)
        self._check_argsz(argsz, layout.size)
        flags, size = self._device.region_info(index)
        return layout.pack(layout.size, flags, index, 0, size, 0)

    def _get_irq_info(self, payload: bytes, _fds: list[int]) -> bytes:
        layout = self._wire.irq_info
        argsz, _, index, _ = layout.parse(payload)
        self._check_argsz(argsz, layout.size)
        flags, count = self._device.vectors.info(index)
        return layout.pack(layout.size, flags, index, count)

    def _set_irqs(self, payload: bytes, fds: list[int]) -> bytes:
        layout = self._wire.irq_set
        argsz, flags, index, start, count = layout.parse_start(payload)
        data = payload[layout.size :]
        self._check_argsz(argsz, layout.size + (len(data) if flags & SetIrqs.DATA_BOOL else 0))
        self._device.vectors.set(flags, index, start, count, data, fds)
        return b""

    def _region_read(self, payload: bytes, _fds: list[int]) -> bytes:
        offset, region, count = self._wire.region_access.parse(payload)
        if count > self._rules.max_data_xfer_bytes:
            raise Refusal(errno.EINVAL, f"a read of {count} bytes")
        return payload + self._device.read(region, offset, count)

    def _region_write(self, payload: bytes, _fds: list[int]) -> bytes:
        layout = self._wire.region_access
        offset, region, count = layout.parse_start(payload)
        data = payload[layout.size :]
        if len(data) != count:
            raise Refusal(errno.EINVAL, f"a write of {count} bytes with {len(data)} bytes of data")
        self._device.write(region, offset, data)
        return payload[: layout.size]

    def _reset(self, payload: bytes, _fds: list[int]) -> bytes:
        if payload:
            raise Refusal(errno.EINVAL, f"RESET with {len(payload)} bytes")
        self._device.reset()
        return b""

    def _write_multi(self, payload: bytes) -> bytes:
        """Many posted writes in one message; bad entries are skipped (vfio-user.md 13)."""
        start, entry = self._wire.write_multi, self._wire.write_multi_entry
        (count,) = start.parse_start(payload)
        if count > self._rules.max_multi_writes or len(payload) != start.size + entry.size * count:
            raise Refusal(errno.EINVAL, f"{count} writes in {len(payload)} bytes")
        for offset, region, size, data in entry.iter_unpack(payload[start.size :]):
            try:
                if size > self._rules.max_multi_bytes:
                    raise Refusal(errno.EINVAL, f"{size} bytes in one of many writes")
                self._device.write(region, offset, data[:size])
            except Refusal as refusal:
                self._notices.add("refused", f"command {Command.REGION_WRITE_MULTI}: {refusal}")
        return b""

    def _check_argsz(self, argsz: int, least: int) -> None:
        if argsz < least:
            raise Refusal(errno.EINVAL, f"argsz {argsz} below {least}")

    # --- DMA by message -------------------------------------------------------------------------------------------

    def dma_read(self, address: int, out: Bytes) -> bool:
        """Fill ``out`` from the client's memory; see `openhailo.twin.ports.vfio_user.dma.Messages`."""
        layout = self._wire.dma_access
        for at, size in self._chunks(len(out)):
            request = layout.pack(address + at, size)
            answer = self._ask(Command.DMA_READ, request)
            if answer is None or len(answer) != layout.size + size or answer[: layout.size] != request:
                return self._dma_failed(Command.DMA_READ, address + at, size)
            out[at : at + size] = np.frombuffer(answer, np.uint8, offset=layout.size)
        return True

    def dma_write(self, address: int, data: Bytes) -> bool:
        """Write ``data`` to the client's memory; see `openhailo.twin.ports.vfio_user.dma.Messages`."""
        layout = self._wire.dma_access
        for at, size in self._chunks(len(data)):
            request = layout.pack(address + at, size)
            if self._ask(Command.DMA_WRITE, request + data[at : at + size].tobytes()) != request:
                return self._dma_failed(Command.DMA_WRITE, address + at, size)
        return True

    def _dma_failed(self, command: Command, address: int, size: int) -> bool:
        self._notices.add("dma", f"{command.name} of {size} bytes at 0x{address:X} failed")
        return False

    def _chunks(self, size_bytes: int) -> list[tuple[int, int]]:
        step = self._limits.max_data_xfer_bytes if self._limits else self._rules.max_data_xfer_bytes
        return [(at, min(step, size_bytes - at)) for at in range(0, size_bytes, step)]

    def _ask(self, command: Command, payload: bytes) -> bytes | None:
        """Send a command and return the payload of its reply; None on an error reply, or if it must be given up."""
        if self.closed or self._broken or self._postponed or self._awaited or self._limits is None:
            return None
        self._next_id = (self._next_id + 1) & 0xFFFF
        message = self._wire.build_command(self._next_id, command, payload)
        self._awaited = self._wire.parse_header(message[: self._wire.header.size])
        self._answer = None
        try:
            self._framing.send(message)
            self._await_reply(command)
        except Disconnect as reason:
            self._broken = reason
        finally:
            self._awaited = None
        return self._answer

    def _await_reply(self, command: Command) -> None:
        """Serve the client until it has replied: it cannot while it waits for us itself (vfio-user.md 9)."""
        deadline = time.monotonic() + self._rules.reply_timeout_s
        poll = select.poll()
        while not self._postponed:
            message = self._framing.receive()
            if message is None:
                poll.register(self._framing.sock, select.POLLIN | (select.POLLOUT if self.blocked else 0))
                left = deadline - time.monotonic()
                if left <= 0 or not poll.poll(left * 1000):
                    raise Disconnect(f"no reply to {command.name} within {self._rules.reply_timeout_s} s")
                self._framing.flush()
            elif message[0].flags & MessageFlag.TYPE_MASK and message[0].id not in self._given_up:
                self._take_reply(*message)
                return
            elif message[0].flags & MessageFlag.TYPE_MASK or self._may_interrupt(message[0], message[1]):
                self._take(*message)
            else:  # reset, power, unmapping: the transfer is given up, and its late reply will be dropped
                self._postponed.append(message)
                self._give_up()

    def _give_up(self) -> None:
        if self._awaited is not None:
            self._given_up.add(self._awaited.id)
        if len(self._given_up) > MOST_GIVEN_UP:
            raise Disconnect(f"{len(self._given_up)} requests for memory were never answered")

    def _may_interrupt(self, header: Header, payload: bytes) -> bool:
        if header.command != Command.REGION_WRITE:
            return header.command in _DURING_DMA
        layout = self._wire.region_access
        return len(payload) < layout.size or layout.unpack_from(payload)[1] != self._rules.config_region

    def _take_reply(self, header: Header, payload: bytes, fds: list[int]) -> None:
        close_all(fds)
        asked = self._awaited
        if asked is None or fds or (header.id, header.command) != (asked.id, asked.command):
            raise Disconnect(f"a reply that nobody asked for (command {header.command})")
        if not header.flags & MessageFlag.ERROR:
            self._answer = payload
