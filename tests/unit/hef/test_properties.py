"""Any HEF that the model can hold survives a file of any version, and any bytes give a HEF or a typed error."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from enum import IntEnum
from typing import Any, get_type_hints

from hef_samples import QUANT, minimal_hef, proto_of, seal_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openhailo.errors import HefError
from openhailo.hef import check, ops, read, write
from openhailo.hef import model as m
from openhailo.hef.alternatives import ACTIONS, NMS_METHODS, TRIGGERS
from openhailo.hef.enums import LogitsType
from openhailo.hef.operations import DebugHalt, DebugSleep, WriteCcw

Strategy = st.SearchStrategy[Any]

NUMBERS = st.integers(0, 2**31 - 1)
SINGLES = st.floats(width=32, allow_nan=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS: dict[Any, Strategy] = {
    int: NUMBERS,
    bool: st.booleans(),
    float: SINGLES,
    str: TEXT,
    bytes: st.binary(max_size=6),
    tuple[int, ...]: st.lists(NUMBERS, max_size=3).map(tuple),
    tuple[float, ...]: st.lists(SINGLES, max_size=3).map(tuple),
    tuple[str, ...]: st.lists(TEXT, max_size=3).map(tuple),
}


def made_of(cls: type[Any], **fixed: Strategy) -> Strategy:
    """A strategy for a dataclass of the model, from its field types and what its fields say that they hold."""
    hints = get_type_hints(cls)
    parts = {field.name: one_field(hints[field.name], field) for field in fields(cls) if field.name not in fixed}
    return st.builds(cls, **parts, **fixed)


def one_field(hint: Any, field: Any) -> Strategy:
    of = field.metadata.get("of")
    if of is None:
        return SCALARS[hint]
    if issubclass(of, IntEnum):
        return st.sampled_from(of)
    return st.lists(made_of(of), max_size=2).map(tuple) if field.default == () else st.none() | made_of(of)


TRIGGER = st.one_of([made_of(cls) for cls in TRIGGERS.values()])
CCW = st.builds(WriteCcw, st.binary(max_size=20), st.integers(0, 3), st.none(), unique_id=NUMBERS)
ACTION = st.one_of([*(made_of(cls) for cls in ACTIONS.values()), made_of(DebugSleep), made_of(DebugHalt), CCW])
OPERATION = st.builds(m.Operation, TRIGGER, st.lists(ACTION, max_size=4).map(tuple))
OPERATIONS = st.lists(OPERATION, max_size=3).map(tuple)
SIZES = st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 8))


@st.composite
def edge_layers(draw: st.DrawFn, index: int) -> m.EdgeLayer:
    """A layer of its own name, with a shape that makes sense."""
    shape = draw(SIZES)
    padding = draw(SIZES)
    return m.EdgeLayer(
        name=f"net/layer{index}",
        direction=m.Direction(index % 2),
        shape=m.Shape(*shape),
        padded_shape=m.Shape(*(a + b for a, b in zip(shape, padding, strict=True))),
        format_code=draw(st.sampled_from([0, 1, 2, 3, 5, 13])),
        data_bytes=draw(st.integers(1, 2)),
        sys_index=draw(NUMBERS),
        core_bytes_per_buffer=draw(NUMBERS),
        core_buffers_per_frame=draw(NUMBERS),
        quant=draw(st.just(m.QuantInfo()) | made_of(m.QuantInfo)),
        pad_index=draw(st.none() | st.just(index)),
        max_shmifo_size=draw(NUMBERS),
        buffer_indices=draw(st.lists(made_of(m.ResourceIndices), max_size=2).map(tuple)),
        switch=draw(st.none() | made_of(m.ContextSwitchInfo)),
        original_names=draw(SCALARS[tuple[str, ...]]),
        hn_output_layer_name=draw(TEXT),
        transposed=draw(st.booleans()),
        host_argmax=draw(st.booleans()),
        engine_id=draw(NUMBERS),
    )


@st.composite
def contexts(draw: st.DrawFn, first: int) -> m.Context:
    layers = tuple(draw(edge_layers(first + n)) for n in range(draw(st.integers(0, 3))))
    made: m.Context = draw(
        made_of(
            m.Context,
            operations=OPERATIONS,
            edge_layers=st.just(layers),
            cluster_end_guarantees=st.lists(st.builds(m.ClusterEndGuarantee, NUMBERS, TRIGGER), max_size=2).map(tuple),
            trigger_order=st.lists(st.builds(m.OrderedTrigger, st.none() | TRIGGER, NUMBERS), max_size=2).map(tuple),
            hw_package_info=st.none() | made_of(m.HwPackageInfo),
            shmiglue_info=st.none() | made_of(m.ShmiglueInfo),
        )
    )
    return made


@st.composite
def host_ops(draw: st.DrawFn, source: int) -> m.Op:
    nms = made_of(
        ops.NmsOp,
        classes=st.integers(1, 99),
        max_proposals_per_class=st.integers(0, 99),
        method=st.one_of([made_of(cls) for cls in NMS_METHODS.values()]),
        bbox_decoding_only=st.just(False),
    )
    body = draw(nms | st.builds(m.LogitsOp, st.sampled_from(LogitsType)))
    output = draw(made_of(m.Pad, tensor_shape=st.none()) | made_of(m.Pad, nms_shape=st.none()))
    return m.Op(body, draw(TEXT), (m.Pad(1000 + source),), (output,))


@st.composite
def hefs(draw: st.DrawFn) -> m.Hef:
    """A HEF that reads back: what has no meaning (hef.md 16) is left out."""
    count = draw(st.integers(1, 3))
    core_op = m.CoreOp(
        metadata=draw(made_of(m.GroupMetadata, network_group_name=st.just("net"))),
        contexts=tuple(draw(contexts(10 * n)) for n in range(count)),
        preliminary=draw(OPERATIONS),
        fused_layers=draw(st.none() | st.builds(m.FusedLayers, st.booleans(), SCALARS[tuple[str, ...]])),
        sorted_outputs_order=draw(SCALARS[tuple[str, ...]]),
        networks_names=draw(SCALARS[tuple[str, ...]]),
    )
    layers = core_op.boundary_layers()
    pads = [layer.pad_index for layer in layers if layer.pad_index is not None and not layer.is_input]
    wired = tuple(draw(host_ops(pad)) for pad in pads[: draw(st.integers(0, 2))])
    group = m.NetworkGroup(
        metadata=draw(made_of(m.GroupMetadata, network_group_name=st.just("net"))),
        ops=(m.Op(core_op), *wired),
        pad_edges=tuple(m.PadEdge(pad, 1000 + pad) for pad in pads),
        sorted_outputs_order=draw(SCALARS[tuple[str, ...]]),
        networks_names=draw(SCALARS[tuple[str, ...]]),
        declared_name=draw(TEXT),
        index=draw(NUMBERS),
    )
    return m.Hef(
        header=draw(made_of(m.HefHeader, version=st.integers(1, 2**40))),
        network_groups=(group,),
        extensions=(m.Extension(13, draw(TEXT)), m.Extension(26)),
        optional_extensions=draw(st.lists(st.builds(m.Extension, st.integers(9, 40), TEXT), max_size=2).map(tuple)),
        included_features=draw(st.none() | made_of(m.IncludedFeatures)),
        external_resources=draw(st.lists(made_of(m.ExternalResource), max_size=2).map(tuple)),
        mapping=draw(st.binary(max_size=30)),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(hef=hefs(), version=st.integers(0, 3))
def test_any_hef_survives_a_file(hef: m.Hef, version: int) -> None:
    if any(not math.isfinite(value) for value in image_sizes(hef)):
        return
    try:
        again = read(write(hef, version, verify=False))
    except HefError as error:
        assert getattr(error, "rule", "") == "op output"  # a result that no memory could hold
        return
    assert again == hef
    assert write(again, version, verify=False) == write(hef, version, verify=False)
    check(again)


def image_sizes(hef: m.Hef) -> list[float]:
    methods = (op.body.method for op in hef.network_groups[0].host_ops if isinstance(op.body, m.NmsOp))
    return [method.image_height for method in methods if isinstance(method, ops.YoloSegNmsOp)]


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_typed_error(data: bytes) -> None:
    for content in (data, bytes.fromhex("01484546") + data, *(seal_bytes(data, data, n) for n in range(4))):
        try:
            read(content)
        except HefError as error:
            assert str(error)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 10_000), new=st.binary(max_size=6), cut=st.integers(0, 6), version=st.integers(0, 3))
def test_any_edit_of_a_file_gives_a_hef_or_a_typed_error(place: int, new: bytes, cut: int, version: int) -> None:
    proto = proto_of(minimal_hef()).SerializeToString() if version == 0 else write(minimal_hef(), 1)[28:-256]
    place %= len(proto)
    edited = proto[:place] + new + proto[place + cut :]
    try:
        hef = read(seal_bytes(edited, bytes(range(256)), version))
    except HefError:
        return
    assert read(write(hef, 2, verify=False)) == hef
    check(hef)


def test_the_samples_quantisation_is_what_the_facts_call_identity() -> None:
    assert QUANT.identity
    assert QUANT.valid
    assert not replace(QUANT, qp_scale=0.5).identity
    assert not m.QuantInfo().valid
