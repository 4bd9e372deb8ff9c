"""A threshold on integers passes exactly what the same threshold on real numbers does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.runtime.configure.layers import D2H, Layer, LayerKind
from openhailo.runtime.formats import FormatOrder, FrameLayout, Quantization
from openhailo.runtime.host_ops.maps import Numbers, places, sigmoid

ZERO_POINTS = st.floats(-300, 300, width=32)
SCALES = st.floats(-10, 10, width=32).filter(bool)
THRESHOLDS = st.floats(-5, 5)


def layer_of(quantization, data_bytes=1):
    layout = FrameLayout(FormatOrder.NHCW, 2, 2, 4, 2, 2, 4, data_bytes)
    return Layer("net/map", LayerKind.BOUNDARY, D2H, 0, 1, layout, quantization)


def real(integers, zero_point, scale):
    with np.errstate(all="ignore"):
        return (integers.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


@settings(max_examples=60, deadline=None)
@given(ZERO_POINTS, SCALES, THRESHOLDS, st.booleans(), st.sampled_from([1, 2]))
@example(0.0, 1 / 255, 0.3, False, 1)
@example(128.0, 0.1, 0.5, True, 1)
@example(0.0, 1e38, 1.0, False, 1)
@example(0.0, 1e-45, 0.0, False, 2)
def test_thresholds_on_integers_are_exact(zero_point, scale, threshold, squashed, data_bytes):
    numbers = Numbers(layer_of(Quantization((zero_point,), (scale,)), data_bytes), sigmoid if squashed else None)
    integers = np.arange(1 << (8 * data_bytes)).astype(np.uint8 if data_bytes == 1 else np.uint16)
    expected = real(integers, zero_point, scale)
    if squashed:
        with np.errstate(all="ignore"):
            expected = sigmoid(expected)
    np.testing.assert_array_equal(numbers(integers), expected)
    passing = numbers.at_least(threshold)(integers)
    np.testing.assert_array_equal(passing, expected >= np.float32(threshold))
    np.testing.assert_array_equal(numbers.at_least(threshold)(integers[::-1]), passing[::-1])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from([0.0, 0.01, 0.5, 1.0]))
def test_places_come_by_row_column_channel(seed, shape, share):
    mask = np.random.default_rng(seed).random(shape) < share
    rows_of_features = np.ascontiguousarray(mask.transpose(0, 2, 1)).transpose(0, 2, 1)
    for same in (mask, rows_of_features):
        np.testing.assert_array_equal(np.stack(places(same)), np.stack(np.nonzero(mask)))


@pytest.mark.parametrize(
    "quantization",
    [
        Quantization((0.0,), (float("nan"),)),
        Quantization((float("inf"),), (1.0,)),
        Quantization((0.0,), (0.0,), (0.0, 0.0)),
    ],
)
def test_parameters_that_are_no_numbers(quantization):
    with pytest.raises(InvalidHef, match="zero point"):
        Numbers(layer_of(quantization))


def test_features_that_are_quantised_differently():
    with pytest.raises(UnsupportedHef, match="differently"):
        Numbers(layer_of(Quantization((0.0, 0.0, 0.0, 1.0), (1.0,) * 4)))
