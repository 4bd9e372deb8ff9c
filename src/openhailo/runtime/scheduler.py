"""Which model a device runs next: round robin with priorities, thresholds, timeouts, bursts (runtime-behaviour.md 11).

Pure: no threads, no clock, no device. `openhailo.runtime.dispatch.Dispatcher` tells it what happened and carries out
what it decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from openhailo.errors import InputError, StateError

#: Highest priority, and the one that models have unless they say otherwise (runtime-behaviour.md 2).
MAX_PRIORITY, NORMAL_PRIORITY = 31, 16
#: A queue is handed to a device in about so many pieces, so that one large request does not keep others waiting.
_PIECES = 4


class Dispatch(NamedTuple):
    """``frames`` frames of ``model`` go to ``device``, which runs another model until then if ``is_switch``."""

    device: int
    model: int
    frames: int
    is_switch: bool


@dataclass
class ModelParameters:
    """What a user may set of a scheduled model (runtime-behaviour.md 11).

    Args:
        threshold: frames that have to wait before the model competes for a device; 0 acts as 1.
        timeout_s: after this time since it last got a device it competes with fewer; `math.inf`: never.
        priority: 0..31; among models that compete the highest wins.
    """

    threshold: int = 0
    timeout_s: float = 0.0
    priority: int = NORMAL_PRIORITY

    def __post_init__(self) -> None:
        if self.threshold < 0:
            raise InputError(what="scheduler threshold", detail=f"{self.threshold} is negative")
        if not self.timeout_s >= 0:
            raise InputError(what="scheduler timeout", detail=f"{self.timeout_s} is not a time in seconds")
        if not 0 <= self.priority <= MAX_PRIORITY:
            raise InputError(what="scheduler priority", detail=f"{self.priority} is not in 0..{MAX_PRIORITY}")


@dataclass
class SchedulerCounters:
    """What a model got so far; ``waited_s`` adds up the times between its first waiting frame and its turn."""

    frames: int = 0
    bursts: int = 0
    switches: int = 0
    waited_s: float = 0.0
    longest_wait_s: float = 0.0


@dataclass
class _Model:
    """A model, its queue and its limits per device: ``capacity`` frames in flight, ``burst`` per turn.

    A model ``in_cycles`` gets frames only when the device has none. Models of one ``core`` are the same network, so
    that there is nothing to switch between them.
    """

    index: int
    capacity: int
    burst: int
    parameters: ModelParameters
    core: int
    in_cycles: bool = False
    queued: int = 0
    waiting_since: float = 0.0
    last_turn: float | None = None
    last_device: int = -1
    counters: SchedulerCounters = field(default_factory=SchedulerCounters)

    @property
    def piece(self) -> int:
        """Frames that are handed over at a time."""
        return max(1, self.capacity // _PIECES)

    def is_ready(self, now: float) -> bool:
        """Whether it competes: enough frames, or enough time since its last turn."""
        return self.queued > 0 and (self.queued >= self.parameters.threshold or now >= self.due)

    @property
    def due(self) -> float:
        """When its timeout elapses: counted from its last turn, or from its first frame when it had none."""
        begin = self.waiting_since if self.last_turn is None else self.last_turn
        return begin + self.parameters.timeout_s


@dataclass
class _Device:
    """A device: the core that it runs, frames in flight, and frames of the turn that its model has."""

    index: int
    current: int | None = None
    in_flight: int = 0
    used: int = 0
    switching: bool = False
    paused: bool = False
    lost: bool = False

    @property
    def usable(self) -> bool:
        """Whether frames may be sent to it now."""
        return not (self.switching or self.paused or self.lost)

    @property
    def idle(self) -> bool:
        """Whether it may switch: nothing in flight."""
        return self.usable and self.in_flight == 0


class Scheduler:
    """Queues of frames by model, devices, and `decide`.

    ``idle_optimization`` lets an idle device run a model below its threshold when nobody else competes. With ``manual``
    devices run what `set_current` says and never switch on their own.
    """

    def __init__(self, devices: int, *, idle_optimization: bool = True, manual: bool = False) -> None:
        self._devices = [_Device(index) for index in range(devices)]
        self._models: dict[int, _Model] = {}
        #: Models, the one that was fed longest ago first.
        self._order: list[_Model] = []
        self._next = 0
        #: Frames that wait, of all models.
        self._queued = 0
        self._idle_optimization, self._manual = idle_optimization, manual
        #: Priority -> model that won last, after which the next walk begins.
        self._winners: dict[int, int] = {}
        self.switches = 0

    # --- models -----------------------------------------------------------------------------------------------------

    def add(
        self,
        *,
        capacity: int,
        burst: int,
        parameters: ModelParameters | None = None,
        in_cycles: bool = False,
        core: int | None = None,
    ) -> int:
        """Add a model and return its index. ``burst`` 0: the whole queue of a device is one turn.

        ``in_cycles``: its frames go through several contexts, so many at a time; a burst is a cycle then, and the next
        one begins when the device is idle (runtime-behaviour.md 11, dynamic batch flow). ``core``: another model that
        is the same network.
        """
        if capacity < 1 or burst < 0:
            raise InputError(what="scheduled model", detail=f"capacity {capacity}, burst {burst}")
        index, self._next = self._next, self._next + 1
        burst = min(burst or capacity, capacity)
        same = index if core is None else self._models[core].core
        self._models[index] = _Model(index, capacity, burst, parameters or ModelParameters(), same, in_cycles)
        self._order.append(self._models[index])
        return index

    def remove(self, model: int) -> None:
        """Forget a model; nothing of it may be queued or in flight."""
        found = self._models[model]
        runs_it = [device for device in self._devices if device.current == found.core]
        is_last = not any(other.core == found.core for other in self._order if other is not found)
        if found.queued or (is_last and any(device.in_flight for device in runs_it)):
            raise StateError(what="removing a model", state="frames of it are under way", hint="cancel them first")
        del self._models[model]
        self._order.remove(found)
        for device in runs_it if is_last else ():
            device.current = None

    def parameters(self, model: int) -> ModelParameters:
        """Return what is set of a model; assign with `set_parameters`."""
        return self._models[model].parameters

    def set_parameters(self, model: int, parameters: ModelParameters) -> None:
        """Use ``parameters`` from the next decision on."""
        self._models[model].parameters = parameters

    def counters(self, model: int) -> SchedulerCounters:
        """Return what a model got so far."""
        return self._models[model].counters

    def reset_counters(self, model: int) -> None:
        """Count from 0 again."""
        self._models[model].counters = SchedulerCounters()

    def queued(self, model: int) -> int:
        """Return the frames of a model that wait."""
        return self._models[model].queued

    # --- what happens ------------------------------------------------------------------------------------------------

    def enqueue(self, model: int, frames: int, now: float) -> None:
        """Frames of a model arrived."""
        found = self._models[model]
        if not found.queued:
            found.waiting_since = now
        found.queued += frames
        self._queued += frames

    def withdraw(self, model: int, frames: int) -> None:
        """Frames that waited were cancelled."""
        self._models[model].queued -= frames
        self._queued -= frames

    def complete(self, device: int, frames: int) -> None:
        """A device is done with frames."""
        self._devices[device].in_flight -= frames

    def switched(self, device: int, *, ok: bool = True) -> None:
        """A switch is over; when it failed the device runs nothing."""
        found = self._devices[device]
        found.switching = False
        if not ok:
            found.current, found.used = None, 0

    def pause(self, device: int) -> None:
        """Send nothing to a device until `resume`."""
        self._devices[device].paused = True

    def resume(self, device: int, *, current: int | None = None) -> None:
        """Send frames again; the device runs model ``current`` now, or nothing."""
        found = self._devices[device]
        found.paused = False
        found.current, found.used = None if current is None else self._models[current].core, 0

    def lose(self, device: int) -> None:
        """A device is gone for good."""
        self._devices[device].lost = True

    def in_flight(self, device: int) -> int:
        """Return the frames that a device works on."""
        return self._devices[device].in_flight

    def current(self, device: int) -> int | None:
        """Return the model that a device runs; of several that are the same network, one."""
        core = self._devices[device].current
        return next((model.index for model in self._order if model.core == core), None)

    def is_busy(self, device: int) -> bool:
        """Whether frames are in flight or a switch is going on."""
        found = self._devices[device]
        return found.switching or found.in_flight > 0

    @property
    def waits_for_time(self) -> bool:
        """Whether frames may wait although a device is idle, so that somebody has to watch the clock."""
        return not self._idle_optimization and any(model.queued for model in self._models.values())

    @property
    def alive(self) -> list[int]:
        """The devices that are not lost."""
        return [device.index for device in self._devices if not device.lost]

    # --- what to do --------------------------------------------------------------------------------------------------

    def decide(self, now: float) -> list[Dispatch]:
        """Return what to do now, and take it for done: frames are in flight, switches have begun."""
        found: list[Dispatch] = []
        while self._queued and (dispatch := self._stream(now) or self._switch(now)) is not None:
            found.append(dispatch)
        return found

    def next_deadline(self, now: float) -> float | None:
        """Return when the timeout of a waiting model elapses, if that can change a decision; None if it cannot."""
        waiting = [model.due for model in self._models.values() if model.queued and not model.is_ready(now)]
        due = min(waiting, default=math.inf)
        return due if math.isfinite(due) and not self._manual else None

    def _stream(self, now: float) -> Dispatch | None:
        """Feed a device that runs the model already, or one that ran nothing yet (step 1)."""
        for model in self._order:
            if not model.queued:
                continue
            device = self._device_for(model, now)
            if device is not None:
                self._order.remove(model)
                self._order.append(model)
                return self._send(model, device, self._share(model, device, now), now)
        return None

    def _device_for(self, model: _Model, now: float) -> _Device | None:
        """Return the least busy device that may take frames of ``model`` without pushing another model out."""
        candidates = [
            device
            for device in self._devices
            if (device.idle if model.in_cycles else device.usable)
            and (device.current == model.core or (device.current is None and self._may_begin(model, now)))
            and device.in_flight < self._limit(model, device)
            and (device.current is None or self._may_stay(model, device, now))
        ]
        if not candidates:
            return None
        count = len(self._devices)
        return min(candidates, key=lambda d: (d.in_flight, (d.index - model.last_device - 1) % count))

    def _may_begin(self, model: _Model, now: float) -> bool:
        """Whether ``model`` may take a device that runs nothing."""
        return not self._manual and self._winner(now) is model

    def _limit(self, model: _Model, device: _Device) -> int:
        """Frames in flight before others get a chance: a piece while another device has nothing to do."""
        spare = not self._manual and any(other.idle and other is not device for other in self._devices)
        return model.piece if spare else model.capacity

    def _may_stay(self, model: _Model, device: _Device, now: float) -> bool:
        """Whether the turn goes on: the burst is not used up, or nobody of the same priority or above competes."""
        if self._manual:
            return True
        # Like the vendor's: while the idle optimisation is off, a turn goes on with as many frames as it begins with.
        if not self._idle_optimization and model.queued < model.parameters.threshold:
            return False
        return device.used < model.burst or not self._rivals(model, now)

    def _rivals(self, model: _Model, now: float) -> bool:
        priority = model.parameters.priority
        return any(
            other.is_ready(now) and other.parameters.priority >= priority and not self._has_own_device(other)
            for other in self._models.values()
            if other is not model
        )

    def _has_own_device(self, model: _Model) -> bool:
        """Whether ``model`` runs somewhere already, so that nobody has to make way for it."""
        return any(device.current == model.core and not device.lost for device in self._devices)

    def _share(self, model: _Model, device: _Device, now: float) -> int:
        """Frames to send at once; never beyond the burst while others compete."""
        if model.in_cycles or (device.in_flight == 0 and self._in_whole_bursts(model)):
            return min(model.queued, model.burst)
        frames = min(model.queued, self._limit(model, device) - device.in_flight, model.piece)
        if device.used < model.burst and not self._manual and self._rivals(model, now):
            frames = min(frames, model.burst - device.used)
        return frames

    def _in_whole_bursts(self, model: _Model) -> bool:
        """Whether a turn begins with all its frames: what is left below the threshold would wait for the timeout."""
        return model.in_cycles or not self._idle_optimization

    def _switch(self, now: float) -> Dispatch | None:
        """Give an idle device to the model whose turn it is (step 2)."""
        if self._manual:
            return None
        for device in self._devices:
            if not device.idle:
                continue
            model = self._winner(now)
            if model is None:
                return None
            device.used = 0
            most = model.burst if self._in_whole_bursts(model) else min(model.piece, model.burst)
            return self._send(model, device, min(model.queued, most), now)
        return None

    def _winner(self, now: float) -> _Model | None:
        for model in self._walk():
            if model.is_ready(now):
                return model
        if self._idle_optimization:
            return next((model for model in self._walk() if model.queued), None)
        return None

    def _walk(self) -> Iterator[_Model]:
        """Go through models by priority, and inside a priority from the one after the last winner."""
        levels: dict[int, list[_Model]] = {}
        for model in self._models.values():
            levels.setdefault(model.parameters.priority, []).append(model)
        for priority in sorted(levels, reverse=True):
            yield from _rotated(levels[priority], self._winners.get(priority, -1))

    def _send(self, model: _Model, device: _Device, frames: int, now: float) -> Dispatch:
        is_switch = device.current != model.core
        if device.used == 0:
            self._winners[model.parameters.priority] = model.index
        if is_switch:
            device.current, device.used, device.switching = model.core, 0, True
            self.switches += 1
        model.queued -= frames
        self._queued -= frames
        device.in_flight += frames
        device.used += frames
        model.last_device = device.index
        self._count(model, frames, is_switch, now)
        return Dispatch(device.index, model.index, frames, is_switch)

    def _count(self, model: _Model, frames: int, is_switch: bool, now: float) -> None:
        counters = model.counters
        waited = now - model.waiting_since
        counters.frames += frames
        counters.bursts += 1
        counters.switches += is_switch
        counters.waited_s += waited
        counters.longest_wait_s = max(counters.longest_wait_s, waited)
        model.last_turn = model.waiting_since = now


def _rotated(models: Iterable[_Model], after: int) -> list[_Model]:
    """Return models by index, beginning behind ``after``."""
    ordered = sorted(models, key=lambda model: model.index)
    return [model for model in ordered if model.index > after] + [model for model in ordered if model.index <= after]
