"""Hailo-8L: files with one version per set of working clusters, and files for the other chip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import openhailo
from openhailo import hef
from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.hef import model as hm
from openhailo.twin import Twin
from openhailo.twin.firmware import FirmwareConfig


def frames_of(shape, count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def open_twin(clusters):
    firmware = FirmwareConfig(arch="hailo8l", partial_clusters_layout_bitmap=clusters)
    return openhailo.open("twin:hailo8l", twin=Twin("hailo8l", options={"firmware": firmware}))


def file_of(versions):
    """A Hailo-8L file whose versions (layout -> network) compute different things (hef.md 17)."""
    groups = {layout: net.hef.network_groups[0] for layout, net in versions.items()}
    first = next(iter(groups.values()))
    partials = tuple(hm.PartialCoreOp(group.core_op, layout) for layout, group in groups.items())
    # The outer core op's own contexts are not used: they would give other results.
    outer = replace(first.core_op, partial_core_ops=partials)
    group = replace(
        first,
        ops=(hm.Op(outer),),
        partial_network_groups=tuple(hm.PartialNetworkGroup(group, layout) for layout, group in groups.items()),
    )
    source = next(iter(versions.values())).hef
    file = hm.Hef(hm.HefHeader(hm.HwArch.HAILO8L), (group,), source.extensions, source.optional_extensions)
    return hef.write(file)


@pytest.fixture
def versions(nets):
    return {
        layout: nets.single({"x": (5, 5, 3)}, {"y": (1, 1, 10)}, seed=layout) for layout in (0x3C, 0x0F, 0xF0)
    }  # fmt: skip


def expect(device, nets, content, net):
    frames = frames_of((5, 5, 3), 3)
    got = device.load(content)(frames, raw=True)["net/y"]
    np.testing.assert_array_equal(got, nets.expected(net.model, {"x": frames})["y"])


@pytest.mark.parametrize("clusters", [0x3C, 0x0F, 0xF0])
def test_the_version_for_the_devices_clusters_runs(nets, versions, clusters):
    with open_twin(clusters) as device:
        assert device.information().partial_clusters_layout_bitmap == clusters
        expect(device, nets, file_of(versions), versions[clusters])


def test_a_hailo8_runs_the_version_with_the_smallest_layout(nets, versions):
    with openhailo.open("twin:hailo8") as device:
        expect(device, nets, file_of(versions), versions[0x0F])


def test_clusters_without_a_version_are_named(versions):
    with open_twin(0x7E) as device, pytest.raises(InvalidHef, match=r"layout 0x7E; there is \['0xf', '0x3c', '0xf0'\]"):
        device.load(file_of(versions))


def test_a_file_for_hailo8_is_refused_with_advice(nets):
    net = nets.single({"x": (5, 5, 3)}, {"y": (1, 1, 10)})
    with (
        openhailo.open("twin:hailo8l") as device,
        pytest.raises(UnsupportedHef, match=r"for Hailo-8, .* `openhailo compile MODEL --arch hailo8l`"),
    ):
        device.load(hef.write(net.hef))


@pytest.mark.parametrize("arch", ["hailo8", "hailo8l"])
def test_models_are_compiled_for_the_chip_that_loads_them(nets, tmp_path, arch, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []
    net = nets.single({"x": (5, 5, 3)}, {"y": (1, 1, 10)})

    def compile_model(path, options):
        asked.append(options["arch"])
        return file_of({0xFF: net}) if options["arch"] == "hailo8l" else hef.write(net.hef)

    model = tmp_path / "model.onnx"
    model.write_bytes(b"anything")
    with openhailo.open(f"twin:{arch}") as device:
        device._compile_model = compile_model
        expect(device, nets, model, net)
    assert asked == [arch]
