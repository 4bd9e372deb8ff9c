"""Frames through the driver, compared with what was computed outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class Case:
    """A network in files, as `tests.vm.networks` wrote them."""

    def __init__(self, settings) -> None:
        self.hef = Path(settings["hef"]).read_bytes()
        self.frames = np.load(settings["frames"])
        self.want = np.load(settings["want"])

    def load(self, device, **options):
        """Configure the network on ``device``."""
        return device.load(self.hef, **options)

    def run(self, network, first: int = 0, count: int | None = None):
        """Run frames and fail unless all results are equal, bit for bit."""
        frames = self.frames[first : None if count is None else first + count]
        (got,) = network(frames, raw=True).values()
        np.testing.assert_array_equal(got.reshape(len(frames), -1), self.want[first : first + len(frames)])
        return len(frames)
