"""Where each element of a user's frame lies in a transfer, as NumPy views (hef.md 7 and 9).

A reorder is one or a few copies between views of equal shape: `user_views` cuts the user's frame, `device_views` cuts
the transfer. Padding is never written: the memory of a slot is zero when it is new, and stays so.
"""

from __future__ import annotations

from openhailo.errors import InputError
from openhailo.runtime.formats import Array, FrameLayout, user_shape
from openhailo.runtime.formats import FormatOrder as O

#: (user order, device order) pairs that exist towards the device (hef.md 9).
HOST_TO_DEVICE = frozenset(
    {
        (O.NHWC, O.NHCW),
        (O.NHCW, O.NHCW),
        (O.NHWC, O.NHWC),
        (O.NC, O.NC),
        (O.FCR, O.FCR),
        (O.NHWC, O.FCR),
        (O.F8CR, O.F8CR),
        (O.NHWC, O.F8CR),
        (O.BAYER_RGB, O.BAYER_RGB),
        (O.BAYER_RGB_12_BIT, O.BAYER_RGB_12_BIT),
        (O.NHWC, O.RGB888),
        (O.NCHW, O.NHCW),
        (O.YUY2, O.YUY2),
        (O.NV12, O.HAILO_YYUV),
        (O.NV21, O.HAILO_YYVU),
        (O.I420, O.HAILO_YYYYUV),
        (O.RGB4, O.NHWC),
        (O.RGB4, O.NHCW),
    }
)

#: (device order, user order) pairs that exist towards the host (hef.md 9); chip NMS is not a reorder.
DEVICE_TO_HOST = frozenset(
    {
        (O.NHCW, O.NHWC),
        (O.NC, O.NC),
        (O.NHW, O.NHW),
        (O.FCR, O.FCR),
        (O.FCR, O.NHWC),
        (O.F8CR, O.F8CR),
        (O.F8CR, O.NHWC),
        (O.BAYER_RGB, O.BAYER_RGB),
        (O.NHCW, O.NCHW),
        (O.NHW, O.NCHW),
        (O.NHWC, O.NHWC),
    }
)

#: User orders whose pixels can be transposed (hef.md 9).
TRANSPOSABLE = frozenset({O.NHWC, O.RGB4, O.NHW, O.BAYER_RGB, O.BAYER_RGB_12_BIT, O.FCR, O.F8CR})


def check_order(user: O, layout: FrameLayout, *, to_device: bool) -> None:
    """Refuse pairs of orders that have no transformation. Raises `InputError`."""
    pair = (user, layout.order) if to_device else (layout.order, user)
    if pair not in (HOST_TO_DEVICE if to_device else DEVICE_TO_HOST):
        raise _unsupported(user, layout, "the orders cannot be converted")
    if layout.transposed and user not in TRANSPOSABLE:
        raise _unsupported(user, layout, "the device transposes this layer, which this order does not allow")
    if user is O.NCHW and layout.order is O.NHCW and to_device:
        _check_nchw(user, layout)
    if user is O.NCHW and layout.order is O.NHW and layout.features != 1:
        raise _unsupported(user, layout, "more than one channel")
    if layout.order is O.F8CR and layout.padded_features % 8:
        raise _unsupported(user, layout, "the padded channels are not a multiple of 8")
    if layout.order in (O.HAILO_YYUV, O.HAILO_YYVU, O.HAILO_YYYYUV):
        _check_yuv(user, layout)
    if layout.order is O.YUY2 and layout.frame_bytes % 8:
        raise _unsupported(user, layout, "the frame is not a multiple of 8 bytes")


def _check_nchw(user: O, layout: FrameLayout) -> None:
    if (layout.padded_width * layout.data_bytes) % 8:
        raise _unsupported(user, layout, "device rows are not a multiple of 8 bytes")
    if (layout.height, layout.features) != (layout.padded_height, layout.padded_features):
        raise _unsupported(user, layout, "rows or channels are padded")


def _check_yuv(user: O, layout: FrameLayout) -> None:
    rows, padded_rows = layout.height * layout.features, layout.padded_height * layout.padded_features
    if rows % 3 or padded_rows % 3 or layout.width % 2 or layout.padded_width % 2:
        raise _unsupported(user, layout, "rows are not a multiple of 3, or the width is odd")


def _unsupported(user: O, layout: FrameLayout, why: str) -> InputError:
    return InputError(what=f"format {user.name} for a device layer in {layout.order.name}", detail=why)


def device_views(slots: Array, layout: FrameLayout) -> list[Array]:
    """Cut ``slots``, an array (slots, elements of one slot), into views (slots, ...) of the real elements."""
    if layout.order in (O.HAILO_YYUV, O.HAILO_YYVU, O.HAILO_YYYYUV):
        return _yuv_device_views(slots, layout)
    if layout.order is O.F8CR:
        return _f8cr_device_views(slots, layout)
    return [_pixels(slots, layout)]


