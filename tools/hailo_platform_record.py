"""A pytest plugin: which functions of `hailo_platform` ran during the tests.

``pytest -p tools.hailo_platform_record`` writes ``file:line`` of their first lines, one a line, into the file that
``HAILO_PLATFORM_RECORD`` names.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

VARIABLE = "HAILO_PLATFORM_RECORD"
_MARK = f"{os.sep}hailo_platform{os.sep}"
_seen: set[tuple[str, int]] = set()


def _profile(frame: FrameType, event: str, argument: Any) -> None:
    if event == "call" and _MARK in frame.f_code.co_filename:
        _seen.add((frame.f_code.co_filename, frame.f_code.co_firstlineno))


def pytest_configure() -> None:
    """Begin to record, in every thread."""
    threading.setprofile(_profile)
    sys.setprofile(_profile)


def pytest_unconfigure() -> None:
    """Write what was seen."""
    sys.setprofile(None)
    threading.setprofile(None)
    lines = sorted(f"{Path(file).resolve()}:{line}" for file, line in _seen)
    Path(os.environ[VARIABLE]).write_text("\n".join(lines) + "\n", encoding="utf-8")
