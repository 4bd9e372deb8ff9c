"""Action lists, byte for byte, against context-switch.md 17 (recorded from the official library).

Literals are copied from the page; addresses there were inserted by the library, here they are given.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from openhailo.driver.results import HwConsts
from openhailo.errors import InvalidHef
from openhailo.runtime.configure.actions import CODEC, chunks
from openhailo.runtime.configure.channels import ChannelAllocator
from openhailo.runtime.configure.layers import BoundLayer, HostBufferInfo, Layer, LayerKind, NmsStream, StreamRegisters
from openhailo.runtime.configure.operations import (
    AllowInput,
    ConfigFetch,
    Operations,
    Separator,
    WaitOutput,
    split_inputs,
)
from openhailo.runtime.configure.periph import initial_credit, stream_registers
from openhailo.runtime.configure.recipes import ConfigStream, Recipes
from openhailo.runtime.configure.requirements import boundary_ring, config_count, ddr_count, inter_context_count
from openhailo.runtime.formats import FormatOrder, FrameLayout, Quantization
from openhailo.spec.actions import ActionType as A
from openhailo.spec.enums import EdgeLayerDirection

H2D, D2H = EdgeLayerDirection.HOST_TO_DEVICE, EdgeLayerDirection.DEVICE_TO_HOST
CONSTS = HwConsts(8, 16383, 16384, 16376, 16384, 1, 2048)
STAMP = "ffffffff"


def hexed(text):
    """Bytes of a page's notation: spaces and bars are for the eye."""
    return bytes.fromhex(text.replace(" ", "").replace("|", ""))


def listed(*actions):
    """A whole list: each item is the type byte (decimal) and the payload of the page."""
    return b"".join(bytes([kind]) + bytes.fromhex(STAMP) + hexed(payload) for kind, payload in actions)


def layer(kind, direction, stream, shape, core, *, context=0, order=FormatOrder.NHWC, **more):
    layout = FrameLayout(order, *shape, *shape)
    return Layer("l", kind, direction, context, stream, layout, Quantization(), 0, *core, **more)


def bind(item, channel, address, page, count, pattern=None, peer_channel=0):
    registers = stream_registers(item, page, CONSTS)
    info = HostBufferInfo(address, page, count, pattern or item.transfer_bytes)
    return BoundLayer(item, channel, info, registers, initial_credit(item, CONSTS), peer_channel)


def bind_boundary(item, channel, address, batch=1):
    ring = boundary_ring(item, batch_size=batch, transfers=32, max_page_size=4096)
    return bind(item, channel, address, ring.page_size, ring.count)


INPUT = layer(LayerKind.BOUNDARY, H2D, 0, (8, 8, 3), (24, 8))
OUTPUT = layer(LayerKind.BOUNDARY, D2H, 1, (1, 1, 16), (16, 1), order=FormatOrder.NC)
CONFIG = ConfigStream(0, 0, HostBufferInfo(0x1200000, 512, 2, 512))
CCW = ConfigFetch(0, (bytes(256),))
ALLOW = Operations(inputs=(AllowInput(0),))


@pytest.fixture
def single():
    # The page's library used a queue of 32 here: rings of 128 descriptors.
    return [bind_boundary(INPUT, 1, 0x1000000 >> 8), bind_boundary(OUTPUT, 16, 0x1100000 >> 8)]


def addressed(bound, address):
    return replace(bound, buffer=replace(bound.buffer, dma_address=address))


INPUT_INFO = "00 0000000001000000 0001 80000000 c0000000"
OUTPUT_INFO = "00 0000100001000000 4000 80000000 10000000"


@pytest.fixture
def boundary(single):
    return [addressed(single[0], 0x100000000), addressed(single[1], 0x100100000)]


def test_rings_of_the_single_context_example(single):
    assert [(b.buffer.desc_page_size, b.buffer.total_desc_count) for b in single] == [(256, 128), (64, 128)]


def test_activation_opens_outputs_then_inputs(boundary):
    got = b"".join(Recipes(boundary).activation())
    want = listed((30, ""), (33, f"10 | {OUTPUT_INFO}"), (32, f"01 | {INPUT_INFO} | 00 00 c000 c0000000"))
    assert got == want
    assert len(got) == 63


def test_batch_switching_without_lcus_or_internal_channels(boundary):
    got = b"".join(Recipes(boundary).batch_switching(Operations(before=(CCW,)), boundary))
    assert got == listed((31, ""), (37, "01"), (29, ""))
    assert len(got) == 16


