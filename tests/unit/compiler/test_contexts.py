"""Networks split into contexts: where they are cut, what crosses, and that no bit changes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
from compiler_graphs import Builder, small_cnn, two_heads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import openhailo
from openhailo import hef
from openhailo.compiler import compile_model
from openhailo.compiler.allocate import Stream
from openhailo.compiler.contexts.choose import candidates, choose, fewest
from openhailo.compiler.contexts.plan import plan_contexts
from openhailo.compiler.contexts.schedule import Tensor, make_schedule
from openhailo.compiler.contexts.split import Crossing, is_exact, split
from openhailo.compiler.contexts.streams import code_stream
from openhailo.errors import DoesNotFit, InputError, ModelInvalid
from openhailo.hef.enums import Connection, ExtensionType
from openhailo.twin.core import make_session_options


def compiled(model, **choices):
    return compile_model(model, name="net", calibration="random:8", **choices)


def run_alone(model, frames):
    """What ONNX Runtime computes, by output name."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), make_session_options())
    count = len(next(iter(frames.values())))
    feed = {e.name: frames[e.name].reshape(count, *e.shape[1:]) for e in session.get_inputs()}
    if isinstance(session.get_inputs()[0].shape[0], str):
        return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))
    single = [session.run(None, {k: v[at : at + 1] for k, v in feed.items()}) for at in range(count)]
    return {o.name: np.concatenate([r[i] for r in single]) for i, o in enumerate(session.get_outputs())}


def check_on(device, model, count, seed=0, **options):
    """Run ``count`` frames and compare every bit with ONNX Runtime on the uncut graph."""
    with device.load(model.hef_bytes, **options) as network:
        rng = np.random.default_rng(seed)
        frames = {t.name: rng.integers(0, 256, (count, *t.shape)).astype(np.uint8) for t in network.inputs}
        seen = network(frames, raw=True)
    for name, wanted in run_alone(model.quantized_model, frames).items():
        np.testing.assert_array_equal(seen[name].reshape(wanted.shape), wanted)


@pytest.fixture(scope="module")
def device():
    with openhailo.open("twin:") as opened:
        yield opened


def skipping():
    """A tensor that three convolutions pass by, and an output in the middle that is read on."""
    b = Builder(3)
    first = b.node("Relu", [b.conv("x", "k0", 3, 8)], "r0")
    y = first
    for number in range(1, 4):
        y = b.node("Relu", [b.conv(y, f"k{number}", 8, 8)], f"r{number}")
    b.conv(y, "middle", 8, 4, 1)
    y = b.node("Add", [first, y], "sum")
    b.conv(b.node("Concat", [y, "x"], "cat", axis=1), "end", 11, 2, 1)
    return b.model({"x": [1, 3, 9, 11]}, {"middle": [1, 4, 9, 11], "end": [1, 2, 9, 11]})


# --- where to cut -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [small_cnn, two_heads, skipping])
def test_every_single_cut_computes_the_same_bits(make):
    schedule = make_schedule(compiled(make()).quantized_model)
    places = candidates(schedule)
    assert len(places) >= 4
    for place in places:
        pieces = split(schedule, (place,), "net")
        assert [len(part.model.graph.node) > 0 for part in pieces.parts] == [True, True]
        assert is_exact(schedule.model, pieces), place
        for part in pieces.parts:
            onnx.checker.check_model(part.model)


def test_all_cuts_at_once_compute_the_same_bits():
    schedule = make_schedule(compiled(skipping()).quantized_model)
    pieces = split(schedule, candidates(schedule), "net")
    assert is_exact(schedule.model, pieces)
    passed_by = [c for c in pieces.crossings if c.readers[-1] - c.writer > 1]
    assert passed_by, "a skip connection passes contexts by"
    assert all(c.tensor.element_type == TensorProto.UINT8 for c in pieces.crossings)


def test_a_wrong_graph_is_told_from_the_right_one():
    schedule = make_schedule(compiled(small_cnn()).quantized_model)
    pieces = split(schedule, candidates(schedule)[2:3], "net")
    for tensor in pieces.parts[1].model.graph.initializer:
        if tensor.name.endswith("zero_point"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) ^ 1, tensor.name))
    assert not is_exact(schedule.model, pieces)


