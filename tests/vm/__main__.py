"""The VM tier: our driver against virtual Hailo-8s in a real Linux guest.

    python -m tests.vm [--only NAME] [--report FILE]    the scenarios
    python -m tests.vm --script FILE [ARG ...]          a Python script of yours in the guest

A script runs as root with this environment's Python and packages; the whole file system outside is there, read only
(/dev/shm can be written).  One virtual Hailo-8 waits at 0000:01:00.0, cold and without a driver, with an IOMMU, and
vfio-pci is loaded; ``--devices 2`` gives another at 0000:02:00.0.  What the script prints appears here; its exit code
decides.

Without the packages, or a network to get them from, this says why and ends with exit code 0; with ``--required`` (or
CI in the environment) that is a failure where packages could be had.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .guest import Guest, Setup
from .packages import RigMissing, make_tree
from .processes import NotStarted, ServedTwin

NAMES = ("life", "hotplug", "conformance", "speed")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        "python -m tests.vm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=NAMES, action="append", help="run this scenario; repeatable")
    parser.add_argument("--report", type=Path, default=Path("build/report/vm.json"), help="where results are written")
    parser.add_argument("--required", action="store_true", help="fail, not skip, where packages could be had")
    parser.add_argument("--refresh", action="store_true", help="get the packages again")
    parser.add_argument(
        "--keep-logs", type=Path, metavar="FOLDER", help="keep consoles, QEMU's and the servers' output"
    )
    parser.add_argument("--verbose", action="store_true", help="show the consoles")
    parser.add_argument("--devices", type=int, default=1, help="virtual functions for --script")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that --script may take")
    parser.add_argument(
        "--script", nargs=argparse.REMAINDER, metavar="FILE [ARG ...]", help="run this in the guest; must come last"
    )
    return parser.parse_args()


def run_script(arguments: argparse.Namespace, folder: Path) -> int:
    """Run the user's script in a guest."""
    tree = make_tree(refresh=arguments.refresh)
    script, *rest = arguments.script
    with ExitStack() as stack:
        places = [(folder / f"chip{i}", folder / f"twin{i}.log") for i in range(arguments.devices)]
        twins = [stack.enter_context(ServedTwin(*place)).wait_ready() for place in places]
        sockets = [twin.socket for twin in twins]
        setup = Setup([str(Path(script).resolve()), *rest], sockets, limit_s=arguments.limit, echo=show)
        outcome = Guest(tree, folder, setup).run()
        said = "".join(twin.output() for twin in twins)
    print(f"--- {outcome.verdict.problem or 'passed'}, {outcome.seconds:.1f} s\n{outcome.qemu_log}--- twin:\n{said}")
    return 0 if outcome.verdict.passed else 1


def show(text: str) -> None:
    """Print console text as it comes."""
    print(text, end="", flush=True)


@contextmanager
def log_folder(keep: Path | None) -> Iterator[Path]:
    """Give an empty folder: the one to keep, or a temporary one with a short name, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="vm-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o711)
        try:
            yield folder
        finally:
            if keep is not None:
                keep_logs(folder, keep)


def keep_logs(folder: Path, keep: Path) -> None:
    """Copy what was logged."""
    for path in folder.rglob("*.log"):
        target = keep / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def main() -> int:
    """Run what was asked for."""
    arguments = parse()
    work: Callable[[argparse.Namespace, Path], int] = run_script
    if not arguments.script:
        from .suite import run_all as work
    started = time.monotonic()
    with log_folder(arguments.keep_logs) as folder:
        try:
            return work(arguments, folder)
        except RigMissing as missing:
            failing = missing.reachable and (arguments.required or os.environ.get("CI"))
            print(f"{'failed' if failing else 'skipped'}: {missing}")
            return int(bool(failing))
        except NotStarted as error:
            print(f"failed: the rig does not start: {error}")
            return 1
        finally:
            print(f"vm: {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
