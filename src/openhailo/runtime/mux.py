"""Outputs that share one stream, interleaved by rows: where the bytes of each lie (hef.md 12)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from openhailo.errors import InvalidHef
from openhailo.runtime.configure.layers import Layer
from openhailo.runtime.formats import Array, FormatOrder, FormatType
from openhailo.runtime.transforms import FramesCopy, plan_output

#: Frames of a leaf are gathered this many bytes at a time, or one frame, before they are transformed.
SCRATCH_BYTES = 1 << 18


@dataclass(frozen=True)
class Cut:
    """One level of a mux: of ``rounds`` rounds of ``round_bytes``, take ``size`` bytes from ``offset`` of each."""

    rounds: int
    round_bytes: int
    offset: int
    size: int

    def of(self, frames: Array) -> Array:
        """Return the part's bytes (n, rounds, size) as a view of whole frames (n, bytes)."""
        whole = frames[:, : self.rounds * self.round_bytes].reshape(len(frames), self.rounds, self.round_bytes)
        return whole[:, :, self.offset : self.offset + self.size]


def leaf_cuts(layer: Layer) -> Iterator[tuple[Layer, tuple[Cut, ...]]]:
    """Yield every leaf of a mux with the cuts that lead to it, outermost first."""
    if layer.mux is None:
        yield layer, ()
        return
    for part, cut in _cuts(layer):
        for leaf, inner in leaf_cuts(part):
            yield leaf, (cut, *inner)


def _cuts(layer: Layer) -> Iterator[tuple[Layer, Cut]]:
    mux = layer.mux
    assert mux is not None, "the caller asked"
    sizes = [rows * _row_bytes(part) for rows, part in zip(mux.rows, mux.parts, strict=True)]
    offset = 0
    for part, size in zip(mux.parts, sizes, strict=True):
        yield part, Cut(mux.rounds, sum(sizes), offset, size)
        offset += size


def _row_bytes(part: Layer) -> int:
    layout = part.layout
    return layout.padded_width * layout.padded_features * layout.data_bytes


def check_mux(layer: Layer) -> None:
    """Refuse a mux whose rounds do not make up its parts, or whose parts do not make up its frame (hef.md 12)."""
    _check_parts(layer)
    frame = sum(leaf.layout.transfer_bytes for leaf in layer.leaves())
    if layer.layout.transfer_bytes != frame:
        detail = f"frames of {layer.layout.transfer_bytes} bytes, its outputs need {frame}"
        raise InvalidHef(rule="mux", where=layer.name, detail=detail)


def _check_parts(layer: Layer) -> None:
    mux = layer.mux
    if mux is None:
        return
    if mux.rounds < 1 or not mux.parts or len(mux.rows) != len(mux.parts) or min(mux.rows) < 1:
        detail = f"{mux.rounds} rounds of rows {mux.rows} for {len(mux.parts)} outputs"
        raise InvalidHef(rule="mux", where=layer.name, detail=detail)
    for part, cut in _cuts(layer):
        have, need = cut.rounds * cut.size, part.layout.frame_bytes
        if part.mux is not None:
            _check_parts(part)
            inner = next(_cuts(part))[1]
            need = inner.rounds * inner.round_bytes
        if have != need:
            detail = f"{part.name!r} gets {have} bytes of a frame, it has {need}"
            raise InvalidHef(rule="mux", where=layer.name, detail=detail)


def bind_leaf(
    leaf: Layer, cuts: tuple[Cut, ...], order: FormatOrder, kind: FormatType, slots: memoryview, stride: int
) -> FramesCopy:
    """Return the function that reads one leaf out of slots, ``stride`` bytes apart, into arrays of type ``kind``."""
    plan = plan_output(leaf.layout, leaf.quantization, order=order, user_type=kind)
    frames = np.frombuffer(slots, np.uint8).reshape(-1, stride)
    step = max(1, min(len(frames), SCRATCH_BYTES // plan.transfer_bytes))
    scratch = bytearray(step * plan.transfer_bytes)
    gathered = np.frombuffer(scratch, np.uint8).reshape(step, -1)[:, : leaf.layout.frame_bytes]
    copy = plan.bind(memoryview(scratch), plan.transfer_bytes)

    def read(out: Array, first: int, last: int) -> None:
        for start in range(first, last, step):
            stop = min(start + step, last)
            np.copyto(gathered[: stop - start], gather(frames[start:stop], cuts))
            copy(out[start - first : stop - first], 0, stop - start)

    return read


def gather(frames: Array, cuts: tuple[Cut, ...]) -> Array:
    """Return a leaf's bytes (n, bytes of its frame) from raw frames (n, bytes)."""
    for cut in cuts:
        frames = cut.of(frames).reshape(len(frames), -1)
    return frames


def interleave(layer: Layer, frames: Mapping[str, bytes]) -> bytes:
    """Return the raw frame of a mux from its leaves' device frames by name: what a device sends."""
    raw = np.zeros((1, layer.layout.transfer_bytes), np.uint8)
    _fill(layer, raw, frames)
    return raw.tobytes()


def _fill(layer: Layer, raw: Array, frames: Mapping[str, bytes]) -> None:
    if layer.mux is None:
        size = layer.layout.frame_bytes
        raw[0, :size] = np.frombuffer(frames[layer.name], np.uint8)[:size]
        return
    for part, cut in _cuts(layer):
        target = cut.of(raw)
        whole = np.zeros((1, target.size), np.uint8)
        _fill(part, whole, frames)
        target[...] = whole.reshape(target.shape)
