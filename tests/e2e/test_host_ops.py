"""From a float model to boxes, masks, probabilities and indices: what a user gets equals the slow version's."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.unit.runtime.host_ops import op_rig as rig
from tests.unit.runtime.host_ops import slow_ops as slow

import openhailo
from openhailo import hef
from openhailo.compiler import compile_model
from openhailo.compiler.host_ops.request import Nms
from openhailo.errors import InputError
from openhailo.runtime.formats import FormatOrder, FormatType
from openhailo.runtime.host_ops import unpack
from openhailo.runtime.host_ops.boxes import BoxFinder
from openhailo.runtime.vdevice import VirtualDevice
from openhailo.vision.images import save_image

SIDE, CLASSES = 32, 3
IMAGE = (SIDE, SIDE)


class Detector:
    """A random network whose heads are convolutions of given channels on grids of strides 8 and 16."""

    def __init__(self, heads, seed=0):
        self.rng, self.nodes, self.constants = np.random.default_rng(seed), [], []
        small = self.conv("image", 3, 8, "stem", 8)
        self.sources = {8: small, 16: self.conv(small, 8, 8, "down", 2)}
        self.outputs = []
        for name, (stride, channels) in heads.items():
            source = self.sources.get(stride) or self.conv("image", 3, 8, f"s{stride}", stride)
            self.outputs.append((self.conv(source, 8, channels, name, 1, plain=True), channels, SIDE // stride))

    def conv(self, source, channels, filters, name, stride, plain=False):
        scale = 1.5 if plain else 0.5
        size = 1 if plain else 3
        weights = self.rng.normal(0, scale / np.sqrt(channels), (filters, channels, size, size)).astype(np.float32)
        shift = self.rng.normal(-0.5 if plain else 0.5, 0.5, filters).astype(np.float32)
        self.constants += [numpy_helper.from_array(weights, f"{name}/w"), numpy_helper.from_array(shift, f"{name}/b")]
        out = name if plain else f"{name}/conv"
        inputs = [source, f"{name}/w", f"{name}/b"]
        pads = [size // 2] * 4
        self.nodes.append(helper.make_node("Conv", inputs, [out], strides=[stride, stride], pads=pads, name=out))
        if not plain:
            self.nodes.append(helper.make_node("Relu", [out], [name], name=name))
        return name

    def model(self, tail=()):
        """The heads as outputs, or what ``tail`` makes of them."""
        nodes, outputs = list(self.nodes), [(name, [1, c, g, g]) for name, c, g in self.outputs]
        for node, shape in tail:
            nodes.append(node)
            outputs = [(node.output[0], shape)]
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
        graph = helper.make_graph(nodes, "tiny", [image], values, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pixels(count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def device():
    with openhailo.open("twin:") as opened:
        yield opened


def compiled(model, **options):
    result = compile_model(model, name="net", calibration=pixels(4).astype(np.float32), mean=0, std=255, **options)
    file = hef.read(result.hef_bytes)
    assert not hef.check(file)
    return file


def raw_maps(device, file, images):
    """What the device sends, by layer without the network's name: a list of slow maps, one per image."""
    network = device.load(file, host_ops=False)
    results = network(images, raw=True)
    quant = {info.name: info.quantization for info in network.outputs}
    network.close()

    def quantized(name, frame):
        return slow.Map(np.atleast_3d(frame).tolist(), quant[name].zero_point, quant[name].scale)

    return [
        {name.removeprefix("net/"): quantized(name, frames[index]) for name, frames in results.items()}
        for index in range(len(images))
    ]


def agree(got, found, settings, classes=CLASSES):
    _, iou, most = settings
    assert not slow.near(found, iou), "the example is too close to call"
    rig.assert_boxes(got, slow.by_class(slow.suppress(found, iou), classes, most))


HEADS_V8 = {"reg0": (8, 16), "cls0": (8, CLASSES), "reg1": (16, 16), "cls1": (16, CLASSES)}


def yolov8_found(maps, score):
    levels = [(maps[f"reg{i}"], maps[f"cls{i}_sigmoid"], 8 << i) for i in range(2)]
    return slow.yolov8(levels, CLASSES, IMAGE, 4, score)


