"""NIR graphs become networks whose spikes are those of an Euler simulation of NIR's own equations."""

from __future__ import annotations

import importlib
import io

import numpy as np
import pytest

from openhailo.errors import InputError, UnsupportedOp
from openhailo.feagi.nir import import_nir
from openhailo.feagi.nir_file import load_graph, parse_graph

nir = importlib.import_module("nir")
h5py = importlib.import_module("h5py")
DT = 1.0


def lif(
    *shape: int, tau: float = 4.0, threshold: float = 1.0, leak: float = 0.0, reset: float | None = None, r: float = 1.0
):
    full = {"tau": tau, "r": r, "v_leak": leak, "v_threshold": threshold, "v_reset": leak if reset is None else reset}
    return nir.LIF(**{name: np.full(shape, value) for name, value in full.items()})


def euler_lif(node, state: np.ndarray, current: np.ndarray) -> np.ndarray:
    """One step of NIR's equation, in place; the spikes."""
    state += DT / node.tau * (node.v_leak - state + node.r * current)
    spikes = state > node.v_threshold
    state[spikes] = node.v_reset[spikes]
    return spikes.astype(float)


def recurrent_graph(rng: np.random.Generator, weight):
    """Two inputs, five neurons that also excite and inhibit each other, three behind them, a readout."""
    nodes = {
        "input": nir.Input(np.array([2])),
        "into": nir.Affine(weight=weight(5, 2), bias=np.full(5, 0.25)),
        "hidden": lif(5, leak=0.5, threshold=1.5),
        "back": nir.Linear(weight=weight(5, 5)),
        "on": nir.Affine(weight=weight(3, 5), bias=np.array([0.0, 0.5, -0.5])),
        "last": nir.IF(r=np.full(3, 0.5), v_threshold=np.full(3, 2.0), v_reset=np.zeros(3)),
        "read": nir.Affine(weight=weight(2, 3), bias=np.ones(2)),
        "output": nir.Output(np.array([2])),
    }
    edges = [
        ("input", "into"), ("into", "hidden"), ("hidden", "back"), ("back", "hidden"),
        ("hidden", "on"), ("on", "last"), ("last", "read"), ("read", "output"),
    ]  # fmt: skip
    return nir.NIRGraph(nodes=nodes, edges=edges)


def test_dyadic_weights_give_exactly_the_spikes_of_nir_s_equations() -> None:
    rng = np.random.default_rng(3)
    graph = recurrent_graph(rng, lambda *shape: rng.integers(-8, 24, shape) / 8)
    model = import_nir(graph, dt_s=DT)
    engine, nodes = model.engine(), graph.nodes
    assert not any("rounded" in note for note in model.approximations)
    hidden, last = np.zeros(5), np.zeros(3)
    before, spikes = (np.zeros(5), np.zeros(3)), 0
    for _ in range(200):
        frame = rng.integers(0, 4, 2) / 2
        current = nodes["into"].weight @ frame + nodes["into"].bias + nodes["back"].weight @ before[0]
        later = nodes["on"].weight @ before[0] + nodes["on"].bias
        fired_hidden = euler_lif(nodes["hidden"], hidden, current)
        last += DT * nodes["last"].r * later
        fired_last = (last > 2.0).astype(float)
        last[fired_last > 0] = 0.0
        before = fired_hidden, fired_last
        fired = engine.step(model.inputs({"input": frame})).fired
        wanted = np.flatnonzero(np.concatenate([fired_hidden, fired_last]))
        assert fired.tolist() == wanted.tolist()
        spikes += len(wanted)
        np.testing.assert_allclose(model.outputs(fired)["output"], nodes["read"].weight @ fired_last + 1.0)
    assert spikes > 200