def test_only_codes_cross():
    """Between a convolution and its quantization the values are floats, which no stream carries."""
    schedule = make_schedule(compiled(small_cnn()).quantized_model)
    for place in candidates(schedule):
        assert all(tensor.shape for tensor in schedule.crossing(place))
        assert schedule.nodes[place - 1].op_type != "Conv"


def test_the_cheapest_cut_is_taken():
    """The pooled tensor is smaller than what goes into it, and the parts must not be too uneven."""
    schedule = make_schedule(compiled(small_cnn()).quantized_model)
    places = candidates(schedule)
    (cut,) = choose(schedule, 2, places)
    cost = {place: sum(t.size_bytes for t in schedule.crossing(place)) for place in places}
    assert cost[cut] == min(cost.values())


def test_contexts_have_no_more_constants_than_asked():
    model = compiled(skipping()).quantized_model
    schedule = make_schedule(model)
    limit = sum(schedule.constant_bytes) // 2
    cuts = choose(schedule, 3, candidates(schedule), limit)
    bounds = [0, *cuts, len(schedule.nodes)]
    sizes = [sum(schedule.constant_bytes[a:b]) for a, b in pairwise(bounds)]
    assert max(sizes) <= limit
    with pytest.raises(DoesNotFit, match="bytes of a context"):
        choose(schedule, 2, candidates(schedule), 100)
    with pytest.raises(DoesNotFit, match="places"):
        choose(schedule, 4, candidates(schedule)[:2])


