"""Host transformations against the index formulas of hef.md 7, element by element."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.errors import InputError, InvalidHef, UnsupportedHef
from openhailo.runtime.formats import FormatOrder as O
from openhailo.runtime.formats import FormatType as T
from openhailo.runtime.formats import FrameLayout, Quantization
from openhailo.runtime.transforms import plan_input, plan_output

IDENTITY = Quantization()

#: Device order -> element index of (row, column, channel) in a frame of H x W x C (hef.md 7).
INDEX = {
    O.NHWC: lambda r, x, k, W, C: r * W * C + x * C + k,
    O.FCR: lambda r, x, k, W, C: r * W * C + x * C + k,
    O.NHCW: lambda r, x, k, W, C: r * C * W + k * W + x,
    O.F8CR: lambda r, x, k, W, C: r * W * C + (k // 8) * 8 * W + x * 8 + k % 8,
    O.RGB888: lambda r, x, k, W, C: r * W * 4 + x * 4 + (2 - k),
}


def layout(order, shape, padded=None, data_bytes=1, transposed=False):
    return FrameLayout(order, *shape, *(padded or shape), data_bytes, transposed)


def frame_of(shape, dtype=np.uint8):
    values = np.random.default_rng(7).integers(0, np.iinfo(dtype).max + 1, size=shape)
    return values.astype(dtype)


def expected_transfer(device, pixels):
    """Place canonical (rows, columns, channels) pixels by the formula; everything else is zero."""
    dtype = np.uint8 if device.data_bytes == 1 else np.dtype("<u2")
    out = np.zeros(device.transfer_bytes // device.data_bytes, dtype)
    for r, x, k in np.ndindex(pixels.shape):
        out[INDEX[device.order](r, x, k, device.padded_width, device.padded_features)] = pixels[r, x, k]
    return out.tobytes()


def write(plan, slot, frame):
    """Write one frame into a slot of its own."""
    plan.bind(memoryview(slot), plan.transfer_bytes)(np.ascontiguousarray(frame)[None], 0, 1)


def read(plan, slot):
    """Read the frame of a slot."""
    out = np.empty((1, *plan.shape), plan.dtype)
    plan.bind(memoryview(slot), plan.transfer_bytes)(out, 0, 1)
    return out[0]


shapes = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 19))
pads = st.tuples(st.integers(0, 3), st.integers(0, 7), st.integers(0, 9))


@given(
    pair=st.sampled_from(
        [(O.NHWC, O.NHCW), (O.NHCW, O.NHCW), (O.NHWC, O.NHWC), (O.NHWC, O.FCR), (O.NHWC, O.F8CR), (O.RGB4, O.NHCW)]
    ),
    shape=shapes,
    pad=pads,
    data_bytes=st.sampled_from([1, 2]),
)
def test_input_elements_lie_where_the_format_table_says(pair, shape, pad, data_bytes):
    user, device_order = pair
    padded = tuple(a + b for a, b in zip(shape, pad, strict=True))
    if device_order is O.F8CR:
        padded = (*padded[:2], -(-padded[2] // 8) * 8)
    device = layout(device_order, shape, padded, data_bytes)
    pixels = frame_of(shape, np.uint8 if data_bytes == 1 else np.uint16)
    frame = pixels
    if user is O.NHCW:
        frame = np.ascontiguousarray(pixels.transpose(0, 2, 1))
    if user is O.RGB4:
        rows = pixels.reshape(shape[0], -1)
        frame = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)), constant_values=9)
    plan = plan_input(device, IDENTITY, order=user)
    slot = bytearray(plan.transfer_bytes)
    assert frame.shape == plan.shape
    write(plan, slot, frame)
    assert bytes(slot) == expected_transfer(device, pixels)


@given(
    pair=st.sampled_from([(O.NHCW, O.NHWC), (O.NHWC, O.NHWC), (O.FCR, O.FCR), (O.F8CR, O.NHWC), (O.NHCW, O.NCHW)]),
    shape=shapes,
    pad=pads,
    data_bytes=st.sampled_from([1, 2]),
    per_feature=st.booleans(),
)
def test_output_elements_come_from_where_the_format_table_says(pair, shape, pad, data_bytes, per_feature):
    device_order, user = pair
    padded = tuple(a + b for a, b in zip(shape, pad, strict=True))
    if device_order is O.F8CR:
        padded = (*padded[:2], -(-padded[2] // 8) * 8)
    device = layout(device_order, shape, padded, data_bytes)
    pixels = frame_of(shape, np.uint8 if data_bytes == 1 else np.uint16)
    slot = memoryview(bytearray(expected_transfer(device, pixels)))

    raw = plan_output(device, IDENTITY, order=user)
    got = read(raw, slot)
    np.testing.assert_array_equal(got.transpose(1, 2, 0) if user is O.NCHW else got, pixels)

    count = shape[2] if per_feature else 1
    zero_points = np.arange(count, dtype=np.float32) + 3
    scales = np.linspace(0.25, 1.75, count, dtype=np.float32)
    quantization = Quantization(tuple(map(float, zero_points)), tuple(map(float, scales)))
    real = plan_output(device, quantization, order=user, user_type=T.FLOAT32)
    out = read(real, slot)
    want = (pixels.astype(np.float32) - zero_points) * scales
    np.testing.assert_array_equal(out.transpose(1, 2, 0) if user is O.NCHW else out, want)


def test_rgb888_reverses_channels_and_leaves_the_fourth_byte_zero():
    device = layout(O.RGB888, (2, 3, 3), (2, 4, 3))
    pixels = frame_of((2, 3, 3))
    plan = plan_input(device, IDENTITY, order=O.NHWC)
    slot = bytearray(plan.transfer_bytes)
    write(plan, slot, pixels)
    assert bytes(slot) == expected_transfer(device, pixels)
    assert plan.transfer_bytes == 2 * 4 * 4


@pytest.mark.parametrize(("user", "device_order"), [(O.NV12, O.HAILO_YYUV), (O.NV21, O.HAILO_YYVU)])
def test_two_plane_yuv_interleaves_two_luma_rows_and_a_chroma_row(user, device_order):
    device = layout(device_order, (2, 4, 3), (2, 6, 3))
    plan = plan_input(device, IDENTITY, order=user)
    frame = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4) + 1
    assert plan.shape == frame.shape
    slot = bytearray(plan.transfer_bytes)
    write(plan, slot, frame)
    rows = np.frombuffer(slot, np.uint8)[:36].reshape(6, 6)
    assert not rows[:, 4:].any()
    np.testing.assert_array_equal(rows[:, :4], frame[[0, 1, 4, 2, 3, 5]])


def test_three_plane_yuv_puts_half_rows_of_u_and_v_behind_two_luma_rows():
    device = layout(O.HAILO_YYYYUV, (2, 4, 3))
    plan = plan_input(device, IDENTITY, order=O.I420)
    frame = np.arange(24, dtype=np.uint8).reshape(6, 4)
    slot = bytearray(plan.transfer_bytes)
    write(plan, slot, frame)
    assert list(slot) == [*range(8), 16, 17, 20, 21, *range(8, 16), 18, 19, 22, 23]


def test_transposed_layers_exchange_rows_and_columns_of_pixels():
    device = layout(O.NHWC, (2, 3, 2), transposed=True)
    frame = frame_of((3, 2, 2))
    plan = plan_input(device, IDENTITY, order=O.NHWC)
    assert plan.shape == frame.shape
    slot = bytearray(plan.transfer_bytes)
    write(plan, slot, frame)
    assert bytes(slot)[:12] == np.ascontiguousarray(frame.swapaxes(0, 1)).tobytes()
    np.testing.assert_array_equal(read(plan_output(device, IDENTITY, order=O.NHWC), slot), frame)


def test_nc_ignores_the_padding_behind_the_last_feature():
    device = layout(O.NC, (1, 1, 11), (1, 1, 16))
    slot = memoryview(bytearray(range(16)))
    plan = plan_output(device, Quantization((110.0,), (0.5,)), order=O.NC, user_type=T.FLOAT32)
    out = read(plan, slot)
    np.testing.assert_array_equal(out, (np.arange(11, dtype=np.float32) - 110) * np.float32(0.5))


def test_identity_quantisation_rounds_half_to_even_and_wraps():
    device = layout(O.NC, (1, 1, 8))
    plan = plan_input(device, IDENTITY, order=O.NC, user_type=T.FLOAT32)
    slot = bytearray(8)
    values = [0.5, 1.5, 2.5, 255.5, -1.0, 300.0, 254.5, -2.0]
    write(plan, slot, np.array(values, np.float32))
    assert list(slot) == [0, 2, 2, 0, 255, 44, 254, 254]


def test_other_quantisation_clips_to_the_limits_first():
    device = layout(O.NC, (1, 1, 8))
    quantization = Quantization((114.0,), (0.5,), (-57.0, 70.5))
    plan = plan_input(device, quantization, order=O.NC, user_type=T.FLOAT32)
    slot = bytearray(8)
    values = [-1000, -57, 0, 0.25, 0.75, 70.5, 1e9, np.inf]
    write(plan, slot, np.array(values, np.float32))
    assert list(slot) == [0, 0, 114, 114, 116, 255, 255, 255]


@pytest.mark.parametrize(
    ("user", "device"),
    [
        (O.NHCW, layout(O.NHWC, (4, 4, 3))),
        (O.NCHW, layout(O.NHWC, (4, 4, 3))),
        (O.YUY2, layout(O.NHCW, (4, 4, 2))),
        (O.NCHW, layout(O.NHCW, (4, 7, 3))),
        (O.NCHW, layout(O.NHCW, (4, 8, 3), (4, 8, 4))),
        (O.YUY2, layout(O.YUY2, (1, 3, 2))),
        (O.F8CR, layout(O.F8CR, (4, 4, 9), (4, 4, 12))),
        (O.NV12, layout(O.HAILO_YYUV, (2, 4, 2))),
        (O.NCHW, layout(O.NHCW, (8, 8, 1), transposed=True)),
    ],
)
def test_pairs_without_a_transformation_are_refused(user, device):
    with pytest.raises(InputError, match=device.order.name):
        plan_input(device, IDENTITY, order=user)


@pytest.mark.parametrize(("user", "data_bytes"), [(T.UINT16, 1)])
def test_narrowing_an_input_is_refused(user, data_bytes):
    with pytest.raises(InputError, match="UINT16"):
        plan_input(layout(O.NHWC, (1, 1, 8), data_bytes=data_bytes), IDENTITY, order=O.NHWC, user_type=user)


def test_narrowing_an_output_is_refused_and_widening_is_not():
    with pytest.raises(InputError, match="UINT8"):
        plan_output(layout(O.NC, (1, 1, 8), data_bytes=2), IDENTITY, order=O.NC, user_type=T.UINT8)
    plan = plan_output(layout(O.NC, (1, 1, 8)), IDENTITY, order=O.NC, user_type=T.UINT16)
    assert read(plan, bytearray([255] * 8)).tolist() == [255] * 8


def test_missing_quantisation_is_refused_only_where_numbers_are_converted():
    none = Quantization((0.0,), (0.0,), (0.0, 0.0))
    plan_input(layout(O.NC, (1, 1, 8)), none, order=O.NC)
    with pytest.raises(UnsupportedHef, match="quantisation"):
        plan_input(layout(O.NC, (1, 1, 8)), none, order=O.NC, user_type=T.FLOAT32)


def test_inputs_whose_features_differ_are_refused():
    quantization = Quantization((0.0, 1.0), (1.0, 2.0))
    with pytest.raises(UnsupportedHef, match="features"):
        plan_input(layout(O.NC, (1, 1, 2)), quantization, order=O.NC, user_type=T.FLOAT32)


@pytest.mark.parametrize("sizes", [(0, 1, 1, 0, 1, 1), (2, 1, 1, 1, 1, 1)])
def test_impossible_shapes_are_refused(sizes):
    with pytest.raises(InvalidHef, match="shape"):
        FrameLayout(O.NHWC, *sizes)


@pytest.mark.parametrize("user_type", [T.UINT8, T.FLOAT32])
@pytest.mark.parametrize("device_order", [O.NHWC, O.NHCW, O.F8CR])
def test_runs_of_frames_fill_consecutive_slots(user_type, device_order):
    device = layout(device_order, (3, 5, 9), (3, 6, 16))
    plan = plan_input(device, IDENTITY, order=O.NHWC, user_type=user_type)
    frames = frame_of((700, 3, 5, 9)).astype(plan.dtype)
    stride = plan.transfer_bytes + 64
    slots = bytearray(stride * 702)
    plan.bind(memoryview(slots), stride)(frames, 1, 701)
    assert not any(slots[:stride])
    for index in (0, 1, 511, 699):
        at = stride * (index + 1)
        pixels = frames[index].astype(np.uint8)
        assert bytes(slots[at : at + plan.transfer_bytes]) == expected_transfer(device, pixels)
        assert not any(slots[at + plan.transfer_bytes : at + stride])
    back = plan_output(device, IDENTITY, order=O.NHWC, user_type=user_type)
    out = np.empty((700, *back.shape), back.dtype)
    back.bind(memoryview(slots), stride)(out, 1, 701)
    np.testing.assert_array_equal(out, frames)