@pytest.mark.parametrize(("bits", "share"), [(8, 1 / 250), (16, 1 / 65_000)])
def test_what_rounding_takes_is_said(bits: int, share: float) -> None:
    rng = np.random.default_rng(0)
    graph = recurrent_graph(rng, lambda *shape: rng.normal(size=shape))
    model = import_nir(graph, dt_s=DT, weight_bits=bits)
    (note,) = [note for note in model.approximations if "rounded" in note]
    assert float(note.split("at most ")[1].split()[0]) <= share
    population, synapses = model.populations["last"], model.network.synapses
    value = synapses.weight.astype(float) * synapses.psp * np.where(synapses.kind == 0, 1, -1)
    got = np.zeros((3, 5))
    for source, target, number in zip(synapses.sources(), synapses.target, value, strict=True):
        if target >= population.start:
            got[target - population.start, source] += number
    np.testing.assert_allclose(
        got / (population.scale * population.gain)[:, None], graph.nodes["on"].weight, atol=3 * share
    )


def conv_graph(rng: np.random.Generator):
    """Convolution, pooling, flattening, dense: shapes of a small vision network."""
    kernel = rng.integers(-2, 3, (4, 1, 3, 3)) / 2.0
    return nir.NIRGraph(
        nodes={
            "input": nir.Input(np.array([2, 6, 8])),
            "conv": nir.Conv2d((6, 8), kernel, 1, (1, 1), 1, 2, rng.integers(0, 2, 4) / 2.0),
            "a": lif(4, 6, 8),
            "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
            "wide": nir.Conv2d((3, 4), rng.integers(-2, 4, (3, 4, 3, 3)) / 4.0, (1, 2), "valid", 1, 1, np.zeros(3)),
            "b": lif(3, 1, 1),
            "flat": nir.Flatten(np.array([3, 1, 1]), 0, -1),
            "scale": nir.Scale(np.array([1.0, 2.0, 0.5])),
            "dense": nir.Linear(rng.integers(-2, 6, (2, 3)) / 2.0),
            "c": lif(2),
            "output": nir.Output(np.array([2])),
        },
        edges=[
            ("input", "conv"), ("conv", "a"), ("a", "pool"), ("pool", "wide"), ("wide", "b"), ("b", "flat"),
            ("flat", "scale"), ("scale", "dense"), ("dense", "c"), ("c", "output"),
        ],
        type_check=False,
    )  # fmt: skip


def slow_convolution(field: np.ndarray, node, pad: int) -> np.ndarray:
    """Sum by sum; groups as in NIR."""
    padded = np.pad(field, ((0, 0), (pad, pad), (pad, pad)))
    weight, (down, across) = node.weight, np.broadcast_to(node.stride, 2)
    per_group, outs = weight.shape[1], len(weight) // node.groups
    rows = (padded.shape[1] - weight.shape[2]) // down + 1
    columns = (padded.shape[2] - weight.shape[3]) // across + 1
    made = np.zeros((len(weight), rows, columns))
    for out, row, column in np.ndindex(*made.shape):
        first = out // outs * per_group
        seen = padded[first : first + per_group, row * down : row * down + 3, column * across : column * across + 3]
        made[out, row, column] = (seen * weight[out]).sum() + node.bias[out]
    return made


def test_convolutions_pools_and_flattening_become_synapses() -> None:
    rng = np.random.default_rng(5)
    graph = conv_graph(rng)
    model, nodes = import_nir(graph, dt_s=DT), graph.nodes
    engine = model.engine()
    states = {name: np.zeros(nodes[name].tau.shape) for name in "abc"}
    before = {name: np.zeros_like(state) for name, state in states.items()}
    spikes = np.zeros(3)
    for _ in range(40):
        frame = rng.integers(0, 5, (2, 6, 8)) / 1.0
        pooled = before["a"].reshape(4, 3, 2, 4, 2).sum(axis=(2, 4))
        currents = {
            "a": slow_convolution(frame, nodes["conv"], 1),
            "b": slow_convolution(pooled, nodes["wide"], 0),
            "c": nodes["dense"].weight @ (before["b"].reshape(-1) * nodes["scale"].scale),
        }
        before = {name: euler_lif(nodes[name], states[name], currents[name]) for name in "abc"}
        fired = engine.step(model.inputs({"input": frame})).fired
        wanted = np.concatenate([before[name].reshape(-1) for name in "abc"])
        assert fired.tolist() == np.flatnonzero(wanted).tolist()
        np.testing.assert_array_equal(model.outputs(fired)["output"], before["c"])
        spikes += [before[name].sum() for name in "abc"]
    assert (spikes > 5).all()


