"""``python -m tests.fuzz``: hostile inputs on every surface, or on the ones that are named."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tools.report import Row, write_report

from .supervisor import Supervisor, Tally, clear_folder, plan
from .surface import SHARES, load_surface

AIM = ">= 1000000 over all surfaces in the long run"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 when something failed."""
    options = _parse(arguments)
    if options.input is not None:
        return _replay(options.surface[0], options.input)
    clear_folder(options.folder)
    tallies = plan(options.surface or list(SHARES), options.seconds, options.inputs)
    started = time.monotonic()
    Supervisor(options.seed, options.folder).run(tallies)
    _print(tallies, time.monotonic() - started, options.seed)
    write_report(options.report, _rows(tallies))
    return int(any(tally.failures for tally in tallies))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--seconds", type=float, help="how long (default 60), shared evenly")
    amount.add_argument("--inputs", type=int, help="how many inputs, shared by cost")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--surface", action="append", choices=list(SHARES), help="only this one (repeatable)")
    parser.add_argument("--input", type=Path, help="run one saved input on the one --surface, in this process")
    parser.add_argument("--report", type=Path, default=Path("build/report/fuzz.json"))
    parser.add_argument(
        "--folder", type=Path, default=Path("build/fuzz"), help="where failing inputs go; emptied first"
    )
    options = parser.parse_args(arguments)
    if options.input is not None and len(options.surface or ()) != 1:
        parser.error("--input needs the one --surface that it belongs to")
    return options


def _replay(name: str, path: Path) -> int:
    surface = load_surface(name)
    try:
        count = surface.run(path.read_bytes())
    except surface.refusals as error:
        print(f"refused: {type(error).__name__}: {error}")
        return 0
    print(f"accepted ({count} inputs)")
    return 0


def _print(tallies: list[Tally], seconds: float, seed: int) -> None:
    print(f"\nseed {seed}, {seconds:.0f} s")
    print(f"{'surface':20}{'inputs':>10}{'per s':>9}{'refused':>9}{'slowest':>10}{'memory':>10}{'failures':>10}")
    for t in tallies:
        rate, share = t.inputs / max(t.busy_s, 1e-9), t.refused / max(t.cases, 1)
        print(
            f"{t.name:20}{t.inputs:10}{rate:9.0f}{share:9.0%}{1000 * t.slowest_s:7.0f} ms"
            f"{t.peak_bytes / 2**20:7.0f} MB{len(t.failures):10}"
        )


def _rows(tallies: list[Tally]) -> list[Row]:
    rows = [Row("fuzz_inputs", sum(t.inputs for t in tallies), "inputs", aim=AIM)]
    rows.append(Row("fuzz_failures", sum(len(t.failures) for t in tallies), "kinds", aim="0"))
    return rows + [Row(f"fuzz_{t.name}", t.inputs, "inputs") for t in tallies]


if __name__ == "__main__":
    sys.exit(main())
