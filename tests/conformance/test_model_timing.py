"""A virtual core of a chosen speed: frames are right, and not there before their time."""

from __future__ import annotations

import numpy as np
import pytest

import openhailo
from openhailo.twin import Twin

FRAME_NS = 3_000_000


@pytest.mark.parametrize("count", [1, 10])
def test_frames_take_their_time(nets, count):
    net = nets.single({"x": (7, 13, 3)}, {"y": (1, 1, 10)})
    frames = np.random.default_rng(0).integers(0, 256, (count, 7, 13, 3)).astype(np.uint8)
    twin = Twin(options={"frame_ns": FRAME_NS})
    with openhailo.open("twin:", twin=twin) as device, device.load(net.hef) as network:
        network(frames[:1], raw=True)  # the kernel is made now
        before = twin.chip.clock.now_ns()
        got = network(frames, raw=True)["net/y"]
        assert twin.chip.clock.now_ns() - before >= count * FRAME_NS
    want = nets.expected(net.model, {"x": frames})["y"]
    np.testing.assert_array_equal(got, want.reshape(got.shape))
