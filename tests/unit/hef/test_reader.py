"""Reading: real files, damaged files, structures that cannot be modelled."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from hef_samples import REAL, minimal_hef, mux_hef, proto_of, seal_bytes

from openhailo.errors import BadChecksum, HefError, InputError, InvalidHef, NotAHef, Truncated, UnsupportedHef
from openhailo.hef import check, read, write
from openhailo.hef.model import Connection, Direction, Hef, HwArch, QuantInfo, Shape
from openhailo.hef.operations import AllowInputDataflow, DisableLcu, TriggerNone, WriteCcw
from openhailo.hef.schema import hef_pb2 as pb
from openhailo.spec.program import FormatOrder

facts = pytest.mark.facts

# --- real files -------------------------------------------------------------------------------------------------------


@facts
def test_a_real_file_reads_and_breaks_no_rule(real_path: Path) -> None:
    hef = read(real_path)
    assert hef.header.hw_arch is HwArch.HAILO8P
    assert hef.container is not None
    assert hef.container.file_size == real_path.stat().st_size
    assert hef.version == int(real_path.stem[-1])
    assert check(hef) == []


@facts
@pytest.mark.parametrize("stem", REAL)
def test_streams_are_those_that_the_official_tool_lists(stem: str, shared_dir: Path) -> None:
    printed = json.loads((shared_dir / "traces" / stem / "parse_hef.json").read_text())["parse_hef_streams"]["stdout"]
    listed = re.findall(r"(Input|Output)\s+(\S+) UINT8, (\w+)\((\w+)\)", printed)
    group = read(shared_dir / "hefs" / f"{stem}.hef").network_group()
    streams = group.input_streams + group.output_streams
    ours = [(s.direction, s.name, s.order, s.shape) for s in (*streams, *group.vstreams)]
    assert [described(*row) for row in ours] == listed
    assert f"Network group name: {group.name}, Single Context" in printed
    assert f"Network name: {group.network_names[0]}" in printed


def described(direction: Direction, name: str, order: FormatOrder, shape: Shape) -> tuple[str, str, str, str]:
    sizes = [shape.features] if order is FormatOrder.NC else list(shape)
    kind = "Input" if direction is Direction.HOST_TO_DEVICE else "Output"
    return kind, name, order.name, "x".join(map(str, sizes))


@facts
def test_quantisation_of_the_real_files(shared_dir: Path) -> None:
    outputs = {stem: read(shared_dir / "hefs" / f"{stem}.hef").network_group() for stem in REAL}
    mnist, _, face, skill = outputs.values()
    assert mnist.input_vstreams[0].quant == QuantInfo(0.0, 1.0, 0.0, 255.0, (0.0,), (1.0,))
    assert mnist.output_vstreams[0].quant.qp_scale == pytest.approx(0.0253543071, rel=1e-7)
    assert face.output_vstreams[0].quant.qp_zp == 144.0
    assert len(face.output_vstreams[0].quant.qp_scales) == 512
    assert skill.input_vstreams[0].quant.qp_scale == pytest.approx(0.0187, abs=1e-4)
    assert skill.input_vstreams[0].quant.qp_zp == 114.0
    assert skill.output_vstreams[0].original_names == ("/classifier/classifier.1/Gemm",)


@facts
def test_configuration_bytes_are_grouped_as_the_official_library_groups_them(shared_dir: Path) -> None:
    """Section 6 of the traces: groups of 64, 64, 9096 and 35800 bytes."""
    core_op = read(shared_dir / "hefs" / f"{REAL[0]}.hef").network_group().core_op_for()
    groups: list[int] = []
    for operation in core_op.preliminary:
        sizes: dict[int, int] = {}
        for action in (*operation.actions, None):
            if isinstance(action, WriteCcw):
                sizes[action.cfg_channel_index] = sizes.get(action.cfg_channel_index, 0) + len(action.data)
            else:
                groups += sizes.values()
                sizes = {}
    assert groups == [64, 64, 9096, 35800]


@facts
@pytest.mark.parametrize("stem", REAL)
def test_configuration_streams_are_those_on_the_wire(stem: str, shared_dir: Path) -> None:
    """Each config channel's bytes, put together, are what the official library sent to the device."""
    core_op = read(shared_dir / "hefs" / f"{stem}.hef").network_group().core_op_for()
    streams: dict[int, bytes] = {}
    for operation in core_op.preliminary:
        for action in operation.actions:
            if isinstance(action, WriteCcw):
                streams[action.cfg_channel_index] = streams.get(action.cfg_channel_index, b"") + action.data
    lines = (shared_dir / "traces" / stem / "run_c8.jsonl").read_text().splitlines()
    sent = [record for record in map(json.loads, lines) if record["k"] == "config_dma"]
    recorded = {record["config_stream"]: (record["length"], record["sha256"]) for record in sent}
    assert len(recorded) == 2
    assert {n: (len(data), hashlib.sha256(data).hexdigest()) for n, data in streams.items()} == recorded


