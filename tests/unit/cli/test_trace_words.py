"""Foreign trace files, printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from openhailo.cli import trace


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"k": "control"}', "control ? (?) -> ?  ?"),
        ('{"k": "irq", "n": null, "us": [], "op": "\\ud800"}', "None"),
        ('{"k": "\\ud800"}', "\\\\ud800"),
        ('{"k": "r", "bar": -3, "at": -1, "v": -1}', "BAR-3"),
    ],
)
def test_odd_records_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, words: str) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text(line)
    trace._print(path, set(), json=False)
    printed = capsys.readouterr().out
    assert words.replace("\\\\", "\\") in printed
    printed.encode("utf-8")
