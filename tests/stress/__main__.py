"""Run very many frames of several processes through one broker, and write how many were right."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tools.report import Row, write_report

from tests.stress.fleet import run_stress


def main() -> int:
    """Run; the exit status is 1 when a frame was lost, doubled or swapped, or something was left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=Path("build/report/stress.json"))
    arguments = parser.parse_args()
    begin = time.monotonic()
    outcome, state = run_stress(
        frames=arguments.frames,
        clients=arguments.clients,
        devices=arguments.devices,
        kills=arguments.kills,
        seed=arguments.seed,
    )
    for line in outcome.wrong[:20]:
        print(line, file=sys.stderr)
    write_report(
        arguments.report,
        [
            Row("frames_checked", outcome.right, "frames", aim=f">= {arguments.frames}"),
            Row("frames_wrong", len(outcome.wrong), "frames", aim="0"),
            Row("stress_clients_killed", outcome.kills, "processes"),
            Row("stress_model_switches", state.get("switches", 0), "switches"),
            Row("stress_broker_mib", state.get("resident_bytes", 0) / 2**20, "MiB"),
            Row("stress_seconds", time.monotonic() - begin, "s"),
        ],
    )
    return 0 if not outcome.wrong and outcome.right >= arguments.frames else 1


if __name__ == "__main__":
    sys.exit(main())
