"""``python -m tests.wire``: replay every recorded scenario with our stack and print what is equal."""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.report import Row, write_report

from .compare import Check
from .coverage import COMPARED, NOT_APPLICABLE, count_records
from .device_scenarios import replay_device
from .explained import reason_for
from .hef_scenarios import replay_scenario
from .io_scenarios import replay_io
from .recording import Recording, load_group, load_io

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
EQUAL, DIFFERENT, EXPLAINED, NONE = "equal", "different", "explained", "not applicable"


@dataclass(frozen=True)
class Result:
    """One scenario's outcome."""

    scenario: str
    checks: tuple[Check, ...]

    @property
    def different(self) -> list[Check]:
        """Parts that differ."""
        return [check for check in self.checks if check.outcome == DIFFERENT]

    @property
    def unexplained(self) -> list[Check]:
        """Parts that differ and must not."""
        return [check for check in self.different if not reason_for(self.scenario, check.part)]

    @property
    def outcome(self) -> str:
        """One word for all parts."""
        if self.different:
            return DIFFERENT if self.unexplained else EXPLAINED
        return EQUAL if any(check.compared for check in self.checks) else NONE

    @property
    def compared(self) -> int:
        """How many single things were compared."""
        return sum(check.compared for check in self.checks)


def replay_all(shared: Path, groups: Mapping[str, list[Recording]], only: str) -> Iterator[Result]:
    """Replay what matches ``only``."""
    for group, recordings in groups.items():
        for recording in recordings:
            if fnmatch.fnmatch(recording.id, only):
                yield _guarded(recording.id, lambda r=recording: _replay(r, shared))
        for entry in load_io(shared / "traces" / group):
            name = f"{group}/io.json:{entry['scenario']}"
            if fnmatch.fnmatch(name, only):
                yield _guarded(name, lambda e=entry, g=group: replay_io(e, shared, g))


def _replay(recording: Recording, shared: Path) -> list[Check]:
    return replay_device(recording) if recording.group == "device" else replay_scenario(recording, shared)


def _guarded(name: str, run: Any) -> Result:
    """Turn an exception of a replay into a difference, so that the others still run."""
    try:
        return Result(name, tuple(run()))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        failed = Check("replay")
        failed.expect("exception", f"{type(error).__name__}: {error}", "none")
        return Result(name, (failed,))


def print_result(result: Result, verbose: bool) -> None:
    """Print one scenario: outcome, name, what was compared, and every difference."""
    print(f"{result.outcome:15} {result.scenario}  ({result.compared} compared)")
    for check in result.checks:
        if verbose or check.outcome == DIFFERENT:
            print(f"                  {check.outcome:15} {check.part} ({check.compared}) {check.reason}")
        for text in check.differences[:3]:
            print(f"                      {text}")
        if check.outcome == DIFFERENT:
            print(f"                      reason: {reason_for(result.scenario, check.part) or 'NONE - this is a bug'}")


def write_table(path: Path, results: list[Result], recordings: list[Recording]) -> None:
    """Write the table that docs/wire.md speaks of."""
    lines = ["# Wire equality, scenario by scenario", "", "| scenario | outcome | parts compared |", "|---|---|---|"]
    for result in results:
        parts = ", ".join(f"{check.part} {check.compared}" for check in result.checks if check.compared)
        lines.append(f"| {result.scenario} | {result.outcome} | {parts} |")
    compared, others = count_records(recordings)
    lines += ["", "## Records of the traces", "", "| kind | records | compared as, or why not |", "|---|---|---|"]
    lines += [f"| {kind} | {count} | {COMPARED[kind]} |" for kind, count in sorted(compared.items())]
    lines += [
        f"| {kind} | {count} | not applicable: {NOT_APPLICABLE[kind]} |" for kind, count in sorted(others.items())
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows_of(results: list[Result], recordings: list[Recording], seconds: float) -> list[Row]:
    """Return the figures of the run."""
    count = {word: sum(r.outcome == word for r in results) for word in (EQUAL, DIFFERENT, EXPLAINED, NONE)}
    applicable = len(results) - count[NONE]
    compared, others = count_records(recordings)
    return [
        Row("wire_equal", count[EQUAL] / max(applicable, 1), "ratio", aim="1"),
        Row("wire_scenarios", len(results), "scenarios"),
        Row("wire_applicable", applicable, "scenarios"),
        Row("wire_different", count[DIFFERENT], "scenarios", aim="0"),
        Row("wire_explained", count[EXPLAINED], "scenarios"),
        Row("wire_comparisons", sum(r.compared for r in results), "things"),
        Row("wire_records_compared", compared.total(), "records"),
        Row("wire_records_not_applicable", others.total(), "records"),
        Row("wire_seconds", round(seconds, 1), "s", aim="< 180"),
    ]


def main() -> int:
    """Replay, print, write the report; 1 when something differs without a reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.wire", description=__doc__)
    parser.add_argument("--report", type=Path, help="write the figures as JSON, and a table beside them")
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder with traces/ and hefs/")
    parser.add_argument("--only", default="*", help="pattern of scenario names, for example 'device/*'")
    parser.add_argument("--verbose", action="store_true", help="print every part")
    options = parser.parse_args()
    if not (options.shared / "traces").is_dir():
        print("no recordings beside this checkout: nothing to compare (continuous integration has them)")
        return 0
    begin = time.monotonic()
    folders = sorted(path for path in (options.shared / "traces").iterdir() if (path / "index.json").is_file())
    groups = {folder.name: load_group(folder) for folder in folders}
    results = []
    for result in replay_all(options.shared, groups, options.only):
        print_result(result, options.verbose)
        results.append(result)
    recordings = [recording for group in groups.values() for recording in group]
    rows = rows_of(results, recordings, time.monotonic() - begin)
    print()
    if options.report is not None:
        write_report(options.report, rows)
        write_table(options.report.with_suffix(".md"), results, recordings)
    else:
        for row in rows:
            print(f"{row.name:28} {row.value:10.6g} {row.unit}")
    return 1 if any(result.outcome == DIFFERENT for result in results) or not results else 0


if __name__ == "__main__":
    sys.exit(main())
