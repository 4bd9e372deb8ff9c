"""The page that a conformance run writes: which device passes what, and how the kernel driver's releases differ."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openhailo.spec.ioctl import KERNEL, EntryKind, Release
from openhailo.testing.conformance.kernel_pieces import FACTS

VM = "in a Linux guest, through VFIO"
TWIN = "twin in process"
NOT_RUN = "not run here"


@dataclass
class Result:
    """What one device made of the checks; ``passed`` and ``left_out`` count by subject, ``reasons`` by reason."""

    name: str
    passed: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def row_name(device: str) -> str:
    """Return what a device is called in the table."""
    return TWIN if device == "twin" else f"twin behind kernel driver {device}"


def read_rows(page: Path) -> dict[str, list[str]]:
    """Return the cells of the first table's rows of a page that was written before, by their first cell."""
    if not page.exists():
        return {}
    rows: dict[str, list[str]] = {}
    for line in page.read_text().splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            rows.setdefault(cells[0], cells)
    return rows


def vm_row(report: Mapping[str, Any] | None, before: Mapping[str, list[str]]) -> list[str]:
    """Return the guest's row: from its report, else as it was, else that it was not run."""
    if report is None:
        return before.get(VM, [VM, NOT_RUN, "", "", ""])
    return [VM, str(report["passed"]), str(len(report["failed"])), str(sum(report["skipped"].values())), ""]


def render(results: Sequence[Result], abi: Mapping[str, str], guest: Sequence[str]) -> str:
    """Return the page; ``abi`` is the number of compared values by release."""
    total = sum((results[0].passed + results[0].left_out).values()) + len(results[0].failed)
    return "\n".join(
        (
            _INTRODUCTION.format(total=total),
            _table(
                ["device", "passed", "failed", "not applicable", "ABI values compared"],
                [*(_row(result, abi) for result in results), list(guest)],
            ),
            _AFTER_ROWS,
            _reasons(results),
            _SUBJECTS,
            _by_subject(results),
            _DIFFERENCES,
            _differences(),
            "",
        )
    )


def _row(result: Result, abi: Mapping[str, str]) -> list[str]:
    counts = (result.passed.total(), len(result.failed), result.left_out.total())
    return [row_name(result.name), *map(str, counts), abi.get(result.name, "")]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(" --- " for _ in head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _reasons(results: Sequence[Result]) -> str:
    found: dict[str, set[int]] = {}
    for result in results:
        for reason, count in result.reasons.items():
            found.setdefault(reason, set()).add(count)
    return "\n".join(f"* {'/'.join(map(str, sorted(counts)))}: {reason}." for reason, counts in found.items())


def _by_subject(results: Sequence[Result]) -> str:
    subjects = list(dict.fromkeys(name for result in results for name in (*result.passed, *result.left_out)))
    rows = [[subject, *(_share(result, subject) for result in results)] for subject in subjects]
    return _table(["subject", *("twin" if r.name == "twin" else r.name for r in results)], rows)


def _share(result: Result, subject: str) -> str:
    failed = sum(name.startswith(f"{subject}.") for name in result.failed)
    passed = result.passed[subject]
    if not passed and not failed:
        return "-"
    return f"{passed}, {failed} failed" if failed else str(passed)


_ENTRIES = {
    EntryKind.INDEX: "index of the last descriptor",
    EntryKind.COUNT: "transfers, activity, errors",
    EntryKind.BYTE: "one byte: transfers or a mark",
}


def _differences() -> str:
    releases = list(KERNEL.releases.values())
    rows: list[tuple[str, list[str]]] = [
        ("ABI family", [release.family for release in releases]),
        ("version request", [f"`{release['QUERY_DRIVER_INFO'].number:08X}`" for release in releases]),
        ("channels are claimed by", [_short(release.behaviour.enable_ioctl) for release in releases]),
        ("descriptors are written by", [_short(release.behaviour.program_ioctl) for release in releases]),
        ("one request for a batch", [_yes(release.behaviour.program_has_batch) for release in releases]),
        ("buffers of a launch", [str(release.behaviour.max_buffers_per_launch) for release in releases]),
        ("a launch names buffers by", ["address" if r.behaviour.buffers_by_address else "handle" for r in releases]),
        ("a launch returns", ["count" if r.behaviour.launch_returns_count else "0" for r in releases]),
        ("a failed launch moves the channel", [_yes(release.behaviour.launch_moves_on_error) for release in releases]),
        ("launch on a stopped channel", [_stopped(release) for release in releases]),
        ("a wait tells", [_ENTRIES[release.behaviour.entry_kind] for release in releases]),
        ("timestamps of interrupts", ["yes"] * len(releases)),
        ("disabling one forgets all channels", [_yes(release.behaviour.disable_wipes_all) for release in releases]),
        ("close frees the channels", ["own" if r.behaviour.close_disables_channels else "owner's" for r in releases]),
        ("lists can be mapped", [_yes(release.behaviour.list_mmap) for release in releases]),
        ("no contiguous memory", [_errno(release.behaviour.no_contiguous_errno) for release in releases]),
        ("notifications disabled", [_errno(release.behaviour.notification_disabled_errno) for release in releases]),
        ("device memory by request", [_yes(release.behaviour.has_memory_transfer) for release in releases]),
        ("node without firmware", [_yes(release.behaviour.boots_without_firmware) for release in releases]),
        ("loads running firmware again", [_yes(FACTS[release.name].reloads) for release in releases]),
    ]
    return _table(["", *(release.name for release in releases)], [[f"**{name}**", *cells] for name, cells in rows])


def _short(name: str) -> str:
    return name.removeprefix("VDMA_").removeprefix("DESC_LIST_").replace("_VDMA_BUFFER", "")


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _errno(code: int) -> str:
    return errno.errorcode[code]


def _stopped(release: Release) -> str:
    if release.behaviour.inactive_errno:
        return _errno(release.behaviour.inactive_errno)
    return "EBUSY, debug only"


_INTRODUCTION = """\
# Conformance

Written by `make conformance-table`; do not edit. What the [conformance suite](testing.md) of {total} checks says of
each device. A release of the kernel driver counts as conformant when nothing fails.
"""

_AFTER_ROWS = """
* **twin in process**: our own PCIe driver and hosts that know only bytes, on the registers of the virtual chip.
* **twin behind kernel driver**: the same checks through the virtual kernel driver of that release: by our link over
  its node, by a host that knows only request numbers and structures as bytes, and the node's own semantics, errno by
  errno.
* **in a Linux guest**: our driver on a PCI function that QEMU offers (`make vm`); a board can be asked as much.
* **ABI values compared**: request numbers, structure sizes, offsets, kinds and behaviour of that release in the link's
  tables and, again, in the virtual driver's, against the facts. No value may differ.

Not applicable are checks of what a device does not offer, by number of checks:
"""

_SUBJECTS = """
## What works, by subject

Passed checks. `kernel_driver` is the node by request and byte, `kernel_link` our link over it; all other subjects are
the same checks on every device.
"""

_DIFFERENCES = """
## How the releases differ

What changes for a program that talks to the node itself; `openhailo.open()` hides all of it. Numbers and structures
are in the [ioctl reference](ioctl.md).
"""
