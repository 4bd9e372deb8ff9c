"""Frames to potentials, activity to objects, numbers there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.errors import InputError
from openhailo.feagi.encoders import Activity, PopulationCode, Retina, find_objects, shrink, to_grey


def test_a_camera_frame_becomes_a_hundred_thousand_neurons() -> None:
    retina = Retina(240, 320, levels=3, gain=40.0)
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    ids, values = retina.encode(frame)
    assert retina.count == 76_800 + 19_200 + 4_800 == 100_800
    assert retina.shapes == ((1, 240, 320), (1, 120, 160), (1, 60, 80))
    assert ids.dtype == np.uint32
    assert values.dtype == np.float32
    assert (np.diff(ids.astype(int)) > 0).all()
    assert ids[-1] < retina.count
    grey = (frame @ np.array([0.299, 0.587, 0.114])) / 255
    fine = grey.reshape(240, 2, 320, 2).mean(axis=(1, 3))
    wanted = np.concatenate([fine.reshape(-1), fine.reshape(120, 2, 160, 2).mean(axis=(1, 3)).reshape(-1)])
    got = np.zeros(retina.count)
    got[ids] = values / 40.0
    np.testing.assert_allclose(got[:96_000], np.where(wanted < 0.05, 0, wanted), atol=1e-5)


def test_on_and_off_give_what_changed() -> None:
    retina = Retina(2, 3, channels=("on", "off"), gain=10.0, first_id=100)
    frame = np.full((2, 3), 0.5)
    assert len(retina.encode(frame)[0]) == 0
    changed = frame.copy()
    changed[0, 1], changed[1, 2], changed[1, 0] = 0.9, 0.2, 0.51
    ids, values = retina.encode(changed)
    assert ids.tolist() == [101, 100 + 6 + 5]
    np.testing.assert_allclose(values, [4.0, 3.0], rtol=1e-5)
    assert len(retina.encode(changed)[0]) == 0
    retina.reset()
    assert len(retina.encode(frame)[0]) == 0


def test_levels_are_for_an_exported_burst() -> None:
    retina = Retina(1, 4, gain=60.0)
    levels = retina.encode_levels(np.array([[0.0, 0.04, 0.5, 1.0]]), step=0.2)
    assert levels.dtype == np.uint8
    assert levels.tolist() == [[0, 0, 150, 255]]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_shrinking_keeps_flat_pictures_flat_and_the_range(rows: int, columns: int, down: int, across: int) -> None:
    rng = np.random.default_rng(rows * 41 + columns)
    flat = shrink(np.full((rows, columns), 0.25, np.float32), down, across)
    assert flat.shape == (down, across)
    np.testing.assert_allclose(flat, 0.25, rtol=1e-5)
    noise = rng.random((rows, columns)).astype(np.float32)
    small = shrink(noise, down, across)
    assert noise.min() - 1e-5 <= small.min() <= small.max() <= noise.max() + 1e-5


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((2, 2, 4), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((0, 4), np.uint8), "shape"),
        (np.zeros((2, 2), np.int32), "int32"),
        (np.full((2, 2), np.nan), "NaN"),
    ],
)
def test_what_is_no_frame_is_refused(frame: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        to_grey(frame)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retina(4, 4, channels=("red",)),  # type: ignore[list-item]
        lambda: Retina(4, 4, channels=("on", "on")),
        lambda: Retina(4, 4, channels=()),
        lambda: Retina(4, 4, levels=4),
        lambda: Retina(4, 4, levels=0),
        lambda: Retina(0, 4),
        lambda: Retina(4, 4, gain=float("nan")),
        lambda: PopulationCode(1, 0, 1),
        lambda: PopulationCode(5, 1, 1),
        lambda: PopulationCode(5, 0, 1).encode(float("nan")),
        lambda: PopulationCode(5, 0, 1).decode([1, 2]),
        lambda: PopulationCode(2, 0, 1).decode([1, -2]),
        lambda: Activity(range(6), (2, 2)),
        lambda: Activity(range(4), (2, 2), decay=1.0),
        lambda: find_objects(np.zeros(3)),
        lambda: find_objects(np.full((2, 2), np.inf)),
    ],
)
def test_arguments_without_sense_are_refused(make) -> None:
    with pytest.raises(InputError):
        make()


@given(st.floats(-2, 3))
def test_a_number_survives_a_population(value: float) -> None:
    code = PopulationCode(21, -2.0, 3.0, first_id=7)
    ids, values = code.encode(value)
    activity = np.zeros(21)
    activity[ids - 7] = values
    decoded = code.decode(activity)
    assert decoded is not None
    assert abs(decoded - value) < 0.21
    assert code.decode(np.zeros(21)) is None


def test_activity_is_a_running_mean_of_its_own_neurons() -> None:
    activity = Activity(range(10, 14), (2, 2), decay=0.5)
    assert activity.update([3, 11, 14]).tolist() == [[0.0, 0.5], [0.0, 0.0]]
    assert activity.update([11, 13]).tolist() == [[0.0, 0.75], [0.0, 0.5]]
    assert activity.update([]).tolist() == [[0.0, 0.375], [0.0, 0.25]]


def flood(mask: np.ndarray) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Patches by flooding, pixel by pixel: (size, box)."""
    left, found = {tuple(place) for place in np.argwhere(mask)}, []
    while left:
        waiting, patch = [left.pop()], []
        while waiting:
            row, column = waiting.pop()
            patch.append((row, column))
            near = {(row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1)} & left
            left -= near
            waiting += near
        rows, columns = zip(*patch, strict=True)
        found.append((len(patch), (min(columns), min(rows), max(columns) + 1, max(rows) + 1)))
    return sorted(found)


@given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 14), st.floats(0.05, 0.95))
@settings(max_examples=300, deadline=None)
def test_objects_are_the_connected_patches(seed: int, rows: int, columns: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < share
    found = find_objects(mask.astype(float))
    assert sorted((item.size, item.box) for item in found) == flood(mask)
    assert [item.strength for item in found] == sorted((item.strength for item in found), reverse=True)


def test_gaps_sizes_and_weights() -> None:
    field = np.zeros((2, 9, 12))
    field[0, 1:3, 1:3] = 1.0
    field[1, 1:3, 5:7] = 0.5
    field[0, 8, 11] = 0.2
    assert [item.size for item in find_objects(field)] == [4, 4, 1]
    (joined,) = find_objects(field, gap=2, min_size=2)
    assert (joined.size, joined.box, joined.strength) == (8, (1, 1, 7, 3), 6.0)
    assert joined.centre == pytest.approx(((4 * 1.5 + 2 * 5.5) / 6, 1.5))
    assert [item.box for item in find_objects(field, threshold=0.6)] == [(1, 1, 3, 3)]
    assert find_objects(np.zeros((3, 3))) == []
