"""The dispatcher of a client: everything is for the broker at once, whose scheduler lets models take turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import cast

from openhailo.errors import OpenHailoError
from openhailo.runtime.broker.device import SharedDevice
from openhailo.runtime.broker.messages import Turns, Which
from openhailo.runtime.broker.network import SharedNetwork
from openhailo.runtime.broker.wire import Kind
from openhailo.runtime.dispatch import Dispatcher
from openhailo.runtime.request import FrameRequest, ModelCounters, ScheduledModel
from openhailo.runtime.scheduler import Dispatch, ModelParameters, Scheduler, SchedulerCounters


class SharedScheduler(Scheduler):
    """Decides nothing: whatever is queued goes to the broker. It tells the broker of thresholds and priorities."""

    def __init__(self) -> None:
        """Have one device: the broker."""
        super().__init__(1)
        self._networks: dict[int, SharedNetwork] = {}

    def bind(self, model: int, network: SharedNetwork) -> None:
        """Say which network of the broker a model is."""
        self._networks[model] = network

    def remove(self, model: int) -> None:
        """Forget a model."""
        self._networks.pop(model, None)
        super().remove(model)

    def set_parameters(self, model: int, parameters: ModelParameters) -> None:
        """Tell the broker. Raises what asking raises."""
        super().set_parameters(model, parameters)
        self._networks[model].schedule(parameters)

    def decide(self, now: float) -> list[Dispatch]:
        """Send everything."""
        found: list[Dispatch] = []
        for model in self._order if self._queued else ():
            if not model.queued:
                continue
            frames, model.queued = model.queued, 0
            self._queued -= frames
            self._devices[0].in_flight += frames
            self._count(model, frames, False, now)
            found.append(Dispatch(0, model.index, frames, False))
        return found

    def revive(self) -> None:
        """The broker is there again."""
        self._devices[0].lost = False


class SharedDispatcher(Dispatcher):
    """The queues of the models of a client."""

    def __init__(self, device: SharedDevice) -> None:
        """Send everything to the broker of ``device``."""
        super().__init__([device], SharedScheduler())
        self._device = device

    def add(self, model: ScheduledModel, index: int) -> None:
        """Begin to schedule ``model``."""
        cast(SharedScheduler, self.scheduler).bind(index, cast(SharedNetwork, model.networks[0]))
        super().add(model, index)

    def submit(self, model: ScheduledModel, requests: Sequence[FrameRequest], *, room: int) -> None:
        """Queue frames (see `Dispatcher.submit`). After the loss of a broker another one is started.

        Raises `StateError` in a forked child, and what starting raises.
        """
        self._device.require_owner(f"running {model.name}")
        if model.closed or self._closed:  # says so; no broker is started for it
            super().submit(model, requests, room=room)
        if not self.scheduler.alive:
            self._revive()
        frames = cast(SharedNetwork, model.networks[0]).frames
        frames.is_awaited = len(requests) == 1 and requests[0].is_awaited and not model.pending
        try:
            super().submit(model, requests, room=room)
        finally:
            frames.is_awaited = False

    def _revive(self) -> None:
        """Find a broker, or start one; networks are configured there as their frames come."""
        scheduler = cast(SharedScheduler, self.scheduler)
        with self._device.lock:
            if scheduler.alive:
                return
            self._device.note_loss()
            if self._device.connection is not None:
                with self._lock:
                    scheduler.revive()

    def settle(self, model: ScheduledModel, timeout_s: float) -> None:
        """Wait until nothing of ``model`` is under way; after ``timeout_s`` the broker cancels it."""
        if self._wait_until(lambda: model.pending == 0, timeout_s):
            return
        with suppress(OpenHailoError):
            cast(SharedNetwork, model.networks[0]).leave()
        self._wait_until(lambda: model.pending == 0, timeout_s)

    @contextmanager
    def quiet(self, timeout_s: float) -> Iterator[None]:
        """The broker sees to it that nothing runs while it configures."""
        yield

    def figures(self, model: ScheduledModel, *, reset: bool) -> tuple[ModelCounters, SchedulerCounters, int, float]:
        """Return what `Dispatcher.figures` does; turns and switches are those of the broker's scheduler."""
        counters, turns, queued, window_s = super().figures(model, reset=reset)
        network = cast(SharedNetwork, model.networks[0])
        with suppress(OpenHailoError):
            found = self._device.connection.ask(Kind.STATISTICS, Which(network.model, reset), Turns)
            turns = replace(
                turns,
                frames=found.frames,
                bursts=found.bursts,
                switches=found.switches,
                waited_s=found.waited_s,
                longest_wait_s=found.longest_wait_s,
            )
        return counters, turns, queued, window_s
