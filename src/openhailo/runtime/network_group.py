"""A network group that is configured on every device of a virtual device: its frames, and its turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from openhailo.errors import DeviceTimeout, InputError, OpenHailoError, StateError
from openhailo.runtime.description import TensorInfos
from openhailo.runtime.formats import UserFormat
from openhailo.runtime.frame_plan import FramePlan
from openhailo.runtime.job import DEFAULT_TIMEOUT_S
from openhailo.runtime.latency import Latency
from openhailo.runtime.network import Network
from openhailo.runtime.request import FrameRequest, ScheduledModel
from openhailo.runtime.scheduler import ModelParameters
from openhailo.runtime.statistics import ModelStatistics, model_statistics

if TYPE_CHECKING:
    from openhailo.runtime.vdevice import VirtualDevice
    from openhailo.runtime.vstream_hub import VStreamHub


class NetworkGroup:
    """A configured network group. `VirtualDevice.configure` makes it; a context manager that unloads it.

    With a scheduler it takes turns with others; without one, `activate` gives it the devices until `deactivate`.
    """

    def __init__(
        self, vdevice: VirtualDevice, networks: list[Network], model: ScheduledModel, key: object = None
    ) -> None:
        """Use `openhailo.runtime.vdevice.VirtualDevice.configure`.

        Groups of the same ``key`` share ``networks``, unless it is false.
        """
        self._vdevice, self.networks, self.model, self.key = vdevice, networks, model, key
        self.dispatcher = vdevice.dispatcher
        self._lock = threading.Lock()
        self._activation = threading.Condition()
        self._plans: dict[tuple[tuple[str, UserFormat], ...], list[FramePlan]] = {}
        self._closed = False
        #: Called when it begins or ends to take frames.
        self.on_state: list[Callable[[], None]] = []
        #: Where its virtual streams meet, once there are any (`openhailo.runtime.vstream_hub.hub_of`).
        self.hub: VStreamHub | None = None
        _share_settings(self.networks)

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the network group."""
        return self.networks[0].name

    @property
    def inputs(self) -> TensorInfos:
        """The inputs in their usual formats."""
        return self.networks[0].inputs

    @property
    def outputs(self) -> TensorInfos:
        """The outputs in their usual formats; boxes have thresholds and limits that count for all devices."""
        return self.networks[0].outputs

    @property
    def queue_size(self) -> int:
        """Frames that may be under way at a time, on all devices together (runtime-behaviour.md 9)."""
        return self.model.queue_size

    @property
    def vdevice(self) -> VirtualDevice:
        """The virtual device that it is configured on."""
        return self._vdevice

    def statistics(self, *, reset: bool = False) -> ModelStatistics:
        """Return the figures so far; ``reset`` begins anew."""
        return model_statistics(self, reset=reset)

    def latency(self, *, clear: bool = False) -> Latency | None:
        """Return the hardware's latency on all devices together; None when there is none, or it is not measured."""
        measured = [network.latency(clear=clear) for network in self.networks if network.options.measure_latency]
        return Latency.merged([latency for latency in measured if latency is not None])

    # --- its turn ---------------------------------------------------------------------------------------------------

    @property
    def scheduling(self) -> ModelParameters:
        """Threshold, timeout and priority; assign a changed copy to change them. `StateError` without a scheduler."""
        self._require_scheduler()
        return self.dispatcher.scheduler.parameters(self.model.index)

    @scheduling.setter
    def scheduling(self, parameters: ModelParameters) -> None:
        self._require_scheduler()
        self.dispatcher.scheduler.set_parameters(self.model.index, parameters)

    def set_scheduler_threshold(self, frames: int) -> None:
        """Compete for a device only when so many frames wait. Raises `InputError`, `StateError`.

        A network that takes frames in cycles cannot wait for more than a cycle takes (runtime-behaviour.md 11).
        """
        most = self.networks[0].most_cycle_frames
        if 1 < most < frames:
            raise InputError(what="scheduler threshold", detail=f"{frames} frames, a turn of {self.name} takes {most}")
        self.scheduling = replace(self.scheduling, threshold=frames)

    def set_scheduler_timeout(self, timeout_s: float) -> None:
        """Compete with fewer frames after so long without a turn. Raises `InputError`, `StateError`."""
        self.scheduling = replace(self.scheduling, timeout_s=timeout_s)

    def set_scheduler_priority(self, priority: int) -> None:
        """Among models that compete the highest priority, 0..31, wins. Raises `InputError`, `StateError`."""
        self.scheduling = replace(self.scheduling, priority=priority)

    def _require_scheduler(self) -> None:
        if self._vdevice.is_manual:
            raise StateError(
                what="scheduling", state="there is no scheduler", hint="open the virtual device with `scheduler=True`"
            )

    def activate(self) -> None:
        """Give every device to this group. Raises `StateError` with a scheduler, or when another group is active."""
        self._vdevice.activate(self)
        self._tell()

    def deactivate(self) -> None:
        """Take the devices back; frames in flight are cancelled. Idempotent."""
        self._vdevice.deactivate(self)
        self._tell()

    def wait_for_activation(self, timeout_s: float) -> None:
        """Wait until it is active, where there is no scheduler. Raises `DeviceTimeout`, `StateError`."""
        if not self._vdevice.is_manual:
            raise StateError(what="waiting for activation", state="there is a scheduler", hint="just run it")
        with self._activation:
            if not self._activation.wait_for(lambda: self.is_active, timeout_s):
                what = f"activation of {self.name}"
                raise DeviceTimeout(what=what, budget_s=timeout_s, elapsed_s=timeout_s, hint="activate it")

    @property
    def is_open(self) -> bool:
        """Whether it was not shut down."""
        return not self._closed

    @property
    def is_active(self) -> bool:
        """Whether frames can run now: always with a scheduler, else between `activate` and `deactivate`."""
        return not self._closed and (not self._vdevice.is_manual or self._vdevice.active_group is self)

    # --- frames -----------------------------------------------------------------------------------------------------

    def plans(self, forms: Mapping[str, UserFormat]) -> list[FramePlan]:
        """Return how frames in ``forms`` (by edge name; others are usual) move, a plan per device.

        Raises `InputError`, `StateError`.
        """
        key = tuple(sorted(forms.items()))
        with self._lock:
            self._require_open()
            if key not in self._plans:
                self._plans[key] = [FramePlan(network, forms) for network in self.networks]
            return self._plans[key]

    def submit(self, requests: Sequence[FrameRequest], *, room: int) -> None:
        """Hand in frames (see `openhailo.runtime.dispatch.Dispatcher.submit`). Raises `StateError` when not active."""
        if self._vdevice.is_manual and self._vdevice.active_group is not self:
            hint = "call `activate`, or open the virtual device with a scheduler"
            raise StateError(what=f"running {self.name}", state="it is not activated", hint=hint)
        self.dispatcher.submit(self.model, requests, room=room)

    # --- life -------------------------------------------------------------------------------------------------------

    def shutdown(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Cancel what is queued, let devices finish what they began, and take no more frames. Idempotent.

        Frames that are not finished within ``timeout_s`` are cancelled too.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._vdevice.active_group is self:
            self._vdevice.deactivate(self)
        self.dispatcher.remove(self.model, timeout_s)
        self._tell()

    def close(self) -> None:
        """Shut down and unload it from the devices. Idempotent; never fails because a device is gone."""
        try:
            self.shutdown(self._vdevice.options.shutdown_timeout_s)
        finally:
            self._free()

    def _free(self) -> None:
        self._vdevice.release(self)
        for plans in self._plans.values():
            for plan in plans:
                with suppress(OpenHailoError):
                    plan.close()
        self._plans.clear()

    def _tell(self) -> None:
        with self._activation:
            self._activation.notify_all()
        for listener in list(self.on_state):
            listener()

    def _require_open(self) -> None:
        if self._closed:
            raise StateError(what=f"using {self.name}", state="shut down", hint="configure it again")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<NetworkGroup {self.name} on {len(self.networks)} devices>"


def _share_settings(networks: Sequence[Network]) -> None:
    """Let boxes have the same thresholds and limits on every device."""
    for network in networks[1:]:
        for port, first in zip(network.output_ports, networks[0].output_ports, strict=True):
            if hasattr(port, "settings"):
                port.settings = first.settings  # type: ignore[attr-defined]
