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