@pytest.mark.parametrize("arch", ["hailo8", "hailo8l"])
@pytest.mark.parametrize("contexts", [1, 2])
def test_yolov8(arch, contexts):
    nms = Nms("yolov8", CLASSES, score_threshold=0.4, iou_threshold=0.5, max_per_class=6, regression_length=4)
    file = compiled(Detector(HEADS_V8).model(), nms=nms, arch=arch, contexts=contexts)
    images = pixels(5, seed=9)
    with openhailo.open(f"twin:{'hailo8l' if arch == 'hailo8l' else ''}") as device:
        maps = raw_maps(device, file, images)
        network = device.load(file)
        (info,) = network.outputs
        assert (info.name, info.shape) == ("net/yolov8_nms_postprocess", (CLASSES, 5, 6))
        futures = [network.submit(image) for image in images]
        batch = network(images)[info.name]
        for index, future in enumerate(futures):
            found = yolov8_found(maps[index], 0.4)
            assert found, "the example has boxes"
            agree(batch[index], found, (0.4, 0.5, 6))
            for one, other in zip(future.result(30)[info.name], batch[index], strict=True):
                np.testing.assert_array_equal(one, other)


def test_settings_count_from_the_next_call_on(device):
    nms = Nms("yolov8", CLASSES, score_threshold=0.4, iou_threshold=0.5, max_per_class=6, regression_length=4)
    file = compiled(Detector(HEADS_V8).model(), nms=nms)
    image = pixels(1, seed=9)
    maps = raw_maps(device, file, image)[0]
    network = device.load(file)
    name = "net/yolov8_nms_postprocess"
    boxes = network.outputs[name].nms
    for score, iou, most in ((0.2, 0.3, 2), (0.6, 0.9, 1), (0.99, 0.5, 6), (0.0, 1.0, 40)):
        boxes.score_threshold, boxes.iou_threshold, boxes.max_proposals_per_class = score, iou, most
        agree(network(image[0])[name], yolov8_found(maps, score), (score, iou, most))
        assert network.outputs[name].shape == (CLASSES, 5, most)
    network.close()
    ranked = device.load(file, output_orders={name: FormatOrder.HAILO_NMS_BY_SCORE})
    ranked.outputs[0].nms.max_proposals_total = 4
    records = ranked(image[0])[name]
    want = slow.suppress(yolov8_found(maps, 0.4), 0.5)[:4]
    assert records["class_id"].tolist() == [box.class_id for box in want]
    np.testing.assert_allclose(records["score"], [float(box.score) for box in want], rtol=1e-6)
    ranked.close()


