"""``python -m tests.fuzz.vfio_user --count 1000000``: random messages on a vfio-user connection, in this process.

Nothing may crash, hang, or keep memory; that no descriptor stays open is asked after each connection.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from tools.report import Row, write_report

from .surface import case_random, load_surface, require

#: Most memory that the run may gain after its first hundred cases, in bytes.
_GAIN_BYTES = 32 << 20
_WARM_CASES = 100


def run(count: int | None = None, seconds: float | None = None, seed: int = 1) -> int:
    """Send at least ``count`` messages, or as many as fit into ``seconds``; returns how many. Raises on any finding."""
    surface = load_surface("vfio_user")
    end = time.monotonic() + seconds if seconds is not None else None
    messages = case = warm = 0
    while (count is None or messages < count) and (end is None or time.monotonic() < end):
        messages += surface.run(surface.make_case(case_random(seed, surface.name, case)))
        case += 1
        if case == _WARM_CASES:
            warm = _peak_bytes()
    require(not warm or _peak_bytes() - warm <= _GAIN_BYTES, f"{_peak_bytes() - warm} bytes of memory gained")
    return messages


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.vfio_user", description=__doc__)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    if options.count is None and options.seconds is None:
        options.seconds = 60.0
    started = time.monotonic()
    messages = run(options.count, options.seconds, options.seed)
    took = time.monotonic() - started
    print(f"{messages} messages in {took:.0f} s ({messages / took:.0f}/s), seed {options.seed}: no finding")
    if options.report:
        rows = [
            Row("vfio_user_random_messages", messages, "messages", aim=">= 1000000"),
            Row("vfio_user_findings", 0, "findings", aim="0"),
            Row("vfio_user_seconds", took, "s"),
        ]
        write_report(options.report, rows)


if __name__ == "__main__":
    main()
