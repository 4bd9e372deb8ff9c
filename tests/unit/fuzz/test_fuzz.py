"""The fuzzer itself: cases come out the same again, surfaces work, and nothing that breaks is missed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz import messages
from tests.fuzz.mutate import pack_parts, unpack_parts
from tests.fuzz.supervisor import MOST_CRASHES, Supervisor, Tally, plan
from tests.fuzz.surface import SHARES, case_random, load_surface

BREAKING = "tests.unit.fuzz.breaking_surface"


@pytest.mark.parametrize("name", SHARES)
def test_a_surface_gives_the_same_cases_again_and_takes_them(name: str) -> None:
    surface = load_surface(name)
    cases = [surface.make_case(case_random(7, name, number)) for number in range(12)]
    assert cases == [surface.make_case(case_random(7, name, number)) for number in range(12)]
    assert len(set(cases)) > 6
    for case in cases:
        try:
            assert surface.run(case) >= 1
        except surface.refusals as error:
            assert str(error)


def test_whatever_breaks_is_found_and_named(tmp_path: Path) -> None:
    tally = Tally(BREAKING, wanted=40, seconds=60.0)
    Supervisor(3, tmp_path).run([tally])
    found = {failure.what.split(":")[0] for failure in tally.failures}
    assert found >= {"KeyError", "Broken", "MemoryError", "Hang", "the process died of SIGABRT"}
    assert tally.crashes == MOST_CRASHES or tally.inputs >= 40
    assert 0 < tally.refused < tally.cases
    surface = load_surface(BREAKING)
    for failure in tally.failures:
        saved = (tmp_path / f"{BREAKING}-3-{failure.case}.bin").read_bytes()
        assert saved == surface.make_case(case_random(3, BREAKING, failure.case))
        assert (tmp_path / f"{BREAKING}-3-{failure.case}.txt").is_file()


def test_time_is_shared_evenly_and_inputs_by_share() -> None:
    names = list(SHARES)
    by_time = plan(names, 57.0, None)
    assert {tally.seconds for tally in by_time} == {57.0 * 2 / len(names)}
    by_count = plan(names, None, 1_000_000)
    assert abs(sum(tally.wanted for tally in by_count) - 1_000_000) < len(names)


def test_mutations_of_messages_stay_messages() -> None:
    inner = b"\x0a\x03abc\x10\x05"
    message = b"\x0a" + bytes([len(inner)]) + inner + b"\x1d\x01\x02\x03\x04"
    assert messages.parse_fields(message) == [(1, 2, inner), (3, 5, b"\x01\x02\x03\x04")]
    changed = {messages.mutate_message(case_random(1, "m", n), message) for n in range(200)}
    assert len(changed) > 100
    assert all(messages.parse_fields(data) is not None for data in changed)


def test_parts_come_apart_again() -> None:
    parts = [b"", b"x", bytes(300)]
    assert unpack_parts(pack_parts(parts)) == parts
