"""Writing: every header version, the same bytes again, where configuration bytes go."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hef_samples import SAMPLES, anchored_hef, edit_core, edit_layer, hailo8l_hef, minimal_hef, proto_of, seal_bytes

from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.hef import model as m
from openhailo.hef import operations as o
from openhailo.hef import read, write
from openhailo.hef.ops import NmsShape, TensorShape
from openhailo.hef.schema import hef_pb2 as pb


@pytest.mark.parametrize("version", range(4))
def test_what_is_written_is_read(any_hef: m.Hef, version: int) -> None:
    data = write(any_hef, version)
    again = read(data)
    assert again == any_hef
    assert again.version == version
    assert write(again, version) == data


@pytest.mark.parametrize("version", range(4))
def test_the_container_is_that_of_the_facts(any_hef: m.Hef, version: int) -> None:
    """A second implementation of hef.md 1 puts the same sections into the same file."""
    data = write(any_hef, version)
    container = read(data).container
    assert container is not None
    proto = data[container.header_size : container.header_size + container.proto_size]
    ccws = data[container.ccw_base : container.ccw_base + container.ccws_size]
    sealed = seal_bytes(proto, ccws, version)
    if version == 3:  # its first reserved word holds the hash of the protobuf part, which the facts leave open
        sealed = sealed[:40] + data[40:48] + sealed[48:]
    assert data == sealed


@pytest.mark.facts
def test_a_real_file_is_written_byte_for_byte(real_path: Path) -> None:
    hef = read(real_path)
    assert hef.version is not None
    assert write(hef, hef.version) == real_path.read_bytes()


@pytest.mark.facts
@pytest.mark.parametrize("version", range(4))
def test_a_real_file_keeps_its_meaning_in_every_version(real_path: Path, version: int) -> None:
    hef = read(real_path)
    again = read(write(hef, version))
    assert again == hef
    assert again.network_group().vstreams == hef.network_group().vstreams


def test_equal_content_gives_equal_bytes(any_hef: m.Hef) -> None:
    for name, make in SAMPLES.items():
        assert (write(make()) == write(any_hef)) == (make() == any_hef), name


def test_the_clock_is_the_callers(minimal: m.Hef) -> None:
    assert read(write(minimal, timestamp=1_720_521_492_664)).header.timestamp == 1_720_521_492_664
    assert write(minimal, timestamp=0) == write(minimal)


def test_version_3_begins_its_section_on_a_page() -> None:
    data = write(minimal_hef(), 3)
    container = read(data).container
    assert container is not None
    assert container.ccw_base == 4096
    assert data[4096:4352] == bytes(range(256))
    padded, padding = struct.unpack_from(">QI", data, 20)
    assert (padded - padding, padding) == (256, container.padding_size)


def test_additional_bytes_need_version_3(minimal: m.Hef) -> None:
    resources = (m.ExternalResource(0, 5, "tokens"),)
    hef = replace(minimal, additional=b"12345", external_resources=resources)
    again = read(write(hef, 3))
    assert bytes(again.additional) == b"12345"
    assert again.external_resources == resources
    for version in range(3):
        with pytest.raises(UnsupportedHef, match="choose version 3"):
            write(hef, version)
    with pytest.raises(UnsupportedHef, match="version 4"):
        write(minimal, 4)


def test_the_first_error_of_the_check_stops_the_writer(minimal: m.Hef) -> None:
    broken = edit_layer(minimal, 1, buffer_indices=())
    with pytest.raises(InvalidHef) as caught:
        write(broken)
    assert caught.value.rule == "buffer indices"
    assert write(broken, verify=False)


@pytest.mark.parametrize(
    "changes",
    [{"sys_index": -1}, {"max_shmifo_size": 1 << 32}, {"name": 7}, {"shape": m.Shape(1 << 33, 1, 1)}],
)
def test_values_that_no_field_can_hold_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidHef, match="value range"):
        write(edit_layer(minimal_hef(), 0, **changes), verify=False)


def test_values_of_actions_that_no_field_can_hold_are_refused() -> None:
    action = o.EnableLcu(lcu_index=1 << 40)
    hef = edit_core(minimal_hef(), lambda core: replace(core, preliminary=(m.Operation(actions=(action,)),)))
    with pytest.raises(InvalidHef, match=r"EnableLcu\.lcu_index"):
        write(hef)


def test_a_pad_has_one_shape() -> None:
    hef = anchored_hef()
    group = hef.network_groups[0]
    op = replace(group.ops[1], input_pads=(m.Pad(7, tensor_shape=TensorShape(), nms_shape=NmsShape()),))
    with pytest.raises(InvalidHef, match="pad shape"):
        write(replace(hef, network_groups=(replace(group, ops=(group.ops[0], op)),)))


def test_groups_are_stored_reversed(minimal: m.Hef) -> None:
    first = minimal.network_groups[0]
    core_op = replace(first.core_op, metadata=m.GroupMetadata("second"))
    second = replace(first, metadata=m.GroupMetadata("second"), ops=(m.Op(core_op),))
    hef = replace(minimal, network_groups=(first, second))
    stored = pb.ProtoHEFHef.FromString(write(hef, 0)[32:])
    assert [group.network_group_metadata.network_group_name for group in stored.network_groups] == ["second", "net"]
    again = read(write(hef))
    assert [group.name for group in again.network_groups] == ["net", "second"]
    assert again.network_group().name == "net"


# --- configuration bytes ----------------------------------------------------------------------------------------------


def with_writes(*writes: m.WriteCcw) -> m.Hef:
    return edit_core(minimal_hef(), lambda core: replace(core, preliminary=(m.Operation(actions=writes),)))


def section(hef: m.Hef) -> bytes:
    data = write(hef)
    container = read(data).container
    assert container is not None
    return data[container.ccw_base :]


def test_writes_without_place_follow_one_another() -> None:
    assert section(with_writes(m.WriteCcw(b"abc"), m.WriteCcw(b""), m.WriteCcw(b"defg"))) == b"abcdefg"


def test_writes_keep_the_places_that_they_have() -> None:
    hef = with_writes(m.WriteCcw(b"defg", offset=3), m.WriteCcw(b"abc", offset=0), m.WriteCcw(b"cd", offset=2))
    assert section(hef) == b"abcdefg"
    assert read(write(hef)) == hef


@pytest.mark.parametrize(
    "writes",
    [
        (m.WriteCcw(b"abc", offset=0), m.WriteCcw(b"xyz", offset=1)),
        (m.WriteCcw(b"abc", offset=0), m.WriteCcw(b"xyz")),
        (m.WriteCcw(b"abc", offset=1 << 60), m.WriteCcw(b"xyz", offset=0)),
    ],
)
def test_places_that_cannot_be_kept_are_chosen_anew(writes: tuple[m.WriteCcw, ...]) -> None:
    hef = with_writes(*writes)
    assert section(hef) == b"abcxyz"
    assert read(write(hef)) == hef


def test_layouts_share_their_bytes() -> None:
    assert section(hailo8l_hef()) == bytes(range(64))


def test_what_holds_more_than_one_layout_reads_back() -> None:
    hef = read(write(hailo8l_hef()))
    group = hef.network_group()
    assert group.core_op.layouts == (0x3C, 0x0F)
    assert group.core_op_for(0x3C).contexts == group.core_op_for(0x0F).contexts
    message = proto_of(hef)
    assert [p.layout.partial_clusters_layout_bitmap for p in message.network_groups[0].partial_network_groups] == [
        0x3C,
        0x0F,
    ]
