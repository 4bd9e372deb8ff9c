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

#: What the chip saw of one inference; `openhailo trace` prints it.
INFERENCE_LOG = Path("build/vm/inference.jsonl")
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
    for result in results:
        publish(result, arguments.report.parent)
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


def publish(result: Result, reports: Path) -> None:
    """Write what others read: the conformance table's row, and the log of one inference."""
    if "conformance" in result.extra:
        found = result.extra["conformance"]
        (reports / "conformance-vm.json").write_text(json.dumps(found, indent=1) + "\n")
        print(f"conformance through VFIO: {found['passed']} of {found['total']} passed, {len(found['failed'])} failed")
    if "inference" in result.extra:
        INFERENCE_LOG.parent.mkdir(parents=True, exist_ok=True)
        INFERENCE_LOG.write_text(result.extra["inference"])
        print(f"one inference of 28x28 on the bus, as the chip saw it ({INFERENCE_LOG}):")
        for what, count in result.extra["per_frame"]["one"].items():
            print(f"  {count:4.0f} x {what}")
        print(
            f"  {result.extra['maps']} DMA ranges of {result.extra['mapped_mb']:.1f} MB were mapped before, none for it"
        )


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
                **{key: value for key, value in result.extra.items() if key != "inference"},
            }
            for result in results
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
