"""Hardware latency: from the device having read a frame to the device having written its results.

Measured as the vendor does (runtime-behaviour.md 17): it begins with the interrupt of the input's completion, not with
the launch, and ends with that of the last output's. Frames that wait in the device behind others wait in this time too.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openhailo.errors import InputError


@dataclass(frozen=True)
class Latency:
    """Latencies of ``frames`` frames in seconds."""

    frames: int
    mean_s: float
    least_s: float
    most_s: float

    @staticmethod
    def merged(parts: Sequence[Latency]) -> Latency | None:
        """Return the latency of all parts together, None without any."""
        frames = sum(part.frames for part in parts)
        if not frames:
            return None
        mean = sum(part.mean_s * part.frames for part in parts) / frames
        return Latency(frames, mean, min(part.least_s for part in parts), max(part.most_s for part in parts))


#: ``stamps(channel)``: (time in ns, processed descriptors) of the channel's interrupts since the last call.
Stamps = Callable[[int], Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class Measured:
    """A channel whose transfers take ``descriptors`` descriptors each, of the ``count`` of its ring."""

    channel: int
    descriptors: int
    count: int


class LatencyMeter:
    """Follows the events of a network's channels. `on_event` is called by one thread at a time.

    The time of a completion is that of the interrupt where the driver notes it (``stamps``), else when the host hears
    of it. A frame whose interrupt was not noted is left out.
    """

    def __init__(
        self,
        inputs: Sequence[Measured],
        outputs: Sequence[Measured],
        clock: Callable[[], float],
        stamps: Stamps | None = None,
    ) -> None:
        """Take the channels. Raises `InputError` for more than one input: there is no telling when a frame began."""
        if len(inputs) != 1:
            raise InputError(
                what="latency measurement", detail=f"needs one input stream, this network has {len(inputs)}"
            )
        self._input = inputs[0].channel
        self._channels = {measured.channel: measured for measured in (*inputs, *outputs)}
        self._clock, self._stamps = clock, stamps
        self._lock = threading.Lock()
        self._frames, self._sum, self._least, self._most = 0, 0.0, 0.0, 0.0
        self.restart()

    def restart(self) -> None:
        """Forget frames in flight: the channels begin anew."""
        self._times: dict[int, deque[float | None]] = {channel: deque() for channel in self._channels}
        self._noted: dict[int, deque[tuple[int, int]]] = {channel: deque() for channel in self._channels}
        self._positions = dict.fromkeys(self._channels, 0)

    def on_event(self, channel: int, completed: int) -> None:
        """``completed`` more transfers of a channel are complete."""
        self._times[channel] += self._when(channel, completed)
        while all(self._times.values()):
            begin = self._times[self._input].popleft()
            ends = [times.popleft() for channel, times in self._times.items() if channel != self._input]
            if begin is not None and None not in ends:
                with self._lock:
                    self._add(max(max(end for end in ends if end is not None) - begin, 0.0))

    def read(self, *, clear: bool = False) -> Latency | None:
        """Return what was measured since the start or the last clear; None when there was no frame."""
        with self._lock:
            found = Latency(self._frames, self._sum / self._frames, self._least, self._most) if self._frames else None
            if clear:
                self._frames, self._sum, self._least, self._most = 0, 0.0, 0.0, 0.0
        return found

    def _when(self, channel: int, completed: int) -> list[float | None]:
        """Return when each of the transfers was complete."""
        if self._stamps is None:
            return [self._clock()] * completed
        noted, ring = self._noted[channel], self._channels[channel]
        noted += self._stamps(channel)
        times: list[float | None] = []
        for _ in range(completed):
            end = self._positions[channel] = (self._positions[channel] + ring.descriptors) % ring.count
            # The first interrupt whose position covers the transfer's last descriptor (runtime-behaviour.md 17).
            while noted and (noted[0][1] - end) % ring.count >= ring.count // 2:
                noted.popleft()
            times.append(noted[0][0] / 1e9 if noted else None)
        return times

    def _add(self, seconds: float) -> None:
        self._least = min(self._least, seconds) if self._frames else seconds
        self._most = max(self._most, seconds)
        self._frames += 1
        self._sum += seconds
