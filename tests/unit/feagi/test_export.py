"""Exported bursts: ONNX Runtime and the twin give the bits of the engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import openhailo
from openhailo.burst import Engine
from openhailo.compiler import compile_model
from openhailo.errors import InputError
from openhailo.feagi.export import LEVELS, NEXT, STATE, export_step
from openhailo.feagi.structured import Projection, Sheet, Structured


def session_of(model: onnx.ModelProto):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def traits(rng: np.random.Generator) -> dict:
    return {
        "threshold": float(rng.choice([-30.0, 0.5, 4.0, 20.0, 49.0])),
        "threshold_limit": float(rng.choice([0.0, 0.0, 10.0, 45.0, -60.0])),
        "leak": float(rng.choice([0.0, 0.05, 0.25, 0.9, 1.0])),
        "refractory_period": int(rng.choice([0, 0, 1, 3])),
        "consecutive_limit": int(rng.choice([0, 0, 1, 2])),
        "snooze": int(rng.choice([0, 2])),
        "charge_accumulation": bool(rng.random() < 0.7),
    }


def make(seed: int) -> Structured:
    """Two sheets and a dense area, with ways forth, back and to themselves."""
    rng = np.random.default_rng(seed)
    rows, columns, channels = (int(size) for size in rng.integers(1, 6, 3))
    stride = int(rng.integers(1, 3))
    half = (channels, (rows - 1) // stride + 1, (columns - 1) // stride + 1)
    sheets = (
        Sheet("eye", (1, rows, columns), takes_input=True, **traits(rng)),
        Sheet("map", half, takes_input=bool(rng.random() < 0.3), **traits(rng)),
        Sheet("few", (3, 1, 1), **traits(rng)),
        Sheet("idle", (1, 1, 2), **traits(rng)),
    )
    count = sheets[1].count

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-3, 8, shape)

    exists = rng.random((channels, channels, 1, 3)) < 0.5
    ways = [
        Projection("eye", "map", weights(channels, 1, 3, 3), psp=int(rng.integers(0, 9)), stride=stride),
        Projection("map", "map", weights(channels, channels, 1, 3), exists=exists),
        Projection("map", "few", weights(3, count), psp=5, exists=rng.random((3, count)) < 0.7),
        Projection("few", "eye", weights(rows * columns, 3)),
    ]
    return Structured(sheets, tuple(ways[: int(rng.integers(1, 5))]))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["npu", "embedded"]), st.sampled_from([1, 8, 10_000]))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_onnx_runtime_gives_the_engine_s_bits(seed: int, mode: str, batch: int) -> None:
    structured = make(seed)
    rng = np.random.default_rng(seed)
    step = export_step(structured, mode, input_step=int(rng.integers(1, 20)), batch_candidates=batch)
    sessions = session_of(step.model), session_of(step.float_model)
    engine = Engine(structured.to_network(), mode, backend="numpy", batch_candidates=batch)
    state = step.initial_state()
    for _ in range(8):
        levels = rng.integers(0, 6, (1, structured.input_count)).astype(np.uint8) * (rng.random() < 0.8)
        levels = levels.astype(np.uint8)
        same = sessions[1].run([NEXT], {LEVELS: levels.astype(np.float32), STATE: state.astype(np.float32)})[0]
        state = sessions[0].run([NEXT], {LEVELS: levels, STATE: state})[0]
        fired = engine.step(step.inputs(levels)).fired
        assert step.fired(state).tolist() == fired.tolist()
        np.testing.assert_array_equal(step.potentials(state), engine.neurons.potential)
        np.testing.assert_array_equal(state, step.pack(engine.state))
        np.testing.assert_array_equal(state, same)


def test_ten_thousand_candidates_change_the_way_of_updating() -> None:
    """A limit below the potential of rest revokes every spike of mode C, and none of mode B within its window."""
    sheet = Sheet("eye", (1, 100, 101), takes_input=True, threshold=-60.0, threshold_limit=-26.0)
    structured = Structured((sheet,))
    step, engine = export_step(structured), Engine(structured.to_network())
    session = session_of(step.model)
    for count in (9_999, 10_000):
        levels = np.zeros((1, sheet.count), np.uint8)
        levels[0, :count] = 1
        state = session.run([NEXT], {LEVELS: levels, STATE: step.initial_state()})[0]
        engine.reset()
        engine.step(step.inputs(levels))
        np.testing.assert_array_equal(state, step.pack(engine.state))
    assert (step.potentials(state)[:10_000] == 0).all()


def test_the_virtual_chip_gives_the_engine_s_bits() -> None:
    structured = make(5)
    step = export_step(structured, input_step=9)
    compiled = step.compile()
    engine, state = Engine(structured.to_network()), step.initial_state()
    rng, spikes = np.random.default_rng(1), 0
    with openhailo.open("twin:") as device:
        network = device.load(compiled.hef_bytes)
        for _ in range(20):
            levels = rng.integers(0, 7, (1, structured.input_count)).astype(np.uint8)
            frame = {
                f"burst_step/{LEVELS}": levels.reshape(1, 1, 1, -1),
                f"burst_step/{STATE}": state.reshape(1, 1, 1, -1),
            }
            state = network(frame, raw=True)[f"burst_step/{NEXT}"].reshape(1, -1)
            fired = engine.step(step.inputs(levels)).fired
            spikes += len(fired)
            assert step.fired(state).tolist() == fired.tolist()
            np.testing.assert_array_equal(state, step.pack(engine.state))
    assert spikes > 15
    assert {(s.quant.qp_scale, s.quant.qp_zp) for s in compiled.streams} == {(1.0, 0.0)}


def test_what_is_saved_for_the_compiler_compiles_to_the_same(tmp_path) -> None:
    step = export_step(make(5), "embedded", input_step=9)
    command = step.save_for_compiler(tmp_path / "made")
    assert command.split()[:2] == ["openhailo", "compile"]
    model, calibration = command.split()[2], command.split()[4]
    excluded = [word for word in command.split() if word in step.ways]
    again = compile_model(model, name="burst_step", calibration=calibration, exclude=excluded, equalize=False)
    assert again.hef_bytes == step.compile().hef_bytes
    step.save(tmp_path / "step.onnx")
    assert onnx.load(tmp_path / "step.onnx") == step.model


def test_the_graph_is_integer_throughout() -> None:
    step = export_step(make(5), input_step=9)
    kinds = {tensor.data_type for tensor in step.model.graph.initializer}
    kinds |= {value.type.tensor_type.elem_type for value in (*step.model.graph.input, *step.model.graph.output)}
    assert not kinds & {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}
    onnx.checker.check_model(step.model, full_check=True)


PAGE = Path(__file__).parents[3] / "docs" / "feagi-interfaces.md"


def test_the_page_s_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = PAGE.read_text(encoding="utf-8").partition("## Export")[2].partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {})
    assert {path.name for path in tmp_path.iterdir()} == {"step.onnx", "step.hef", "folder"}


EYE = Sheet("eye", (1, 4, 5), takes_input=True)


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda: export_step(Structured((EYE,)), "gpu"), "mode"),
        (lambda: export_step(Structured((EYE,)), input_step=0), "input_step"),
        (lambda: export_step(Structured((EYE,)), input_step=1 << 20), "not exact"),
        (lambda: export_step(Structured((Sheet("a", (1, 1, 1)),))), "none takes inputs"),
        (lambda: Structured((EYE, EYE)), "twice"),
        (lambda: Structured(()), "neurons"),
        (lambda: Structured((Sheet("a", (1, 1000, 1000)),)), "1000000 neurons"),
        (lambda: Structured((EYE,), (Projection("eye", "ear", np.ones((1, 1, 3, 3))),)), "'ear' is unknown"),
        (lambda: Structured((EYE,), (Projection("eye", "eye", np.ones((2, 1, 3, 3))),)), "makes"),
        (lambda: Structured((EYE,), (Projection("eye", "eye", np.ones((20, 19))),)), "needed"),
        (lambda: Projection("a", "b", np.ones((1, 1))[0]), "two or four"),
        (lambda: Projection("a", "b", np.full((1, 1), 128)), "-127..127"),
        (lambda: Projection("a", "b", np.full((1, 1), 0.5)), "whole"),
        (lambda: Projection("a", "b", np.full((1, 1), np.nan)), "whole"),
        (lambda: Projection("a", "b", np.ones((1, 1)), psp=256), "psp"),
        (lambda: Projection("a", "b", np.ones((1, 1)), exists=np.ones(3, bool)), "exists"),
        (lambda: Sheet("a b", (1, 1, 1)), "name"),
        (lambda: Sheet("a", (1, 0, 1)), "shape"),
        (lambda: Sheet("a", (1, 1, 1), leak=float("nan")), "finite"),
        (lambda: Sheet("a", (1, 1, 1), refractory_period=200, snooze=56), "0..255"),
        (lambda: export_step(Structured((EYE,))).fired(np.zeros(3)), "3 values"),
        (lambda: export_step(Structured((EYE,))).pack(Engine(Structured((EYE,)).to_network("fp32")).state), "int8"),
    ],
)
def test_what_cannot_be_exported_is_refused(make_it, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_it()


def test_too_many_synapses_are_refused_before_they_are_made() -> None:
    wide = Sheet("wide", (1, 300, 300), takes_input=True)
    structured = Structured((wide,), (Projection("wide", "wide", np.ones((1, 1, 101, 101))),))
    with pytest.raises(InputError, match="synapses"):
        structured.to_network()
