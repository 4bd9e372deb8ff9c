"""A device that a broker owns: identity and sensors through it, networks run by it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from openhailo.driver.link import ChipLink, LinkInfo
from openhailo.errors import OpenHailoError, StateError
from openhailo.runtime.broker.client import Connection, Owner
from openhailo.runtime.broker.memory import SharedMemory
from openhailo.runtime.broker.messages import Content, Control, ControlReply, Known, Nothing
from openhailo.runtime.broker.network import SharedNetwork
from openhailo.runtime.broker.wire import Kind
from openhailo.runtime.compiled import CompileModel
from openhailo.runtime.device import Device
from openhailo.runtime.network import FrameReference, Network

if TYPE_CHECKING:
    from openhailo.hef.model import Hef


class _ControlLink:
    """The controls of one device, of those that a broker lets pass."""

    def __init__(self, broker: Broker, index: int, name: str) -> None:
        self._broker, self._index = broker, index
        self.info = LinkInfo(kind="broker", name=name)

    def control(self, request: bytes, cpu: int, timeout_s: float = 1.0) -> bytes:
        """Send a control. Raises what the broker's link raises, `StateError` for those that are not for clients."""
        message = Control(self._index, cpu, timeout_s, request.hex())
        return bytes.fromhex(self._broker.connection.ask(Kind.CONTROL, message, ControlReply).response)

    def read_notification(self, timeout_s: float) -> bytes | None:
        """Notifications are the broker's."""
        return None

    def close(self) -> None:
        """Nothing to do: the connection is the broker's."""


class Broker:
    """The connection to a broker, made again when it was lost. All devices of a virtual device have it together."""

    def __init__(self, path: Path, connect: Callable[[], Connection]) -> None:
        """Connect. Raises what ``connect`` raises."""
        self.path, self._connect = path, connect
        self.owner = Owner()
        self.current: Connection | None = connect()
        self.names: tuple[str, ...] = self.current.welcome.devices

    @property
    def connection(self) -> Connection:
        """The connection, made anew if the one before was lost. Raises what connecting raises, `StateError`."""
        self.owner.require("using a broker")
        if self.current is None or self.current.is_lost:
            if self.current is not None:
                self.current.close()
            self.current = self._connect()
        return self.current

    def note_loss(self) -> None:
        """Frames say that the broker is gone, which the connection may not have noticed."""
        if self.current is not None:
            self.current.close()

    def close(self) -> None:
        """Let go. Idempotent."""
        current, self.current = self.current, None
        if current is not None and self.owner.is_us:
            current.close()


class SharedDevice(Device):
    """One of the devices of a broker. Networks are those of all of its devices, and are loaded through the first."""

    def __init__(self, broker: Broker, index: int, *, compile_model: CompileModel | None = None) -> None:
        """Use device ``index`` of ``broker``."""
        self._broker = broker
        name = broker.names[index]
        link = cast(ChipLink, _ControlLink(broker, index, name))
        super().__init__(link, name=name, compile_model=compile_model)

    @property
    def path(self) -> Path:
        """The broker's socket."""
        return self._broker.path

    @property
    def names(self) -> Sequence[str]:
        """All devices of the broker."""
        return self._broker.names

    @property
    def connection(self) -> Connection:
        """The connection to the broker, made again if need be."""
        return self._broker.connection

    @property
    def current(self) -> Connection | None:
        """The connection as it is, if there is one."""
        return self._broker.current

    @property
    def is_lost(self) -> bool:
        """Whether the broker went away."""
        current = self._broker.current
        return current is None or current.has_ended

    def require_owner(self, what: str) -> None:
        """Raise `StateError` in a forked child."""
        self._broker.owner.require(what)

    def note_loss(self) -> None:
        """Frames say that the broker is gone."""
        self._broker.note_loss()

    def offer(self, content: bytes) -> str:
        """Let the broker have a HEF; return the SHA-256 that it goes by. It is sent once."""
        digest = hashlib.sha256(content).hexdigest()
        connection = self.connection
        if not connection.ask(Kind.HAVE, Content(digest), Known).known:
            memory = SharedMemory.create(len(content))
            try:
                memory.view[:] = content
                connection.ask(Kind.PUT, Content(digest, len(content)), Nothing, memory.fd)
            finally:
                memory.forget_descriptor()
        return digest

    # --- networks ---------------------------------------------------------------------------------------------------

    def load(
        self,
        model: str | Path | bytes | Hef,
        *,
        reference: str | Path | FrameReference | None = None,
        group: str | None = None,
        network: str | None = None,
        compile_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Network:
        """Have the broker configure a network, as `Device.load` does, on all of its devices."""
        content = self.read_model(model, compile_options)
        with self.lock:
            self._require_open("loading a network")
            made = self.plan(content, group or network, options)
            assert isinstance(made, SharedNetwork), "plan makes them"
            made.check_options(reference)
            made.prepare(content)
            made.configure(0, None)
            self._networks.append(made)
            return made

    def plan(self, content: bytes | Hef, group: str | None, options: Mapping[str, Any]) -> Network:
        """Return the network that `load` would configure. Raises `HefError`, `InputError`."""
        known = super().plan(content, group, options)
        return SharedNetwork(self, known.description, known.options)

    def activate(self, network: Network, *, frames: int = 0) -> None:
        """Make sure that the broker has ``network`` and nothing is wrong with it; turns are the broker's."""
        assert isinstance(network, SharedNetwork), "others are not loaded"
        with self.lock:
            self._require_open("activating a network")
            if not network.is_attached:
                network.enter()

    def deactivate(self) -> None:
        """Do nothing: which network runs is the broker's to say."""

    def release(self, network: Network) -> None:
        """Have the broker unload ``network``. Idempotent."""
        with self.lock:
            if network in self._networks:
                self._networks.remove(network)
                network.free()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Others use the device too. Raises `StateError`."""
        _refuse("stopping all networks")
        yield

    def reset(self) -> None:
        """Others use the device too. Raises `StateError`."""
        _refuse("a reset")

    def reset_core(self) -> None:
        """Others use the device too. Raises `StateError`."""
        _refuse("a reset")

    def close(self) -> None:
        """Unload the networks. Idempotent."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            if self._broker.owner.is_us:
                for network in self._networks:
                    with suppress(OpenHailoError):
                        network.free()
            self._networks.clear()


def _refuse(what: str) -> None:
    hint = "open the device without multi_process_service, when nobody else uses it"
    raise StateError(what=what, state="the device is shared through a broker", hint=hint)
