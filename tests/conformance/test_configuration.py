"""Configuration bytes of every kind of file arrive: aligned ones (SHARED_CONFIG), inside messages, in many pieces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from openhailo import hef
from openhailo.hef import model as hm

SHARED_CONFIG = hm.Extension(32, "SHARED_CONFIG")


def in_pieces(file, size):
    """Cut the file's one configuration write into an operation per ``size`` bytes."""
    group = file.network_groups[0]
    core_op = group.core_op
    (operation,) = core_op.preliminary
    data = operation.actions[0].data
    pieces = tuple(
        replace(operation, actions=(hm.WriteCcw(data=data[at : at + size]),)) for at in range(0, len(data), size)
    )
    return replace(file, network_groups=(replace(group, ops=(hm.Op(replace(core_op, preliminary=pieces)),)),))


@pytest.mark.parametrize("version", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [1 << 20, 1000, 512, 40])
@pytest.mark.parametrize("extensions", [(), (SHARED_CONFIG,)], ids=["plain", "shared config"])
def test_a_program_arrives(device, nets, tmp_path, version, size, extensions):
    net = nets.single({"x": (5, 5, 3)}, {"y": (1, 1, 10)})
    file = in_pieces(net.hef, size)
    content = hef.write(replace(file, extensions=(*file.extensions, *extensions)), version)
    path = tmp_path / "net.hef"
    path.write_bytes(content)
    frames = np.random.default_rng(3).integers(0, 256, (3, 5, 5, 3)).astype(np.uint8)
    want = nets.expected(net.model, {"x": frames})["y"]
    for given in (content, path):
        with device.load(given) as network:
            np.testing.assert_array_equal(network(frames, raw=True)["net/y"], want)
    findings = {finding.rule for finding in hef.check(hef.read(content))}
    assert ("aligned ccws" in findings) == bool(extensions)


def test_frames_that_the_core_fills_up_to_eight_bytes(device):
    """Core registers count the real bytes, those of the periphery the padded ones (context-switch.md 14)."""
    inputs = [hef.StreamSpec("net/x", (1, 3, 1))]
    outputs = [hef.StreamSpec("net/y", (1, 2, 1)), hef.StreamSpec("net/z", (5, 1, 1))]
    file = hef.compose("net", inputs, outputs, [bytes(range(1, 65))])
    assert file.features.hw_padding

    def reference(frames, frame):
        data = bytes(frames[0])
        return {1: bytes([data[2], data[0], *bytes(6)]), 2: bytes([*data[:3], 9, 8, *bytes(3)])}

    network = device.load(hef.write(file), reference=reference)
    pixels = np.random.default_rng(4).integers(0, 256, (5, 1, 3, 1)).astype(np.uint8)
    got = network(pixels, raw=True)
    np.testing.assert_array_equal(got["net/y"][:, 0, :, 0], pixels[:, 0, [2, 0], 0])
    np.testing.assert_array_equal(got["net/z"][:, :3, 0, 0], pixels[:, 0, :, 0])
    np.testing.assert_array_equal(got["net/z"][:, 3:, 0, 0], [[9, 8]] * 5)
