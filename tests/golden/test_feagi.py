"""FEAGI's numbers against values that its own source produced: conversions, addition, leak and draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openhailo.burst import codes

pytestmark = pytest.mark.facts


@pytest.fixture(scope="module")
def rows(shared_dir: Path) -> dict[str, list[list[str]]]:
    grouped: dict[str, list[list[str]]] = {}
    for line in (shared_dir / "data" / "feagi_int8_golden.txt").read_text().splitlines():
        kind, *values = line.split()
        grouped.setdefault(kind, []).append(values)
    return grouped


def _floats(words) -> np.ndarray:
    return np.array([int(word, 16) for word in words], np.uint32).view(np.float32)


def _numbers(words) -> np.ndarray:
    return np.array([int(word) for word in words])


def test_values_become_codes(rows, checked):
    encoded = rows["enc"]
    np.testing.assert_array_equal(codes.encode(_floats(row[0] for row in encoded)), _numbers(row[1] for row in encoded))
    checked(len(encoded), 4000)


def test_codes_become_values(rows, checked):
    decoded = codes.decode(_numbers(row[0] for row in rows["dec"]))
    assert decoded.tobytes() == _floats(row[1] for row in rows["dec"]).tobytes()
    checked(len(rows["dec"]), 256)


def test_codes_are_added_and_held(rows, checked):
    left, right, total = (_numbers(column) for column in zip(*rows["add"], strict=True))
    np.testing.assert_array_equal(codes.saturating_add(left, right), total)
    checked(len(rows["add"]), 1924)


def test_leak_goes_through_values(rows, checked):
    coefficients = _floats(row[0] for row in rows["leak"])
    before, after = _numbers(row[1] for row in rows["leak"]), _numbers(row[2] for row in rows["leak"])
    np.testing.assert_array_equal(codes.leak(before, coefficients), after)
    tables = {value: codes.leak_table(value) for value in np.unique(coefficients)}
    looked_up = [tables[value][code + 128] for value, code in zip(coefficients, before, strict=True)]
    np.testing.assert_array_equal(looked_up, after)
    checked(len(rows["leak"]), 2048)


def test_draws(rows, checked):
    for neuron, burst, word in rows["rnd"]:
        drawn = codes.random_unit(np.array([int(neuron)], np.uint32), int(burst))
        assert drawn.tobytes() == _floats([word]).tobytes()
    checked(len(rows["rnd"]), 1000)