def test_preliminary_fetches_configuration(boundary):
    config = replace(CONFIG, buffer=replace(CONFIG.buffer, dma_address=0x100200000))
    got = b"".join(Recipes(boundary).preliminary([config], Operations(before=(Separator(), CCW))))
    want = listed((22, "00 00 | 00 0000200001000000 0002 02000000 00020000"), (0, "0100 00"), (23, "00 00"))
    assert got == want
    assert len(got) == 41


OUTPUT_ACTIVATION = (7, f"10 01 00 | 1000 0100 1000 0100 0000 00000000 0000 00 | {OUTPUT_INFO}")
INPUT_ACTIVATION = (6, f"01 00 | 1800 0800 c000 0100 0000 00000000 0000 00 | {INPUT_INFO} | 00080000")


def test_dynamic_single_context(boundary):
    got = b"".join(Recipes(boundary).dynamic([], ALLOW, boundary))
    want = listed(
        OUTPUT_ACTIVATION, INPUT_ACTIVATION, (39, "01 01"), (2, "01 00 00 c0000000 01 00"), (29, ""), (21, "")
    )
    assert got == want
    assert len(got) == 122


def test_nothing_to_do_is_an_empty_list(boundary):
    assert Recipes(boundary).preliminary([], Operations()) == []
    assert chunks([]) == []


# --- two contexts -----------------------------------------------------------------------------------------------

REST = "0000 00000000 0000 00"
WRITER = layer(LayerKind.INTER_CONTEXT, D2H, 2, (8, 16, 8), (128, 8), peer=(1, 3))
READER = layer(LayerKind.INTER_CONTEXT, H2D, 3, (8, 16, 8), (128, 8), context=1, peer=(0, 2))
INTER_INFO = "00 0000200001000000 0002 09000000 00040000"


@pytest.fixture
def two_contexts():
    count = inter_context_count(1024, 512, 4)
    first = layer(LayerKind.BOUNDARY, H2D, 0, (8, 8, 8), (64, 8))
    assert count == 9
    source = bind(first, 1, 0x100000000, 512, 128)
    sink = addressed(bind_boundary(replace(OUTPUT, context=1), 16, 0x100), 0x100100000)
    writer = bind(WRITER, 0x11, 0x100200000, 512, count)
    reader = bind(READER, 0x02, 0x100200000, 512, count)
    return source, sink, writer, reader


def inter_registers(writer):
    r = writer.registers
    return f"8000 0800 {r.periph_bytes_per_buffer.to_bytes(2, 'little').hex()} 0100 {REST}"


def test_batch_switching_reopens_internal_channels(two_contexts):
    source, sink, writer, _ = two_contexts
    got = b"".join(Recipes([source, sink], multi_context=True).batch_switching(Operations(), [source, writer]))
    want = listed(
        (12, "11 02 00 00 00080000"),
        (31, ""),
        (9, f"11 02 00 | 8000 0800 0004 0100 {REST} | {INTER_INFO}"),
        (37, "01"),
        (29, ""),
    )
    assert got == want
    assert len(got) == 73


def sequencer():
    config = {
        "initial_l3_cut": 4,
        "initial_l3_offset": 0x102,
        "active_apu": 0x11,
        "active_ia": 0x22,
        "active_sc": 0x33,
        "active_l2": 0x44,
        "l2_offset_0": 1 | 2 << 32,
        "l2_offset_1": 3 | 4 << 32,
    }
    return CODEC.build(A.TRIGGER_SEQUENCER, cluster_index=2, sequencer_config=config)


