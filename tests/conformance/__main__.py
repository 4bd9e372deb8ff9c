"""``python -m tests.conformance --report FILE --docs FILE [--check]``: every device at hand, and the page about it."""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import sys
import time
from pathlib import Path

from tests.golden.abi import AbiFacts
from tools.report import Row, write_report

from openhailo.spec.ioctl import KERNEL
from openhailo.testing.reference import RELEASES

from .page import Result, read_rows, render, row_name, vm_row
from .run import run_device

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
#: All devices take half a minute; a check that never ends must not hold up whoever runs this.
TIME_LIMIT_S = 300


def main(argv: list[str] | None = None) -> int:
    """Run, write report and page; 1 when something fails or differs from the facts, or the page is out of step."""
    options = _parse(argv)
    started = time.monotonic()
    with mp.get_context("fork").Pool(options.workers, maxtasksperchild=1) as pool:
        results = pool.map_async(run_device, ["twin", *RELEASES], chunksize=1).get(TIME_LIMIT_S)
    counts = AbiFacts(SHARED).count(KERNEL) if (SHARED / "facts").is_dir() else {}
    _write(options.report, results, counts, time.monotonic() - started)
    before = read_rows(options.docs)
    abi = {name: str(compared) for name, (compared, _) in counts.items()}
    abi = abi or {name: before[row_name(name)][4] for name in RELEASES if row_name(name) in before}
    page = render(results, abi, vm_row(_guest(options), before))
    wrong = [f"{result.name}: {name}: {why}" for result in results for name, why in result.failed.items()]
    wrong += [f"{name}: {what} is not what the facts say" for name, (_, found) in counts.items() for what in found]
    if options.check:
        if not options.docs.exists() or page != options.docs.read_text():
            wrong.append(f"{options.docs} is out of step; run `make conformance-table` and commit it")
    else:
        options.docs.write_text(page)
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return bool(wrong)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("build/report/conformance.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs/conformance.md"))
    parser.add_argument("--check", action="store_true", help="compare the page instead of writing it")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(argv)


def _guest(options: argparse.Namespace) -> dict[str, object] | None:
    """Return what the VM tier reported, if it ran; a comparison leaves the guest's row as it is."""
    path = options.report.with_name("conformance-vm.json")
    return json.loads(path.read_text()) if path.exists() and not options.check else None


def _write(report: Path, results: list[Result], counts: dict[str, tuple[int, list[str]]], seconds: float) -> None:
    conformant = sum(not result.failed for result in results[1:])
    total = len(results) - 1
    rows = [
        Row("releases_conformant", conformant, "releases", "releases known", conformant / total, f">= {total}"),
        Row("conformance_passed", sum(result.passed.total() for result in results), "checks"),
        Row("conformance_failed", sum(len(result.failed) for result in results), "checks", aim="<= 0"),
        Row("conformance_seconds", round(seconds, 1), "s"),
    ]
    if counts:
        compared = sum(number for number, _ in counts.values())
        wrong = sum(len(found) for _, found in counts.values())
        rows.append(Row("abi_golden_checked", compared, "values", "values equal", 1 - wrong / compared, ">= 5000"))
    else:
        print("abi_golden_checked: skipped, the facts folder is not beside this checkout")
    write_report(report, rows)


if __name__ == "__main__":
    sys.exit(main())
