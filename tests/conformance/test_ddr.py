"""Row buffers in host memory within one context: what goes out comes back, and the results are exact."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import openhailo
from openhailo import hef
from openhailo.driver.kernel.link import KernelLink
from openhailo.errors import DeviceError, OpenHailoError
from openhailo.hef import model as hm
from openhailo.hef.operations import AllowInputDataflow, TriggerAllDataWasSent
from openhailo.runtime.device import Device
from openhailo.spec.ioctl import RELEASES
from openhailo.twin import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver

from .conftest import D2H, H2D, ccw, edge, hef_of, mixing_model, program_of

FIRST, MIDDLE, LAST = (8, 8, 8), (4, 16, 16), (1, 1, 16)
ROWS = 2  # of 512 bytes: MIDDLE has 1024


def half(direction, stream, peer, *, context=0, rows=ROWS):
    """One end of a buffer of rows of 512 bytes."""
    switch = hm.ContextSwitchInfo(
        hm.Connection.DDR, buffers=rows, connected_contexts=(hm.ConnectedContext(context, sys_index=peer),)
    )
    layer = edge("net/buffer", direction, stream, MIDDLE, switch=switch)
    return replace(layer, core_bytes_per_buffer=512, core_buffers_per_frame=2)


def buffered(*, rows=ROWS, back=3, stages=2):
    """x -> t | buffer | t -> y, in one context of two programs."""
    models = [mixing_model({"x": FIRST}, {"t": MIDDLE}, 1), mixing_model({"t": MIDDLE}, {"y": LAST}, 2)]
    images = [
        program_of(models[0], {"x": (0, FIRST)}, {"t": (2, MIDDLE)}),
        program_of(models[1], {"t": (back, MIDDLE)}, {"y": (1, LAST)}),
    ]
    layers = (
        edge("net/x", H2D, 0, FIRST),
        half(D2H, 2, 3, rows=rows),
        half(H2D, 3, 2, rows=rows),
        edge("net/y", D2H, 1, LAST),
    )
    context = hm.Context(0, (hm.Operation(actions=(AllowInputDataflow(sys_index=0),)),), layers)
    file = hef_of("net", [context], ccw(b"".join(images[:stages])), ["net/y"])
    return replace(file, extensions=(*file.extensions, hm.Extension(3))), models


def frames_of(count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *FIRST)).astype(np.uint8)


def check(network, nets, models, count):
    frames = frames_of(count, count)
    want = nets.expected(models[1], nets.expected(models[0], {"x": frames}))["y"]
    np.testing.assert_array_equal(network(frames, raw=True)["net/y"], want)


def test_the_file_keeps_every_rule():
    assert hef.check(buffered()[0]) == []


@pytest.mark.parametrize("rows", [2, 3, 7, 100])
def test_results_are_exact(device, nets, rows):
    """Rings of 4 to 128 descriptors: frames go round the end at every place."""
    content, models = buffered(rows=rows)
    with device.load(content) as network:
        for count in (1, 5, 33, 200):
            check(network, nets, models, count)


def test_every_frame_goes_through_host_memory(nets):
    twin, moved = Twin(), Counter()
    with openhailo.open("twin:", twin=twin) as device:
        content, models = buffered()
        network = device.load(content)
        check(network, nets, models, 1)

        def note(event):
            if event.kind == "transfer":
                moved[event.fields["channel"]] += event.fields["size_bytes"]

        stop = twin.observe(note)
        check(network, nets, models, 10)
        stop()
        pairs = twin.firmware.machine.snapshot()["run"]["ddr_pairs"]
    (pair,) = pairs
    assert moved[pair["d2h_packed_vdma_channel_id"]] == 10 * 1024
    assert moved[pair["h2d_packed_vdma_channel_id"]] == 10 * 1024


def test_the_batch_switching_list_opens_the_buffers_of_context_0_again(device, nets):
    """Contexts with buffers of their own, one after the other, and batches that change."""
    models = [mixing_model({"x": FIRST}, {"t": MIDDLE}, 1), mixing_model({"t": MIDDLE}, {"y": LAST}, 2)]
    chain = program_of(models[0], {"x": (0, FIRST)}, {"t": (2, MIDDLE)})
    copy = mixing_model({"t": MIDDLE}, {"u": MIDDLE}, 5)
    chain += program_of(copy, {"t": (3, MIDDLE)}, {"u": (4, MIDDLE)})

    def link(context, stream):
        return hm.ContextSwitchInfo(
            hm.Connection.INTERMEDIATE, connected_contexts=(hm.ConnectedContext(context, sys_index=stream),)
        )

    second = program_of(copy, {"t": (5, MIDDLE)}, {"u": (2, MIDDLE)})
    second += program_of(models[1], {"t": (3, MIDDLE)}, {"y": (1, LAST)})
    released = [hm.Operation(actions=(AllowInputDataflow(sys_index=stream),)) for stream in (0, 5)]
    sent = [hm.Operation(TriggerAllDataWasSent(shmifo_index=stream)) for stream in (4, 1)]
    contexts = [
        hm.Context(
            0,
            (*ccw(chain), released[0], sent[0]),
            (
                edge("net/x", H2D, 0, FIRST),
                half(D2H, 2, 3),
                half(H2D, 3, 2),
                edge("net/u", D2H, 4, MIDDLE, switch=link(1, 5)),
            ),
        ),
        hm.Context(
            1,
            (*ccw(second), released[1], sent[1]),
            (
                edge("net/u", H2D, 5, MIDDLE, switch=link(0, 4)),
                half(D2H, 2, 3, context=1),
                half(H2D, 3, 2, context=1),
                edge("net/y", D2H, 1, LAST),
            ),
        ),
    ]
    file = hef_of("net", contexts, outputs=["net/y"])
    file = replace(file, extensions=(*file.extensions, hm.Extension(3), hm.Extension(4)))
    assert hef.check(file) == []
    with device.load(file, batch_size=6) as network:
        for count in (6, 1, 13, 4):
            frames = frames_of(count, count)
            middle = nets.expected(models[0], {"x": frames})["t"]
            for _ in range(2):
                middle = nets.expected(copy, {"t": middle})["u"]
            want = nets.expected(models[1], {"t": middle})["y"]
            np.testing.assert_array_equal(network(frames, raw=True)["net/y"], want)


@pytest.mark.parametrize(
    "wrong",
    [{"back": 9}, {"stages": 1}, {"rows": 1}],
    ids=["a stream without a buffer", "a buffer without a reader", "a buffer for half a frame"],
)
def test_what_does_not_go_together_is_told(device, wrong):
    content, _ = buffered(**wrong)
    with device.load(content, timeout_s=5.0) as network, pytest.raises(DeviceError, match="RUN_TIME_ERROR"):
        network(frames_of(1), raw=True)


def test_rows_that_fill_no_descriptor_are_refused(device):
    content, _ = buffered()
    (group,) = content.network_groups
    (context,) = group.core_op.contexts
    layers = tuple(replace(layer, core_bytes_per_buffer=500) for layer in context.edge_layers)
    changed = replace(group.core_op, contexts=(replace(context, edge_layers=layers),))
    with pytest.raises(OpenHailoError, match="512"):
        device.load(replace(content, network_groups=(replace(group, ops=(hm.Op(changed),)),)))


@pytest.mark.parametrize("release", RELEASES)
def test_over_the_kernel_driver(release, nets):
    content, models = buffered()
    driver = VirtualKernelDriver(Twin(), release=release)
    with Device(KernelLink(driver.open()), name=release) as device, device.load(content) as network:
        check(network, nets, models, 9)
