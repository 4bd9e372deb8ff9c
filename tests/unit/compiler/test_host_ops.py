"""Which tensors host ops get, and what a compilation says when some are missing."""

from __future__ import annotations

import numpy as np
import pytest
from compiler_graphs import Builder, pixels
from hypothesis import given
from hypothesis import strategies as st

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
