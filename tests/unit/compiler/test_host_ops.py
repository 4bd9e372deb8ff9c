"""Which tensors host ops get, and what a compilation says when some are missing."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from compiler_graphs import Builder, pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import openhailo
from openhailo import hef
from openhailo.compiler import compile_model
from openhailo.compiler.host_ops.request import YOLOV5_ANCHORS, Nms
from openhailo.compiler.host_ops.select import plan_host_ops
from openhailo.compiler.passes.graph import infer_shapes
from openhailo.errors import InputError, ModelInvalid
from openhailo.hef import ops as o
from openhailo.hef.enums import ExtensionType, LogitsType
from openhailo.spec.program import FormatOrder


def heads(channels, *, size=32, tail=None):
    """Heads of ``channels`` by name on grids of strides 8 and 16: name -> (stride, channels)."""
    b = Builder(3)
    small = b.node("Relu", [b.conv("image", "stem", 3, 8, strides=[8, 8])], "r8")
    large = b.node("Relu", [b.conv(small, "down", 8, 8, strides=[2, 2])], "r16")
    shapes = {}
    for name, (stride, count) in channels.items():
        b.conv(small if stride == 8 else large, name, 8, count, 1)
        shapes[name] = [1, count, size // stride, size // stride]
    if tail is not None:
        shapes = tail(b)
    return infer_shapes(b.model({"image": [1, 3, size, size]}, shapes))


def planned(model, nms=None, softmax=(), argmax=(), end_nodes=(), nhwc=()):
    return plan_host_ops(model, nms=nms, softmax=softmax, argmax=argmax, end_nodes=end_nodes, nhwc=frozenset(nhwc))


V8 = {"reg8": (8, 16), "cls8": (8, 5), "reg16": (16, 16), "cls16": (16, 5)}
YOLOV8 = Nms("yolov8", 5, regression_length=4)


def test_nothing_asked_changes_nothing():
    model = heads(V8)
    assert planned(model, end_nodes=("reg8",)) == (model, ("reg8",), None)


@pytest.mark.parametrize("order", [["reg8", "cls8", "reg16", "cls16"], ["cls16", "reg8", "cls8", "reg16"]])
def test_levels_are_found_by_shape_in_any_order(order):
    model = heads({name: V8[name] for name in order})
    changed, ends, plan = planned(model, YOLOV8)
    assert plan.levels == (
        {"reg": "reg8", "cls": "cls8_sigmoid"},
        {"reg": "reg16", "cls": "cls16_sigmoid"},
    )
    assert ends == ("reg8", "cls8_sigmoid", "reg16", "cls16_sigmoid")
    assert plan.image == (32, 32)
    assert [node.op_type for node in changed.graph.node].count("Sigmoid") == 2
    assert [node.op_type for node in model.graph.node].count("Sigmoid") == 0


def test_other_outputs_stay():
    model = heads({**V8, "extra": (8, 7)})
    _, ends, plan = planned(model, YOLOV8)
    assert ends[-1] == "extra"
    assert len(plan.levels) == 2


def test_heads_inside_a_graph_are_found():
    def tail(b):
        flat = []
        for name in V8:
            hidden = b.node("Relu", [name], f"{name}_relu")
            last = b.conv(hidden, f"{name}_last", V8[name][1], V8[name][1], 1)
            flat.append(b.node("Reshape", [last, b.const(np.array([1, -1]))], f"{name}_flat"))
        b.node("Concat", flat, "out", axis=1)
        return {"out": [1, sum(count * (32 // stride) ** 2 for stride, count in V8.values())]}

    _, ends, plan = planned(heads(V8, tail=tail), YOLOV8)
    assert plan.levels[0] == {"reg": "reg8_last", "cls": "cls8_last_sigmoid"}
    assert "out" not in ends


def exported_yolov8(classes=80, size=64, bins=16):
    """A YOLOv8 as people export it: boxes are decoded inside, by a convolution over distributions among others."""
    b = Builder(1)

    def block(source, name, channels, filters, stride=1):
        x = b.conv(source, name, channels, filters, 3, strides=[stride, stride])
        return b.node("Mul", [x, b.node("Sigmoid", [x], f"{name}_gate")], f"{name}_silu")

    small = block(block(block("images", "b0", 3, 16, 2), "b1", 16, 32, 2), "b2", 32, 64, 2)
    middle = block(block(small, "b3", 64, 80, 2), "b4", 80, 80)
    flat, count = [], 0
    for i, (level, channels, stride) in enumerate(
        [(small, 64, 8), (middle, 80, 16), (block(middle, "b5", 80, 64, 2), 64, 32)]
    ):
        sides = block(block(level, f"r{i}a", channels, 64), f"r{i}b", 64, 64)
        scores = block(block(level, f"c{i}a", channels, 80), f"c{i}b", 80, 80)
        heads = [b.conv(sides, f"cv2.{i}", 64, 4 * bins, 1), b.conv(scores, f"cv3.{i}", 80, classes, 1)]
        shape = b.const(np.array([1, 4 * bins + classes, -1]))
        flat.append(b.node("Reshape", [b.node("Concat", heads, f"cat{i}", axis=1), shape], f"flat{i}"))
        count += (size // stride) ** 2
    every = b.node("Concat", flat, "every", axis=2)
    parts = b.const(np.array([4 * bins, classes]))
    b.nodes.append(helper.make_node("Split", [every, parts], ["sides", "logits"], axis=1))
    x = b.node("Reshape", ["sides", b.const(np.array([1, 4, bins, count]))], "dfl_in")
    x = b.node("Softmax", [b.node("Transpose", [x], "dfl_turned", perm=[0, 2, 1, 3])], "dfl_soft", axis=1)
    mean = b.const(np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1))
    x = b.node("Reshape", [b.node("Conv", [x, mean], "dfl"), b.const(np.array([1, 4, count]))], "distances")
    b.node("Concat", [x, b.node("Sigmoid", ["logits"], "scores")], "output0", axis=1)
    return infer_shapes(b.model({"images": [1, 3, size, size]}, {"output0": [1, 4 + classes, count]}))


def test_an_export_that_decodes_its_boxes_itself():
    _, ends, plan = planned(exported_yolov8(), Nms("yolov8", 80))
    assert plan.levels == tuple({"reg": f"cv2.{i}", "cls": f"cv3.{i}_sigmoid"} for i in range(3))
    assert ends == ("cv2.0", "cv3.0_sigmoid", "cv2.1", "cv3.1_sigmoid", "cv2.2", "cv3.2_sigmoid")


@pytest.mark.parametrize(
    ("activation", "behind", "expected"),
    [
        ("auto", None, "cls8_sigmoid"),
        ("auto", "Sigmoid", "cls8_done"),
        ("none", None, "cls8"),
        ("sigmoid", "Sigmoid", "cls8_done_sigmoid"),
    ],
)
def test_a_sigmoid_is_added_where_there_is_none(activation, behind, expected):
    def tail(b):
        name = b.node(behind, ["cls8"], "cls8_done") if behind else "cls8"
        return {"reg8": [1, 16, 4, 4], name: [1, 5, 4, 4]}

    nms = Nms("yolov8", 5, regression_length=4, activation=activation)
    _, _, plan = planned(heads({"reg8": (8, 16), "cls8": (8, 5)}, tail=tail), nms)
    assert plan.levels[0]["cls"] == expected


def test_named_tensors_are_the_only_ones():
    nms = Nms("yolov8", 5, regression_length=4, outputs=["cls8", "reg8"])
    _, ends, plan = planned(heads(V8), nms)
    assert plan.levels == ({"reg": "reg8", "cls": "cls8_sigmoid"},)
    assert ends == ("reg8", "cls8_sigmoid")


@pytest.mark.parametrize(
    ("nms", "needle"),
    [
        (Nms("yolov8", 6, regression_length=4), "6 classes: the 4x4 grid has no cls with 6 channels"),
        (Nms("yolov8", 9), "each level needs reg with 64 channels and cls with 9 channels"),
        (Nms("yolox", 5), "the 4x4 grid has no reg with 4 channels, obj with 1 channels"),
        (Nms("yolov5", 80), "each level needs out with 255 channels"),
        (Nms("yolov5", 3, anchors=[(1, 2, 3, 4)] * 3), "2 of 3 levels"),
        (Nms("yolov8", 5, regression_length=4, outputs=["reg8"]), "no cls with 5 channels"),
    ],
)
def test_what_is_missing_is_named(nms, needle):
    model = heads({**V8, "out8": (8, 16)} if nms.family != "yolov5" else {"a": (8, 16), "b": (16, 16)})
    with pytest.raises(ModelInvalid) as error:
        planned(model, nms)
    assert needle in str(error.value)
    assert "--nms-outputs" in str(error.value)


def test_boxes_need_one_picture():
    b = Builder()
    b.conv("image", "a", 5, 5)
    model = infer_shapes(b.model({"image": [1, 5, 8, 8]}, {"a": [1, 5, 8, 8]}))
    with pytest.raises(ModelInvalid, match="0 inputs for pictures"):
        planned(model, YOLOV8)


def test_a_grid_that_is_no_whole_stride():
    b = Builder()
    b.conv("image", "reg", 3, 16, strides=[3, 3])
    b.conv("image", "cls", 3, 5, strides=[3, 3])
    model = infer_shapes(b.model({"image": [1, 3, 32, 32]}, {"reg": [1, 16, 11, 11], "cls": [1, 5, 11, 11]}))
    with pytest.raises(ModelInvalid, match="no whole stride"):
        planned(model, YOLOV8)


def test_masks_do_their_own_sigmoid():
    anchors = [(4, 4)]
    nms = Nms("yolov5-seg", 2, anchors=anchors)
    channels = {"out8": (8, 39), "proto": (16, 32)}
    _, ends, plan = planned(heads(channels), nms)
    assert (plan.prototypes, plan.levels, ends) == ("proto", ({"out": "out8"},), ("out8", "proto"))
    with pytest.raises(ModelInvalid, match="no mask prototypes with 32 channels"):
        planned(heads({"out8": (8, 39)}), nms)

    def squashed(b):
        b.node("Sigmoid", ["out8"], "done")
        return {"done": [1, 39, 4, 4], "proto": [1, 32, 2, 2]}

    with pytest.raises(ModelInvalid, match="behind a sigmoid"):
        planned(heads(channels, tail=squashed), nms)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"family": "yolov9", "classes": 5}, "nms"),
        ({"family": "yolov8", "classes": 0}, "classes"),
        ({"family": "ssd", "classes": 1, "background": True, "anchors": [(0.1, 0.2)]}, "classes"),
        ({"family": "ssd", "classes": 5}, "anchors"),
        ({"family": "ssd", "classes": 5, "anchors": [(0.1, 0.2, 0.3)]}, "anchors"),
        ({"family": "yolov5", "classes": 5, "anchors": [(1.5, 2)]}, "anchors"),
        ({"family": "yolov5", "classes": 5, "anchors": [(1, -2)]}, "anchors"),
        ({"family": "yolov8", "classes": 5, "score_threshold": 1.5}, "score_threshold"),
        ({"family": "yolov8", "classes": 5, "iou_threshold": float("nan")}, "iou_threshold"),
        ({"family": "yolov8", "classes": 5, "max_per_class": 0}, "max_per_class"),
        ({"family": "yolov8", "classes": 5, "activation": "relu"}, "nms activation"),
        ({"family": "yolox", "classes": 5, "decoding_only": True}, "nms"),
    ],
)
def test_requests_that_make_no_sense(arguments, what):
    with pytest.raises(InputError) as error:
        Nms(**arguments)
    assert error.value.what == what


def test_yolov5_has_its_usual_anchors():
    assert Nms("yolov5", 80).anchors == YOLOV5_ANCHORS


# --- logits -----------------------------------------------------------------------------------------------------------


def test_logits_by_name_and_all_of_them():
    model = heads({"a": (8, 5), "b": (16, 7)})
    _, ends, plan = planned(model, softmax=["a"], argmax=["b"])
    assert [(each.kind, each.tensor, each.name) for each in plan.logits] == [
        ("softmax", "a", "a_softmax"),
        ("argmax", "b", "b_argmax"),
    ]
    assert ends == ("a", "b")
    assert len(planned(model, argmax=["all"])[2].logits) == 2


@pytest.mark.parametrize(
    ("choices", "needle"),
    [
        ({"softmax": ["c"]}, "no output 'c'; there are: a, b"),
        ({"softmax": ["a"], "argmax": ["a"]}, "another op"),
        ({"softmax": ["a", "a"]}, "another op"),
    ],
)
def test_logits_of_what_is_not_there(choices, needle):
    with pytest.raises(InputError, match=needle):
        planned(heads({"a": (8, 5), "b": (16, 7)}), **choices)


def test_a_softmax_over_something_else_stays_an_error():
    def tail(b):
        b.node("Softmax", ["a"], "p", axis=2)
        return {"p": [1, 5, 4, 4]}

    with pytest.raises(ModelInvalid, match="axis 2"):
        planned(heads({"a": (8, 5)}, tail=tail), softmax=["p"])


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file():
    nms = Nms("yolov8", 5, regression_length=4, score_threshold=0.3, iou_threshold=0.6, max_per_class=7)
    data = pixels(4, 32, 32, 3)
    compiled = compile_model(
        heads({**V8, "a": (8, 9), "b": (16, 300)}), name="net", calibration=data, nms=nms, softmax=["a"], argmax=["b"]
    )
    return hef.read(compiled.hef_bytes)


def test_the_file_keeps_every_rule(file):
    assert hef.check(file) == []
    demanded = {extension.type_index for extension in file.extensions}
    assert demanded >= {
        ExtensionType.HAILO_NET_FLOW_YOLOV8_NMS,
        ExtensionType.HAILO_NET_FLOW_SOFTMAX,
        ExtensionType.HAILO_NET_FLOW_ARGMAX,
    }


def test_ops_are_those_asked_for(file):
    group = file.network_groups[0]
    boxes, softmax, argmax = (op.body for op in group.host_ops)
    assert (boxes.classes, boxes.nms_score_th, boxes.nms_iou_th, boxes.max_proposals_per_class) == (5, 0.3, 0.6, 7)
    assert isinstance(boxes.method, o.Yolov8NmsOp)
    assert [decoder.stride for decoder in boxes.method.bbox_decoders] == [8, 16]
    assert (softmax.logits_type, argmax.logits_type) == (LogitsType.SOFTMAX, LogitsType.ARGMAX)
    assert [pad.name for op in group.host_ops for pad in op.output_pads] == [
        "net/yolov8_nms_postprocess",
        "net/a_softmax",
        "net/b_argmax",
    ]
    assert group.sorted_outputs_order == ("net/yolov8_nms_postprocess", "net/a_softmax", "net/b_argmax")
    assert [vstream.name for vstream in group.output_vstreams] == list(group.sorted_outputs_order)


def test_boxes_read_rows_of_whole_features(file):
    layers = {layer.name: layer for layer in file.network_groups[0].core_op_for().boundary_layers()}
    assert layers["net/reg8"].order is layers["net/cls8_sigmoid"].order is FormatOrder.NHCW
    assert layers["net/a"].order is FormatOrder.NHWC


def test_the_same_arguments_give_the_same_bytes():
    model, data = heads({"a": (8, 5)}), pixels(4, 32, 32, 3)
    first, second = (compile_model(model, name="net", calibration=data, argmax=["all"]).hef_bytes for _ in range(2))
    assert first == second


@settings(deadline=None)
@given(st.permutations(list(V8)), st.sampled_from([4, 5, 16]), st.integers(1, 20))
def test_levels_are_complete_or_refused(names, bins, classes):
    """Whatever the channels are, a plan has every role of every grid, or says what is missing."""
    nms = Nms("yolov8", classes, regression_length=bins)
    try:
        _, ends, plan = planned(MODEL, Nms("yolov8", classes, regression_length=bins, outputs=names))
    except ModelInvalid as error:
        assert (bins, classes) != (4, 5)
        assert f"{classes} classes" in str(error)
        return
    assert all(set(level) == set(nms.roles(0)) for level in plan.levels)
    assert set(ends) == {tensor for level in plan.levels for tensor in level.values()}


MODEL = heads(V8)


def test_boxes_are_those_that_the_export_itself_decodes():
    """ONNX Runtime on the float export is the judge: distances left, top, right, bottom in cells, and scores."""
    model = exported_yolov8(classes=6, bins=8)
    data = pixels(6, 64, 64, 3)
    nms = Nms("yolov8", 6, regression_length=8, decoding_only=True)
    compiled = compile_model(model, name="net", calibration=data, mean=0, std=255, nms=nms)
    with openhailo.open("twin:") as device:
        got = device.load(compiled.hef_bytes)(data[0])["net/yolov8_nms_postprocess"][0]
    session = ort.InferenceSession(model.SerializeToString())
    (raw,) = session.run(None, {"images": (data[:1] / 255).astype(np.float32).transpose(0, 3, 1, 2)})
    left, top, right, bottom = raw[0, :4]
    grids = [(64 // stride, stride) for stride in (8, 16, 32)]
    cells = np.concatenate([np.indices((n, n)).reshape(2, -1).T + 0.5 for n, _ in grids])
    stride = np.concatenate([np.full(n * n, stride) for n, stride in grids])
    y, x = cells.T
    want = np.stack([y - top, x - left, y + bottom, x + right], axis=1) * stride[:, None] / 64
    assert got.shape == (len(want), 10)
    assert np.abs(got[:, :4] - want).max() < 0.1 * np.ptp(want)
    assert np.corrcoef(got[:, :4].ravel(), want.ravel())[0, 1] > 0.999
    assert np.abs(got[:, 4:] - raw[0, 4:].T).max() < 0.05
