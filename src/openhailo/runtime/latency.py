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


class LatencyMeter:
    """Follows the events of a network's channels. `on_event` is called by one thread at a time."""

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int], clock: Callable[[], float]) -> None:
        """Take the channels. Raises `InputError` for more than one input: there is no telling when a frame began."""
        if len(inputs) != 1:
            raise InputError(
                what="latency measurement", detail=f"needs one input stream, this network has {len(inputs)}"
            )
        self._input, self._outputs, self._clock = inputs[0], tuple(outputs), clock
        self._lock = threading.Lock()
        self._frames, self._sum, self._least, self._most = 0, 0.0, 0.0, 0.0
        self.restart()

    def restart(self) -> None:
        """Forget frames in flight: the channels begin anew."""
        self._starts: deque[float] = deque()
        self._counts = dict.fromkeys(self._outputs, 0)
        self._done = 0

    def on_event(self, channel: int, completed: int) -> None:
        """``completed`` more transfers of a channel are complete."""
        now = self._clock()
        if channel == self._input:
            self._starts.extend([now] * completed)
            return
        self._counts[channel] += completed
        done = min(self._counts.values())
        with self._lock:
            for _ in range(done - self._done):
                self._add(now - (self._starts.popleft() if self._starts else now))
        self._done = done

    def read(self, *, clear: bool = False) -> Latency | None:
        """Return what was measured since the start or the last clear; None when there was no frame."""
        with self._lock:
            found = Latency(self._frames, self._sum / self._frames, self._least, self._most) if self._frames else None
            if clear:
                self._clear()
        return found

    def _add(self, seconds: float) -> None:
        self._least = min(self._least, seconds) if self._frames else seconds
        self._most = max(self._most, seconds)
        self._frames += 1
        self._sum += seconds

    def _clear(self) -> None:
        self._frames, self._sum, self._least, self._most = 0, 0.0, 0.0, 0.0
