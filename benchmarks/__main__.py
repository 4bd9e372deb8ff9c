"""Run the benchmarks: `python -m benchmarks [--only NAME] [--report FILE]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.report import write_report

from benchmarks import async_inference, broker, contexts, dma, host_ops, inference, process, vision, vm

SUITES = {
    "inference": inference,
    "async": async_inference,
    "broker": broker,
    "dma": dma,
    "vision": vision,
    "host_ops": host_ops,
    "process": process,
    "contexts": contexts,
    "vm": vm,
}


def main() -> None:
    """Run the chosen suites and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(SUITES), action="append")
    parser.add_argument("--report", type=Path, default=Path("build/report/bench.json"))
    arguments = parser.parse_args()
    chosen = arguments.only or list(SUITES)
    write_report(arguments.report, [row for name in chosen for row in SUITES[name].rows()])


if __name__ == "__main__":
    main()