def test_a_host_op_that_fails_fails_its_own_frames_only(device, monkeypatch):
    nms = Nms("yolov8", CLASSES, score_threshold=0.4, regression_length=4)
    file = compiled(Detector(HEADS_V8).model(), nms=nms)
    image = pixels(1, seed=9)[0]
    network = device.load(file)
    (want,) = network(image).values()
    with monkeypatch.context() as patch:
        patch.setattr(BoxFinder, "result", lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
        with pytest.raises(MemoryError):
            network.submit(image).result(30)
        with pytest.raises(MemoryError):
            network(image)
    for got in (network.submit(image).result(30), network(image)):
        for mine, theirs in zip(*got.values(), want, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    network.close()


def test_yolov5(device):
    anchors = ((8, 6, 4, 10), (20, 16, 12, 24))
    heads = {"out0": (8, 2 * (5 + CLASSES)), "out1": (16, 2 * (5 + CLASSES))}
    nms = Nms("yolov5", CLASSES, score_threshold=0.3, iou_threshold=0.45, max_per_class=9, anchors=anchors)
    file = compiled(Detector(heads).model(), nms=nms)
    images = pixels(2, seed=4)
    network = device.load(file)
    results = network(images)["net/yolov5_nms_postprocess"]
    network.close()
    for maps, got in zip(raw_maps(device, file, images), results, strict=True):
        levels = [(maps[f"out{i}_sigmoid"], [a[:2], a[2:]]) for i, a in enumerate(anchors)]
        found = slow.yolov5(levels, CLASSES, IMAGE, 0.3)
        assert found
        agree(got, found, (0.3, 0.45, 9))


def test_yolox(device):
    heads = {f"{kind}{i}": (8 << i, count) for i in range(2) for kind, count in (("r", 4), ("o", 1), ("c", CLASSES))}
    file = compiled(Detector(heads).model(), nms=Nms("yolox", CLASSES, score_threshold=0.2))
    image = pixels(1, seed=5)
    network = device.load(file)
    got = network(image[0])["net/yolox_nms_postprocess"]
    network.close()
    maps = raw_maps(device, file, image)[0]
    levels = [(maps[f"r{i}"], maps[f"o{i}_sigmoid"], maps[f"c{i}_sigmoid"]) for i in range(2)]
    found = slow.yolox(levels, CLASSES, 0.2)
    assert found
    agree(got, found, (0.2, 0.45, 100))


def test_ssd_with_a_background(device):
    anchors = ((0.2, 0.3, 0.5, 0.4), (0.7, 0.6, 0.9, 0.9))
    heads = {f"{kind}{i}": (8 << i, 2 * count) for i in range(2) for kind, count in (("reg", 4), ("cls", CLASSES + 1))}
    nms = Nms("ssd", CLASSES + 1, background=True, anchors=anchors, score_threshold=0.5)
    file = compiled(Detector(heads).model(), nms=nms)
    image = pixels(1, seed=6)
    network = device.load(file)
    assert network.outputs[0].shape == (CLASSES, 5, 100)
    got = network(image[0])["net/ssd_nms_postprocess"]
    network.close()
    maps = raw_maps(device, file, image)[0]
    levels = [(maps[f"reg{i}"], maps[f"cls{i}"], [a[:2], a[2:]]) for i, a in enumerate(anchors)]
    found = slow.ssd(levels, CLASSES + 1, (10, 5), (0, 1, 2, 3), 0.5, background=0)
    assert found
    agree(got, found, (0.5, 0.45, 100))


def test_masks(device):
    anchors = ((8, 6),)
    heads = {"out0": (8, 5 + CLASSES + 32), "proto": (4, 32)}
    nms = Nms("yolov5-seg", CLASSES, score_threshold=0.25, anchors=anchors, max_per_class=4)
    file = compiled(Detector(heads).model(), nms=nms)
    image = pixels(1, seed=7)
    network = device.load(file)
    assert network.outputs[0].order is FormatOrder.HAILO_NMS_WITH_BYTE_MASK
    got = network(image[0])["net/yolov5_seg_nms_postprocess"]
    network.close()
    maps = raw_maps(device, file, image)[0]
    found = slow.yolov5_seg([(maps["out0"], [anchors[0]])], CLASSES, 32, IMAGE, 0.25)
    assert not slow.near(found, 0.45)
    kept = slow.suppress(found, 0.45)[: 4 * CLASSES]
    assert kept
    assert got.records["class_id"].tolist() == [box.class_id for box in kept]
    for mask, kept_box, record in zip(got.masks, kept, got.records, strict=True):
        box = kept_box._replace(corners=tuple(record[name] for name in ("y_min", "x_min", "y_max", "x_max")))
        height, width, values = slow.mask(box, maps["proto"], IMAGE, 0.5)
        assert mask.shape == (height, width)
        for place, value in values.items():
            assert mask[place] == (value > 0.5) or abs(value - 0.5) < 1e-4
        assert mask.sum() <= len(values)


def classifier(tail):
    """A head of 7 classes on a 2x2 grid, as a vector or a map, with ``tail`` behind it."""
    return Detector({"head": (16, 7)}).model(tail)


def test_softmax_of_a_vector(device):
    flat = helper.make_node("Flatten", ["head"], ["flat"], name="flat")
    soft = helper.make_node("Softmax", ["flat"], ["prob"], name="soft", axis=1)
    file = compiled(classifier([(flat, None), (soft, [1, 28])]), softmax=["all"])
    images = pixels(3, seed=8)
    network = device.load(file)
    (info,) = network.outputs
    assert (info.name, info.shape, info.dtype, info.order) == ("net/prob", (28,), np.float32, FormatOrder.NC)
    got = network(images)["net/prob"]
    network.close()
    for maps, probabilities in zip(raw_maps(device, file, images), got, strict=True):
        flat = maps["flat"]
        values = [float(flat.real(0, index, 0)) for index in range(28)]
        powers = np.exp(values)
        np.testing.assert_allclose(probabilities, powers / powers.sum(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "argmax"])
def test_logits_of_a_map(device, kind):
    file = compiled(classifier(()), **{kind: ["head"]})
    images = pixels(3, seed=8)
    network = device.load(file)
    (info,) = network.outputs
    got = network(images)[f"net/head_{kind}"]
    network.close()
    assert got.shape[1:] == info.shape == ((2, 2) if kind == "argmax" else (2, 2, 7))
    for maps, mine in zip(raw_maps(device, file, images), got, strict=True):
        for row, column in maps["head"].cells():
            numbers = maps["head"].q[row][column]
            if kind == "argmax":
                assert mine[row, column] == numbers.index(max(numbers))
            else:
                powers = np.exp([float(maps["head"].real(row, column, k)) for k in range(7)])
                np.testing.assert_allclose(mine[row, column], powers / powers.sum(), rtol=1e-5)


def test_an_argmax_node_is_left_to_the_host(device):
    node = helper.make_node("ArgMax", ["head"], ["index"], name="index", axis=1)
    model = classifier([(node, [1, 1, 2, 2])])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.checker.check_model(model)
    network = device.load(compiled(model, argmax=["index"]))
    assert network.outputs[0].name == "net/index"
    assert network(pixels(1)[0])["net/index"].dtype == np.uint8
    network.close()


# --- buffers of the asynchronous interface ----------------------------------------------------------------------------


def test_packed_boxes_in_buffers_of_the_user(device):
    nms = Nms("yolov8", CLASSES, score_threshold=0.4, iou_threshold=0.5, max_per_class=6, regression_length=4)
    file = compiled(Detector(HEADS_V8).model(), nms=nms)
    image = pixels(1, seed=9)
    kept = slow.suppress(yolov8_found(raw_maps(device, file, image)[0], 0.2), 0.5)
    with VirtualDevice([device], owns_devices=False) as vdevice:
        for order in (FormatOrder.HAILO_NMS_BY_CLASS, FormatOrder.HAILO_NMS_BY_SCORE):
            model = vdevice.create_infer_model(file)
            out = model.output()
            out.set_format_order(order)
            out.nms.score_threshold = 0.2
            by_class = order is FormatOrder.HAILO_NMS_BY_CLASS
            assert out.frame_bytes == (CLASSES * (4 + 20 * 6) if by_class else 2 + 22 * CLASSES * 6)
            with model.configure() as ready:
                buffer = np.zeros(out.shape, out.dtype)
                ready.run(ready.create_bindings(inputs={"net/image": image[0]}, outputs={out.name: buffer}))
            groups = slow.by_class(kept, CLASSES, 6)
            got = unpack(buffer, order, classes=CLASSES)
            if by_class:
                rig.assert_boxes(got, groups)
            else:
                assert got["class_id"].tolist() == [box.class_id for box in kept[: CLASSES * 6]]


@pytest.mark.parametrize(
    ("kind", "type_", "dtype"),
    [
        ("argmax", FormatType.AUTO, np.uint8),
        ("argmax", FormatType.UINT16, np.uint16),
        ("argmax", FormatType.FLOAT32, np.float32),
        ("softmax", FormatType.AUTO, np.float32),
        ("softmax", FormatType.UINT8, None),
    ],
)
def test_types_of_logits_in_buffers_of_the_user(device, kind, type_, dtype):
    file = compiled(classifier(()), **{kind: ["head"]})
    image = pixels(1, seed=8)[0]
    network = device.load(file)
    want = network(image)[f"net/head_{kind}"]
    network.close()
    with VirtualDevice([device], owns_devices=False) as vdevice:
        model = vdevice.create_infer_model(file)
        if dtype is None:
            with pytest.raises(InputError, match="float32"):
                model.output().set_format_type(type_)
            return
        model.output().set_format_type(type_)
        with model.configure() as ready:
            buffer = np.zeros(model.output().shape, dtype)
            ready.run(ready.create_bindings(inputs={"net/image": image}, outputs={model.output().name: buffer}))
        np.testing.assert_array_equal(buffer, want.astype(dtype))


# --- the command line -------------------------------------------------------------------------------------------------


def command(*words):
    program = [sys.executable, "-m", "openhailo.cli.main"]
    return subprocess.run([*program, *map(str, words)], capture_output=True, text=True, check=False)


def test_compile_and_run_with_masks_from_the_command_line(tmp_path):
    model, photo = tmp_path / "seg.onnx", tmp_path / "photo.npy"
    onnx.save(Detector({"out0": (8, 5 + CLASSES + 32), "proto": (4, 32)}).model(), model)
    np.save(photo, pixels(1, seed=7)[0])
    options = ["--nms", "yolov5-seg", "--classes", CLASSES, "--anchors", "8,6", "--mean", "0", "--std", "255"]
    thresholds = ["--score-threshold", "0.25", "--max-per-class", "4"]
    done = command("compile", model, "--calibration", "random:4", *options, *thresholds)
    assert done.returncode == 0, done.stderr
    done = command("run", tmp_path / "seg.hef", photo, "--device", "twin:")
    assert done.returncode == 0, done.stderr
    boxes = json.loads(done.stdout)["outputs"]["seg/yolov5_seg_nms_postprocess"]["boxes"]
    assert boxes
    assert all(len(box) == 6 for box in boxes)
    done = command("compile", model, "--classes", "3")
    assert done.returncode != 0
    assert "--nms: the family of boxes is needed by: classes" in done.stderr
    done = command("compile", model, "--nms", "yolov5", "--classes", "3", "--anchors", "1;x")
    assert "--anchors" in done.stderr


def test_inspect_tells_what_the_host_does(tmp_path):
    nms = Nms("yolov8", CLASSES, score_threshold=0.5, max_per_class=6, regression_length=4)
    model = Detector({**HEADS_V8, "extra": (16, 7)}).model()
    path = tmp_path / "det.hef"
    path.write_bytes(hef.write(compiled(model, nms=nms, argmax=["extra"])))
    facts = json.loads(command("inspect", path, "--json").stdout)
    boxes, index = facts["host operations"]
    assert (boxes["kind"], boxes["classes"], boxes["score"], boxes["per class"]) == ("YOLOv8 NMS", CLASSES, 0.5, 6)
    assert boxes["reads"] == "net/reg0, net/cls0_sigmoid, net/reg1, net/cls1_sigmoid"
    assert (index["kind"], index["reads"]) == ("argmax", "net/extra")
    types = {stream["name"]: stream["type"] for stream in facts["streams"] if stream["direction"] == "output"}
    assert types == {"net/yolov8_nms_postprocess": "float32", "net/extra_argmax": "uint8"}


def test_boxes_on_a_photo_from_the_command_line(tmp_path):
    nms = Nms("yolov8", CLASSES, score_threshold=0.4, regression_length=4)
    path, labels = tmp_path / "det.hef", tmp_path / "labels.txt"
    path.write_bytes(hef.write(compiled(Detector(HEADS_V8).model(), nms=nms)))
    labels.write_text("cat\ndog\nbird\n")
    photo = tmp_path / "photo.png"
    save_image(photo, np.repeat(np.repeat(pixels(1, seed=9)[0], 2, axis=0), 4, axis=1))
    done = command("run", path, photo, "--device", "twin:", "--labels", labels, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["task"] == "boxes"
    assert record["found"]
    assert {entry["label"] for entry in record["found"]} <= {"cat", "dog", "bird"}
    assert all(0 <= x <= 4 * SIDE for entry in record["found"] for x in entry["box"][::2])
    assert (tmp_path / "out" / "photo.boxes.jpg").is_file()