@facts
def test_operations_of_a_real_file(shared_dir: Path) -> None:
    core_op = read(shared_dir / "hefs" / f"{REAL[0]}.hef").network_group().core_op_for()
    (operation,) = core_op.contexts[0].operations
    assert operation.trigger == TriggerNone(unique_id=1)
    assert operation.actions == (AllowInputDataflow(1, Connection.BOUNDARY, unique_id=104),)
    first = core_op.preliminary[0].actions[0]
    assert first == DisableLcu(lcu_index=8, cluster_index=4, lcu_enable_address=412090844, unique_id=116)
    assert core_op.cfg_channels_count == 2
    assert core_op.bottleneck_fps == pytest.approx(161095.449)


@facts
def test_configuration_bytes_are_views_into_the_file(shared_dir: Path) -> None:
    path = shared_dir / "hefs" / f"{REAL[2]}.hef"
    content = path.read_bytes()
    hef = read(content)
    writes = [a for op in hef.network_group().core_op_for().preliminary for a in op.actions if isinstance(a, WriteCcw)]
    assert all(isinstance(write.data, memoryview) and write.data.obj is content for write in writes)
    assert hef.container is not None
    for write_ in writes:
        start = hef.container.ccw_base + (write_.offset or 0)
        assert write_.data == content[start : start + len(write_.data)]
    assert read(path) == read(path, mapped=False) == hef


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(4))
def test_every_flipped_byte_behind_the_header_breaks_the_hash(version: int, minimal: Hef) -> None:
    data = bytearray(write(minimal, version))
    header = {0: 32, 1: 28, 2: 44, 3: 56}[version]
    for position in range(header, len(data), 7):
        data[position] ^= 0x10
        with pytest.raises(BadChecksum) as caught:
            read(bytes(data))
        assert caught.value.expected != caught.value.seen
        data[position] ^= 0x10
    read(bytes(data))


@pytest.mark.parametrize("version", range(4))
def test_a_file_cut_anywhere_is_refused(version: int, minimal: Hef) -> None:
    data = write(minimal, version)
    for length in range(0, len(data), 11):
        with pytest.raises((NotAHef, Truncated)):
            read(data[:length])
    with pytest.raises(Truncated):
        read(data + b"\0")


@pytest.mark.parametrize("version", range(4))
def test_integrity_fields_are_checked(version: int, minimal: Hef) -> None:
    data = bytearray(write(minimal, version))
    data[16 if version == 0 else 12] ^= 1
    with pytest.raises(BadChecksum):
        read(data)


def test_version_3_also_has_a_hash_of_its_protobuf_part(minimal: Hef) -> None:
    data = bytearray(write(minimal, 3))
    data[40] ^= 1
    with pytest.raises(BadChecksum, match="protobuf part"):
        read(data)
    data[40:48] = bytes(8)  # files of others may leave it out
    read(data)


