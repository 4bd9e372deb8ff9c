"""Every row of the table of conversions (hef.md 9), element by element, and every pair that is not in it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from openhailo.errors import InputError
from openhailo.runtime.formats import FormatOrder as O
from openhailo.runtime.formats import FormatType as T
from openhailo.runtime.formats import FrameLayout, Quantization
from openhailo.runtime.transforms import plan_input, plan_output

#: (user, device): shape, padded shape (hef.md 9, first row of the second table).
H2D = {
    (O.NHWC, O.NHCW): ((3, 5, 3), (4, 8, 4)),
    (O.NHCW, O.NHCW): ((3, 5, 3), (4, 8, 4)),
    (O.NHWC, O.NHWC): ((3, 5, 3), (4, 8, 4)),
    (O.NC, O.NC): ((1, 1, 11), (1, 1, 16)),
    (O.FCR, O.FCR): ((3, 5, 3), (4, 8, 8)),
    (O.NHWC, O.FCR): ((3, 5, 3), (4, 8, 8)),
    (O.F8CR, O.F8CR): ((3, 5, 19), (4, 8, 24)),
    (O.NHWC, O.F8CR): ((3, 5, 11), (4, 8, 16)),
    (O.BAYER_RGB, O.BAYER_RGB): ((4, 6, 1), (4, 8, 1)),
    (O.BAYER_RGB_12_BIT, O.BAYER_RGB_12_BIT): ((4, 6, 1), (4, 8, 1)),
    (O.NHWC, O.RGB888): ((3, 5, 3), (4, 8, 3)),
    (O.NCHW, O.NHCW): ((3, 5, 3), (3, 8, 3)),
    (O.YUY2, O.YUY2): ((2, 4, 2), (2, 4, 2)),
    (O.NV12, O.HAILO_YYUV): ((4, 6, 3), (4, 8, 3)),
    (O.NV21, O.HAILO_YYVU): ((4, 6, 3), (4, 8, 3)),
    (O.I420, O.HAILO_YYYYUV): ((4, 6, 3), (4, 8, 3)),
    (O.RGB4, O.NHWC): ((3, 5, 3), (4, 8, 3)),
    (O.RGB4, O.NHCW): ((3, 5, 3), (4, 8, 4)),
}

#: (device, user), second row.
D2H = {
    (O.NHCW, O.NHWC): ((3, 5, 3), (4, 8, 4)),
    (O.NC, O.NC): ((1, 1, 11), (1, 1, 16)),
    (O.NHW, O.NHW): ((3, 5, 1), (3, 8, 1)),
    (O.FCR, O.FCR): ((3, 5, 3), (4, 8, 8)),
    (O.FCR, O.NHWC): ((3, 5, 3), (4, 8, 8)),
    (O.F8CR, O.F8CR): ((3, 5, 19), (4, 8, 24)),
    (O.F8CR, O.NHWC): ((3, 5, 8), (4, 8, 8)),
    (O.BAYER_RGB, O.BAYER_RGB): ((4, 6, 1), (4, 8, 1)),
    (O.NHCW, O.NCHW): ((3, 5, 3), (4, 8, 4)),
    (O.NHW, O.NCHW): ((3, 5, 1), (3, 8, 1)),
    (O.NHWC, O.NHWC): ((3, 5, 3), (4, 8, 4)),
}

YUV = {O.HAILO_YYUV, O.HAILO_YYVU, O.HAILO_YYYYUV}
TRANSPOSABLE = {O.NHWC, O.RGB4, O.NHW, O.BAYER_RGB, O.BAYER_RGB_12_BIT, O.FCR, O.F8CR}


def rgb4_row(width, features):
    return -(-width * features // 4) * 4


def user_index(order, shape, r, x, k):
    """Where element (r, x, k) lies in the user's frame."""
    height, width, features = shape
    match order:
        case O.NHCW:
            return (r * features + k) * width + x
        case O.NCHW:
            return (k * height + r) * width + x
        case O.RGB4:
            return r * rgb4_row(width, features) + x * features + k
    return (r * width + x) * features + k


def device_index(order, padded, r, x, k):
    """Where it lies on the wire (hef.md 7)."""
    _, width, features = padded
    match order:
        case O.NHCW:
            return r * features * width + k * width + x
        case O.F8CR:
            return r * width * features + k // 8 * 8 * width + x * 8 + k % 8
        case O.RGB888:
            return r * width * 4 + x * 4 + 2 - k
    return r * width * features + x * features + k


