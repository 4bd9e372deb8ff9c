"""Calibration files: arrays, archives of arrays and pictures."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from random import Random

import numpy as np

from openhailo.compiler.calibration import load_calibration
from openhailo.compiler.tensors import TensorSpec
from openhailo.errors import CompileError, InputError
from tests.fuzz.materials import scratch
from tests.fuzz.mutate import mutate_bytes, pack_parts, unpack_parts
from tests.fuzz.surface import Surface, require

from .pictures import seeds as pictures

_ONE = (TensorSpec("input", (1, 3, 8, 8), "nchw"),)
_TWO = (*_ONE, TensorSpec("more", (1, 5), "nc"))
_HEADERS = (
    b"<f4",
    b">f8",
    b"<U8",
    b"|O",
    b"|u1",
    b"<c8",
    b"True ",
    b"(9223372036854775807,)",
    b"(-1, 3, 8, 8)",
    b"(0,)",
)


@cache
def _seeds() -> tuple[tuple[bytes, bytes], ...]:
    """Return (suffix, content) pairs."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (2, 8, 8, 3)).astype(np.uint8)
    saved, archive, packed = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(saved, frames)
    np.savez(archive, input=frames, more=np.ones((2, 5), np.float32))
    np.savez_compressed(packed, input=frames)
    files = [(b".npy", saved.getvalue()), (b".npz", archive.getvalue()), (b".npz", packed.getvalue())]
    return (*files, *((b"." + suffix, content) for suffix, content in pictures()[:3]))


def make_case(rng: Random) -> bytes:
    """Damage a file, a header of NumPy's, or an entry of an archive with the archive around it intact."""
    suffix, content = rng.choice(_seeds())
    if suffix == b".npz" and rng.random() < 0.7:
        return pack_parts([suffix, _rebuild(rng, content)])
    return pack_parts([suffix, _damage(rng, content)])


def _damage(rng: Random, content: bytes) -> bytes:
    if content.startswith(b"\x93NUMPY") and rng.random() < 0.6:
        words = (b"|u1", b"False", b"(2, 8, 8, 3)", b"shape", b"'")
        word = rng.choice(words)
        return content.replace(word, rng.choice(_HEADERS).ljust(len(word))[: len(word) + rng.choice((0, 0, 30))], 1)
    return mutate_bytes(rng, content)


def _rebuild(rng: Random, archive: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            entry = zipfile.ZipInfo(name if rng.random() < 0.9 else rng.choice(("x.npy", "../input.npy", "input")))
            target.writestr(entry, _damage(rng, source.read(name)))
    return out.getvalue()


def run(case: bytes) -> int:
    """Load it for one input and for two."""
    suffix, content = unpack_parts(case)
    path = scratch() / f"calibration{suffix.decode()}"
    path.write_bytes(content)
    try:
        data = load_calibration(path, _TWO)
    except (CompileError, InputError):
        data = load_calibration(path, _ONE)
    for frame in data.frames:
        require(frame["input"].shape == (1, 3, 8, 8), f"a frame of shape {frame['input'].shape}")
        require(np.isfinite(frame["input"]).all(), "numbers that are not finite")
    return 1


SURFACE = Surface("calibration", make_case, run, (CompileError, InputError))
