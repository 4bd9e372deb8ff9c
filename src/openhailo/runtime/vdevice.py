"""One or more devices used as one: models take turns on them, frames are shared out, results keep their order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import xxhash

from openhailo.errors import InputError, OpenHailoError, StateError
from openhailo.runtime.device import Device
from openhailo.runtime.dispatch import Dispatcher
from openhailo.runtime.job import DEFAULT_TIMEOUT_S
from openhailo.runtime.network import Network
from openhailo.runtime.network_group import NetworkGroup
from openhailo.runtime.request import ScheduledModel
from openhailo.runtime.scheduler import Scheduler
from openhailo.runtime.statistics import VirtualDeviceStatistics, device_statistics

if TYPE_CHECKING:
    from openhailo.hef.model import Hef
    from openhailo.runtime.infer_model import InferModel

#: Group of virtual devices that share nothing (runtime-behaviour.md 2).
UNIQUE_GROUP = "UNIQUE"


@dataclass(frozen=True)
class VirtualDeviceOptions:
    """How a virtual device behaves.

    Args:
        scheduler: models take turns by themselves; without it `NetworkGroup.activate` says which one runs.
        idle_optimization: an idle device runs a model below its threshold when no other competes.
        group_id: virtual devices of one group in a process are the same one; ``UNIQUE`` shares nothing.
        shutdown_timeout_s: how long frames in flight may take when something is unloaded.
    """

    scheduler: bool = True
    idle_optimization: bool = True
    group_id: str = UNIQUE_GROUP
    shutdown_timeout_s: float = DEFAULT_TIMEOUT_S


class VirtualDevice:
    """Devices used as one. A context manager: leaving it unloads everything and closes the devices.

    Methods may be called from several threads. Frames that were launched on a device that is lost fail with
    `DeviceLost`; frames that it had not begun with run on another device, if there is one.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        options: VirtualDeviceOptions | None = None,
        *,
        owns_devices: bool = True,
        clock: Callable[[], float] = time.monotonic,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        """Use ``devices`` from now on, and close them in the end if they are owned. Raises `InputError`.

        ``dispatcher`` carries frames to them in another way than usual.
        """
        self.devices = tuple(devices)
        if not devices or len(set(map(id, devices))) != len(devices):
            raise InputError(what="virtual device", detail="needs one device or more, each of them once")
        self.options = options or VirtualDeviceOptions()
        scheduler = Scheduler(
            len(devices), idle_optimization=self.options.idle_optimization, manual=not self.options.scheduler
        )
        self.dispatcher = dispatcher or Dispatcher(devices, scheduler, clock)
        self._owns_devices = owns_devices
        self._lock = threading.RLock()
        self._groups: list[NetworkGroup] = []
        self._active: NetworkGroup | None = None
        self._closed = False
        self._users = 1

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def is_manual(self) -> bool:
        """Whether there is no scheduler."""
        return not self.options.scheduler

    @property
    def device_ids(self) -> list[str]:
        """Names of the devices."""
        return [device.name for device in self.devices]

    @property
    def network_groups(self) -> tuple[NetworkGroup, ...]:
        """What is configured."""
        return tuple(self._groups)

    @property
    def active_group(self) -> NetworkGroup | None:
        """The group that was activated; None with a scheduler."""
        return self._active

    def statistics(self) -> VirtualDeviceStatistics:
        """Return the figures of every device and model."""
        return device_statistics(self)

    # --- models -----------------------------------------------------------------------------------------------------

    def create_infer_model(self, model: str | Path | bytes | Hef, *, name: str = "", **options: Any) -> InferModel:
        """Return a model whose formats and batch can be chosen before it is configured.

        ``model`` and ``options`` are those of `openhailo.runtime.device.Device.load`; ``name`` chooses a network group,
        by its own name or that of a network in it.
        Raises `HefError`, `CompileError`, `InputError`.
        """
        from openhailo.runtime.infer_model import InferModel

        self._require_open("creating a model")
        return InferModel(self, model, name, options)

    def configure(
        self, model: str | Path | bytes | Hef, *, group: str | None = None, batch_size: int = 0, **options: Any
    ) -> NetworkGroup:
        """Configure a network group on every device; it runs when frames come (or when it is activated).

        With a scheduler, a group that is configured already with the same options is not configured again: both run
        without a switch between them, each with a queue and a turn of its own (runtime-behaviour.md 5, multiplexer).

        Args:
            model: what `openhailo.runtime.device.Device.load` takes.
            group: network group to use, by default the file's first one.
            batch_size: frames that are sent to a device in one turn; 0: as many as its queue takes
                (runtime-behaviour.md 11).
            options: further options of `Device.load` and `openhailo.runtime.options.NetworkOptions`.

        Raises what `Device.load` raises.
        """
        with self._lock:
            self._require_open("configuring a model")
            content = self.devices[0].read_model(model, options.pop("compile_options", None))
            key = _key(content, group, batch_size, options)
            alike = [made for made in self._groups if made.key == key and made.is_open and not self.is_manual]
            same = alike[0] if alike else None
            networks = same.networks if same is not None else self._load(content, group, batch_size, options)
            scheduled = self._schedule(networks, batch_size, same.model.index if same is not None else None)
            made = NetworkGroup(self, networks, scheduled, self._may_share(networks) and key)
            self._groups.append(made)
            return made

    def _load(
        self, content: bytes | Hef, group: str | None, batch_size: int, options: Mapping[str, Any]
    ) -> list[Network]:
        networks: list[Network] = []
        with ExitStack() as undo, self.dispatcher.quiet(self.options.shutdown_timeout_s):
            for device in self.devices:
                network = device.load(content, group=group, batch_size=batch_size, **options)
                networks.append(network)
                undo.callback(network.close)
            undo.pop_all()
        return networks

    def _may_share(self, networks: Sequence[Network]) -> bool:
        """Whether nobody notices others in ``networks``: no thresholds to set, and no latency is measured."""
        first = networks[0]
        return not first.options.measure_latency and all(info.nms is None for info in first.outputs)

    def _schedule(self, networks: Sequence[Network], batch_size: int, core: int | None) -> ScheduledModel:
        first = networks[0]
        capacity = min(network.queue_depth for network in networks)
        in_cycles = first.most_cycle_frames > 1
        model = ScheduledModel(first.name, networks, capacity * len(networks))
        index = self.dispatcher.scheduler.add(capacity=capacity, burst=batch_size, in_cycles=in_cycles, core=core)
        self.dispatcher.add(model, index)
        return model

    def release(self, group: NetworkGroup) -> None:
        """Unload ``group``, which was shut down. Idempotent; use `NetworkGroup.close`."""
        with self._lock:
            if group not in self._groups:
                return
            self._groups.remove(group)
            if any(other.networks is group.networks for other in self._groups):
                return
            with suppress(OpenHailoError), self.dispatcher.quiet(self.options.shutdown_timeout_s):
                for network in group.networks:
                    with suppress(OpenHailoError):
                        network.close()

    # --- without a scheduler ----------------------------------------------------------------------------------------

    def activate(self, group: NetworkGroup) -> None:
        """Give every device to ``group``. Raises `StateError`."""
        with self._lock:
            self._require_open("activating")
            if not self.is_manual:
                raise StateError(
                    what=f"activating {group.name}", state="there is a scheduler", hint="just run it: models take turns"
                )
            if self._active is not None:
                raise StateError(
                    what=f"activating {group.name}", state=f"{self._active.name} is active", hint="deactivate it first"
                )
            with self.dispatcher.quiet(self.options.shutdown_timeout_s):
                try:
                    for device, network in zip(self.devices, group.networks, strict=True):
                        device.activate(network)
                except BaseException:
                    self._stop_devices()
                    raise
            self._active = group

    def deactivate(self, group: NetworkGroup) -> None:
        """Take the devices from ``group``; frames in flight are cancelled. Idempotent."""
        with self._lock:
            if self._active is not group:
                return
            self._active = None
            self.dispatcher.cancel(group.model, "it was deactivated")
            self._stop_devices()
            with suppress(OpenHailoError), self.dispatcher.quiet(self.options.shutdown_timeout_s):
                pass

    def _stop_devices(self) -> None:
        for device in self.devices:
            with suppress(OpenHailoError):
                device.deactivate()

    # --- life -------------------------------------------------------------------------------------------------------

    def share(self) -> bool:
        """Use it once more: as many more calls of `close` have to follow. False when it is closed already."""
        with self._lock:
            self._users += not self._closed
            return not self._closed

    def close(self) -> None:
        """Shut down every model, unload it, and close the devices that are owned. Idempotent.

        One that is shared is closed by the last of its users.
        """
        if self.dispatcher.in_callback:
            raise StateError(what="closing a virtual device", state="in a callback", hint="close it in another thread")
        with self._lock:
            self._users -= 1
            if self._closed or self._users > 0:
                return
            self._closed = True
            for group in list(self._groups):
                with suppress(OpenHailoError):
                    group.close()
            self.dispatcher.close()
            if self._owns_devices:
                for device in self.devices:
                    device.close()

    def _require_open(self, what: str) -> None:
        if self._closed:
            raise StateError(what=what, state="closed", hint="open the virtual device again")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<VirtualDevice {', '.join(self.device_ids)}{state}, {len(self._groups)} network groups>"


class _Identity:
    """Equal to another one of the very same object, which lives as long."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other._thing is self._thing

    def __hash__(self) -> int:
        return id(self._thing)


def _key(content: bytes | Hef, group: str | None, batch_size: int, options: Mapping[str, Any]) -> object:
    """Return what two groups have in common that are the same network."""
    identity = xxhash.xxh3_128_digest(content) if isinstance(content, bytes) else _Identity(content)
    return identity, group, batch_size, repr(sorted(options.items(), key=lambda item: item[0]))