def test_the_least_number_of_contexts():
    schedule = make_schedule(compiled(skipping()).quantized_model)
    places, total = candidates(schedule), sum(schedule.constant_bytes)
    assert fewest(schedule, places, total) == 1
    assert fewest(schedule, places, total - 1) == 2
    assert fewest(schedule, places, 10) is None
    for limit in range(total // 5, total, 97):
        count = fewest(schedule, places, limit)
        if count is not None and count > 1:
            assert len(choose(schedule, count, places, limit)) == count - 1
            with pytest.raises(DoesNotFit):
                choose(schedule, count - 1, places, limit)


def test_cuts_that_change_bits_are_left_out(monkeypatch):
    from openhailo.compiler.contexts import plan

    model = compiled(small_cnn())
    wrong: list[tuple[str, ...]] = []

    def first_is_wrong(_whole, pieces):
        names = tuple(c.tensor.name for c in pieces.crossings)
        wrong.append(names)
        return names != wrong[0]

    monkeypatch.setattr(plan, "is_exact", first_is_wrong)
    planned = plan_contexts("net", model.quantized_model, model.streams, contexts=2)
    assert planned is not None
    assert tuple(planned.table[0]["writes"]) != wrong[0]
    monkeypatch.setattr(plan, "is_exact", lambda _whole, _pieces: len(_pieces.parts) == 2)
    with pytest.raises(ModelInvalid, match="use fewer"):
        plan_contexts("net", model.quantized_model, model.streams, contexts=3)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contexts", [2, 3, 4])
@pytest.mark.parametrize("arch", ["hailo8", "hailo8l"])
def test_files_keep_every_rule(contexts, arch):
    file = hef.read(compiled(skipping(), contexts=contexts, arch=arch).hef_bytes)
    assert hef.check(file) == []
    core_op = file.network_groups[0].core_op_for()
    assert len(core_op.contexts) == contexts
    assert not core_op.preliminary
    assert ExtensionType.IS_MULTI_CONTEXTS in {extension.type_index for extension in file.extensions}
    assert [layer.name for layer in core_op.boundary_layers()] == ["net/x", "net/middle", "net/end"]
    ends = {}
    for number, context in enumerate(core_op.contexts):
        numbers = [layer.sys_index for layer in context.edge_layers]
        assert len(set(numbers)) == len(numbers)
        for layer in context.edge_layers:
            if layer.connection is Connection.INTERMEDIATE:
                ends[number, layer.sys_index] = layer
    assert ends
    for (number, index), layer in ends.items():
        for other in layer.switch.connected_contexts:
            peer = ends[other.index, other.sys_index]
            assert peer.is_input is not layer.is_input
            assert (number, index) in {(back.index, back.sys_index) for back in peer.switch.connected_contexts}
            assert (peer.name, peer.padded_shape) == (layer.name, layer.padded_shape)


def test_one_context_is_the_default_and_unchanged():
    assert compiled(small_cnn(), contexts=1).hef_bytes == compiled(small_cnn()).hef_bytes
    assert compiled(small_cnn()).report.contexts == ()


def test_a_network_is_split_where_it_does_not_fit():
    whole = compiled(skipping())
    limit = whole.report.program_bytes * 6 // 10
    small = compiled(skipping(), context_bytes=limit)
    assert len(small.report.contexts) >= 2
    assert max(context["program_bytes"] for context in small.report.contexts) <= limit
    assert compiled(skipping(), context_bytes=whole.report.program_bytes).report.contexts == ()
    with pytest.raises(DoesNotFit, match="bytes of a context"):
        compiled(skipping(), context_bytes=64)
    with pytest.raises(DoesNotFit, match="contexts: 2000 needed"):
        compiled(skipping(), contexts=2000)
    with pytest.raises(InputError, match="contexts"):
        compiled(skipping(), contexts=-1)


def test_the_report_tells_contexts_and_bytes():
    report = compiled(skipping(), contexts=3).report
    assert [context["inputs"] for context in report.contexts] == [["net/x"], [], []]
    assert sum(len(context["outputs"]) for context in report.contexts) == 2
    written = {name: size for context in report.contexts for name, size in context["writes"].items()}
    read = {name: size for context in report.contexts for name, size in context["reads"].items()}
    assert written == read
    assert all(size % 8 == 0 for size in written.values())
    assert sum(context["program_bytes"] for context in report.contexts) == report.program_bytes
    assert "contexts" in report.to_text()
    assert report.to_json()["contexts"][0]["nodes"] > 0


@pytest.mark.parametrize(
    ("size", "padded"), [(1, 8), (8, 8), (4096, 4096), (4097, 4608), (65537, 66048), (614400, 614400)]
)
def test_crossing_frames_have_a_framing(size, padded):
    crossing = Crossing("net/t", Tensor("t", 0, (1,), False, TensorProto.UINT8, (size,)), 0, (1,))
    stream = code_stream(crossing, 5, is_input=True)
    assert isinstance(stream, Stream)
    assert stream.transfer_bytes == padded
    assert stream.core_bytes_per_buffer * stream.core_buffers_per_frame == padded
    assert stream.core_bytes_per_buffer <= 0xFFFF


# --- on the chip ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contexts", [1, 2, 3, 4, 5])
def test_split_networks_compute_the_bits_of_the_whole(contexts, device):
    model = compiled(skipping(), contexts=contexts)
    for batch_size in (0, 1, 3, 16):
        check_on(device, model, 5, seed=batch_size, batch_size=batch_size)


def test_every_cut_at_once_on_the_chip(device):
    """As many contexts as the graph has places to cut at."""
    for make in (small_cnn, two_heads, skipping):
        most = len(candidates(make_schedule(compiled(make()).quantized_model))) + 1
        check_on(device, compiled(make(), contexts=most), 3, batch_size=2)


def test_on_a_hailo8l():
    model = compiled(skipping(), contexts=3, arch="hailo8l", ddr_above=700)
    with openhailo.open("twin:hailo8l") as small:
        check_on(small, model, 5, batch_size=4)


@pytest.mark.parametrize("softmax", [["middle"], ["end"], ["middle", "end"]])
def test_the_host_works_behind_contexts(device, softmax):
    """Outputs of any context may go into operations of the host."""
    whole, parts = (compiled(skipping(), softmax=softmax, contexts=contexts) for contexts in (1, 3))
    assert hef.check(hef.read(parts.hef_bytes)) == []
    frames = np.random.default_rng(1).integers(0, 256, (5, 9, 11, 3)).astype(np.uint8)
    with device.load(whole.hef_bytes) as one, device.load(parts.hef_bytes, batch_size=4) as several:
        expected, seen = one(frames), several(frames)
    assert list(seen) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(seen[name], array)
    sums = [array.sum(-1) for name, array in seen.items() if name.endswith("softmax")]
    assert len(sums) == len(softmax)
    assert all(np.allclose(total, 1, atol=1e-3) for total in sums)


def codes_graph(seed, depth, links, heads, channels):
    """A float graph of convolutions, additions of earlier tensors, and several outputs."""
    b = Builder(seed)
    made = [b.node("Relu", [b.conv("x", "k", 3, channels)], "r")]
    for number in range(depth):
        y = b.conv(made[-1], f"k{number}", channels, channels, 1 + 2 * (number % 2))
        for link in links:
            if link % (number + 2) == 0:
                y = b.node("Add", [y, made[link % len(made)]], f"a{number}_{link}")
        made.append(b.node("Relu", [y], f"r{number}"))
    outputs = {}
    for head in range(heads):
        b.conv(made[-1 - head % len(made)], f"out{head}", channels, head + 1, 1)
        outputs[f"out{head}"] = [1, head + 1, 5, 7]
    return b.model({"x": [1, 3, 5, 7]}, outputs)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    depth=st.integers(1, 5),
    links=st.sets(st.integers(2, 9), max_size=3),
    heads=st.integers(1, 3),
    channels=st.integers(1, 9),
    contexts=st.integers(1, 5),
    batch_size=st.integers(1, 16),
    count=st.integers(1, 20),
    ddr_above=st.sampled_from([None, 100, 700]),
)
def test_any_graph_any_cut_any_batch(
    device, seed, depth, links, heads, channels, contexts, batch_size, count, ddr_above
):
    model = codes_graph(seed, depth, sorted(links), heads, channels)
    most = len(candidates(make_schedule(compiled(model).quantized_model))) + 1
    made = compiled(model, contexts=min(contexts, most), ddr_above=ddr_above)
    assert hef.check(hef.read(made.hef_bytes)) == []
    check_on(device, made, count, seed, batch_size=batch_size)


