"""Multiplexed frames, taken apart by code that follows hef.md 12 word by word, one row at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from openhailo.errors import InvalidHef
from openhailo.runtime.configure.layers import D2H, Layer, LayerKind, Mux
from openhailo.runtime.formats import FormatOrder as O
from openhailo.runtime.formats import FormatType, FrameLayout, Quantization
from openhailo.runtime.mux import bind_leaf, check_mux, gather, interleave, leaf_cuts


def leaf(name, order, shape, padded, data_bytes=1, quantization=None):
    return Layer(
        name, LayerKind.BOUNDARY, D2H, 0, 0, FrameLayout(order, *shape, *padded, data_bytes=data_bytes),
        quantization or Quantization(),
    )  # fmt: skip


def mux(name, rounds, rows, parts, width=None):
    """A mux whose own shape is rows of all its bytes."""
    total = sum(part.layout.transfer_bytes for part in parts)
    width = width or total
    layout = FrameLayout(O.NHCW, total // width, width, 1, total // width, width, 1)
    return Layer(name, LayerKind.BOUNDARY, D2H, 0, 0, layout, Quantization(), mux=Mux(rounds, rows, tuple(parts)))


def slow_split(layer, raw):
    """Return leaf name -> frame bytes by walking the rounds and counting bytes."""
    found = {}

    def take(part, data):
        if part.mux is None:
            found[part.name] = data
            return
        pieces = {inner.name: b"" for inner in part.mux.parts}
        at = 0
        for _ in range(part.mux.rounds):
            for rows, inner in zip(part.mux.rows, part.mux.parts, strict=True):
                layout = inner.layout
                size = rows * layout.padded_width * layout.padded_features * layout.data_bytes
                pieces[inner.name] += data[at : at + size]
                at += size
        for inner in part.mux.parts:
            take(inner, pieces[inner.name])

    take(layer, raw)
    return found


A = leaf("a", O.NHCW, (4, 6, 3), (4, 8, 3))
B = leaf("b", O.NHWC, (8, 5, 2), (8, 8, 2), 2, Quantization((7.0,), (0.25,)))
C = leaf("c", O.NC, (1, 1, 40), (1, 1, 40))
D = leaf("d", O.F8CR, (4, 3, 11), (4, 4, 16))
FLAT = mux("flat", 4, (1, 2), [A, B])
ONE_ROUND = mux("one", 1, (4, 1, 4), [A, C, D])


def nested():
    """A mux inside a mux: the inner one is laid out as rows too."""
    inner = mux("inner", 4, (1, 1), [A, D], width=(A.layout.frame_bytes + D.layout.frame_bytes) // 4)
    return mux("outer", 2, (2, 4), [inner, B])


@pytest.mark.parametrize("layer", [FLAT, ONE_ROUND, nested()], ids=["two", "three", "nested"])
def test_leaves_are_found(layer):
    check_mux(layer)
    raw = np.random.default_rng(1).integers(0, 256, (3, layer.layout.transfer_bytes)).astype(np.uint8)
    leaves = {found.name: cuts for found, cuts in leaf_cuts(layer)}
    assert set(leaves) == {found.name for found in layer.leaves()}
    for index in range(len(raw)):
        want = slow_split(layer, raw[index].tobytes())
        for name, cuts in leaves.items():
            assert gather(raw[index : index + 1], cuts).tobytes() == want[name]
    assert interleave(layer, slow_split(layer, raw[0].tobytes())) == raw[0].tobytes()


@pytest.mark.parametrize("layer", [FLAT, nested()], ids=["two", "nested"])
def test_each_leaf_has_its_own_transformation(layer, monkeypatch):
    monkeypatch.setattr("openhailo.runtime.mux.SCRATCH_BYTES", 300)
    size = layer.layout.transfer_bytes
    stride = size + 64
    slots = np.random.default_rng(2).integers(0, 256, (5, stride)).astype(np.uint8)
    for part, cuts in leaf_cuts(layer):
        layout = part.layout
        got = np.zeros((4, layout.height, layout.width, layout.features), np.float32)
        bind_leaf(part, cuts, O.NHWC, FormatType.FLOAT32, slots.reshape(-1).data, stride)(got, 1, 5)
        for frame in range(4):
            data = np.frombuffer(slow_split(layer, slots[frame + 1, :size].tobytes())[part.name], layout_dtype(layout))
            quant = part.quantization
            for row, column, channel in np.ndindex(layout.height, layout.width, layout.features):
                want = (np.float32(data[place(layout, row, column, channel)]) - quant.zero_point) * quant.scale
                assert got[frame, row, column, channel] == np.float32(want)


def layout_dtype(layout):
    return np.uint8 if layout.data_bytes == 1 else np.dtype("<u2")


def place(layout, row, column, channel):
    """Element index of hef.md 7."""
    width, features = layout.padded_width, layout.padded_features
    match layout.order:
        case O.NHCW:
            return row * features * width + channel * width + column
        case O.F8CR:
            return row * width * features + channel // 8 * 8 * width + column * 8 + channel % 8
    return row * width * features + column * features + channel


@pytest.mark.parametrize(
    "layer",
    [
        replace(FLAT, mux=replace(FLAT.mux, rounds=3)),
        replace(FLAT, mux=replace(FLAT.mux, rounds=0)),
        replace(FLAT, mux=replace(FLAT.mux, rounds=1 << 31)),
        replace(FLAT, mux=replace(FLAT.mux, rows=(1, 1))),
        replace(FLAT, mux=replace(FLAT.mux, rows=(1,))),
        replace(FLAT, mux=replace(FLAT.mux, parts=())),
        replace(FLAT, layout=A.layout),
        mux("outer", 2, (2, 4), [replace(nested().mux.parts[0], mux=Mux(4, (1, 2), (A, D))), B]),
    ],
)  # fmt: skip
def test_rounds_that_do_not_add_up_are_refused(layer):
    with pytest.raises(InvalidHef, match="mux"):
        check_mux(layer)