def test_first_of_two_contexts(two_contexts):
    source, sink, writer, _ = two_contexts
    build = CODEC.build
    operations = Operations(
        before=(
            ConfigFetch(0, (bytes(1000),)),
            build(A.ENABLE_LCU_DEFAULT, packed_lcu_id=0x13),
            build(A.ENABLE_LCU_DEFAULT, packed_lcu_id=0x14),
            build(A.ENABLE_LCU_NON_DEFAULT, packed_lcu_id=0x25, kernel_done_address=0x4D, kernel_done_count=9),
            sequencer(),
            build(A.SEQUENCER_DONE_INTERRUPT, sequencer_index=2),
        ),
        inputs=(AllowInput(0),),
        after=(WaitOutput(2), build(A.DISABLE_LCU, packed_lcu_id=0x13)),
    )
    config = replace(CONFIG, buffer=HostBufferInfo(0x100300000, 512, 3, 1024))
    got = b"".join(Recipes([source, sink], multi_context=True).dynamic([config], operations, [source, writer]))
    want = listed(
        (22, "00 00 | 00 0000300001000000 0002 03000000 00040000"),
        (0, "0200 00"),
        (24, "02 00 03 | 13 00 | 14 00"),
        (4, "25 00 4d00 09000000"),
        (1, "02 | 04 0201 11000000 22000000 3300000000000000 4400000000000000 0100000002000000 0300000004000000"),
        (17, "02"),
        (9, f"11 02 00 | 8000 0800 0004 0100 {REST} | {INTER_INFO}"),
        (6, f"01 00 | 4000 0800 0002 0100 {REST} | 00 0000000001000000 0002 80000000 00020000 | 00080000"),
        (24, "02 00 0d | 01 00 00 | 10 00 01"),
        (39, "01 01"),
        (2, "01 00 00 00020000 01 00"),
        (29, ""),
        (19, "11 02 00 01 00"),
        (5, "13"),
        (23, "00 00"),
        (12, "11 02 01 00 00080000"),
        (38, "01 01"),
    )
    assert got == want
    assert len(got) == 288


def test_second_of_two_contexts(two_contexts):
    source, sink, _, reader = two_contexts
    operations = Operations(before=(ConfigFetch(0, (bytes(1000),)),), inputs=(AllowInput(3),), after=(WaitOutput(1),))
    config = replace(CONFIG, buffer=HostBufferInfo(0x100400000, 512, 3, 1024))
    got = b"".join(Recipes([source, sink], multi_context=True).dynamic([config], operations, [sink, reader]))
    want = listed(
        (22, "00 00 | 00 0000400001000000 0002 03000000 00040000"),
        (0, "0200 00"),
        (7, f"10 01 00 | 1000 0100 1000 0100 {REST} | {OUTPUT_INFO}"),
        (8, f"02 03 00 | 8000 0800 0004 0100 {REST} | {INTER_INFO} | 00080000"),
        (24, "02 00 0d | 01 01 01 | 10 01 00"),
        (2, "02 03 00 02000000 02 00"),
        (19, "10 01 00 00 00"),
        (23, "00 00"),
        (12, "02 01 01 00 00080000"),
    )
    assert got == want
    assert len(got) == 184


def test_a_context_without_a_layer_for_the_dummy_is_refused(two_contexts):
    source, sink, _, reader = two_contexts
    with pytest.raises(InvalidHef, match="dummy stream"):
        Recipes([source, sink], multi_context=True).dynamic([], Operations(inputs=(AllowInput(3),)), [reader])


# --- DDR, NMS ---------------------------------------------------------------------------------------------------


def test_ddr_pair_in_a_single_context():
    core = (512, 16)
    out = layer(LayerKind.DDR, D2H, 2, (16, 512, 1), core, buffered_rows=8, peer=(0, 3))
    into = replace(out, direction=H2D, stream=3, peer=(0, 2))
    count = ddr_count(512, 512, 8)
    source = addressed(bind_boundary(INPUT, 1, 0), 0x100000000)
    sink = addressed(bind_boundary(OUTPUT, 16, 0), 0x100100000)
    writer = bind(out, 0x11, 0x100200000, 512, count, 512)
    reader = bind(into, 0x02, 0x100200000, 512, count, 512, peer_channel=0x11)
    info = "00 0000200001000000 0002 10000000 00020000"
    pair = [
        (11, f"11 02 | 0002 1000 0002 1000 {REST} | {info} | 08000000"),
        (10, f"02 03 | 0002 1000 0002 1000 {REST} | {info} | 00080000 | 11"),
        (14, "02 11 00 10000000 1000"),
        (15, ""),
    ]
    recipes = Recipes([source, sink])
    got = b"".join(recipes.batch_switching(Operations(), [source, sink, reader, writer]))
    resets = [(12, "11 02 00 00 00080000"), (12, "02 01 00 00 00080000"), (31, "")]
    assert got == listed(*resets, *pair, (37, "01"), (29, ""))
    assert len(got) == 156
    got = b"".join(recipes.dynamic([], ALLOW, [reader, source, writer, sink]))
    order = [pair[0], OUTPUT_ACTIVATION, pair[1], INPUT_ACTIVATION, *pair[2:]]
    assert got == listed(*order, (39, "01 01"), (2, "01 00 00 c0000000 01 00"), (29, ""), (21, ""))