@pytest.mark.parametrize("contexts", [1, 2, 3])
def test_activations_above_a_limit_are_buffered_in_host_memory(contexts, device):
    model = compiled(skipping(), contexts=contexts, ddr_above=500)
    buffered = [context["buffers"] for context in model.report.contexts]
    assert sum(map(bool, buffered)) >= 1
    file = hef.read(model.hef_bytes)
    assert {2, 3} <= {extension.type_index for extension in file.extensions}
    layers = [layer for c in file.network_groups[0].core_op_for().contexts for layer in c.edge_layers]
    halves = [layer for layer in layers if layer.connection is Connection.DDR]
    assert len(halves) == 2 * sum(map(len, buffered))
    for layer in halves:
        assert layer.core_bytes_per_buffer == 512
        assert layer.switch.buffers * 512 >= layer.shape.elements
    for batch_size in (0, 4):
        check_on(device, model, 9, batch_size=batch_size)


def test_nothing_is_buffered_below_the_limit():
    assert compiled(skipping(), ddr_above=10**6).hef_bytes == compiled(skipping()).hef_bytes
    with pytest.raises(InputError, match="ddr_above"):
        compiled(skipping(), ddr_above=-1)


def test_an_input_read_by_two_contexts_is_handed_on():
    """The input itself crosses; so does a graph output that is read on."""
    zero, one = (onnx.numpy_helper.from_array(np.array(v, np.uint8), n) for v, n in ((3, "z"), (1, "o")))
    nodes = [
        helper.make_node("BitwiseXor", ["x", "z"], ["y"]),
        helper.make_node("BitwiseAnd", ["x", "y"], ["w"]),
        helper.make_node("BitwiseOr", ["w", "o"], ["v"]),
    ]
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", 8])  # noqa: E731
    graph = helper.make_graph(nodes, "g", [value("x")], [value("y"), value("v")], [zero, one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    schedule = make_schedule(model)
    pieces = split(schedule, (1, 2), "net")
    assert [(c.tensor.name, c.writer, c.readers) for c in pieces.crossings] == [
        ("x", 0, (1,)),
        ("y", 0, (1,)),
        ("w", 1, (2,)),
    ]
    assert [part.outputs for part in pieces.parts] == [("y",), (), ("v",)]
    assert is_exact(model, pieces)
