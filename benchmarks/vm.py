"""Our driver in a Linux guest, through VFIO, against the same driver and chip in one process.

Only where the packages are unpacked already (`make vm` does that): a benchmark downloads nothing.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.vm.inside.frames import Case
from tests.vm.inside.speed import LOGGED, measure_controls, measure_frames
from tests.vm.journal import place_of, reads_and_writes
from tests.vm.networks import write_large, write_tiny
from tests.vm.packages import RigMissing, Tree, cached_tree
from tests.vm.processes import NotStarted
from tests.vm.scenarios import Rig, run_scenario
from tools.report import Row

import openhailo
from openhailo.bus.trace import register_name
from openhailo.twin import Twin
from openhailo.twin.observe import ChipEvent

#: Register accesses per frame: one read and three writes for each of the two directions.
READS_AIM, WRITES_AIM = 2, 6


def rows() -> list[Row]:
    """Boot a guest and measure in both places; no rows where there is no rig."""
    try:
        return _measure(cached_tree())
    except (RigMissing, NotStarted) as reason:
        print(f"vm: skipped: {reason}")
        return []


def _measure(tree: Tree) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="vm-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        networks = {"tiny": write_tiny(folder), "large": write_large(folder)}
        result = run_scenario(Rig(tree, folder, networks), "speed")
        if result.problems:
            raise NotStarted("; ".join(result.problems))
        guest: dict[str, Any] = {key: value for step in result.steps for key, value in step.items()}
        tiny, large = (Case(networks[name].settings()) for name in ("tiny", "large"))
        here = {**measure_controls(_open), **measure_frames(_open, tiny, large)}
        return [*_speed_rows(guest, here), *_access_rows(result.extra["per_frame"], _count_here(tiny))]


def _open() -> openhailo.Device:
    return openhailo.open("twin:")


def _speed_rows(guest: dict[str, Any], here: dict[str, Any]) -> list[Row]:
    same = "the same in one process"
    rates = [("tiny_fps", "tiny"), ("tiny_single_fps", "tiny, one at a time"), ("large_fps", "416x416x3")]
    found = [
        Row(f"vm_{key}", guest[key], "frames/s", f"{same} ({what})", guest[key] / here[key]) for key, what in rates
    ]
    control = "control_p50_us"
    found.append(Row(f"vm_{control}", guest[control], "us", same, guest[control] / here[control]))
    read, write = guest["read_p50_us"], guest["write_p50_us"]
    found.append(Row("vm_mmio_read_p50_us", read, "us", "a posted write", read / write))
    return found


def _access_rows(guest: dict[str, dict[str, float]], here: dict[str, dict[str, float]]) -> list[Row]:
    """Register accesses of a frame, in a stream and one at a time; both directions together."""
    rows = []
    for suffix, key in (("", "stream"), ("_single", "single")):
        (reads, writes), (reads_here, writes_here) = (reads_and_writes(counts[key]) for counts in (guest, here))
        name, peer = f"mmio_per_frame{suffix}", "the same in one process"
        total, total_here = reads + writes, reads_here + writes_here
        rows.append(Row(name, total, "accesses", peer, total / total_here, f"<= {READS_AIM + WRITES_AIM}"))
        rows.append(Row(f"mmio_reads{suffix}", reads, "per frame", peer, reads / reads_here, f"<= {READS_AIM}"))
        rows.append(Row(f"mmio_writes{suffix}", writes, "per frame", peer, writes / writes_here, f"<= {WRITES_AIM}"))
    return rows


def _count_here(tiny: Case) -> dict[str, dict[str, float]]:
    """Count accesses as the log of a served twin does, in one process."""
    counts: Counter[str] = Counter()

    def note(event: ChipEvent) -> None:
        if event.kind in ("read", "write"):
            bar, offset = event.fields["bar"], event.fields["offset"]
            counts[place_of({"k": event.kind[0], "bar": bar, "name": register_name(bar, offset)})] += 1

    twin, found = Twin(), {}
    with openhailo.open("twin:", twin=twin) as device, tiny.load(device) as network:
        tiny.run(network, 0, 32)
        twin.observe(note)
        for name, frames, calls in LOGGED:
            counts.clear()
            for _ in range(calls):
                tiny.run(network, 0, frames)
            found[name] = {key: count / (frames * calls) for key, count in counts.items()}
    return found
