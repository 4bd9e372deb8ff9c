"""``python -m tests.mutants --report FILE [--sample N] [--seed S] [--match TEXT]``."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from pathlib import Path

from tools.report import Row, write_report

from openhailo.spec.chip import CHIP
from openhailo.testing.conformance import load

from .equivalents import EQUIVALENTS
from .golden import Golden
from .judge import Judge, Verdict
from .mutations import Mutant, enumerate_mutants
from .pool import Pool

AIM = 0.95


def main(argv: list[str] | None = None) -> int:
    """Judge the mutants, write the report, and fail below the aim."""
    options = _parse(argv)
    logging.disable(logging.CRITICAL)  # a bent chip gives cause for complaints
    judge, golden = Judge(load()), Golden()
    broken = judge.rehearse() + golden.differences(CHIP)
    if broken:
        print("not even the true declaration passes:", *broken, sep="\n  ")
        return 2
    mutants = _choose(options)
    started = time.monotonic()
    pool = Pool(mutants, lambda mutant: golden.judge(mutant, judge.judge(mutant)), options.workers)
    verdicts = []
    for verdict in pool.judge_all():
        verdicts.append(verdict)
        _show_progress(len(verdicts), len(mutants))
    pool.close()
    return _conclude(verdicts, golden, options.report, time.monotonic() - started)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("build/report/mutants.json"))
    parser.add_argument("--sample", type=int, default=0, help="judge only so many mutants")
    parser.add_argument("--seed", type=int, default=1, help="which ones a sample takes")
    parser.add_argument("--match", default="", help="judge only mutants whose name contains this")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(argv)


def _choose(options: argparse.Namespace) -> list[Mutant]:
    every = enumerate_mutants(CHIP)
    unknown = EQUIVALENTS.keys() - {mutant.name for mutant in every}
    assert not unknown, f"equivalents that do not exist: {sorted(unknown)}"
    chosen = [mutant for mutant in every if options.match in mutant.name and mutant.name not in EQUIVALENTS]
    order = random.Random(options.seed)
    order.shuffle(chosen)
    return chosen[: options.sample] if options.sample else chosen


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{total}", end="" if done < total else "\n", file=sys.stderr)


def _conclude(verdicts: list[Verdict], golden: Golden, report: Path, seconds: float) -> int:
    verdicts = sorted(verdicts, key=lambda verdict: verdict.name)
    judged = [verdict for verdict in verdicts if not verdict.refused]
    caught = [verdict for verdict in judged if verdict.caught]
    survivors = [verdict.name for verdict in judged if not verdict.caught]
    ratio = len(caught) / len(judged) if judged else 0.0
    aim = f">= {AIM}"
    twin = sum(verdict.side == "twin" for verdict in caught)
    rows = [
        Row("mutants_caught", round(ratio, 4), "ratio", "mutants not refused", round(ratio, 4), aim),
        Row("mutants_total", len(verdicts), "mutants"),
        Row("mutants_refused", len(verdicts) - len(judged), "mutants"),
        Row(
            "mutants_caught_bending_twin",
            twin,
            "mutants",
            "mutants not refused",
            round(twin / (len(judged) or 1), 4),
            aim,
        ),
        Row("mutants_caught_bending_driver", sum(v.side == "driver" for v in caught), "mutants"),
        Row("mutants_equivalent", len(EQUIVALENTS), "mutants"),
        Row("mutants_seconds", round(seconds, 1), "s"),
    ]
    unseen = _golden_rows(rows, verdicts, golden)
    write_report(report, rows)
    listing = report.with_name("mutants-survivors.txt")
    listing.write_text("".join(f"{name}\n" for name in survivors) + "".join(f"golden: {name}\n" for name in unseen))
    print(*(f"survivor: {name}" for name in survivors), *(f"not in golden: {name}" for name in unseen), sep="\n")
    return 0 if ratio >= AIM else 1


def _golden_rows(rows: list[Row], verdicts: list[Verdict], golden: Golden) -> list[str]:
    """Add what the golden comparison noticed of both copies bent; return what it did not."""
    if golden.missing:
        print(f"golden_caught: skipped, {golden.missing}")
        return []
    built = [verdict for verdict in verdicts if verdict.golden >= 0]
    unseen = [verdict.name for verdict in built if not verdict.golden]
    ratio = 1 - len(unseen) / len(built) if built else 0.0
    rows.append(
        Row("golden_caught", round(ratio, 4), "ratio", "mutants that can be built", round(ratio, 4), f">= {AIM}")
    )
    return unseen


if __name__ == "__main__":
    sys.exit(main())
