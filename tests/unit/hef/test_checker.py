"""One test per row of the mutation table (hef.md 16), and the rules of the other sections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hef_samples import (
    add_actions,
    anchored_hef,
    boxes_hef,
    edit_context,
    edit_core,
    edit_layer,
    hailo8l_hef,
    minimal_hef,
    mux_hef,
    nms_hef,
    planes_hef,
)

from openhailo.errors import InvalidHef
from openhailo.hef import check, ops, write
from openhailo.hef import model as m
from openhailo.hef import operations as o
from openhailo.hef.checker import RULES, Severity

Edit = Callable[[], m.Hef]


def test_the_samples_break_no_rule(any_hef: m.Hef) -> None:
    assert check(any_hef) == []


def test_every_rule_has_a_source_and_says_what_it_holds() -> None:
    for rule in RULES.values():
        assert rule.source
        assert rule.find.__doc__


# --- pieces of edits --------------------------------------------------------------------------------------------------


def header(**changes: object) -> m.Hef:
    hef = minimal_hef()
    return replace(hef, header=replace(hef.header, **changes))  # type: ignore[arg-type]


def extensions(*numbers: int, base: Edit = minimal_hef) -> m.Hef:
    return replace(base(), extensions=tuple(m.Extension(number) for number in numbers))


def group(base: Edit = minimal_hef, **changes: object) -> m.Hef:
    hef = base()
    return replace(hef, network_groups=(replace(hef.network_groups[0], **changes),))  # type: ignore[arg-type]


def core(base: Edit = minimal_hef, **changes: object) -> m.Hef:
    return edit_core(base(), lambda core_op: replace(core_op, **changes))  # type: ignore[arg-type]


def context(**changes: object) -> m.Hef:
    return edit_context(minimal_hef(), lambda ctx: replace(ctx, **changes))  # type: ignore[arg-type]


def inputs(*indices: int) -> m.Operation:
    return m.Operation(actions=tuple(o.AllowInputDataflow(index) for index in indices))


def ddr(*, rows: int = 512, extension: bool = True, released: bool = False) -> m.Hef:
    """The minimal HEF with an input and an output through DDR."""
    hef = minimal_hef()
    switch = m.ContextSwitchInfo(m.Connection.DDR, buffers=4, connected_contexts=(m.ConnectedContext(0, "", 3),))
    base = hef.network_groups[0].core_op.contexts[0].edge_layers[0]
    layers = tuple(
        replace(
            base, name=f"ddr{n}", direction=m.Direction(n), sys_index=n + 2, switch=switch, core_bytes_per_buffer=rows
        )
        for n in (0, 1)
    )
    hef = edit_context(hef, lambda ctx: replace(ctx, edge_layers=ctx.edge_layers + layers))
    if released:
        hef = edit_context(hef, lambda ctx: replace(ctx, operations=(inputs(0, 2),)))
    return replace(hef, extensions=(*hef.extensions, m.Extension(3))) if extension else hef


def test_ddr_layers_alone_break_no_rule() -> None:
    assert check(ddr()) == []


# --- the table --------------------------------------------------------------------------------------------------------

ROWS: dict[str, tuple[Edit, str]] = {
    "header.version 0": (lambda: header(version=0), "header version"),
    "hw_arch 0": (lambda: header(hw_arch=m.HwArch.HAILO8_A0), "hw arch"),
    "extension 26": (lambda: extensions(13), "extension 26"),
    "extension 13": (lambda: extensions(26), "extension 13"),
    "extension 7": (lambda: extensions(13, 26, 7), "unknown extension"),
    "extension 8": (lambda: extensions(13, 26, 8), "unknown extension"),
    "extension 33": (lambda: extensions(13, 26, 33), "unknown extension"),
    "extension 65535": (lambda: extensions(13, 26, 65535), "unknown extension"),
    "network_groups": (lambda: replace(minimal_hef(), network_groups=()), "network groups"),
    "group name": (lambda: group(metadata=m.GroupMetadata("other")), "group name"),
    "core_op name": (lambda: core(metadata=m.GroupMetadata("other")), "group name"),
    "no name at all": (
        lambda: group(lambda: core(metadata=m.GroupMetadata()), metadata=m.GroupMetadata()),
        "group name",
    ),
    "sorted_outputs_order": (lambda: group(sorted_outputs_order=()), "sorted outputs"),
    "ops": (lambda: group(ops=()), "core op"),
    "core_op": (lambda: group(ops=(m.Op(ops.LogitsOp(), output_pads=(m.Pad(),)),)), "core op"),
    "contexts": (lambda: core(contexts=()), "core op"),
    "no allow_input_dataflow": (lambda: context(operations=()), "input dataflow"),
    "two groups of it": (
        lambda: context(operations=(inputs(0), m.Operation(actions=(o.NoAction(),)), inputs(0))),
        "input dataflow",
    ),
    "edge_layers": (lambda: context(edge_layers=()), "edge layers"),
    "direction of the output": (
        lambda: edit_layer(minimal_hef(), 1, direction=m.Direction.HOST_TO_DEVICE),
        "directions",
    ),
    "buffer_indices": (lambda: edit_layer(minimal_hef(), 1, buffer_indices=()), "buffer indices"),
    "two buffer_indices": (
        lambda: edit_layer(minimal_hef(), 1, buffer_indices=(m.ResourceIndices(),) * 2),
        "buffer indices",
    ),
    "numeric_info": (lambda: edit_layer(minimal_hef(), 1, quant=m.QuantInfo()), "numeric info"),
    "sys_index taken": (lambda: edit_layer(minimal_hef(), 1, sys_index=0), "stream index"),
    "data_bytes 0": (lambda: edit_layer(minimal_hef(), 1, data_bytes=0), "data bytes"),
    "data_bytes 4": (lambda: edit_layer(minimal_hef(), 1, data_bytes=4), "data bytes"),
    "enable_nms classes": (lambda: add_actions(minimal_hef(), o.EnableNms(burst_size=1)), "enable nms"),
    "enable_nms burst": (lambda: add_actions(minimal_hef(), o.EnableNms(number_of_classes=1)), "enable nms"),
    "ddr layer released": (lambda: ddr(released=True), "ddr input dataflow"),
    "ddr row size": (lambda: ddr(rows=520), "ddr row size"),
    "ddr without extension": (lambda: ddr(extension=False), "padded ddr extension"),
}
ROWS |= {
    f"{shape} {place}": (
        lambda shape=shape, place=place: edit_layer(minimal_hef(), 0, **{shape: zeroed(m.Shape(8, 8, 3), place)}),  # type: ignore[misc]
        "zero shape",
    )
    for shape in ("shape", "padded_shape")
    for place in range(3)
}


def zeroed(shape: m.Shape, place: int) -> m.Shape:
    return m.Shape(*(0 if n == place else size for n, size in enumerate(shape)))


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table_is_an_error_that_names_it(row: str) -> None:
    make, rule = ROWS[row]
    hef = make()
    found = {finding.rule: finding for finding in check(hef)}
    assert rule in found
    assert found[rule].severity is Severity.ERROR
    assert found[rule].detail
    with pytest.raises(InvalidHef):
        write(hef)


OPTIONAL: dict[str, Edit] = {
    "timestamp, sdk_version": lambda: header(timestamp=0, sdk_version=""),
    "networks_names": lambda: group(networks_names=()),
    "op.name, pads": minimal_hef,
    "cfg_channels_count": lambda: core(metadata=m.GroupMetadata("net")),
    "preliminary_config": lambda: core(preliminary=()),
    "CCW size 0": lambda: core(preliminary=(m.Operation(actions=(m.WriteCcw(b""),)),)),
    "context name and index": lambda: context(name="", index=9),
    "format 0": lambda: edit_layer(minimal_hef(), 1, format_code=0),
    "core registers 0": lambda: edit_layer(minimal_hef(), 0, core_bytes_per_buffer=0, core_buffers_per_frame=0),
    "original_names": lambda: edit_layer(minimal_hef(), 0, original_names=()),
    "context_switch_info": lambda: edit_layer(minimal_hef(), 0, switch=None),
    "pad_index": lambda: edit_layer(minimal_hef(), 1, pad_index=None),
    "core_op.sorted_outputs_order": lambda: core(sorted_outputs_order=()),
    "group.network_group_name": lambda: group(declared_name=""),
    "extension names": lambda: extensions(13, 26),
    "only qp_scale 0": lambda: edit_layer(minimal_hef(), 1, quant=m.QuantInfo(1, 0, 0, 255)),
    "only limvals_max 0": lambda: edit_layer(minimal_hef(), 1, quant=m.QuantInfo(0, 1, 0, 0)),
    "shared sys_index with extension 20": lambda: replace(
        edit_layer(minimal_hef(), 1, sys_index=0), extensions=tuple(m.Extension(n) for n in (13, 20, 26))
    ),
}


@pytest.mark.parametrize("what", OPTIONAL)
def test_what_the_table_calls_optional_breaks_no_rule(what: str) -> None:
    hef = OPTIONAL[what]()
    assert check(hef) == []
    write(hef)


# --- rules of the other sections --------------------------------------------------------------------------------------


def channels(*indices: int, count: int = 4) -> m.Hef:
    metadata = m.GroupMetadata("net", cfg_channels_count=count)
    writes = tuple(m.WriteCcw(b"12345678", index) for index in indices)
    return core(metadata=metadata, preliminary=(m.Operation(actions=writes),))


def big(size: int) -> m.Hef:
    return core(preliminary=(m.Operation(actions=(m.WriteCcw(bytes(size)),)),))


def boxes(**changes: object) -> m.Hef:
    hef = boxes_hef()
    nms = hef.network_groups[0].core_op.contexts[0].edge_layers[1].nms
    assert nms is not None
    return edit_layer(hef, 1, nms=replace(nms, **changes))  # type: ignore[arg-type]


def many_outputs() -> m.Hef:
    hef = minimal_hef()
    layer = hef.network_groups[0].core_op.contexts[0].edge_layers[1]
    more = tuple(replace(layer, name=f"net/out{n}", sys_index=n, pad_index=n) for n in range(2, 19))
    return edit_context(hef, lambda ctx: replace(ctx, edge_layers=ctx.edge_layers + more))


def intermediate(connected: int) -> m.Hef:
    switch = m.ContextSwitchInfo(m.Connection.INTERMEDIATE, connected_contexts=(m.ConnectedContext(1),) * connected)
    hef = minimal_hef()
    layer = hef.network_groups[0].core_op.contexts[0].edge_layers[1]
    more = replace(layer, name="inner", sys_index=4, switch=switch)
    return edit_context(hef, lambda ctx: replace(ctx, edge_layers=(*ctx.edge_layers, more)))


def output(*shape: int, padded: tuple[int, int, int] | None = None, **changes: object) -> m.Hef:
    padded_shape = m.Shape(*(padded or shape))
    return edit_layer(minimal_hef(), 1, shape=m.Shape(*shape), padded_shape=padded_shape, **changes)


def per_feature(count: int, *, inputs_equal: bool = True) -> m.Hef:
    quant = m.QuantInfo(0, 1, 0, 255, (0.0,) * count, (1.0,) * count)
    hef = edit_layer(minimal_hef(), 1, quant=quant)
    other = m.QuantInfo(0, 1, 0, 255, (0.0, 0.0), (1.0, 1.0 if inputs_equal else 2.0))
    hef = edit_layer(hef, 0, quant=other)
    return replace(hef, extensions=(*hef.extensions, m.Extension(25)))


def yolo(*decoders: ops.YoloBboxDecoder) -> m.Hef:
    return nms_hef(ops.YoloNmsOp(64, 64, 0, decoders))


def padded_input_of_nms() -> m.Hef:
    return edit_layer(anchored_hef(), 1, shape=m.Shape(4, 4, 30))


OTHERS: dict[str, tuple[Edit, str]] = {
    "write_data": (lambda: add_actions(minimal_hef(), o.WriteData(4, b"x")), "unsupported action"),
    "write_compressed_data": (lambda: add_actions(minimal_hef(), o.WriteCompressedData()), "unsupported action"),
    "trigger_all_data_was_received": (
        lambda: context(operations=(m.Operation(o.TriggerAllDataWasReceived(), inputs(0).actions),)),
        "unsupported action",
    ),
    "release of an output": (lambda: context(operations=(inputs(0, 1),)), "input dataflow layer"),
    "unaligned address": (lambda: add_actions(minimal_hef(), o.WriteDataByType(6)), "write data by type"),
    "five bytes": (lambda: add_actions(minimal_hef(), o.WriteDataByType(data=b"12345")), "write data by type"),
    "shift 256": (lambda: add_actions(minimal_hef(), o.WriteDataByType(shift=256)), "write data by type"),
    "config channel gap": (lambda: channels(0, 2), "config channels"),
    "config channel not declared": (lambda: channels(0, 1, count=1), "config channels"),
    "five config channels": (lambda: channels(0, count=5), "config channels"),
    "config channel 2**32 - 1": (lambda: channels(2**32 - 1), "config channels"),
    "group above 256 MiB": (lambda: big(65535 * 4096 + 1), "ccw group size"),
    "group above 32 MiB": (lambda: big(65535 * 512 + 1), "ccw page size"),
    "duplicate group": (
        lambda: replace(minimal_hef(), network_groups=minimal_hef().network_groups * 2),
        "duplicate group",
    ),
    "two layers of one name": (lambda: edit_layer(minimal_hef(), 1, name="net/in"), "streams"),
    "group name of 128 bytes": (
        lambda: group(lambda: core(metadata=m.GroupMetadata("n" * 128)), metadata=m.GroupMetadata("n" * 128)),
        "name length",
    ),
    "stream name of 128 bytes": (lambda: edit_layer(minimal_hef(), 1, name="ü" * 64), "name length"),
    "network index": (
        lambda: replace(edit_layer(minimal_hef(), 0, network_index=1), optional_extensions=(m.Extension(8),)),
        "network index",
    ),
    "nine networks": (
        lambda: replace(group(networks_names=tuple("abcdefghi")), optional_extensions=(m.Extension(8),)),
        "network index",
    ),
    "an output not in the order": (
        lambda: group(mux_hef, sorted_outputs_order=("net/leaf0", "net/leaf1")),
        "sorted outputs",
    ),
    "aligned ccws": (lambda: extensions(13, 26, 32), "aligned ccws"),
    "no layouts": (lambda: header(hw_arch=m.HwArch.HAILO8L), "cluster layouts"),
    "no partial groups": (lambda: group(hailo8l_hef, partial_network_groups=()), "cluster layouts"),
    "a layout twice": (
        lambda: core(hailo8l_hef, partial_core_ops=hailo8l_hef().network_groups[0].core_op.partial_core_ops[:1] * 2),
        "cluster layouts",
    ),
    "too many contexts": (
        lambda: edit_core(minimal_hef(), lambda core_op: replace(core_op, contexts=core_op.contexts * 1022)),
        "context count",
    ),
    "too many channels": (many_outputs, "boundary channels"),
    "core_bytes_per_buffer": (lambda: edit_layer(minimal_hef(), 0, core_bytes_per_buffer=65536), "core registers"),
    "host_argmax": (lambda: edit_layer(minimal_hef(), 1, host_argmax=True), "host argmax"),
    "inner layer without peer": (lambda: intermediate(0), "connected contexts"),
    "format code": (lambda: edit_layer(minimal_hef(), 1, format_code=9), "format"),
    "F8CR": (lambda: output(4, 4, 12, format_code=7), "format"),
    "YUY2": (lambda: output(3, 3, 2, format_code=11), "format"),
    "boxes without nms_info": (lambda: edit_layer(minimal_hef(), 1, format_code=6), "format"),
    "padded smaller": (lambda: output(4, 4, 8, padded=(4, 4, 4)), "padding"),
    "frame of 11 bytes": (lambda: output(1, 1, 11), "frame alignment"),
    "large frame of odd bytes": (
        lambda: replace(output(301, 301, 3), optional_extensions=(m.Extension(11),)),
        "frame alignment",
    ),
    "frame that fits nowhere": (lambda: output(1 << 16, 1 << 16, 1), "frame size"),
    "scales per feature": (lambda: per_feature(15), "scale per feature"),
    "different scales of an input": (lambda: per_feature(16, inputs_equal=False), "scale per feature"),
    "infinite scale": (
        lambda: edit_layer(minimal_hef(), 1, quant=m.QuantInfo(0, float("inf"), 0, 255)),
        "numeric info",
    ),
    "mux of nothing": (lambda: edit_layer(mux_hef(), 1, mux=m.MuxInfo(1)), "mux"),
    "mux as input": (lambda: edit_layer(mux_hef(), 1, direction=m.Direction.HOST_TO_DEVICE), "mux"),
    "planes as output": (lambda: edit_layer(planes_hef(), 0, direction=m.Direction.DEVICE_TO_HOST), "planes"),
    "planes of nothing": (lambda: edit_layer(planes_hef(), 0, planes=m.PlanesInfo()), "planes"),
    "boxes of one byte": (lambda: edit_layer(boxes_hef(), 1, data_bytes=1), "nms stream"),
    "boxes of 10 bytes": (lambda: boxes(bbox_size=10), "nms stream"),
    "boxes without classes": (lambda: boxes(number_of_classes=0), "nms stream"),
    "burst without extension 19": (lambda: boxes(burst_type=m.NmsBurst.H8_PER_CLASS), "nms stream"),
    "part ten": (lambda: boxes(defuse_info=m.NmsDefuseInfo(9, "net/fused")), "nms stream"),
    "more boxes than memory": (lambda: boxes(max_output_size=2**60), "frame size"),
    "transposed boxes": (lambda: edit_layer(boxes_hef(), 1, transposed=True), "nms stream"),
    "an empty op": (lambda: group(ops=(*minimal_hef().network_groups[0].ops, m.Op(None))), "op kind"),
    "nms without method": (lambda: nms_hef(ops.IouNmsOp(), method=None), "op kind"),
    "input pad wired to nothing": (lambda: group(anchored_hef, pad_edges=(m.PadEdge(5, 7),)), "op wiring"),
    "decoder of another pad": (lambda: yolo(ops.YoloBboxDecoder((1,), (1,), 8, 7)), "decoder pads"),
    "anchors without heights": (lambda: yolo(ops.YoloBboxDecoder((), (1,), 8, 1)), "anchors"),
    "nms of NHWC": (lambda: edit_layer(anchored_hef(), 1, format_code=0), "op inputs"),
    "nms of padded features": (padded_input_of_nms, "op inputs"),
    "two outputs of an op": (
        lambda: group(
            anchored_hef,
            ops=(
                anchored_hef().network_groups[0].ops[0],
                replace(anchored_hef().network_groups[0].ops[1], output_pads=(m.Pad(1), m.Pad(2))),
            ),
        ),
        "op output",
    ),
    "a result that fits nowhere": (lambda: nms_hef(ops.IouNmsOp(), classes=2**31), "op output"),
    "masks of no number": (lambda: nms_hef(ops.YoloSegNmsOp(float("nan"), 1.0)), "op output"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_rules_of_the_other_sections(what: str) -> None:
    make, rule = OTHERS[what]
    assert rule in {finding.rule for finding in check(make())}


def test_every_rule_has_a_test_that_breaks_it() -> None:
    tested = {rule for _, rule in (*ROWS.values(), *OTHERS.values())}
    assert set(RULES) - tested == {"layout count"}  # below


def test_more_layouts_than_sets_of_clusters() -> None:
    hef = hailo8l_hef()
    partials = hef.network_groups[0].core_op.partial_core_ops * 129
    hef = edit_core(hef, lambda core_op: replace(core_op, partial_core_ops=partials))
    assert "layout count" in {finding.rule for finding in check(hef)}


def test_errors_come_first() -> None:
    hef = replace(edit_layer(minimal_hef(), 1, buffer_indices=()), extensions=tuple(map(m.Extension, (13, 26, 32))))
    assert [finding.severity for finding in check(hef)] == [Severity.ERROR, Severity.WARNING]


def test_warnings_do_not_stop_the_writer() -> None:
    assert write(extensions(13, 26, 32))


def test_a_finding_says_where() -> None:
    (finding,) = check(edit_layer(minimal_hef(), 1, buffer_indices=()))
    assert finding.where == "net.contexts[0].edge_layers[1] 'net/out'"
    assert finding.source == "hef.md 16: buffer_indices empty"
