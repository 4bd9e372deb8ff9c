"""Readers for the facts pages and the recorded traces.

Nothing here imports the specification: expected values come from the JSON companions, the Markdown tables, or traces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = list[str]


class Facts:
    """Readers for the facts folder and the recorded traces."""

    def __init__(self, shared: Path) -> None:
        self._shared = shared

    def json(self, name: str) -> Any:
        """Parse a JSON companion of the pages."""
        return json.loads((self._shared / "facts" / name).read_text())

    def section(self, page: str, heading: str) -> str:
        """The text under ``heading`` (without the ``#`` marks) up to the next heading of the same or a higher level."""
        text = (self._shared / "facts" / page).read_text()
        start = re.search(rf"^(#+) {re.escape(heading)}.*$", text, re.MULTILINE)
        assert start is not None, f"{page} has no heading {heading!r}"
        rest = text[start.end() :]
        end = re.search(rf"^#{{1,{len(start[1])}}} ", rest, re.MULTILINE)
        return rest[: end.start()] if end else rest

    @staticmethod
    def rows(text: str) -> list[Row]:
        """The cells of every table row in ``text``, header and rule rows included."""
        lines = (line.strip() for line in text.splitlines())
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]

    def trace_files(self) -> list[Path]:
        """Every recorded scenario."""
        return sorted((self._shared / "traces").glob("*/*.jsonl"))

    def trace(self, path: Path) -> Iterator[dict[str, Any]]:
        """The records of one scenario."""
        with path.open() as lines:
            yield from map(json.loads, lines)

    def action_lists(self) -> Iterator[dict[str, Any]]:
        """Every distinct action list that the official library sent, decoded by the recorder."""
        for path in sorted((self._shared / "traces").glob("*/action_lists.json")):
            yield from json.loads(path.read_text()).values()
