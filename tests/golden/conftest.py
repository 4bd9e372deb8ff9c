"""The facts pages as golden data, and a count of what was compared.

Nothing here imports the specification: expected values come from the JSON companions, the Markdown tables, recorded
traces, or literals in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.golden.facts import Facts


@pytest.fixture(scope="session")
def facts(shared_dir: Path) -> Facts:
    return Facts(shared_dir)


@pytest.fixture
def checked(record_property: Callable[[str, object], None]) -> Callable[[int, int], None]:
    """Record how many values a test compared; fewer than expected means that the pages were not read."""

    def record(compared: int, at_least: int) -> None:
        record_property("golden_values", compared)
        assert compared >= at_least, f"only {compared} values compared, {at_least} expected"

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    total = sum(
        value
        for report in terminalreporter.getreports("passed")
        for name, value in getattr(report, "user_properties", ())
        if name == "golden_values"
    )
    if total:
        terminalreporter.write_line(f"golden: {total} values compared with the facts")
