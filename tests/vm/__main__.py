"""The VM tier: our driver against virtual Hailo-8s in a real Linux guest.

    python -m tests.vm [--only NAME] [--report FILE]    the scenarios
    python -m tests.vm --script FILE [ARG ...]          a Python script of yours in the guest

A script runs as root with this environment's Python and packages; the whole file system outside is there, read only
(/dev/shm can be written).  One virtual Hailo-8 waits at 0000:01:00.0, cold and without a driver, with an IOMMU, and
vfio-pci is loaded; ``--devices 2`` gives another at 0000:02:00.0.  What the script prints appears here; its exit code
decides.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from .guest import Guest, Setup
from .packages import RigMissing, make_tree
from .processes import ServedTwin


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        "python -m tests.vm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--script", nargs=argparse.REMAINDER, metavar="FILE [ARG ...]", help="run this in the guest; must come last"
    )
    parser.add_argument("--devices", type=int, default=1, help="virtual functions for --script")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that --script may take")
    parser.add_argument("--keep-logs", type=Path, metavar="FOLDER", help="keep console, QEMU's and the servers' output")
    return parser.parse_args()


def run_script(arguments: argparse.Namespace, folder: Path) -> int:
    """Run the user's script in a guest."""
    tree = make_tree()
    script, *rest = arguments.script
    with ExitStack() as stack:
        twins = [
            stack.enter_context(ServedTwin(folder / f"chip{i}", folder / f"twin{i}.log"))
            for i in range(arguments.devices)
        ]
        for twin in twins:
            twin.wait_ready()
        setup = Setup(
            [str(Path(script).resolve()), *rest],
            [twin.socket for twin in twins],
            limit_s=arguments.limit,
            echo=lambda text: print(text, end="", flush=True),
        )
        outcome = Guest(tree, folder, setup).run()
        said = "".join(twin.output() for twin in twins)
    print(f"--- {outcome.verdict.problem or 'passed'}, {outcome.seconds:.1f} s\n{outcome.qemu_log}--- twin:\n{said}")
    return 0 if outcome.verdict.passed else 1


def main() -> int:
    """Run what was asked for."""
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="vm-") as folder:
        try:
            return run_script(arguments, arguments.keep_logs or Path(folder))
        except RigMissing as missing:
            print(f"skipped: {missing}")
            return 0


if __name__ == "__main__":
    sys.exit(main())
