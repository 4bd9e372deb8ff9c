"""Images whose planes are streams of their own: one array of the user feeds several channels (hef.md 12)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from openhailo.errors import ShapeMismatch
from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.formats import Array, FormatType, user_shape
from openhailo.runtime.transforms import FramesCopy, plan_input


def plane_shape(plane: Layer) -> tuple[int, ...]:
    """Return the shape of one plane as the user sees it."""
    return user_shape(plane.user_order, plane.layout)


def image_shape(planes: Sequence[Layer]) -> tuple[int, ...]:
    """Return the shape of the whole image: all planes' elements in rows of the first, luma, plane's width."""
    total = sum(math.prod(plane_shape(plane)) for plane in planes)
    width = plane_shape(planes[0])[1] if len(plane_shape(planes[0])) > 1 else total
    return (total // width, width) if total % width == 0 else (total,)


def join_planes(name: str, planes: Sequence[Layer], given: Sequence[Any]) -> Array:
    """Return images (n, *`image_shape`) or one image from an array per plane. Raises `ShapeMismatch`."""
    arrays = [np.ascontiguousarray(plane) for plane in given]
    sizes = [math.prod(plane_shape(plane)) for plane in planes]
    frames = {array.size // size for array, size in zip(arrays, sizes, strict=False) if array.size % size == 0}
    if len(arrays) != len(sizes) or len(frames) != 1 or any(a.size % s for a, s in zip(arrays, sizes, strict=True)):
        shapes = [plane_shape(plane) for plane in planes]
        detail = f"one array for each plane {shapes}, or batches of them; got {[array.shape for array in arrays]}"
        raise ShapeMismatch(name=name, expected=image_shape(planes), seen=(len(arrays),), detail=detail)
    count = frames.pop()
    joined = np.concatenate([array.reshape(count, -1) for array in arrays], axis=1)
    batched = count != 1 or arrays[0].ndim > len(plane_shape(planes[0]))
    shape = image_shape(planes)
    return joined.reshape(count, *shape) if batched else joined.reshape(shape)


def bind_plane(planes: Sequence[Layer], index: int, kind: FormatType, slots: memoryview, stride: int) -> FramesCopy:
    """Return the function that writes plane ``index`` of whole images into slots, ``stride`` bytes apart."""
    plane = planes[index]
    plan = plan_input(plane.layout, plane.quantization, order=plane.user_order, user_type=kind)
    copy = plan.bind(slots, stride)
    begin = sum(math.prod(plane_shape(other)) for other in planes[:index])
    end = begin + math.prod(plan.shape)

    def write(frames: Array, first: int, last: int) -> None:
        flat = frames.reshape(len(frames), -1)[:, begin:end]
        copy(flat.reshape(len(frames), *plan.shape), first, last)

    return write