def test_the_architectures_of_nir_s_own_tests() -> None:
    """Its sequential example (tests/test_architectures.py) without the Delay, and with it refused."""
    rng = np.random.default_rng(0)
    first = nir.Affine(weight=rng.normal(size=(2, 3)).T, bias=rng.normal(size=3))
    values = {"tau": [10, 20, 30], "r": [1, 1, 1], "v_leak": [0, 0, 0], "v_reset": [0, 0, 0], "v_threshold": [1, 2, 3]}
    neurons = nir.LIF(**{name: np.array(value) for name, value in values.items()})
    last = nir.Affine(weight=rng.normal(size=(3, 2)).T, bias=rng.normal(size=2))
    model = import_nir(nir.NIRGraph.from_list(first, neurons, last), dt_s=1)
    engine, frame, counts = model.engine(), np.array([40.0, -25.0]), np.zeros(3)
    for _ in range(50):
        fired = engine.step(model.inputs({"input": frame})).fired
        counts[fired] += 1
    state, wanted = np.zeros(3), np.zeros(3)
    for _ in range(50):
        wanted += euler_lif(neurons, state, first.weight @ frame + first.bias)
    assert counts.tolist() == wanted.tolist()
    assert counts.sum() > 0
    with pytest.raises(UnsupportedOp, match="Delay"):
        import_nir(nir.NIRGraph.from_list(first, nir.Delay(np.array([0.5, 0.1, 0.2])), neurons, last), dt_s=1)


def test_a_file_gives_what_the_graph_gives(tmp_path) -> None:
    graph = recurrent_graph(np.random.default_rng(1), lambda *shape: np.ones(shape))
    nir.write(tmp_path / "model.nir", graph)
    from_file, direct = import_nir(tmp_path / "model.nir", dt_s=DT), import_nir(graph, dt_s=DT)
    assert from_file.network.synapses.target.tobytes() == direct.network.synapses.target.tobytes()
    np.testing.assert_array_equal(from_file.network.neurons.threshold, direct.network.neurons.threshold)
    assert from_file.approximations == direct.approximations


def test_a_reset_that_is_not_the_leak_s_target_is_said() -> None:
    graph = nir.NIRGraph.from_list(nir.Linear(np.eye(2)), lif(2, leak=0.5, reset=0.25))
    assert (
        "lif: after firing, potentials go to v_leak, up to 0.25 beside v_reset."
        in import_nir(graph, dt_s=1).approximations
    )