def test_releasing_a_ddr_layer_is_refused():
    into = layer(LayerKind.DDR, H2D, 0, (16, 512, 1), (512, 16), peer=(0, 3))
    with pytest.raises(InvalidHef, match="not an input"):
        Recipes([]).dynamic([], ALLOW, [bind(into, 2, 0, 512, 16, 512)])


def test_boxes_from_the_chip_travel_one_by_one():
    nms = NmsStream(classes=3, max_boxes=10, box_bytes=8, chunks=1, burst_size=1, per_class_burst=False)
    boxes = layer(LayerKind.BOUNDARY, D2H, 1, (3, 10, 4), (8, 1), order=FormatOrder.HAILO_NMS_ON_CHIP, nms=nms)
    ring = boundary_ring(boxes, batch_size=1, transfers=32, max_page_size=4096)
    assert (ring.page_size, ring.count) == (64, 2048)
    registers = stream_registers(boxes, ring.page_size, CONSTS)
    assert registers == StreamRegisters(8, 1, 8, 1)
    assert boxes.transfer_bytes == 8


# --- pieces -----------------------------------------------------------------------------------------------------


def test_runs_longer_than_a_block_are_split_and_a_leftover_stays_plain():
    actions = [CODEC.build(A.DISABLE_LCU, packed_lcu_id=i % 128) for i in range(256)]
    pieces = CODEC.buffers(actions)
    assert pieces[0] == hexed("18 ffffffff ff 00 05")
    assert pieces[1:256] == [bytes([i % 128]) for i in range(255)]
    assert pieces[256:] == [hexed("05 ffffffff 7f")]


def test_chunks_break_between_pieces_only():
    pieces = [bytes([n]) * 40 for n in range(100)]
    got = chunks(pieces)
    assert [len(chunk) for chunk in got] == [1440, 1440, 1120]
    assert b"".join(got) == b"".join(pieces)


def test_two_groups_of_released_inputs_are_refused():
    with pytest.raises(InvalidHef, match="more than one group"):
        split_inputs([AllowInput(0), Separator(), AllowInput(1)], "context 0", required=True)
    with pytest.raises(InvalidHef, match="no allow_input"):
        split_inputs([Separator()], "context 0", required=True)
    assert split_inputs([Separator(), AllowInput(0), AllowInput(1)], "c", required=True).inputs == (
        AllowInput(0),
        AllowInput(1),
    )


def test_values_that_do_not_fit_their_field_are_the_files_fault():
    with pytest.raises(InvalidHef, match="ENABLE_LCU"):
        CODEC.build(A.ENABLE_LCU_DEFAULT, packed_lcu_id=300)


def test_channels_are_first_fit_and_internal_ones_are_reused():
    channels = ChannelAllocator()
    assert [channels.fixed(H2D), channels.fixed(H2D), channels.fixed(D2H)] == [0, 1, 16]
    assert [channels.internal(WRITER), channels.internal(READER)] == [17, 2]
    assert channels.internal(WRITER) == 17
    channels.release_context(0)
    channels.release_context(1)
    assert channels.internal(replace(WRITER, stream=9)) == 17
    assert channels.fixed(H2D) == 3


@pytest.mark.parametrize(
    ("optimize", "expected"),
    [(1, (784, 1)), (0, (16, 49))],
)
def test_framing_of_a_28x28_input_with_and_without_credit_optimisation(optimize, expected):
    consts = replace(CONSTS, should_optimize_credits=optimize)
    item = layer(LayerKind.BOUNDARY, H2D, 1, (28, 28, 1), (32, 28), max_shmifo_size=65536)
    registers = stream_registers(item, 512, consts)
    assert (registers.periph_bytes_per_buffer, registers.periph_buffers_per_frame) == expected


def test_core_padding_rounds_a_frame_of_11_bytes_up():
    item = layer(LayerKind.BOUNDARY, D2H, 0, (1, 1, 11), (16, 1), order=FormatOrder.NC, core_pads=True)
    registers = stream_registers(item, 64, CONSTS)
    assert registers == StreamRegisters(16, 1, 16, 1, 0, 11, 5, 1)
    with pytest.raises(InvalidHef, match="no multiple of 8"):
        stream_registers(replace(item, core_pads=False), 64, CONSTS)


def test_every_list_has_at_least_two_descriptors():
    assert ddr_count(512, 512, 0) == 2
    assert inter_context_count(0, 512, 1) == 2
    assert config_count([], 512) == 2
