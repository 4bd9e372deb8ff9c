"""Differences that remain on purpose, with the reason of each. Anything else that differs fails the run."""

from __future__ import annotations

from collections.abc import Mapping

#: (scenario "group/name" or "*", part) -> reason.
EXPLAINED: Mapping[tuple[str, str], str] = {}


def reason_for(scenario: str, part: str) -> str:
    """Return why ``part`` of ``scenario`` may differ; empty when it may not."""
    return EXPLAINED.get((scenario, part)) or EXPLAINED.get(("*", part)) or ""
