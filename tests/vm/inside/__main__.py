"""``python -m tests.vm.inside NAME SETTINGS``: run program NAME; SETTINGS is a JSON file from outside."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

from .channel import Outside
from .steps import run_steps

#: The programs; each module has ``steps(outside, settings)``.
PROGRAMS = ("life", "hotplug", "conformance", "speed")


def main() -> int:
    """Run a program; the exit code tells whether a step failed."""
    name, settings = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    assert name in PROGRAMS, name
    outside = Outside()
    started = time.monotonic()
    steps = import_module(f"{__package__}.{name}").steps(outside, settings)
    outside.report(imported_s=round(time.monotonic() - started, 2))
    return 1 if run_steps(outside, steps) else 0


if __name__ == "__main__":
    sys.exit(main())
