"""Streams that are not one array each: multiplexed outputs, images in planes, boxes sorted out on the chip."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import openhailo
from openhailo.errors import DeviceError, InputError, InvalidHef, MalformedReply, NoReference, ShapeMismatch
from openhailo.hef import model as hm
from openhailo.hef import ops
from openhailo.hef.operations import AllowInputDataflow, EnableNms, TriggerNone

H2D, D2H = hm.Direction.HOST_TO_DEVICE, hm.Direction.DEVICE_TO_HOST
END = 0xFFFFFFFFFFFFFFFF
BURSTS = hm.Extension(19)


def frames_of(shape, count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def with_layers(file, change, *, extensions=(), order=None):
    """Return ``file`` with the layers of its only context changed by ``change`` (a tuple to a tuple)."""
    group = file.network_groups[0]
    core_op = group.core_op
    context = core_op.contexts[0]
    context = replace(context, edge_layers=tuple(change(context.edge_layers)))
    group = replace(group, ops=(hm.Op(replace(core_op, contexts=(context,))),))
    if order is not None:
        group = replace(group, sorted_outputs_order=tuple(order))
    return replace(file, network_groups=(group,), extensions=(*file.extensions, *extensions))


# --- multiplexed outputs ----------------------------------------------------------------------------------------------


def part(name, shape, padded, code, quant):
    return hm.EdgeLayer(name, D2H, hm.Shape(*shape), hm.Shape(*padded), code, 1, 0, quant=quant)


def test_outputs_that_share_a_stream(device, nets):
    # 4 rounds of one NHCW row of 3 x 8 bytes and two NHWC rows of 8 x 2: 56 bytes a round.
    net = nets.single({"x": (5, 5, 3)}, {"raw": (4, 56, 1), "z": (1, 1, 10)})
    narrow = part("net/narrow", (4, 6, 3), (4, 8, 3), 1, nets.quant)
    tall = part("net/tall", (8, 7, 2), (8, 8, 2), 0, hm.QuantInfo(9.0, 2.0, 0.0, 1.0))

    def change(layers):
        inputs, raw, rest = layers
        return inputs, replace(raw, name="net/mux", mux=hm.MuxInfo(4, (1, 2), (narrow, tall))), rest

    file = with_layers(net.hef, change, order=["net/tall", "net/z", "net/narrow"])
    frames = frames_of((5, 5, 3), 40)
    want = nets.expected(net.model, {"x": frames})
    raw = want["raw"].reshape(40, 4, 56)
    want_narrow = raw[:, :, :24].reshape(40, 4, 3, 8).transpose(0, 1, 3, 2)[:, :, :6]
    want_tall = raw[:, :, 24:].reshape(40, 8, 8, 2)[:, :, :7]
    network = device.load(file)
    assert [(info.name, info.shape) for info in network.outputs] == [
        ("net/tall", (8, 7, 2)), ("net/z", (10,)), ("net/narrow", (4, 6, 3)),
    ]  # fmt: skip
    got = network(frames, raw=True)
    assert list(got) == ["net/tall", "net/z", "net/narrow"]
    np.testing.assert_array_equal(got["net/tall"], want_tall)
    np.testing.assert_array_equal(got["net/narrow"], want_narrow)
    np.testing.assert_array_equal(got["net/z"], want["z"])
    real = network.submit(frames[7]).result(30)
    np.testing.assert_array_equal(real["net/tall"], (want_tall[7].astype(np.float32) - 9) * 2)
    np.testing.assert_array_equal(real["net/narrow"], (want_narrow[7].astype(np.float32) - 3) * np.float32(0.5))


def test_a_mux_that_does_not_add_up_is_refused(device, nets):
    net = nets.single({"x": (5, 5, 3)}, {"raw": (4, 56, 1)})
    narrow = part("net/narrow", (4, 6, 3), (4, 8, 3), 1, nets.quant)

    def change(layers):
        return layers[0], replace(layers[1], mux=hm.MuxInfo(4, (1,), (narrow,)))

    with pytest.raises(InvalidHef, match="frames of 224 bytes, its outputs need 96"):
        device.load(with_layers(net.hef, change))


# --- planes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        (hm.PlanesFormat.NV12, [(6, 8, 1), (3, 4, 2)]),
        (hm.PlanesFormat.NV21, [(6, 8, 1), (3, 4, 2)]),
        (hm.PlanesFormat.I420, [(4, 8, 1), (2, 4, 1), (2, 4, 1)]),
    ],
)
def test_an_image_in_planes(device, nets, kind, shapes):
    names = [f"p{index}" for index in range(len(shapes))]
    net = nets.single(dict(zip(names, shapes, strict=True)), {"y": (1, 1, 16)})
    rows = sum(int(np.prod(shape)) for shape in shapes) // 8

    def change(layers):
        planes = tuple(replace(layer, switch=None) for layer in layers[:-1])
        info = hm.PlanesInfo(kind, planes)
        return hm.EdgeLayer("net/image", H2D, hm.Shape(*shapes[0]), hm.Shape(), planes=info), layers[-1]

    network = device.load(with_layers(net.hef, change))
    (info,) = network.inputs
    assert (info.name, info.shape, info.order.name) == ("net/image", (rows, 8), kind.name)
    images = frames_of((rows, 8), 20)
    flat, planes, at = images.reshape(20, -1), {}, 0
    for name, shape in zip(names, shapes, strict=True):
        size = int(np.prod(shape))
        planes[name] = flat[:, at : at + size].reshape(20, *shape)
        at += size
    want = nets.expected(net.model, planes)["y"]
    np.testing.assert_array_equal(network(images, raw=True)["net/y"], want)
    np.testing.assert_array_equal(network(images[3].astype(np.float32), raw=True)["net/y"], want[3])
    np.testing.assert_array_equal(network(tuple(planes.values()), raw=True)["net/y"], want)
    one = tuple(plane[5] for plane in planes.values())
    np.testing.assert_array_equal(network({"net/image": one}, raw=True)["net/y"], want[5])
    with pytest.raises(ShapeMismatch, match="each plane"):
        network(one[:1])


# --- boxes ------------------------------------------------------------------------------------------------------------


def box_layer(name, stream, classes, most, *, burst=0, chunks=0, part_of=None, quant=None):
    info = hm.NmsInfo(
        number_of_classes=classes,
        max_output_size=most,
        bbox_size=8,
        burst_size=burst,
        burst_type=hm.NmsBurst.H8_PER_CLASS if burst else hm.NmsBurst.NO_BURST,
        input_division_factor=chunks,
        is_defused=part_of is not None,
        defuse_info=hm.NmsDefuseInfo(*part_of) if part_of else None,
    )
    quant = quant or hm.QuantInfo(0.0, 1 / 4096, 0.0, 4096.0)
    core = (8 * max(burst, 1), classes)
    return hm.EdgeLayer(name, D2H, hm.Shape(1, 1, 8), hm.Shape(1, 1, 8), 6, 2, stream, *core, quant, nms=info)


def box_file(nets, *layers, fused=None, bursts=False):
    """A file for silicon with an input of 2 x 4 pixels and outputs of boxes."""
    net = nets.single({"x": (2, 4, 1)}, {"y": (1, 1, 8)}, image=bytes(64))

    def change(given):
        return (given[0], *layers)

    names = [fused.layer.name] if fused else [layer.name for layer in layers]
    file = with_layers(net.hef, change, extensions=[BURSTS] if bursts else [], order=names)
    group = file.network_groups[0]
    core_op = group.core_op
    context = core_op.contexts[0]
    enable = EnableNms(number_of_classes=layers[0].nms.number_of_classes, burst_size=layers[0].nms.burst_size or 1)
    operations = (hm.Operation(TriggerNone(), (enable, AllowInputDataflow(sys_index=0))),)
    core_op = replace(
        core_op,
        contexts=(replace(context, operations=operations),),
        fused_layers=hm.FusedLayers(True, tuple(names), (fused,)) if fused else None,
    )
    return replace(file, network_groups=(replace(group, ops=(hm.Op(core_op),)),))


def word(box):
    y_min, x_min, y_max, x_max, score = (int(number) for number in box)
    return x_max | y_max << 12 | x_min << 24 | y_min << 36 | score << 48


def sent(groups, burst):
    """Bytes of one frame, word after word (hef.md 11)."""
    words = []
    for boxes in groups:
        words += [word(box) for box in boxes] + [END]
        while burst and len(words) % burst:
            words.append(END)
    return np.array(words, "<u8").tobytes()


def random_frames(count, groups, most, seed=1):
    rng = np.random.default_rng(seed)
    return [
        [rng.integers(0, 4096, (int(rng.integers(0, most + 1)), 5)).astype(np.uint16) for _ in range(groups)]
        for _ in range(count)
    ]


class Script:
    """Stands for silicon: sends prepared bytes, frame by frame."""

    def __init__(self, frames):
        self.frames = deque(frames)
        self.seen = []

    def __call__(self, inputs, frame):
        self.seen.append({stream: bytes(data) for stream, data in inputs.items()})
        return self.frames.popleft()


@pytest.mark.parametrize("burst", [0, 2, 4, 7], ids=["boxes", "bursts of 2", "bursts of 4", "a transfer a frame"])
def test_boxes_of_each_class(device, nets, burst):
    file = box_file(nets, box_layer("net/boxes", 1, 3, 6, burst=burst), bursts=bool(burst))
    frames = random_frames(60, 3, 6)
    script = Script([{1: sent(groups, burst)} for groups in frames])
    network = device.load(file, reference=script)
    (info,) = network.outputs
    assert (info.shape, info.order.name, info.dtype) == ((3, 5, 6), "HAILO_NMS_BY_CLASS", np.uint16)
    pixels = frames_of((2, 4, 1), 60)
    raw = network(pixels[:40], raw=True)["net/boxes"]
    futures = [network.submit(frame) for frame in pixels[40:59]]
    raw += [network(pixels[59], raw=True)["net/boxes"]]
    for got, want in zip(raw, [*frames[:40], frames[59]], strict=True):
        assert len(got) == 3
        for ours, theirs in zip(got, want, strict=True):
            assert ours.dtype == np.uint16
            np.testing.assert_array_equal(ours, theirs)
    for future, want in zip(futures, frames[40:59], strict=True):
        for ours, theirs in zip(future.result(30)["net/boxes"], want, strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_array_equal(ours, theirs.astype(np.float32) * np.float32(1 / 4096))
    assert [seen[0] for seen in script.seen] == [frame.tobytes() for frame in pixels]


def test_chunks_are_merged_class_by_class(device, nets):
    file = box_file(nets, box_layer("net/boxes", 1, 2, 3, chunks=2))
    groups = random_frames(1, 4, 3)[0]
    network = device.load(file, reference=Script([{1: sent(groups, 0)}]))
    assert network.outputs[0].shape == (2, 5, 6)
    got = network(frames_of((2, 4, 1), 1)[0], raw=True)["net/boxes"]
    for index in range(2):
        np.testing.assert_array_equal(got[index], np.concatenate([groups[index], groups[index + 2]]))


def test_boxes_in_several_streams_are_one_output(device, nets):
    layers = [
        box_layer(f"net/part{index}", index + 1, classes, 4, part_of=(index, "net/boxes"))
        for index, classes in enumerate([3, 2, 2])
    ]
    whole = replace(box_layer("net/boxes", 0, 7, 4), quant=hm.QuantInfo(10.0, 0.25, 0.0, 1.0))
    fused = hm.FusedLayer(whole, tuple(layer.name for layer in layers), whole.nms)
    frames = random_frames(9, 7, 4)
    script = Script([{1 + part: sent(groups[part::3], 0) for part in range(3)} for groups in frames])
    network = device.load(box_file(nets, *layers, fused=fused), reference=script)
    assert [info.name for info in network.outputs] == ["net/boxes"]
    got = network(frames_of((2, 4, 1), 9))["net/boxes"]
    for ours, theirs in zip(got, frames, strict=True):
        for mine, want in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, (want.astype(np.float32) - 10) * np.float32(0.25))
    with pytest.raises(InvalidHef, match="fused layer"):
        device.load(box_file(nets, *layers[:2], fused=fused))


@pytest.mark.parametrize(
    ("words", "error", "why"),
    [
        ([1, 2, 3, 4, 5, END, END], MalformedReply, "more than 4 boxes"),
        ([0xFFFFFFFFFFFFFFFD, END, END], MalformedReply, "neither a box nor a delimiter"),
    ],
)
def test_malformed_boxes_are_an_error_and_the_next_frame_works(device, nets, words, error, why):
    good = random_frames(1, 2, 4)[0]
    bad = np.array(words, "<u8").tobytes()
    network = device.load(
        box_file(nets, box_layer("net/boxes", 1, 2, 4)), reference=Script([{1: bad}, {1: sent(good, 0)}])
    )
    pixels = frames_of((2, 4, 1), 1)[0]
    with pytest.raises(error, match=why):
        network(pixels)
    for ours, theirs in zip(network(pixels, raw=True)["net/boxes"], good, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_boxes_that_are_not_declared_properly_are_refused(device, nets):
    layer = box_layer("net/boxes", 1, 2, 4)
    for changed, why in [
        (replace(layer, data_bytes=1), "NMS box"),
        (replace(layer, nms=replace(layer.nms, bbox_size=16)), "NMS box"),
        (replace(layer, nms=replace(layer.nms, max_output_size=0)), "NMS shape"),
        (replace(layer, nms=replace(layer.nms, burst_type=hm.NmsBurst.H15_PER_FRAME)), "NMS burst"),
        (replace(layer, transposed=True), "NMS layer"),
    ]:
        with pytest.raises(InvalidHef, match=why):
            device.load(box_file(nets, changed))
    with pytest.raises(InputError, match="by class only"):
        device.load(box_file(nets, layer), output_orders={"net/boxes": openhailo.FormatOrder.HAILO_NMS_BY_SCORE})


def test_boxes_need_a_reference_on_the_virtual_chip(device, nets):
    network = device.load(box_file(nets, box_layer("net/boxes", 1, 2, 4)))
    if not network.needs_reference:
        pytest.skip("this device computes the file by itself")
    with pytest.raises((NoReference, DeviceError)):
        network(frames_of((2, 4, 1), 1))


def test_an_onnx_reference_gives_boxes(device, nets, tmp_path):
    boxes = np.zeros((1, 2, 4, 5), np.float32)
    boxes[0, 0, 1] = [0.1, 0.2, 0.3, 0.4, 0.5]
    boxes[0, 1, 0] = [0.0, 0.5, 0.75, 0.999, 0.25]
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "found"], ["boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "boxes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 1])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 2, 4, 5])],
        [numpy_helper.from_array(np.zeros(1, np.float32), "zero"), numpy_helper.from_array(boxes, "found")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "boxes.onnx")
    file = box_file(nets, box_layer("net/boxes", 1, 2, 4))
    got = device.load(file, reference=tmp_path / "boxes.onnx")(frames_of((2, 4, 1), 1)[0])["net/boxes"]
    assert [part.shape for part in got] == [(1, 5), (1, 5)]
    np.testing.assert_allclose(got[0][0], boxes[0, 0, 1], atol=1 / 4096)
    np.testing.assert_allclose(got[1][0], boxes[0, 1, 0], atol=1 / 4096)


# --- boxes of the chip, suppressed on the host ------------------------------------------------------------------------


def with_iou_op(file, layers, *, classes, score=0.25, iou=0.5, most=3):
    """Wire the box streams to an op that suppresses (hef.md 13)."""
    group = file.network_groups[0]
    core_op = group.core_op
    context = core_op.contexts[0]
    edges = [
        replace(edge, pad_index=10 + i) if edge.name in layers else edge for i, edge in enumerate(context.edge_layers)
    ]
    core_op = replace(core_op, contexts=(replace(context, edge_layers=tuple(edges)),))
    sources = [edge.pad_index for edge in edges if edge.name in layers]
    pads = tuple(ops.Pad(100 + source) for source in sources)
    body = ops.NmsOp(score, iou, most, classes, method=ops.IouNmsOp())
    op = hm.Op(body, "iou", pads, (ops.Pad(200, "net/best"),))
    group = replace(
        group,
        ops=(hm.Op(core_op), op),
        pad_edges=tuple(ops.PadEdge(source, 100 + source) for source in sources),
        sorted_outputs_order=("net/best",),
    )
    return replace(file, network_groups=(group,))


def suppressed_slowly(groups, scale, score, iou, most):
    """Greedy suppression class by class, box by box."""
    result = []
    for boxes in groups:
        real = boxes.astype(np.float32) * np.float32(scale)
        real = real[np.argsort(-real[:, 4], kind="stable")]
        kept = []
        for box in real[real[:, 4] >= np.float32(score)]:
            if all(overlap(box, other) < iou for other in kept):
                kept.append(box)
        result.append(kept[:most])
    return result


def overlap(a, b):
    high = np.maximum(np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2]), 0)
    shared = high[0] * high[1]
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else -1.0


@pytest.mark.parametrize("streams", [1, 3])
def test_boxes_of_the_chip_are_suppressed_on_the_host(device, nets, streams):
    classes, scale = 7, 1 / 4096
    frames = random_frames(8, classes, 6)
    for groups in frames:  # corners in order, so that boxes have an area
        for boxes in groups:
            boxes[:, :4] = np.sort(boxes[:, :4].reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    if streams == 1:
        layers = [box_layer("net/boxes", 1, classes, 6)]
        file = box_file(nets, *layers)
        script = Script([{1: sent(groups, 0)} for groups in frames])
    else:
        layers = [
            box_layer(f"net/part{index}", index + 1, count, 6, part_of=(index, "net/boxes"))
            for index, count in enumerate([3, 2, 2])
        ]
        whole = box_layer("net/boxes", 0, classes, 6)
        fused = hm.FusedLayer(whole, tuple(layer.name for layer in layers), whole.nms)
        file = box_file(nets, *layers, fused=fused)
        script = Script([{1 + part: sent(groups[part::3], 0) for part in range(3)} for groups in frames])
    network = device.load(with_iou_op(file, [layer.name for layer in layers], classes=classes), reference=script)
    (info,) = network.outputs
    assert (info.name, info.shape, info.dtype) == ("net/best", (classes, 5, 3), np.float32)
    info.nms.score_threshold = 0.125
    for groups, got in zip(frames, network(frames_of((2, 4, 1), 8))["net/best"], strict=True):
        want = suppressed_slowly(groups, scale, 0.125, 0.5, 3)
        for mine, theirs in zip(got, want, strict=True):
            np.testing.assert_allclose(mine, np.array(theirs, np.float32).reshape(-1, 5), rtol=1e-6)
