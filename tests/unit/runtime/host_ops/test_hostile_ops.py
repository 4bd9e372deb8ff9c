"""Ops that cannot be: typed errors when the file is described, in bounded time and memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.runtime.host_ops import op_rig as rig

from openhailo.errors import HefError, InvalidHef, UnsupportedHef
from openhailo.hef import model as hm
from openhailo.hef import ops as o
from openhailo.hef.composer import StreamSpec
from openhailo.hef.enums import LogitsType, PadFormatOrder, PadFormatType
from openhailo.runtime.formats import FormatOrder

NAN, INF = float("nan"), float("inf")
REG, CLS = rig.layer("net/reg", (2, 2, 16)), rig.layer("net/cls", (2, 2, 5))
DECODER = o.Yolov8BboxDecoder(8, 1, 2)
METHOD = o.Yolov8NmsOp(16.0, 16.0, 0, (DECODER,), 4)
BODY = o.NmsOp(0.5, 0.5, 10, 5, method=METHOD)


def v8(specs=(REG, CLS), *, method=None, **changes):
    body = replace(BODY, **changes)
    return rig.file_of(replace(body, method=replace(METHOD, **method)) if method else body, list(specs))


def describe(file):
    return rig.described(file).host_ops


def test_the_file_that_is_bent_is_fine():
    assert len(describe(v8())) == 1


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        (v8(classes=6), "op channels"),
        (v8(classes=0), "NMS classes"),
        (v8(classes=1 << 32), "op channels"),
        (v8(classes=(1 << 32) + 5), "op channels"),
        (v8(background_removal=True, background_removal_index=2), "NMS classes"),
        (v8([REG, rig.layer("net/cls", (2, 2, 1))], classes=1, background_removal=True), "NMS classes"),
        (v8(max_proposals_per_class=0), "NMS limits"),
        (v8(max_proposals_per_class=1 << 31), "NMS limits"),
        (v8(nms_score_th=NAN), "NMS numbers"),
        (v8(nms_iou_th=INF), "NMS numbers"),
        (v8(method={"image_height": 0.0}), "NMS numbers"),
        (v8(method={"image_width": NAN}), "NMS numbers"),
        (v8(method={"image_width": INF}), "NMS numbers"),
        (v8(method={"image_height": -16.0}), "NMS numbers"),
        (v8(method={"regression_length": 0}), "op channels"),
        (v8(method={"regression_length": 1 << 30}), "op channels"),
        (v8(method={"bbox_decoders": ()}), "NMS decoders"),
        (v8(method={"bbox_decoders": (replace(DECODER, stride=0),)}), "NMS numbers"),
        (v8(method={"bbox_decoders": (replace(DECODER, reg_pad_index=0),)}), "decoder pads"),
        (v8(method={"bbox_decoders": (replace(DECODER, cls_pad_index=77),)}), "decoder pads"),
        (v8([REG, rig.layer("net/cls", (2, 3, 5))]), "op grid"),
        (v8([REG, CLS, rig.layer("net/more", (2, 2, 5))]), "op wiring"),
        (v8([REG, rig.layer("net/cls", (2, 2, 5), scale=NAN)]), "quantisation"),
        (rig.file_of(replace(BODY, method=None), [REG, CLS]), "op kind"),
        (rig.file_of(BODY, [REG, CLS], wired=[]), "op wiring"),
        (rig.file_of(BODY, [REG, CLS], wired=[1]), "decoder pads"),
        (rig.file_of(BODY, [REG, CLS], wired=[1, 2, 9]), "op wiring"),
        (rig.file_of(BODY, [REG, CLS], wired=[0, 1]), "op wiring"),
        (rig.file_of(BODY, [REG, CLS], pad=o.Pad(200)), "op output"),
        (rig.file_of(BODY, [REG, CLS, CLS]), "output names"),
    ],
)
def test_ops_that_break_a_rule(file, rule):
    with pytest.raises(InvalidHef) as error:
        describe(file)
    assert error.value.rule == rule


@pytest.mark.parametrize(
    ("file", "needle"),
    [
        (v8(method={"bbox_decoders": (DECODER, DECODER)}), "reads a layer twice"),
        (v8([REG, rig.layer("net/cls", (2, 2, 5), order=FormatOrder.F8CR, padded=(2, 2, 8))]), "order F8CR"),
        (
            v8([REG, replace(CLS, quant=hm.QuantInfo(0, 1, 0, 1, (0.0,) * 5, (1.0, 1.0, 1.0, 1.0, 2.0)))]),
            "quantised differently",
        ),
        (
            rig.file_of(replace(BODY, method=o.YoloxNmsOp(16.0, 16.0, (o.YoloxBboxDecoder(8, 1, 2, 2),))), [REG, CLS]),
            "the op says 1",
        ),
        (
            rig.file_of(
                replace(
                    BODY,
                    classes=4,
                    bbox_decoding_only=True,
                    method=o.YoloxNmsOp(16.0, 16.0, (o.YoloxBboxDecoder(8, 1, 2, 3),)),
                ),
                [rig.layer("net/r", (2, 2, 4)), rig.layer("net/c", (2, 2, 4)), rig.layer("net/o", (2, 2, 1))],
            ),
            "can do without NMS",
        ),
        (
            rig.file_of(o.LogitsOp(LogitsType.SOFTMAX), [CLS], pad=o.Pad(200, "net/op", PadFormatOrder.NHCW)),
            "gives order NHCW",
        ),
    ],
)
def test_ops_that_are_not_supported(file, needle):
    with pytest.raises(HefError, match=needle):
        describe(file)


def two_ops():
    file = v8()
    group = file.network_groups[0]
    other = hm.Op(o.LogitsOp(LogitsType.ARGMAX), "more", (o.Pad(300),), (o.Pad(301, "net/more"),))
    group = replace(group, ops=(*group.ops, other), pad_edges=(*group.pad_edges, o.PadEdge(2, 300)))
    return replace(file, network_groups=(group,))


def test_a_layer_that_two_ops_read():
    with pytest.raises(UnsupportedHef, match="more than once"):
        describe(two_ops())


def test_an_op_without_an_output():
    file = v8()
    group = file.network_groups[0]
    for pads in ((), (o.Pad(1, "a"), o.Pad(2, "b"))):
        ops = (group.ops[0], replace(group.ops[1], output_pads=pads))
        with pytest.raises(InvalidHef):
            describe(replace(file, network_groups=(replace(group, ops=ops),)))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"proto_info": None}, "op wiring"),
        ({"proto_info": o.YoloSegProtoInfo(4, 4, "net/none")}, "op wiring"),
        ({"image_height": 1e9}, "NMS numbers"),
        ({"image_height": 20000.0, "image_width": 20000.0}, "NMS numbers"),
        ({"image_height": 16.5}, "NMS numbers"),
        ({"image_width": 0.25}, "NMS numbers"),
        ({"mask_threshold": NAN}, "NMS numbers"),
        ({"bbox_decoders": (o.YoloBboxDecoder((), (), 8, 1),)}, "anchors"),
        ({"bbox_decoders": (o.YoloBboxDecoder((1, 2), (1,), 8, 1),)}, "anchors"),
        ({"bbox_decoders": (o.YoloBboxDecoder((1, 2), (1, 2), 8, 1),)}, "op channels"),
    ],
)
def test_masks_that_cannot_be(changes, rule):
    specs = [rig.layer("net/out", (2, 2, 11)), rig.layer("net/proto", (4, 4, 4))]
    decoder = o.YoloBboxDecoder((4,), (4,), 8, 1)
    method = o.YoloSegNmsOp(16.0, 16.0, (decoder,), o.YoloSegProtoInfo(4, 4, "net/proto"), 0.5)
    body = replace(BODY, classes=2)
    assert describe(rig.file_of(replace(body, method=method), specs))
    with pytest.raises(InvalidHef) as error:
        describe(rig.file_of(replace(body, method=replace(method, **changes)), specs))
    assert error.value.rule == rule


@pytest.mark.parametrize(
    "changes",
    [
        {"centers_scale_factor": 0},
        {"bbox_dimensions_scale_factor": 0},
        {"ty": 4},
        {"bbox_decoders": (o.SsdBboxDecoder((0.5,), (0.5, 0.2), 1, 2),)},
    ],
)
def test_ssd_that_cannot_be(changes):
    specs = [rig.layer("net/reg", (2, 2, 4)), rig.layer("net/cls", (2, 2, 5))]
    method = o.SsdNmsOp(16.0, 16.0, 10, 5, 0, 1, 2, 3, (o.SsdBboxDecoder((0.5,), (0.5,), 1, 2),))
    assert describe(rig.file_of(replace(BODY, method=method), specs))
    with pytest.raises(InvalidHef):
        describe(rig.file_of(replace(BODY, method=replace(method, **changes)), specs))


@pytest.mark.parametrize(("features", "kind"), [(257, PadFormatType.UINT8), (65537, PadFormatType.AUTO)])
def test_indices_that_do_not_fit(features, kind):
    spec = StreamSpec("net/map", (1, 1, features), FormatOrder.NC)
    with pytest.raises(InvalidHef, match="indices of"):
        describe(rig.file_of(o.LogitsOp(LogitsType.ARGMAX), [spec], pad=o.Pad(200, "net/op", format_type=kind)))


NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 5, 8, 16, 255, 1 << 16, (1 << 31) - 1, (1 << 32) - 1])
REALS = st.sampled_from([0.0, 0.5, 1.0, 16.0, -1.0, 1e-300, 1e9, 1e300, NAN, INF])
DECODERS = st.lists(st.builds(o.Yolov8BboxDecoder, NUMBERS, NUMBERS, NUMBERS), max_size=3).map(tuple)
ANCHORS = st.lists(NUMBERS, max_size=3).map(tuple)
YOLO = st.lists(st.builds(o.YoloBboxDecoder, ANCHORS, ANCHORS, NUMBERS, NUMBERS), max_size=3).map(tuple)
SIZES = st.lists(REALS, max_size=3).map(tuple)
METHODS = st.one_of(
    st.builds(o.Yolov8NmsOp, REALS, REALS, NUMBERS, DECODERS, NUMBERS),
    st.builds(o.YoloNmsOp, REALS, REALS, NUMBERS, YOLO),
    st.builds(
        o.YoloxNmsOp, REALS, REALS, st.lists(st.builds(o.YoloxBboxDecoder, *[NUMBERS] * 4), max_size=2).map(tuple)
    ),
    st.builds(
        o.SsdNmsOp,
        REALS,
        REALS,
        *[NUMBERS] * 6,
        st.lists(st.builds(o.SsdBboxDecoder, SIZES, SIZES, NUMBERS, NUMBERS), max_size=2).map(tuple),
    ),
    st.builds(
        o.YoloSegNmsOp,
        REALS,
        REALS,
        YOLO,
        st.builds(o.YoloSegProtoInfo, NUMBERS, NUMBERS, st.sampled_from(["net/reg", "net/cls", ""])),
        REALS,
    ),
    st.just(o.IouNmsOp()),
    st.none(),
)
BODIES = st.builds(o.NmsOp, REALS, REALS, NUMBERS, NUMBERS, st.booleans(), NUMBERS, st.booleans(), METHODS)


@settings(max_examples=400, deadline=None)
@given(BODIES, st.lists(st.integers(0, 3), max_size=3))
def test_absurd_ops_raise_nothing_but_our_errors(body, wired):
    try:
        (op,) = describe(rig.file_of(body, [REG, CLS], wired=wired))
    except HefError as error:
        assert str(error)
        return
    assert all(layer.name in ("net/reg", "net/cls") for layer in op.layers)


def test_descriptions_are_small():
    """A file may say what it wants about images and classes: what is not refused is not held either."""
    tracemalloc.start()
    try:
        for changes in ({"classes": 1 << 32}, {"max_proposals_per_class": 1 << 31}):
            with pytest.raises(HefError):
                describe(v8(**changes))
        describe(v8(method={"image_height": float(1 << 20), "image_width": 1.0}))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