def test_a_section_smaller_than_its_padding_is_refused() -> None:
    sealed = bytearray(seal_bytes(proto_of(minimal_hef()).SerializeToString(), b"", 3))
    sealed[28:32] = (1 << 20).to_bytes(4, "big")
    with pytest.raises(Truncated, match="padding"):
        read(sealed)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", NotAHef, "too few"),
        (b"\x7fELF" + bytes(100), NotAHef, "0x7F454C46"),
        (bytes.fromhex("0148454600000004") + bytes(100), UnsupportedHef, "version 4"),
        (bytes.fromhex("0148454600000002") + bytes(40), Truncated, "56 bytes needed"),
    ],
)
def test_other_files_are_named_as_such(data: bytes, error: type[HefError], words: str) -> None:
    with pytest.raises(error, match=words):
        read(data)


def test_a_path_that_cannot_be_read_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.hef: is not there"):
        read(tmp_path / "nothing.hef")
    with pytest.raises(InputError, match="is not there"):
        read("\0")
    with pytest.raises(InputError, match="not a regular file"):
        read(tmp_path)
    with pytest.raises(InputError, match="not a regular file"):
        read("/dev/zero")
    empty = tmp_path / "empty.hef"
    empty.touch()
    with pytest.raises(NotAHef):
        read(empty)


# --- structure --------------------------------------------------------------------------------------------------------


def layer_info(hef: pb.ProtoHEFHef) -> pb.ProtoHEFEdgeLayer:
    return hef.network_groups[0].ops[0].core_op.contexts[0].metadata.edge_layers[0]


def clear_base(hef: pb.ProtoHEFHef) -> None:
    layer_info(hef).layer_info.ClearField("edge_layer_base")


def clear_info(hef: pb.ProtoHEFHef) -> None:
    layer_info(hef).ClearField("layer_info")


def deny_kind(hef: pb.ProtoHEFHef) -> None:
    layer_info(hef).edge_layer_type = pb.PROTO__EDGE_LAYER_TYPE__MUX


def clear_trigger(hef: pb.ProtoHEFHef) -> None:
    hef.network_groups[0].ops[0].core_op.contexts[0].operations[0].ClearField("trigger")


def clear_action(hef: pb.ProtoHEFHef) -> None:
    hef.network_groups[0].ops[0].core_op.contexts[0].operations[0].actions[0].ClearField("allow_input_dataflow")


def clear_core_metadata(hef: pb.ProtoHEFHef) -> None:
    hef.network_groups[0].ops[0].core_op.ClearField("network_group_metadata")


@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        (lambda hef: hef.ClearField("header"), "header version"),
        (lambda hef: hef.ClearField("network_groups"), "network groups"),
        (lambda hef: hef.network_groups[0].ClearField("ops"), "core op"),
        (lambda hef: hef.network_groups[0].ops[0].ClearField("core_op"), "op kind"),
        (lambda hef: hef.network_groups[0].ops[0].core_op.ClearField("contexts"), "core op"),
        (clear_core_metadata, "core op"),
        (clear_base, "layer info"),
        (clear_info, "layer info"),
        (deny_kind, "layer kind"),
        (clear_trigger, "trigger unset"),
        (clear_action, "action unset"),
    ],
)
def test_what_crashes_the_vendors_library_is_refused_with_its_rule(edit: object, rule: str) -> None:
    message = proto_of(minimal_hef())
    assert callable(edit)
    message.mapping = b"no file is as short as this one without"
    edit(message)
    with pytest.raises(InvalidHef) as caught:
        read(seal_bytes(message.SerializeToString(), version=0))
    assert caught.value.rule == rule


@pytest.mark.parametrize("number", [7, 8, 33, 4711, 65535])
def test_demanded_extensions_that_nobody_knows_are_refused(number: int) -> None:
    message = proto_of(minimal_hef())
    message.extensions.add(type_index=number)
    with pytest.raises(UnsupportedHef, match=f"extension {number}"):
        read(seal_bytes(message.SerializeToString(), version=0))


