"""Images in planes: each plane's slots against a loop over the bytes of the image."""

from __future__ import annotations

import numpy as np
import pytest

from openhailo.errors import ShapeMismatch
from openhailo.runtime.configure.layers import H2D, Layer, LayerKind
from openhailo.runtime.formats import FormatOrder as O
from openhailo.runtime.formats import FormatType, FrameLayout, Quantization
from openhailo.runtime.planes import bind_plane, image_shape, join_planes

QUANT = Quantization((4.0,), (0.5,), (-2.0, 100.0))


def plane(name, shape, padded_width, stream, order=O.NHCW, quantization=QUANT):
    height, width, features = shape
    layout = FrameLayout(order, height, width, features, height, padded_width, features)
    return Layer(name, LayerKind.BOUNDARY, H2D, 0, stream, layout, quantization, plane_of="image")


NV12 = [plane("y", (6, 10, 1), 16, 0), plane("uv", (3, 5, 2), 8, 1, O.NHWC)]
I420 = [plane("y", (4, 8, 1), 8, 0), plane("u", (2, 4, 1), 8, 1), plane("v", (2, 4, 1), 8, 2)]


@pytest.mark.parametrize(("planes", "shape"), [(NV12, (9, 10)), (I420, (6, 8))])
@pytest.mark.parametrize("kind", [FormatType.AUTO, FormatType.FLOAT32])
def test_planes_of_an_image(planes, shape, kind):
    assert image_shape(planes) == shape
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (4, *shape)).astype(np.uint8)
    if kind is FormatType.FLOAT32:
        images = (images - np.float32(100)) * np.float32(0.7)
    begin = 0
    for index, part in enumerate(planes):
        layout, stride = part.layout, 64 + part.layout.transfer_bytes
        slots = np.zeros((6, stride), np.uint8)
        bind_plane(planes, index, kind, slots.reshape(-1).data, stride)(images, 1, 5)
        size = layout.height * layout.width * layout.features
        want = np.zeros((6, stride), np.uint8)
        for frame in range(4):
            values = images[frame].reshape(-1)[begin : begin + size]
            for number, given in enumerate(values):
                row, rest = divmod(number, layout.width * layout.features)
                column, channel = divmod(rest, layout.features)
                value = given
                if kind is FormatType.FLOAT32:
                    clipped = min(max(np.float32(given), np.float32(-2)), np.float32(100))
                    value = np.rint(clipped / np.float32(0.5) + np.float32(4))
                row_bytes = layout.padded_width * layout.features
                place = column * layout.features + channel
                if layout.order is O.NHCW:
                    place = channel * layout.padded_width + column
                want[frame + 1, row * row_bytes + place] = int(value) & 0xFF
        np.testing.assert_array_equal(slots, want)
        begin += size


def test_a_tuple_of_planes_is_an_image():
    rng = np.random.default_rng(6)
    luma, chroma = rng.integers(0, 256, (6, 10, 1)), rng.integers(0, 256, (3, 5, 2))
    joined = join_planes("image", NV12, (luma, chroma))
    assert joined.shape == (9, 10)
    assert joined.reshape(-1).tolist() == [*luma.reshape(-1).tolist(), *chroma.reshape(-1).tolist()]
    batch = join_planes("image", NV12, (np.stack([luma] * 3), np.stack([chroma] * 3)))
    assert batch.shape == (3, 9, 10)
    np.testing.assert_array_equal(batch[2], joined)
    assert join_planes("image", NV12, (luma[None], chroma[None])).shape == (1, 9, 10)
    assert join_planes("image", NV12, (luma[..., 0], chroma)).shape == (9, 10)


@pytest.mark.parametrize(
    "given",
    [
        (np.zeros((6, 10)),),
        (np.zeros((6, 10)), np.zeros((3, 5))),
        (np.zeros((2, 6, 10)), np.zeros((3, 5, 2))),
        (np.zeros((6, 10)), np.zeros((3, 5, 2)), np.zeros((3, 5, 2))),
        (np.zeros((0, 6, 10)), np.zeros((3, 5, 2))),
    ],
)
def test_planes_that_do_not_fit_are_refused(given):
    with pytest.raises(ShapeMismatch, match="each plane"):
        join_planes("image", NV12, given)
