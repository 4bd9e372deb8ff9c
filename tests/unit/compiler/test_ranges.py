from __future__ import annotations

import numpy as np
import pytest
from compiler_graphs import Builder
from onnx import TensorProto, helper

from openhailo.compiler import ranges as module
from openhailo.compiler.passes.graph import infer_shapes
from openhailo.compiler.quantize import quantize_range
from openhailo.compiler.ranges import collect_ranges
from openhailo.errors import CalibrationError, InputError


def chain():
    b = Builder()
    b.node("Relu", ["input"], "relu")
    b.node("Neg", ["relu"], "neg")
    b.node("Neg", ["neg"], "out")
    return infer_shapes(b.model({"input": [1, 20000]}, {"out": [1, 20000]}))


def frames(outlier=100.0):
    values = np.random.default_rng(0).standard_normal((3, 1, 20000)).astype(np.float32)
    values[1, 0, 7] = outlier
    return [{"input": frame} for frame in values]


def test_minmax_sees_everything():
    data = frames()
    ranges = collect_ranges(chain(), data)
    everything = np.stack([frame["input"] for frame in data])
    assert ranges["input"] == (everything.min(), everything.max())
    assert ranges["relu"] == (0.0, 100.0)
    assert ranges["neg"] == (-100.0, 0.0)


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_outliers_are_cut_inside_but_not_at_the_end(method):
    ranges = collect_ranges(chain(), frames(), method=method, percentile=99.9)
    assert ranges["relu"][0] == 0.0
    assert 2.0 < ranges["relu"][1] < 50.0
    assert -50.0 < ranges["neg"][0] < -2.0
    assert ranges["out"] == (0.0, 100.0)


def test_percentile_of_a_uniform_tensor():
    values = np.linspace(0, 1, 20000, dtype=np.float32)[None]
    ranges = collect_ranges(chain(), [{"input": values}], method="percentile", percentile=90)
    assert abs(ranges["relu"][1] - 0.95) < 0.01


@pytest.mark.parametrize("method", ["entropy", "mse"])
def test_a_uniform_range_is_kept(method):
    values = np.random.default_rng(0).uniform(-1, 1, (1, 20000)).astype(np.float32)
    ranges = collect_ranges(chain(), [{"input": values}], method=method)
    assert ranges["relu"][1] > 0.95


def test_zeros_of_a_relu_do_not_count_for_entropy():
    values = np.random.default_rng(0).standard_normal((1, 20000)).astype(np.float32)
    sparse = values.copy()
    sparse[0, 2000:] = -1.0
    dense = np.abs(values[:, :2000]).repeat(10, 1)
    (_, a), (_, b) = (collect_ranges(chain(), [{"input": x}], method="entropy")["relu"] for x in (sparse, dense))
    assert abs(a - b) < 1.0


def test_mse_is_no_worse_than_the_others():
    values = np.random.default_rng(0).laplace(size=(1, 20000)).astype(np.float32)
    relu = np.maximum(values, 0)
    errors = {}
    for method in ("minmax", "percentile", "entropy", "mse"):
        scale, zero = quantize_range(*collect_ranges(chain(), [{"input": values}], method=method)["relu"])
        levels = np.clip(np.rint(relu / scale) + zero, 0, 255)
        errors[method] = float(np.square((levels - zero) * scale - relu).sum())
    assert errors["mse"] <= 1.02 * min(errors.values())
    assert errors["mse"] < 0.9 * max(errors.values())


def test_constant_tensors():
    ranges = collect_ranges(chain(), [{"input": np.zeros((1, 20000), np.float32)}], method="entropy")
    assert ranges["relu"] == (0.0, 0.0)


def test_errors():
    with pytest.raises(InputError, match="magic"):
        collect_ranges(chain(), frames(), method="magic")
    for percentile in (50, 101, float("nan")):
        with pytest.raises(InputError):
            collect_ranges(chain(), frames(), method="percentile", percentile=percentile)
    with pytest.raises(CalibrationError, match="not finite"):
        collect_ranges(chain(), frames(outlier=np.inf))


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 6), (-3, -1), (2, 5), (0, 0), (-1e-9, 1e-9)])
def test_quantized_range_contains_zero_exactly(low, high):
    scale, zero = quantize_range(low, high)
    assert scale > 0
    assert 0 <= zero <= 255
    assert (0 - zero) * scale <= min(low, 0) + scale / 2
    assert (255 - zero) * scale >= max(high, 0) - scale / 2


def test_tensors_are_divided_by_size(monkeypatch):
    """Every tensor in one part, in order; none above the limit unless it is alone."""
    monkeypatch.setattr(module, "PART_BYTES", 100)
    values = {"a": 10, "b": 15, "c": 1, "d": 30, "e": 5}
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in values.items()]
    model = helper.make_model(helper.make_graph([], "sizes", [], [], value_info=info))
    assert module.parts(model, [*values, "unknown"]) == [["a", "b"], ["c"], ["d"], ["e"], ["unknown"]]
    assert module.parts(model, []) == []


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_parts_change_nothing(monkeypatch, method):
    model, data = chain(), frames()
    whole = collect_ranges(model, data, method=method)
    monkeypatch.setattr(module, "PART_BYTES", 1)
    assert len(module.parts(model, ["relu", "neg", "out"])) == 3
    assert collect_ranges(model, data, method=method) == whole
