"""``python -m tests.mutants --report FILE [--sample N] [--seed S] [--match TEXT]``."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

from tools.report import Row, write_report

from openhailo.spec.chip import CHIP
from openhailo.testing.conformance import load

from .equivalents import EQUIVALENTS
from .golden import SHARED, Golden
from .judge import Judge, Verdict
from .kernel import KernelJudge, be_impatient, enumerate_kernel_mutants, is_kernel
from .mutations import Mutant, enumerate_mutants
from .pool import Pool

AIM = 0.95


def main(argv: list[str] | None = None) -> int:
    """Judge the mutants, write the report, and fail below the aim."""
    options = _parse(argv)
    logging.disable(logging.CRITICAL)  # a bent chip gives cause for complaints
    judge, golden, kernel = Judge(load()), Golden(), KernelJudge(load(), SHARED)
    broken = judge.rehearse() + golden.differences(CHIP) + kernel.rehearse()
    if broken:
        print("not even the true declaration passes:", *broken, sep="\n  ")
        return 2
    mutants = _choose(options)
    started = time.monotonic()

    def work(mutant: Mutant) -> Verdict:
        be_impatient()
        return kernel.judge(mutant) if is_kernel(mutant.name) else golden.judge(mutant, judge.judge(mutant))

    pool = Pool(mutants, work, options.workers)
    verdicts = []
    for verdict in pool.judge_all():
        verdicts.append(verdict)
        _show_progress(len(verdicts), len(mutants))
    pool.close()
    return _conclude(verdicts, golden, options, time.monotonic() - started)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("build/report/mutants.json"))
    parser.add_argument("--sample", type=int, default=0, help="judge only so many mutants")
    parser.add_argument("--seed", type=int, default=1, help="which ones a sample takes")
    parser.add_argument("--match", default="", help="judge only mutants whose name contains this")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(argv)


def _choose(options: argparse.Namespace) -> list[Mutant]:
    every = enumerate_mutants(CHIP) + enumerate_kernel_mutants()
    unknown = EQUIVALENTS.keys() - {mutant.name for mutant in every}
    assert not unknown, f"equivalents that do not exist: {sorted(unknown)}"
    chosen = [mutant for mutant in every if options.match in mutant.name and mutant.name not in EQUIVALENTS]
    order = random.Random(options.seed)
    order.shuffle(chosen)
    return chosen[: options.sample] if options.sample else chosen


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done}/{total}", end="" if done < total else "\n", file=sys.stderr)


def _conclude(every: list[Verdict], golden: Golden, options: argparse.Namespace, seconds: float) -> int:
    """Write report and survivors; 1 when a ratio is below the aim, but for a choice of mutants by name."""
    every = sorted(every, key=lambda verdict: verdict.name)
    rows, survivors = _chip_rows([verdict for verdict in every if not is_kernel(verdict.name)])
    kernel_rows, kernel_survivors = _kernel_rows([verdict for verdict in every if is_kernel(verdict.name)])
    rows += kernel_rows
    rows.append(Row("mutants_seconds", round(seconds, 1), "s"))
    unseen = _golden_rows(rows, every, golden)
    write_report(options.report, rows)
    survivors += kernel_survivors
    listing = options.report.with_name("mutants-survivors.txt")
    listing.write_text("".join(f"{name}\n" for name in survivors) + "".join(f"golden: {name}\n" for name in unseen))
    print(*(f"survivor: {name}" for name in survivors), *(f"not in golden: {name}" for name in unseen), sep="\n")
    below = [row.name for row in rows if row.aim and row.ratio is not None and row.ratio < AIM]
    return 1 if below and not options.match else 0


def _chip_rows(verdicts: list[Verdict]) -> tuple[list[Row], list[str]]:
    judged = [verdict for verdict in verdicts if not verdict.refused]
    caught = [verdict for verdict in judged if verdict.caught]
    twin = sum(verdict.side == "twin" for verdict in caught)
    against = "mutants not refused"
    rows = [
        _ratio("mutants_caught", len(caught), len(judged), against),
        Row("mutants_total", len(verdicts), "mutants"),
        Row("mutants_refused", len(verdicts) - len(judged), "mutants"),
        replace(_ratio("mutants_caught_bending_twin", twin, len(judged), against), value=twin, unit="mutants"),
        Row("mutants_caught_bending_driver", sum(v.side == "driver" for v in caught), "mutants"),
        Row("mutants_equivalent", len(EQUIVALENTS), "mutants"),
    ]
    return rows, [verdict.name for verdict in judged if not verdict.caught]


def _kernel_rows(verdicts: list[Verdict]) -> tuple[list[Row], list[str]]:
    """Return the rows of the kernel driver's interface, bent in the client's copy."""
    judged = [verdict for verdict in verdicts if not verdict.refused and verdict.by != "facts"]
    caught = [verdict for verdict in judged if verdict.caught]
    rows = [
        _ratio("kernel_mutants_caught", len(caught), len(judged), "mutants of what the link reads"),
        Row("kernel_mutants_total", len(verdicts), "mutants"),
        Row("kernel_mutants_facts_only", sum(verdict.by == "facts" for verdict in verdicts), "mutants"),
    ]
    return rows, [verdict.name for verdict in judged if not verdict.caught]


def _ratio(name: str, part: int, whole: int, against: str) -> Row:
    ratio = round(part / whole, 4) if whole else 1.0
    return Row(name, ratio, "ratio", against, ratio, f">= {AIM}")


def _golden_rows(rows: list[Row], verdicts: list[Verdict], golden: Golden) -> list[str]:
    """Add what the golden comparison noticed of both copies bent; return what it did not."""
    if golden.missing:
        print(f"golden_caught: skipped, {golden.missing}")
        return []
    built = [verdict for verdict in verdicts if verdict.golden >= 0]
    unseen = [verdict.name for verdict in built if not verdict.golden]
    for prefix, names in (("", _names(built, kernel=False)), ("kernel_", _names(built, kernel=True))):
        seen = sum(name not in unseen for name in names)
        rows.append(_ratio(f"{prefix}golden_caught", seen, len(names), "mutants that can be built"))
    return unseen


def _names(verdicts: list[Verdict], *, kernel: bool) -> list[str]:
    return [verdict.name for verdict in verdicts if is_kernel(verdict.name) == kernel]


if __name__ == "__main__":
    sys.exit(main())