def test_extension_26_is_demanded() -> None:
    message = proto_of(minimal_hef())
    del message.extensions[1]
    with pytest.raises(UnsupportedHef, match="PERIPH_CALCULATION_IN_HAILORT"):
        read(seal_bytes(message.SerializeToString(), version=0))


def test_unknown_numbers_of_enums_are_named() -> None:
    message = proto_of(minimal_hef())
    message.header.hw_arch = 77  # type: ignore[assignment]
    with pytest.raises(UnsupportedHef, match="HwArch 77"):
        read(seal_bytes(message.SerializeToString(), version=0))


def test_configuration_bytes_belong_where_the_version_says() -> None:
    inside = proto_of(minimal_hef()).SerializeToString()
    with pytest.raises(InvalidHef, match="ccw kind"):
        read(seal_bytes(inside, version=2))
    pointing = pb.ProtoHEFHef.FromString(inside)
    action = pointing.network_groups[0].ops[0].core_op.preliminary_config.operation[0].actions[0]
    action.write_data_ccw_ptr.size = 256
    with pytest.raises(InvalidHef, match="ccw kind"):
        read(seal_bytes(pointing.SerializeToString(), version=0))
    read(seal_bytes(pointing.SerializeToString(), bytes(256)))
    action.write_data_ccw_ptr.offset = 1
    with pytest.raises(InvalidHef, match="bytes 1 to 257 of a section of 256"):
        read(seal_bytes(pointing.SerializeToString(), bytes(256)))
    action.write_data_ccw_ptr.offset = 2**64 - 256
    with pytest.raises(InvalidHef, match="ccw range"):
        read(seal_bytes(pointing.SerializeToString(), bytes(256)))


def test_a_mux_of_muxes_has_a_limit() -> None:
    message = proto_of(mux_hef())
    mux = message.network_groups[0].ops[0].core_op.contexts[0].metadata.edge_layers[1].layer_mux
    for _ in range(32):
        inner = mux.predecessors.add()
        inner.CopyFrom(mux.predecessors[0])
    with pytest.raises(InvalidHef, match="mux edges"):
        read(seal_bytes(message.SerializeToString(), version=0))


def test_nesting_beyond_any_file_is_refused_before_it_is_built() -> None:
    edge = pb.ProtoHefEdge()
    for _ in range(60):
        outer = pb.ProtoHefEdge()
        outer.layer_mux.predecessors.add().CopyFrom(edge)
        edge = outer
    message = proto_of(minimal_hef())
    mux = (
        message.network_groups[0]
        .ops[0]
        .core_op.contexts[0]
        .metadata.edge_layers.add(edge_layer_type=pb.PROTO__EDGE_LAYER_TYPE__MUX)
    )
    mux.layer_mux.predecessors.add().CopyFrom(edge)
    with pytest.raises(InvalidHef, match="nested deeper"):
        read(seal_bytes(message.SerializeToString(), version=0))


def test_bytes_that_are_no_protobuf_are_refused() -> None:
    for proto in (b"\xff" * 40, b"\x0a\x7f" + bytes(30), b"\x0b" * 40, b"\x22\x02\x0a\xff" * 10):
        with pytest.raises(InvalidHef, match="protobuf"):
            read(seal_bytes(proto))


def test_text_that_is_no_utf8_is_refused() -> None:
    proto = proto_of(minimal_hef()).SerializeToString().replace(b"net/out", b"net/\xff\xfe\xfd")
    with pytest.raises(InvalidHef, match="protobuf"):
        read(seal_bytes(proto, version=0))


def test_box_parameters_of_other_formats_mean_nothing() -> None:
    message = proto_of(minimal_hef())
    layer_info(message).layer_info.edge_layer_base.additional_info.nms_info.number_of_classes = 5
    assert read(seal_bytes(message.SerializeToString(), version=0)) == minimal_hef()


def test_unknown_fields_are_skipped() -> None:
    proto = proto_of(minimal_hef()).SerializeToString() + b"\xfa\x7f\x03abc\xf8\x7f\x01"
    assert read(seal_bytes(proto, version=0)) == minimal_hef()
