"""All scenarios, one after the other: what is printed and reported."""

from __future__ import annotations

import argparse
import compileall
import json
import sys
import time
from pathlib import Path
from typing import Any

from .guest import ROOT
from .networks import write_large, write_tiny
from .packages import Tree, make_tree
from .scenarios import SCENARIOS, Result, Rig, run_scenario

_PLAIN = frozenset({"step", "ok", "problem", "seconds"})


def run_all(arguments: argparse.Namespace, folder: Path) -> int:
    """Get the packages, run the scenarios, print and write what came out. Raises `RigMissing`, `NotStarted`."""
    started = time.monotonic()
    tree = make_tree(refresh=arguments.refresh)
    print(f"packages: {time.monotonic() - started:.1f} s, {describe(tree)}", flush=True)
    started = time.monotonic()
    prepare()
    networks = {"tiny": write_tiny(folder), "large": write_large(folder)}
    networks["tiny_8l"] = write_tiny(folder, 10, "hailo8l")
    print(f"networks: {time.monotonic() - started:.1f} s", flush=True)
    rig = Rig(tree, folder, networks, echo=show if arguments.verbose else None)
    results = []
    for name in arguments.only or SCENARIOS:
        results.append(run_scenario(rig, name))
        print_result(results[-1])
    write_report(arguments.report, tree, results)
    return int(any(result.problems for result in results))


def show(text: str) -> None:
    """Print console text as it comes."""
    print(text, end="", flush=True)


def describe(tree: Tree) -> str:
    """Return the versions that matter."""
    return f"QEMU {tree.versions['qemu-system-x86']}, Linux {tree.kernel_release}"


def prepare() -> None:
    """Make byte code here: the guest would need ten times as long, and cannot keep it."""
    for part in ("src/openhailo", "tests/vm"):
        compileall.compile_dir(ROOT / part, quiet=2)


def print_result(result: Result) -> None:
    """Print a scenario and its steps."""
    print(f"{result.name}: {result.outcome.seconds:.1f} s")
    for step in result.steps:
        found = ", ".join(f"{key} {value}" for key, value in step.items() if key not in _PLAIN)
        mark, colon = ("ok    " if step["ok"] else "FAILED"), (": " if found else "")
        print(f"  {mark} {step['step']} ({step['seconds']:.2f} s){colon}{found}")
    for problem in result.problems:
        print(f"  problem: {problem}")
    if result.problems:
        print("".join(f"  | {line}\n" for line in result.outcome.console.splitlines()[-40:]), end="")
        print("".join(f"  qemu| {line}\n" for line in result.outcome.qemu_log.splitlines()[-10:]), end="")
    sys.stdout.flush()


def write_report(path: Path, tree: Tree, results: list[Result]) -> None:
    """Write what was run, and how it went."""
    content: dict[str, Any] = {
        "qemu": tree.versions["qemu-system-x86"],
        "kernel": tree.kernel_release,
        "scenarios": {
            result.name: {
                "seconds": round(result.outcome.seconds, 1),
                "passed": not result.problems,
                "problems": result.problems,
                "steps": result.steps,
                **result.extra,
            }
            for result in results
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
