"""A device: identity, sensors, notifications, logs, reset, and the networks it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from openhailo.driver.control import FirmwareClient
from openhailo.driver.events import Notification, parse_notification
from openhailo.driver.link import CPU_APP, CPU_CORE, ChipLink
from openhailo.driver.results import DeviceInformation, Health, Identity, PowerSample
from openhailo.errors import ControlFailed, DoesNotFit, InputError, OpenHailoError, StateError
from openhailo.hef.model import Hef
from openhailo.runtime.compiled import CompileModel, load_or_compile
from openhailo.runtime.habits import network_options
from openhailo.runtime.network import FrameReference, Network, ProgramReference
from openhailo.runtime.options import NetworkOptions
from openhailo.runtime.reference import reference_of
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.enums import DeviceArchitecture, ResetType
from openhailo.spec.limits import MAX_APPLICATIONS

#: File types that are compiled when they are loaded.
COMPILABLE = frozenset({".onnx", ".cfg"})


@dataclass(frozen=True)
class Sensors:
    """A reading of everything the board measures; None where it cannot.

    Temperatures in degrees Celsius, power in W.
    """

    temperature_c: float
    temperatures_c: tuple[float, float]
    power_w: float | None


class Device:
    """An opened chip. A context manager: leaving it unloads every network and leaves the chip quiet.

    Methods may be called from several threads. Networks share the chip in turns: running one switches to it.
    """

    def __init__(
        self,
        link: ChipLink,
        *,
        name: str = "",
        spec: ChipSpec = CHIP,
        program_reference: ProgramReference | None = None,
        compile_model: CompileModel | None = None,
        habits: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Own ``link``.

        ``program_reference`` is there when the chip computes nothing but our own programs and bound references;
        ``compile_model`` turns an ONNX file into a HEF; ``habits`` are those of `openhailo.runtime.habits`;
        ``clock`` gives the seconds that timeouts of frames are counted in.
        """
        self.clock = clock
        self._habits = network_options(habits)
        self.name = name or link.info.name
        self.link, self.spec = link, spec
        self.firmware = FirmwareClient(link, spec)
        self._reference_port, self._compile_model = program_reference, compile_model
        #: Held while networks change places; reentrant.
        self.lock = threading.RLock()
        self._networks: list[Network] = []
        self._applications = 0
        self._configured = False
        self._active: Network | None = None
        self._closed = False
        self._identity: Identity | None = None

    # --- what it is -------------------------------------------------------------------------------------------------

    def identify(self) -> Identity:
        """Return who the chip is and what firmware runs on it (asked once, then remembered)."""
        if self._identity is None:
            self._identity = self.firmware.identify()
        return self._identity

    def information(self) -> DeviceInformation:
        """Return clock, features, ids and fuses."""
        return self.firmware.device_information()

    def health(self) -> Health:
        """Return the state of temperature and current protection."""
        return self.firmware.health()

    def sensors(self) -> Sensors:
        """Read temperatures and, where the board has the sensor, power."""
        chip = self.firmware.chip_temperature()
        temperatures = (chip.ts0_c, chip.ts1_c)
        power: float | None = None
        with suppress(ControlFailed):
            power = self.power().value
        return Sensors(sum(temperatures) / len(temperatures), temperatures, power)

    def power(self) -> PowerSample:
        """Measure power once, in W. Raises `ControlFailed` on a board without a sensor."""
        return self.firmware.power_measurement()

    def read_notification(self, timeout_s: float = 0.0) -> Notification | None:
        """Return the firmware's oldest notification, waiting up to ``timeout_s``; None when there is none."""
        payload = self.link.read_notification(timeout_s)
        return None if payload is None else parse_notification(self.spec, payload)

    def read_logs(self) -> dict[str, bytes]:
        """Return and consume the raw firmware logs of both processors."""
        return {"app": self.link.read_log(CPU_APP), "core": self.link.read_log(CPU_CORE)}

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that are loaded."""
        return tuple(self._networks)

    @property
    def active(self) -> Network | None:
        """The network that the chip runs now."""
        return self._active

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
        """Configure a network and return it; frames run when it is called.

        Args:
            model: path of a HEF, or of an ONNX or Darknet file (compiled once, kept by content); the bytes of a HEF; or
                one that was read or made already.
            reference: ONNX file that computes a HEF compiled for silicon where the chip itself cannot, or a function
                of frames in device format (see `openhailo.runtime.network.FrameReference`).
            group: network group to use; by default the file's first one.
            network: the same by the name of a network: "name", or "group/name".
            compile_options: options for the compiler, when ``model`` is an ONNX file.
            options: fields of `openhailo.runtime.options.NetworkOptions`.

        Raises `HefError`, `CompileError`, `InputError`, `DoesNotFit`, `ControlFailed` and errors of the link.
        """
        content = self.read_model(model, compile_options)
        with self.lock:
            self._require_open("loading a network")
            if self._applications >= MAX_APPLICATIONS:
                raise DoesNotFit(resource="network groups", need=self._applications + 1, have=MAX_APPLICATIONS)
            made = self.plan(content, group or network, options)
            if reference is not None:
                made.reference = reference_of(reference, made.description)
            # The firmware takes no configuration while a network runs (context-switch.md 15).
            self._rest()
            self._prepare()
            made.configure(self._applications, self._reference_port)
            self._applications += 1
            self._networks.append(made)
            return made

    def plan(self, content: bytes | Hef, group: str | None, options: Mapping[str, Any]) -> Network:
        """Return the network that `load` would configure, without configuring it. Raises `HefError`, `InputError`."""
        return Network.plan(self, content, group, _network_options({**self._habits, **options}))

    def read_model(
        self, model: str | Path | bytes | Hef, compile_options: Mapping[str, Any] | None = None
    ) -> bytes | Hef:
        """Return the HEF that ``model`` is, or is compiled to, as `load` does. Raises `InputError`, `CompileError`."""
        if isinstance(model, Hef):
            return model
        if isinstance(model, bytes | bytearray | memoryview):
            return bytes(model)
        path = Path(model)
        if not path.is_file():
            raise InputError(what=str(path), detail="there is no such file")
        if path.suffix.lower() not in COMPILABLE:
            return path.read_bytes()
        if self._compile_model is None:
            raise InputError(what=str(path), detail="no compiler at hand; compile it first with `openhailo compile`")
        chip = "hailo8l" if self.identify().architecture == DeviceArchitecture.HAILO8L else "hailo8"
        return load_or_compile(path, {"arch": chip, **(compile_options or {})}, self._compile_model)

    def _prepare(self) -> None:
        """Clean up after a host that died, before the first network (control-protocol.md 7.2)."""
        if not self._configured:
            self.firmware.reset_applications()
            self.firmware.clear_configured_apps()
            self._configured = True

    def activate(self, network: Network, *, frames: int = 0) -> None:
        """Make the chip run ``network``; the one before it finishes its frames first. No-op when it runs already.

        ``frames`` is how many come next: a network of several contexts takes them in cycles of a size that suits.
        """
        with self.lock:
            self._require_open("activating a network")
            if self._active is network and not network.broken:
                try:
                    network.take_batch(frames)
                except BaseException:
                    self.deactivate()
                    raise
                return
            network.plan_batch(frames)
            self._make_way(network)
            self._active = network
            try:
                network.enter()
            except BaseException:
                self.deactivate()
                raise

    def deactivate(self) -> None:
        """Stop the network that runs; its frames in flight are cancelled. Idempotent."""
        with self.lock:
            if self._active is not None:
                self._leave(self._active)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Stop the network that runs, after its frames; whatever was started meanwhile is stopped at the end."""
        self._require_open("measuring")
        self._rest()
        self._prepare()
        try:
            yield
        finally:
            self.firmware.reset_applications()

    def _rest(self) -> None:
        """Let the network that runs finish its frames, and stop it."""
        if self._active is not None:
            self._active.drain()
            self._leave(self._active)

    def _make_way(self, network: Network) -> None:
        """Let the network that runs finish, for ``network``.

        Enabling another one switches; a reset is needed only where rings would go on as they are
        (control-protocol.md 7.3, context-switch.md 21 row 8).
        """
        active = self._active
        if active is None:
            return
        active.drain()
        if active is network or active.broken:
            self._leave(active)
        else:
            self._active = None
            active.leave()

    def _leave(self, network: Network) -> None:
        self._active = None
        network.leave()
        self.firmware.reset_applications()

    def release(self, network: Network) -> None:
        """Unload ``network``. Idempotent.

        The firmware forgets single networks never; its memory is cleared when the last one goes.
        """
        with self.lock:
            if network not in self._networks:
                return
            if self._active is network:
                self.deactivate()
            network.free()
            self._networks.remove(network)
            if not self._networks:
                self.firmware.clear_configured_apps()
                self._applications = 0

    # --- life -------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Restart the firmware. Every network is lost and has to be loaded again."""
        with self.lock:
            self._require_open("reset")
            self._drop_networks()
            self.link.soft_reset()
            self._configured = False
            self._applications = 0
            self._identity = None

    def reset_core(self) -> None:
        """Reset the neural core only (control-protocol.md 7.6)."""
        with self.lock:
            self.deactivate()
            self.firmware.reset(ResetType.NN_CORE)

    def close(self) -> None:
        """Unload everything and leave the chip quiet. Idempotent; never fails because the chip is gone."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            self._drop_networks()
            if self._configured:
                with suppress(OpenHailoError):
                    self.firmware.reset_applications()
                    self.firmware.clear_configured_apps()
            self.link.close()

    def _drop_networks(self) -> None:
        if self._active is not None:
            with suppress(OpenHailoError):
                self._leave(self._active)
        for network in self._networks:
            network.free()
        self._networks.clear()

    def _require_open(self, what: str) -> None:
        if self._closed:
            raise StateError(what=what, state="closed", hint="open the device again")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Device {self.name}{' closed' if self._closed else ''}, {len(self._networks)} networks>"


def _network_options(options: dict[str, Any]) -> NetworkOptions:
    try:
        return NetworkOptions(**options)
    except TypeError as error:
        raise InputError(what="load", detail=f"unknown option ({error})") from error