def graph_of(*nodes, **more):
    return nir.NIRGraph.from_list(*nodes, **more)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: import_nir(graph_of(nir.Linear(np.eye(2)), lif(2, tau=0.5)), dt_s=1), "time constant"),
        (lambda: import_nir(graph_of(nir.Linear(np.eye(2)), lif(2, tau=-1)), dt_s=1), "positive"),
        (lambda: import_nir(graph_of(nir.Linear(np.eye(2)), lif(2, r=np.nan)), dt_s=1), "finite"),
        (lambda: import_nir(graph_of(nir.Linear(np.eye(2)), lif(2)), dt_s=0), "positive time"),
        (lambda: import_nir(graph_of(nir.Linear(np.eye(2)), lif(2)), dt_s=1, weight_bits=4), "8 or 16"),
        (lambda: import_nir(graph_of(nir.Linear(np.eye(2)), nir.Linear(np.eye(2))), dt_s=1), "could fire"),
        (lambda: import_nir(graph_of(lif(2), nir.Linear(np.full((2, 2), np.inf)), lif(2)), dt_s=1), "NaN or infinity"),
        (lambda: import_nir(graph_of(lif(2), nir.Linear(np.full((2, 2), 1e300)), lif(2)), dt_s=1), "too large"),
        (
            lambda: import_nir(graph_of(lif(3), nir.Linear(np.eye(2)), lif(2), type_check=False), dt_s=1),
            "input of shape",
        ),
        (lambda: import_nir("missing.nir", dt_s=1), "cannot be read"),
        (lambda: import_nir(None, dt_s=1), "NIRGraph"),
        (lambda: import_nir(graph_of(lif(2)), dt_s=1).inputs({"lif": [1, 1]}), "no input"),
        (lambda: import_nir(graph_of(lif(2)), dt_s=1).inputs({"input": [1, 1, 1]}), "shape"),
        (lambda: parse_graph(b"\x89HDF\r\n\x1a\n" + bytes(100)), "no NIR graph"),
    ],
)
def test_what_cannot_be_imported_is_refused(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_a_circle_of_linear_nodes_is_refused() -> None:
    nodes = {"input": nir.Input(np.array([2])), "a": nir.Linear(np.eye(2)), "b": nir.Linear(np.eye(2)), "lif": lif(2)}
    edges = [("input", "a"), ("a", "b"), ("b", "a"), ("b", "lif")]
    with pytest.raises(InputError, match="circle"):
        import_nir(nir.NIRGraph(nodes=nodes, edges=edges, type_check=False), dt_s=1)


@pytest.mark.parametrize("kind", ["CubaLIF", "LI", "I", "Threshold"])
def test_nodes_without_counterpart_are_named(kind: str) -> None:
    one = np.ones(2)
    made = {
        "CubaLIF": lambda: nir.CubaLIF(tau_syn=one, tau_mem=one, r=one, v_leak=one, v_threshold=one),
        "LI": lambda: nir.LI(tau=one, r=one, v_leak=one),
        "I": lambda: nir.I(r=one),
        "Threshold": lambda: nir.Threshold(threshold=one),
    }[kind]()
    with pytest.raises(UnsupportedOp, match=kind) as caught:
        import_nir(graph_of(nir.Linear(np.eye(2)), made), dt_s=1)
    assert caught.value.op == kind


def test_a_reader_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openhailo.feagi.nir_file.READ_BUDGET_S", 0.001)
    with pytest.raises(InputError, match="not read within"):
        parse_graph(file_with(lambda _: None))


def file_with(change) -> bytes:
    data = io.BytesIO()
    nir.write(data, graph_of(nir.Linear(np.eye(2)), lif(2)))
    with h5py.File(data, "r+") as file:
        change(file["node"])
    return data.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda node: node.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "links"),
        (lambda node: node.__setitem__("x", h5py.SoftLink("/node")), "links"),
        (lambda node: node.__setitem__("x", node), "levels"),
        (lambda node: node.create_dataset("x", (1 << 40,), "u1", chunks=(1 << 20,), compression="gzip"), "content of"),
        (lambda node: node.create_dataset("x", (8,), "u1", external=[("other", 0, 8)]), "elsewhere"),
        (lambda node: node.create_dataset("x", data=h5py.Empty("f")), "without values"),
        (lambda node: node.create_dataset("y", (8,), "u1", chunks=(8,), scaleoffset=0), "filters"),
        (lambda node: node.__delitem__("type"), "no NIR graph"),
        (lambda node: node.__delitem__("edges"), "no NIR graph"),
    ],
)
def test_files_that_reach_beyond_themselves_are_refused(change, words: str, tmp_path) -> None:
    path = tmp_path / "x.nir"
    path.write_bytes(file_with(change))
    with pytest.raises(InputError, match=words):
        load_graph(path)
