"""One client of a broker: its requests in turn, and all that it holds."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from openhailo.errors import InputError, MalformedMessage, OpenHailoError, StateError, VersionUnsupported
from openhailo.runtime.broker import messages as m
from openhailo.runtime.broker import wire
from openhailo.runtime.broker.limits import Patience, require
from openhailo.runtime.broker.memory import SharedMemory
from openhailo.runtime.broker.raw_plan import Rings
from openhailo.runtime.broker.refusals import refusal_of
from openhailo.runtime.broker.rings import check_layout
from openhailo.runtime.broker.shared_model import SharedModel
from openhailo.runtime.broker.wire import Kind, Message, release
from openhailo.runtime.scheduler import ModelParameters
from openhailo.spec.chip import CHIP
from openhailo.spec.opcodes import Opcode

if TYPE_CHECKING:
    from openhailo.runtime.broker.server import BrokerServer

#: Controls that change nothing and say nothing of other clients.
_ALLOWED = frozenset(
    {
        Opcode.IDENTIFY,
        Opcode.CORE_IDENTIFY,
        Opcode.GET_DEVICE_INFORMATION,
        Opcode.GET_HEALTH_INFORMATION,
        Opcode.GET_CHIP_TEMPERATURE,
        Opcode.POWER_MEASUREMENT,
        Opcode.GET_THROTTLING_STATE,
        Opcode.GET_OVERCURRENT_STATE,
        Opcode.GET_HW_CONSTS,
    }
)
_Reply = tuple[Any, socket.socket | None]
_SEND_TIMEOUT_S = 10.0


class Session:
    """Serves one client in a thread of its own, until it ends; then frees all that it held."""

    def __init__(self, server: BrokerServer, sock: socket.socket, pid: int, on_end: Callable[[Session], None]) -> None:
        """Begin."""
        self._server, self._socket, self.pid, self._on_end = server, sock, pid, on_end
        self._models: dict[int, SharedModel] = {}
        self._next = 1
        self._patience = Patience(server.limits)
        self._greeted = False
        self._thread = threading.Thread(target=self._serve, name=f"openhailo client {pid}", daemon=True)

    def start(self) -> None:
        """Take requests from now on."""
        self._thread.start()

    def end(self) -> None:
        """Have the client shown out; `join` waits until all that it held is free."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def join(self, timeout_s: float) -> None:
        """Wait until it is over."""
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        try:
            while (message := wire.receive(self._socket)) is not None:
                if not self._answer(message):
                    break
        except (OSError, MalformedMessage):
            pass
        finally:
            self.end()
            self._free()
            self._socket.close()
            self._on_end(self)

    def _free(self) -> None:
        models, self._models = self._models, {}
        for model in models.values():
            with suppress(OpenHailoError):
                model.close()

    def _answer(self, message: Message) -> bool:
        """Do what is asked and say how it went; False when there is nothing more to talk about."""
        goes_on = True
        reply: Any = None
        attached: socket.socket | None = None
        try:
            reply, attached = self._do(message)
        except MalformedMessage as error:
            reply, goes_on = refusal_of(error), False
        except VersionUnsupported as error:
            reply, goes_on = refusal_of(error), False
        except Exception as error:
            # Whatever one client can bring about is no reason for the others to lose their broker.
            reply, goes_on = refusal_of(error), self._patience.spend()
        finally:
            if message.fd >= 0:
                os.close(message.fd)
        self._reply(message.ident, reply, attached)
        return goes_on

    def _reply(self, ident: int, reply: Any, attached: socket.socket | None) -> None:
        kind = Kind.REFUSED if isinstance(reply, m.Refusal) else Kind.DONE
        body = m.to_bytes(reply)
        try:
            wire.send(self._socket, kind, ident, body, attached.fileno() if attached is not None else -1)
        finally:
            if attached is not None:
                attached.close()

    def _do(self, message: Message) -> _Reply:
        if message.kind == Kind.HELLO:
            return self._hello(m.from_bytes(m.Hello, message.body)), None
        if not self._greeted:
            raise MalformedMessage(what="request", detail="before hello")
        if message.kind == Kind.CONFIGURE:
            return self._configure(m.from_bytes(m.Configure, message.body), message.fd)
        if message.kind == Kind.PUT:
            self._server.models.put(m.from_bytes(m.Content, message.body), message.fd)
            return m.Nothing(), None
        handler = self._HANDLERS.get(message.kind)
        if handler is None:
            raise MalformedMessage(what="request", detail=f"of kind {message.kind}")
        kind, handle = handler
        return handle(self, m.from_bytes(kind, message.body)), None

    # --- requests ---------------------------------------------------------------------------------------------------

    def _hello(self, hello: m.Hello) -> m.Welcome:
        if hello.protocol != wire.PROTOCOL:
            supported = f"openhailo {release()} everywhere, then end the broker that runs (process {os.getpid()})"
            raise VersionUnsupported(
                component=f"a client of the broker (which is openhailo {release()}) of release",
                version=hello.version,
                supported=supported,
            )
        self._greeted = True
        return m.Welcome(wire.PROTOCOL, release(), os.getpid(), tuple(self._server.vdevice.device_ids))

    def _control(self, wanted: m.Control) -> m.ControlReply:
        devices = self._server.vdevice.devices
        try:
            request = bytes.fromhex(wanted.request)
            header = CHIP.request_header.unpack(request[: CHIP.request_header.size])
            device = devices[wanted.device] if wanted.device >= 0 else None
        except (ValueError, IndexError) as error:
            raise InputError(what="control", detail=str(error)) from error
        if device is None or header["opcode"] not in _ALLOWED or header["sequence"] != CHIP.control_rules.sequence:
            hint = "open the device without a broker, when nobody else uses it"
            raise StateError(
                what=f"control {header['opcode']}", state="the device is shared through a broker", hint=hint
            )
        response = device.link.control(request, wanted.cpu, min(wanted.timeout_s, 5.0))
        return m.ControlReply(response.hex())

    def _have(self, wanted: m.Content) -> m.Known:
        return m.Known(self._server.models.knows(wanted.digest))

    def _configure(self, wanted: m.Configure, fd: int) -> _Reply:
        limits = self._server.limits
        require("models of a client", len(self._models) + 1, limits.models_per_client)
        held = sum(model.memory_bytes for model in self._models.values())
        require("bytes of shared memory", held + wanted.memory_bytes, limits.memory_per_client)
        memory = SharedMemory.adopt(os.dup(fd) if fd >= 0 else -1, wanted.memory_bytes)
        group = self._server.models.configure(wanted)
        try:
            check_layout(wanted.slots, group.networks[0].description, wanted.depth, wanted.memory_bytes)
            made = SharedModel(group, memory, Rings(memory.view, wanted.slots, wanted.depth), self.end)
        except BaseException:
            group.close()
            raise
        number, self._next = self._next, self._next + 1
        self._models[number] = made
        return m.Configured(number), made.client_end()

    def _restart(self, which: m.Which) -> m.Restarted:
        return m.Restarted(self._model(which.model).begin_anew())

    def _schedule(self, wanted: m.Schedule) -> m.Nothing:
        timeout_s = float("inf") if wanted.timeout_s < 0 else wanted.timeout_s
        self._model(wanted.model).group.scheduling = ModelParameters(wanted.threshold, timeout_s, wanted.priority)
        return m.Nothing()

    def _statistics(self, which: m.Which) -> m.Turns:
        group = self._model(which.model).group
        _, turns, _, _ = group.dispatcher.figures(group.model, reset=which.clear)
        return m.Turns(turns.frames, turns.bursts, turns.switches, turns.waited_s, turns.longest_wait_s)

    def _latency(self, which: m.Which) -> m.LatencyReply:
        found = self._model(which.model).group.latency(clear=which.clear)
        if found is None:
            return m.LatencyReply(0, 0.0, 0.0, 0.0)
        return m.LatencyReply(found.frames, found.mean_s, found.least_s, found.most_s)

    def _release(self, which: m.Which) -> m.Nothing:
        self._model(which.model)
        self._models.pop(which.model).close()
        return m.Nothing()

    def _devices(self, _: m.Nothing) -> m.DeviceStates:
        found = self._server.vdevice.statistics()
        states = tuple(
            m.DeviceState(each.name, each.model or "", each.in_flight, each.busy_s, each.is_lost)
            for each in found.devices
        )
        return m.DeviceStates(states, found.switches, found.switch_s)

    def _model(self, number: int) -> SharedModel:
        found = self._models.get(number)
        if found is None:
            raise InputError(what=f"model {number}", detail="there is no such one")
        return found

    _HANDLERS: dict[int, tuple[type[Any], Callable[[Any, Any], Any]]] = {  # noqa: RUF012 - a table, never changed
        Kind.CONTROL: (m.Control, _control),
        Kind.HAVE: (m.Content, _have),
        Kind.RESTART: (m.Which, _restart),
        Kind.SCHEDULE: (m.Schedule, _schedule),
        Kind.STATISTICS: (m.Which, _statistics),
        Kind.LATENCY: (m.Which, _latency),
        Kind.RELEASE: (m.Which, _release),
        Kind.DEVICES: (m.Nothing, _devices),
    }
