"""Steps of a program: run in order, each reported with its time; what fails is told and the next one tried."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from .channel import Outside


def run_steps(outside: Outside, steps: Iterable[tuple[str, Callable[[], Any]]]) -> int:
    """Run and report ``steps``; what one returns (a dict or nothing) is reported with it. Returns how many failed."""
    failed = 0
    for name, step in steps:
        started = time.monotonic()
        try:
            found, problem = step() or {}, ""
        except Exception as error:
            found, problem = {}, f"{type(error).__name__}: {error}"
            traceback.print_exc()
            failed += 1
        seconds = round(time.monotonic() - started, 3)
        outside.report(step=name, ok=not problem, problem=problem, seconds=seconds, **found)
    return failed
