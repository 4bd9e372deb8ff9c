"""The burst engine against the simulators people would otherwise use: `python -m benchmarks.feagi`.

Every measurement runs in a process of its own, one after the other, in several rounds that alternate between ours and
the peers; the best chunk of each side is compared, because both then had the machine to themselves. Peers that cannot
be installed are left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.report import Row, write_report

PEERS = Path("build/feagi-peers/venv/bin/python")
SIZES = (1_000, 10_000, 100_000, 1_000_000)
ROUNDS, LIMIT_S = 3, 300.0

Case = dict[str, Any]


def main() -> None:
    """Run everything and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("build/report/bench-feagi.json"))
    parser.add_argument("--quick", action="store_true", help="one round, no sweeps, no slow peers")
    arguments = parser.parse_args()
    write_report(arguments.report, rows(quick=arguments.quick))


def rows(quick: bool = False) -> list[Row]:
    """The headline, the sizes, the sweeps and the floors."""
    headline = _headline(1 if quick else ROUNDS)
    found = _headline_rows(headline)
    if quick:
        return found
    return found + _size_rows(headline) + _sweep_rows() + _floor_rows()


def _measure(kind: str, peer: bool = False, **options: Any) -> Case | None:
    """One case in its own process; None if the peer is not there or does not finish in time."""
    python = str(PEERS) if peer else sys.executable
    if peer and not PEERS.exists():
        return None
    command = [python, "-m", "benchmarks.feagi_case", kind, json.dumps(options)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=environment, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        print(f"left out: {kind} {options}: {str(error.stderr or error)[-300:]}", file=sys.stderr)
        return None
    case: Case = json.loads(done.stdout.strip().splitlines()[-1])
    fired, wanted = case.get("fired"), max(1, round(options["count"] * options.get("rate", 0.015)))
    tolerance = 0.03 * wanted if peer else 0
    if fired is not None and abs(fired - wanted) > tolerance:
        print(f"left out: {kind} {options}: {fired} neurons fired, not {wanted}", file=sys.stderr)
        return None
    return case


def _best(cases: list[Case | None]) -> Case | None:
    found = [case for case in cases if case is not None]
    return min(found, key=lambda case: float(case["best_s"])) if found else None


def _headline(rounds: int) -> dict[str, Case | None]:
    """A million neurons, ten million synapses, 1.5 % firing; ours and each peer in turn."""
    million = {"count": 1_000_000}
    taken: dict[str, list[Case | None]] = {name: [] for name in ("engine", "batch", "threads", "scipy")}
    for _ in range(rounds):
        taken["engine"].append(_measure("engine", **million))
        taken["scipy"].append(_measure("scipy", **million))
        taken["batch"].append(_measure("engine", batch=True, **million))
        taken["threads"].append(_measure("engine", batch=True, threads=2, **million))
    found = {name: _best(cases) for name, cases in taken.items()}
    for name in ("brian2_cython", "brian2_cpp", "nest"):
        found[name] = _measure(name, peer=True, **million)
    found["small"] = _best([_measure("engine", batch=True, count=1_000) for _ in range(rounds)])
    return found


def _headline_rows(found: dict[str, Case | None]) -> list[Row]:
    ours, small = found["engine"], found["small"]
    if ours is None or small is None:
        raise SystemExit("our own engine did not finish")
    best = float(ours["best_s"])
    result = [
        Row("burst_1m_ms", best * 1e3, "ms", aim="<= 0.6"),
        Row("burst_1m_median_ms", float(ours["median_s"]) * 1e3, "ms"),
        Row("burst_1k_us", float(small["best_s"]) * 1e6, "us", aim="<= 3"),
        Row("rss_1m_mb", float(ours["rss_mb"]), "MiB", aim="<= 120"),
        Row("candidates_1m", float(ours["candidates"]), "neurons"),
    ]
    for name, key, aim in (
        ("vs_scipy_1m", "scipy", ">= 4"),
        ("vs_brian2cpp_1m", "brian2_cpp", ">= 6"),
        ("vs_brian2cython_1m", "brian2_cython", ""),
        ("vs_nest_1m", "nest", ">= 100"),
    ):
        peer = found[key]
        if peer is not None:
            seconds = float(peer["best_s"])
            result.append(Row(name, seconds * 1e3, "ms", f"{key}, value is its time", seconds / best, aim))
    return result


def _size_rows(headline: dict[str, Case | None]) -> list[Row]:
    """How cost grows with the number of neurons, for every way to run them."""
    ways: tuple[tuple[str, str, bool, Case], ...] = (
        ("step", "engine", False, {}),
        ("batch", "engine", False, {"batch": True}),
        ("batch_2_threads", "engine", False, {"batch": True, "threads": 2}),
        ("numpy_fallback", "engine", False, {"backend": "numpy"}),
        ("scipy", "scipy", False, {}),
        ("brian2_cython", "brian2_cython", True, {}),
        ("brian2_cpp", "brian2_cpp", True, {}),
        ("nest", "nest", True, {}),
    )
    known = {"step": "engine", "batch": "batch", "batch_2_threads": "threads"}
    result = []
    for count in SIZES:
        for name, kind, peer, options in ways:
            headline_name = known.get(name, name)
            if count == SIZES[-1] and headline_name in headline:
                case = headline[headline_name]
            else:
                case = _measure(kind, peer=peer, count=count, **options)
            if case is not None:
                result.append(Row(f"us_{name}_{count}", float(case["best_s"]) * 1e6, "us"))
    return result


def _sweep_rows() -> list[Row]:
    """How cost grows with the rate and with the synapses per neuron, at 100,000 neurons; and what division costs."""
    result = []
    for rate in (0.001, 0.005, 0.015, 0.05, 0.1):
        case = _measure("engine", count=100_000, rate=rate)
        if case is not None:
            result.append(Row(f"us_rate_{rate:g}", float(case["best_s"]) * 1e6, "us"))
    for fan_out in (1, 5, 10, 50, 100):
        case = _measure("engine", count=100_000, fan_out=fan_out)
        if case is not None:
            result.append(Row(f"us_fan_out_{fan_out}", float(case["best_s"]) * 1e6, "us"))
    case = _measure("engine", count=1_000_000, divided=True)
    if case is not None:
        result.append(Row("burst_1m_divided_ms", float(case["best_s"]) * 1e3, "ms"))
    return result


def _floor_rows() -> list[Row]:
    """What the memory of this machine allows for the headline."""
    case = _measure("floors", count=1_000_000)
    if case is None:
        return []
    return [
        Row("memory_read_gb_s", float(case["read_gb_s"]), "GB/s"),
        Row("memory_latency_ns", float(case["latency_ns"]), "ns"),
        Row("scatter_floor_1m_us", float(case["scatter_ns"]) * 150e3 / 1e3, "us"),
    ]


if __name__ == "__main__":
    main()
