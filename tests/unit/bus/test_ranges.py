"""Free ranges against a bitmap that does the same the slow way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.bus.ranges import FreeRanges

SIZE = 64


def free_units(ranges: FreeRanges) -> set[int]:
    return {unit for start, size in ranges for unit in range(start, start + size)}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("take"), st.integers(1, 20), st.sampled_from([1, 2, 4, 8, 16])),
            st.tuples(st.just("give"), st.integers(0, 30), st.just(0)),
            st.tuples(st.just("exclude"), st.integers(0, SIZE), st.integers(0, 9)),
        ),
        max_size=40,
    )
)
def test_against_a_bitmap(steps: list[tuple[str, int, int]]) -> None:
    ranges, free, taken = FreeRanges([(0, SIZE)]), set(range(SIZE)), []
    for kind, a, b in steps:
        if kind == "take":
            want = next((s for s in range(0, SIZE, b) if set(range(s, s + a)) <= free), None)
            assert ranges.take(a, b) == want
            if want is not None:
                free -= set(range(want, want + a))
                taken.append((want, a))
        elif kind == "give" and taken:
            start, size = taken.pop(a % len(taken))
            ranges.give(start, size)
            free |= set(range(start, start + size))
        elif kind == "exclude":
            ranges.exclude(a, b)
            free -= set(range(a, a + b))
        assert free_units(ranges) == free
        starts = list(ranges)
        assert all(s + n < t for (s, n), (t, _) in pairwise(starts)) or kind != "give"


@pytest.mark.parametrize("ranges", [[], [(0, 0)], [(5, -1)]])
def test_nothing_is_free(ranges: list[tuple[int, int]]) -> None:
    assert FreeRanges(ranges).take(1, 1) is None
