"""Figures of models and devices while they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openhailo.runtime.latency import Latency

if TYPE_CHECKING:
    from openhailo.runtime.network_group import NetworkGroup
    from openhailo.runtime.vdevice import VirtualDevice


@dataclass(frozen=True)
class StreamStatistics:
    """One input or output of a model, over the same time as its model's figures.

    ``pending`` frames wait now: at an input to be sent to a device, at an output to be received (virtual streams only).
    ``least``, ``most`` and ``mean`` are how many waited whenever frames were handed in; None when none were.
    ``capacity`` is how many may wait.
    """

    name: str
    is_output: bool
    frames: int
    fps: float
    pending: int
    capacity: int
    least: int | None = None
    most: int | None = None
    mean: float | None = None


@dataclass(frozen=True)
class ModelStatistics:
    """A model since it was configured, or since figures were last reset.

    ``seconds`` is the time from its first frame to its last result, ``fps`` the results per second in it. ``turns``,
    ``switches`` and the waits for a turn are the scheduler's; ``latency`` is the hardware's, when it is measured.
    """

    name: str
    frames: int
    failed: int
    in_flight: int
    seconds: float
    fps: float
    turns: int
    switches: int
    mean_wait_s: float
    longest_wait_s: float
    streams: tuple[StreamStatistics, ...]
    latency: Latency | None


@dataclass(frozen=True)
class DeviceStatistics:
    """A device: the model that it runs, frames in flight, and the seconds in which it had any."""

    name: str
    model: str | None
    in_flight: int
    busy_s: float
    is_lost: bool


@dataclass(frozen=True)
class VirtualDeviceStatistics:
    """A virtual device. ``switch_s`` is the time that all switches of models took together."""

    devices: tuple[DeviceStatistics, ...]
    models: tuple[ModelStatistics, ...]
    switches: int
    switch_s: float


def model_statistics(group: NetworkGroup, *, reset: bool = False) -> ModelStatistics:
    """Return the figures of ``group``; ``reset`` begins anew."""
    counters, turns, queued, window_s = group.dispatcher.figures(group.model, reset=reset)
    fps = counters.completed / window_s if window_s > 0 else 0.0
    sampled = counters.depth_samples > 0
    depth = (counters.depth_least, counters.depth_most, counters.depth_sum / counters.depth_samples) if sampled else ()
    hub = group.hub
    streams = [
        StreamStatistics(info.name, False, counters.completed, fps, queued, group.queue_size, *depth)
        for info in group.inputs
    ]
    for info in group.outputs:
        pending = hub.pending(info.name) if hub is not None else 0
        streams.append(StreamStatistics(info.name, True, counters.completed, fps, pending, group.queue_size))
    return ModelStatistics(
        name=group.name,
        frames=counters.completed,
        failed=counters.failed,
        in_flight=group.model.pending - queued,
        seconds=window_s,
        fps=fps,
        turns=turns.bursts,
        switches=turns.switches,
        mean_wait_s=turns.waited_s / turns.bursts if turns.bursts else 0.0,
        longest_wait_s=turns.longest_wait_s,
        streams=tuple(streams),
        latency=group.latency(clear=reset),
    )


def device_statistics(vdevice: VirtualDevice) -> VirtualDeviceStatistics:
    """Return the figures of every device and model."""
    dispatcher = vdevice.dispatcher
    scheduler, busy = dispatcher.scheduler, dispatcher.utilization()
    names = {group.model.index: group.name for group in vdevice.network_groups}
    alive = set(scheduler.alive)
    devices = [
        DeviceStatistics(
            device.name,
            names.get(current) if (current := scheduler.current(index)) is not None else None,
            scheduler.in_flight(index),
            busy[index],
            index not in alive,
        )
        for index, device in enumerate(vdevice.devices)
    ]
    models = tuple(model_statistics(group) for group in vdevice.network_groups)
    return VirtualDeviceStatistics(tuple(devices), models, scheduler.switches, dispatcher.switch_s)
