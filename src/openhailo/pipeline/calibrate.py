"""Calibration pictures for the demo models: the demo photos, and variants of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from openhailo.pipeline.fetch import cache_dir
from openhailo.pipeline.models import demo_photos, demo_task
from openhailo.pipeline.tasks import Task
from openhailo.vision.images import load_image
from openhailo.vision.resize import Image

_RECIPE = "1"
"""Counts changes of the variants below; part of the cached file's name."""

_EXPOSURES = (0.6, 1.4)


def demo_calibration(name: str) -> Path:
    """The calibration frames of a demo model as an ``.npy`` file of (frames, height, width, 3) uint8, made once.

    Raises:
        AssetUnavailable: the photos cannot be fetched.
    """
    task = demo_task(name)
    key = hashlib.sha256(f"{_RECIPE}{task.preprocessing}".encode()).hexdigest()[:12]
    target = cache_dir() / "calibration" / f"{name}-{key}.npy"
    if not target.is_file():
        photos = [load_image(path) for path in demo_photos().values()]
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial.npy")
        np.save(partial, frames_of(task, photos))
        partial.replace(target)
    return target


def frames_of(task: Task, photos: list[Image]) -> Image:
    """Every photo and its variants, preprocessed for ``task``: (frames, height, width, 3) uint8."""
    return np.concatenate([task.preprocess(variant)[0] for photo in photos for variant in _variants(photo)])


def _variants(photo: Image) -> Iterator[Image]:
    """The photo, its mirror image, a darker and a brighter one, and two crops: what a camera would add."""
    height, width = photo.shape[:2]
    yield photo
    yield np.ascontiguousarray(photo[:, ::-1])
    for exposure in _EXPOSURES:
        yield np.clip(photo.astype(np.float32) * exposure, 0, 255).astype(np.uint8)
    yield np.ascontiguousarray(photo[: height * 2 // 3, : width * 2 // 3])
    yield np.ascontiguousarray(photo[height // 3 :, width // 3 :])