def yuv_pairs(order, shape, padded):
    """(user index, device index) of every byte of an image of luma rows and chroma (hef.md 7)."""
    height, width, features = shape
    units, luma = height * features // 3, height * features // 3 * 2
    for unit, x in np.ndindex(units, width):
        base = unit * 3 * padded[1]
        for row in range(2):
            yield (unit * 2 + row) * width + x, base + row * padded[1] + x
        if order is not O.HAILO_YYYYUV:
            yield (luma + unit) * width + x, base + 2 * padded[1] + x
        elif x < width // 2:
            yield luma * width + unit * (width // 2) + x, base + 2 * padded[1] + x
            second = luma * width + units * (width // 2) + unit * (width // 2) + x
            yield second, base + 2 * padded[1] + padded[1] // 2 + x


def pairs(user, device, shape, padded, transposed):
    """(user index, device index) of every element."""
    if device in YUV:
        yield from yuv_pairs(device, shape, padded)
        return
    height, width, features = shape
    mine = (width, height, features) if transposed else shape
    for r, x, k in np.ndindex(shape):
        place = (x, r) if transposed else (r, x)
        yield user_index(user, mine, *place, k), device_index(device, padded, r, x, k)


def cases(table):
    for key, (shape, padded) in table.items():
        for data_bytes in (1, 2):
            user = key[0] if table is H2D else key[1]
            yield (*key, shape, padded, data_bytes, False)
            if user in TRANSPOSABLE:
                yield (*key, shape, padded, data_bytes, True)


def dtype_of(data_bytes):
    return np.uint8 if data_bytes == 1 else np.dtype("<u2")


@pytest.mark.parametrize(("user", "device", "shape", "padded", "data_bytes", "transposed"), [*cases(H2D)])
def test_towards_the_device(user, device, shape, padded, data_bytes, transposed):
    layout = FrameLayout(device, *shape, *padded, data_bytes, transposed)
    plan = plan_input(layout, Quantization(), order=user)
    frame = np.random.default_rng(1).integers(1, 1 << 8 * data_bytes, plan.shape).astype(dtype_of(data_bytes))
    want = np.zeros(plan.transfer_bytes // data_bytes, dtype_of(data_bytes))
    for mine, theirs in pairs(user, device, shape, padded, transposed):
        want[theirs] = frame.reshape(-1)[mine]
    slot = bytearray(plan.transfer_bytes)
    plan.bind(memoryview(slot), plan.transfer_bytes)(frame[None], 0, 1)
    assert bytes(slot) == want.tobytes()
    assert plan.transfer_bytes % 8 == 0

    real = plan_input(layout, Quantization((2.0,), (0.5,), (-1e6, 1e6)), order=user, user_type=T.FLOAT32)
    numbers = (frame.astype(np.float32) - 2) * np.float32(0.5)
    slot = bytearray(plan.transfer_bytes)
    real.bind(memoryview(slot), plan.transfer_bytes)(numbers[None], 0, 1)
    assert bytes(slot) == want.tobytes()


@pytest.mark.parametrize(("device", "user", "shape", "padded", "data_bytes", "transposed"), [*cases(D2H)])
def test_towards_the_host(device, user, shape, padded, data_bytes, transposed):
    layout = FrameLayout(device, *shape, *padded, data_bytes, transposed)
    plan = plan_output(layout, Quantization(), order=user)
    wire = np.random.default_rng(2).integers(1, 1 << 8 * data_bytes, plan.transfer_bytes // data_bytes)
    wire = wire.astype(dtype_of(data_bytes))
    want = np.zeros(int(np.prod(plan.shape)), dtype_of(data_bytes))
    for mine, theirs in pairs(user, device, shape, padded, transposed):
        want[mine] = wire[theirs]
    for kind, dtype in ((T.AUTO, want.dtype), (T.UINT16, np.uint16)):
        out = np.empty((1, *plan.shape), dtype)
        wide = plan_output(layout, Quantization(), order=user, user_type=kind)
        wide.bind(memoryview(bytearray(wire.tobytes())), plan.transfer_bytes)(out, 0, 1)
        np.testing.assert_array_equal(out.reshape(-1), want)

    real = plan_output(layout, Quantization((7.0,), (0.25,)), order=user, user_type=T.FLOAT32)
    out = np.empty((1, *plan.shape), np.float32)
    real.bind(memoryview(bytearray(wire.tobytes())), plan.transfer_bytes)(out, 0, 1)
    # NHW carries class indices: a plain cast always (hef.md 8).
    cast_only = user is O.NHW
    expected = want.astype(np.float32) if cast_only else (want.astype(np.float32) - 7) * np.float32(0.25)
    np.testing.assert_array_equal(out.reshape(-1), expected)


@pytest.mark.parametrize(("user", "device"), [pair for pair in H2D if pair[0] not in (O.NV12, O.NV21, O.I420)])
def test_bytes_are_widened_towards_the_device(user, device):
    shape, padded = H2D[user, device]
    layout = FrameLayout(device, *shape, *padded, 2)
    plan = plan_input(layout, Quantization(), order=user, user_type=T.UINT8)
    same = plan_input(layout, Quantization(), order=user)
    frame = np.random.default_rng(4).integers(0, 256, plan.shape).astype(np.uint8)
    slots = [bytearray(plan.transfer_bytes) for _ in range(2)]
    plan.bind(memoryview(slots[0]), plan.transfer_bytes)(frame[None], 0, 1)
    same.bind(memoryview(slots[1]), plan.transfer_bytes)(frame.astype("<u2")[None], 0, 1)
    assert slots[0] == slots[1]


ORDERS = [order for order in O if order.name not in ("AUTO", "MAX_ENUM")]
LAYOUTS = {device: sizes for (_, device), sizes in H2D.items()}
LAYOUTS |= {device: sizes for (device, _), sizes in D2H.items()}


@pytest.mark.parametrize(("user", "device"), [*itertools.product(ORDERS, LAYOUTS)])
def test_what_the_table_leaves_out_is_refused(user, device):
    shape, padded = LAYOUTS[device]
    layout = FrameLayout(device, *shape, *padded)
    if (user, device) not in H2D:
        with pytest.raises(InputError, match=device.name):
            plan_input(layout, Quantization(), order=user)
    if (device, user) not in D2H:
        with pytest.raises(InputError, match=device.name):
            plan_output(layout, Quantization(), order=user)
    transposed = FrameLayout(device, *shape, *padded, 1, True)
    if (user, device) in H2D and user not in TRANSPOSABLE:
        with pytest.raises(InputError, match="transposes"):
            plan_input(transposed, Quantization(), order=user)
    if (device, user) in D2H and user not in TRANSPOSABLE:
        with pytest.raises(InputError, match="transposes"):
            plan_output(transposed, Quantization(), order=user)


def test_parameters_per_feature_that_are_equal_count_as_one_pair():
    layout = FrameLayout(O.NHCW, 3, 5, 3, 4, 8, 4)
    several = Quantization((4.0,) * 3, (0.5,) * 3, (-2.0, 100.0))
    one = Quantization((4.0,), (0.5,), (-2.0, 100.0))
    frame = np.random.default_rng(5).uniform(-10, 200, (1, 3, 5, 3)).astype(np.float32)
    slots = []
    for quantization in (several, one):
        plan = plan_input(layout, quantization, order=O.NHWC, user_type=T.FLOAT32)
        slots.append(bytearray(plan.transfer_bytes))
        plan.bind(memoryview(slots[-1]), plan.transfer_bytes)(frame, 0, 1)
    assert slots[0] == slots[1]
    assert any(slots[0])


@pytest.mark.parametrize("user", [O.NHWC, O.NCHW])
def test_parameters_per_feature_of_an_output(user):
    layout = FrameLayout(O.NHCW, 3, 5, 3, 4, 8, 4)
    zero_points, scales = (1.0, 2.0, 3.0), (0.5, 0.25, 2.0)
    wire = np.random.default_rng(6).integers(0, 256, layout.transfer_bytes).astype(np.uint8)
    plan = plan_output(layout, Quantization(zero_points, scales), order=user, user_type=T.FLOAT32)
    out = np.empty((1, *plan.shape), np.float32)
    plan.bind(memoryview(bytearray(wire.tobytes())), plan.transfer_bytes)(out, 0, 1)
    for r, x, k in np.ndindex(3, 5, 3):
        number = np.float32(wire[device_index(O.NHCW, (4, 8, 4), r, x, k)])
        mine = user_index(user, (3, 5, 3), r, x, k)
        assert out.reshape(-1)[mine] == (number - np.float32(zero_points[k])) * np.float32(scales[k])
