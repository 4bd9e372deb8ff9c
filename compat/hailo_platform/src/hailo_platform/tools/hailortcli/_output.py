"""Lines on standard output and standard error, and what a failure is called."""

from __future__ import annotations

import sys

from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort.pyhailort import EXCEPTION_OF_STATUS, HailoRTException
from openhailo.errors import OpenHailoError

_INTERNAL_FAILURE, _OPEN_FILE_FAILURE = 8, 13


def say(line: str, end: str = "\n") -> None:
    """Print a line that programs may parse."""
    sys.stdout.write(line + end)
    sys.stdout.flush()


def warn(line: str) -> None:
    """Print a line for people."""
    sys.stderr.write(f"[HailoRT CLI] [warning] {line}\n")


def fail(error: BaseException) -> int:
    """Tell a failure; return the exit code, which is the number of the status (runtime-behaviour.md 24)."""
    number, text = status_text(error)
    tell_reason(error)
    sys.stderr.write(f"[HailoRT CLI] [error] status={text}\n")
    return number


def tell_reason(error: BaseException) -> None:
    """Print why something failed, for people."""
    reasons = [str(error), *getattr(error, "__notes__", ())]
    sys.stderr.write(f"[HailoRT CLI] [error] {'; '.join(reasons)}\n")


def status_text(error: BaseException) -> tuple[int, str]:
    """Return number and ``NAME(number)`` of the status that an exception stands for."""
    number = int(_status_of(error))
    return number, f"{bound.get_status_message(number)}({number})"


def _status_of(error: BaseException) -> int:
    if isinstance(error, bound.HailoRTStatusException | OpenHailoError):
        return bound.status_of(error)
    if isinstance(error, HailoRTException):
        for number, kind in EXCEPTION_OF_STATUS.items():
            if type(error) is kind:
                return number
        text = str(error).rpartition("error: ")[2].partition(" ")[0]
        return int(text) if text.isdecimal() else _INTERNAL_FAILURE
    return _OPEN_FILE_FAILURE if isinstance(error, OSError) and error.filename is not None else _INTERNAL_FAILURE
