"""A short run of the fuzzer, the same inputs every time."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("hef_reader", Path(__file__).with_name("hef_reader.py"))
assert _spec is not None
assert _spec.loader is not None
fuzzer: Any = importlib.util.module_from_spec(_spec)
sys.modules["hef_reader"] = fuzzer
_spec.loader.exec_module(fuzzer)


def test_damaged_files_are_read_or_refused() -> None:
    assert fuzzer.run(count=3000, seed=1) == 3000


def test_seeds_themselves_are_read() -> None:
    for number, (proto, ccws) in enumerate(fuzzer.seeds()):
        assert fuzzer.attempt(fuzzer.seal_bytes(proto, ccws, number % 2))


def test_mutations_get_past_the_hash_and_some_are_read() -> None:
    """Were all inputs refused, or refused for the hash alone, nothing would be tested."""
    chance, files = random.Random(2), fuzzer.seeds()
    verdicts = [fuzzer.attempt(fuzzer.mutated(files, chance)) for _ in range(500)]
    assert 100 < sum(verdicts) < 400


def test_a_crash_is_reported_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_data: bytes) -> bool:
        raise KeyError("lost")

    monkeypatch.setattr(fuzzer, "exercise", broken)
    with pytest.raises(fuzzer.FuzzFailure, match="KeyError") as caught:
        fuzzer.attempt(b"\1\2")
    assert caught.value.data == b"\1\2"
