"""Where the time of a call goes, measured on request.

Nothing is in the way of frames unless somebody measures: functions of a pipeline are exchanged for timed ones then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Stage(StrEnum):
    """What a call does, in order. The rest of a call's time is the runtime's own bookkeeping."""

    INPUT = "input transformation"
    LAUNCH = "launch"
    #: Waiting for interrupts and counting completions; the device computes meanwhile, or the virtual one in there.
    DEVICE = "device"
    OUTPUT = "output transformation"


class StageTimes:
    """Seconds per stage, added up over all calls since the start."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(Stage, 0.0)

    def timed(self, stage: Stage, function: Callable[P, T]) -> Callable[P, T]:
        """Return ``function`` with its time added to ``stage``."""
        clock, seconds = time.perf_counter, self.seconds

        def measured(*args: P.args, **kwargs: P.kwargs) -> T:
            started = clock()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[stage] += clock() - started

        return measured