def _pixels(slots: Array, layout: FrameLayout) -> Array:
    count, height, width, features = len(slots), layout.height, layout.width, layout.features
    rows, columns, channels = layout.padded_height, layout.padded_width, layout.padded_features
    if layout.order is O.RGB888:
        return slots[:, : rows * columns * 4].reshape(count, rows, columns, 4)[:, :height, :width, 2::-1]
    slots = slots[:, : rows * columns * channels]
    if layout.order is O.NHCW:
        return slots.reshape(count, rows, channels, columns)[:, :height, :features, :width].transpose(0, 1, 3, 2)
    return slots.reshape(count, rows, columns, channels)[:, :height, :width, :features]


def _f8cr_device_views(slots: Array, layout: FrameLayout) -> list[Array]:
    rows, columns, channels = layout.padded_height, layout.padded_width, layout.padded_features
    groups = slots[:, : rows * columns * channels].reshape(len(slots), rows, channels // 8, columns, 8)
    groups = groups[:, : layout.height, :, : layout.width].transpose(0, 1, 3, 2, 4)
    full, rest = divmod(layout.features, 8)
    views = [groups[:, :, :, :full]] if full else []
    return [*views, groups[:, :, :, full, :rest]] if rest else views


def _yuv_device_views(slots: Array, layout: FrameLayout) -> list[Array]:
    count, units, width = len(slots), layout.height * layout.features // 3, layout.width
    padded_units = layout.padded_height * layout.padded_features // 3
    lines = slots[:, : padded_units * 3 * layout.padded_width].reshape(count, padded_units, 3, layout.padded_width)
    lines = lines[:, :units]
    luma = lines[:, :, :2, :width]
    if layout.order is O.HAILO_YYYYUV:
        half = layout.padded_width // 2
        return [luma, lines[:, :, 2, : width // 2], lines[:, :, 2, half : half + width // 2]]
    return [luma, lines[:, :, 2, :width]]


def user_views(frames: Array, order: O, layout: FrameLayout) -> list[Array]:
    """Cut contiguous user frames (n, *`user_shape`) into views that pair with `device_views`."""
    if layout.order in (O.HAILO_YYUV, O.HAILO_YYVU, O.HAILO_YYYYUV):
        return _yuv_user_views(frames, layout)
    pixels = _user_pixels(frames, order, layout)
    if layout.transposed:
        pixels = pixels.swapaxes(1, 2)
    if layout.order is not O.F8CR:
        return [pixels]
    full, rest = divmod(layout.features, 8)
    views = []
    if full:
        # Splitting the last axis keeps the strides of the others, so this stays a view.
        views.append(pixels[..., : full * 8].reshape(*pixels.shape[:3], full, 8))
    return [*views, pixels[..., full * 8 :]] if rest else views


def _user_pixels(frames: Array, order: O, layout: FrameLayout) -> Array:
    count = len(frames)
    if order is O.NHCW:
        return frames.transpose(0, 1, 3, 2)
    if order is O.NCHW:
        return frames.transpose(0, 2, 3, 1)
    if order is O.RGB4:
        height, width, _ = user_shape(O.NHWC, layout)
        return frames[:, :, : width * layout.features].reshape(count, height, width, layout.features)
    if order is O.NC:
        return frames.reshape(count, 1, 1, layout.features)
    return frames.reshape(count, *user_shape(O.NHWC, layout))


def _yuv_user_views(frames: Array, layout: FrameLayout) -> list[Array]:
    count, units, width = len(frames), layout.height * layout.features // 3, layout.width
    flat = frames.reshape(count, -1)
    luma, chroma = flat[:, : 2 * units * width].reshape(count, units, 2, width), flat[:, 2 * units * width :]
    if layout.order is O.HAILO_YYYYUV:
        planes = chroma.reshape(count, 2, units, width // 2)
        return [luma, planes[:, 0], planes[:, 1]]
    return [luma, chroma.reshape(count, units, width)]


def is_plain(order: O, layout: FrameLayout) -> bool:
    """Whether the user's bytes are the device's bytes: no order, padding or transposition between them."""
    unpadded = layout == layout.unpadded() and not layout.transposed
    same = order is layout.order or {order, layout.order} <= {O.NHWC, O.FCR}
    one_channel = layout.features == 1 and {order, layout.order} <= {O.NHWC, O.FCR, O.NHCW}
    if layout.order is O.F8CR:
        return unpadded and layout.features == 8
    return unpadded and (same or one_channel) and order is not O.RGB888
