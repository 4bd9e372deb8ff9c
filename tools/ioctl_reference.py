"""Writes docs/ioctl.md, the reference of the kernel driver's ioctl interface, from `openhailo.spec.ioctl`.

Run ``python -m tools.ioctl_reference`` to write the page, with ``--check`` to compare it.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import groupby, pairwise
from pathlib import Path

from openhailo.spec.ioctl import RELEASES, Direction, Ioctl, Release
from openhailo.spec.layout import Struct

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ioctl.md"
FLOW = {
    Direction.NONE: "none",
    Direction.FROM_DRIVER: "out",
    Direction.TO_DRIVER: "in",
    Direction.BOTH: "in, out",
}
INTRO = """# ioctl reference

The interface of `/dev/hailoN` in the nine releases of the kernel driver that bind a Hailo-8, 4.17.0 to 4.23.0, for
64-bit processes. Generated from `openhailo.spec.ioctl` by `python -m tools.ioctl_reference`; do not edit. The twin's
virtual kernel driver has a declaration of its own, and a test compares the two.

* Structures are byte-packed and little endian: 8-byte members lie at odd offsets.
* A request number is `(direction << 30) | (size << 16) | (type << 8) | nr`. The direction letters are inverted against
  the flow of data, and the structure's size is part of the number: a wrong structure gives ENOTTY.
* To find the release: send `0x400C6702`; ENOTTY means 4.17.x, then send `0x400C6705`.
* **Bold** marks what differs from the release before; in the structures, members that are new or lie elsewhere.
"""


def cells(values: Iterable[str]) -> str:
    """Return a table row."""
    return "| " + " | ".join(values) + " |"


def table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    """Yield the lines of a table, and an empty one."""
    yield cells(head)
    yield cells(["---"] * len(head))
    yield from (cells(row) for row in rows)
    yield ""


def marked(values: list[str]) -> list[str]:
    """Make every value bold that differs from the one before it; absence never is."""
    return [
        f"**{value}**" if n and value != values[n - 1] and value != "-" else value for n, value in enumerate(values)
    ]


def request_rows() -> Iterator[list[str]]:
    """Yield name, flow and the number in each release; requests that Hailo-8 refuses are left out."""
    releases = list(RELEASES.values())
    names = dict.fromkeys(name for release in releases for name, call in release.ioctls.items() if call.implemented)
    for name in sorted(names):
        known = [release.ioctls.get(name) for release in releases]
        numbers = [f"{call.number:08X}" if call else "-" for call in known]
        flows = dict.fromkeys(FLOW[call.direction] for call in known if call)
        yield [name, " → ".join(flows), *marked(numbers)]


def refused_rows() -> Iterator[list[str]]:
    """Yield the requests that exist in the headers and not on a Hailo-8."""
    releases = list(RELEASES.values())
    names = dict.fromkeys(name for release in releases for name, call in release.ioctls.items() if not call.implemented)
    for name in names:
        numbers = [f"{r.ioctls[name].number:08X}" if name in r.ioctls else "-" for r in releases]
        yield [name, *marked(numbers)]


def behaviour_rows() -> Iterator[list[str]]:
    """Yield each behaviour that is not the same everywhere."""
    releases = list(RELEASES.values())
    for field in fields(releases[0].behaviour):
        values = [_shown(field.name, getattr(release.behaviour, field.name)) for release in releases]
        if len(set(values)) > 1:
            yield [f"`{field.name}`", *marked(values)]


def _shown(name: str, value: object) -> str:
    if name.endswith("_errno") and isinstance(value, int):
        return errno.errorcode.get(value, "none")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(getattr(value, "name", value))


def change_sections() -> Iterator[str]:
    """Yield what changes from each release to the next."""
    for old, new in pairwise(RELEASES.values()):
        lines = [*_request_changes(old, new), *_struct_changes(old, new), *_behaviour_changes(old, new)]
        family = f", family {old.family} → {new.family}" if old.family != new.family else ""
        yield f"### {old.name} → {new.name}{family}"
        yield ""
        yield from (f"* {line}" for line in lines or ["Nothing that a program can see, but the version number."])
        yield ""


def _used(release: Release) -> dict[str, Ioctl]:
    return {name: call for name, call in release.ioctls.items() if call.implemented}


def _request_changes(old: Release, new: Release) -> Iterator[str]:
    """Yield requests that went, came, were renamed (same type and number), or have another number."""
    before, after = _used(old), _used(new)
    places = {(call.type, call.nr): name for name, call in after.items() if name not in before}
    for name, call in before.items():
        heir = places.get((call.type, call.nr))
        if name not in after and heir:
            number = f"{call.number:08X} → {after[heir].number:08X}"
            yield f"`{name}` is now `{heir}` ({number if call.number != after[heir].number else 'same number'})"
        elif name not in after:
            yield f"`{name}` is gone"
    renamed = {places.get((call.type, call.nr)) for name, call in before.items() if name not in after}
    yield from (f"`{name}` is new" for name in after if name not in before and name not in renamed)
    for name in (name for name in before if name in after):
        if before[name].number != after[name].number:
            yield f"`{name}`: {before[name].number:08X} → {after[name].number:08X}"


def _structs(release: Release) -> dict[str, Struct]:
    """Return the structures in use, those inside others included."""
    found: dict[str, Struct] = {}
    for call in _used(release).values():
        for struct in (call.struct, *(m.type for m in call.struct.members if isinstance(m.type, Struct))):
            if struct.size:
                found[struct.name] = struct
    return found


def _struct_changes(old: Release, new: Release) -> Iterator[str]:
    before, after = _structs(old), _structs(new)
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            changes = ", ".join(_member_changes(before[name], after[name])) or "a structure inside it changed"
            yield f"structure `{name}`, {before[name].size} → {after[name].size} bytes: {changes}"


def _member_changes(old: Struct, new: Struct) -> Iterator[str]:
    before = {member.name: member for member in old.members}
    after = {member.name: member for member in new.members}
    yield from (f"without `{name}`" for name in before if name not in after)
    yield from (f"with `{name}` at {member.offset}" for name, member in after.items() if name not in before)
    for name, member in after.items():
        if name in before and before[name].offset != member.offset:
            yield f"`{name}` from {before[name].offset} to {member.offset}"
        if name in before and before[name].count != member.count:
            yield f"`{name}` with {member.count} entries, not {before[name].count}"


def _behaviour_changes(old: Release, new: Release) -> Iterator[str]:
    for field in fields(old.behaviour):
        values = [_shown(field.name, getattr(release.behaviour, field.name)) for release in (old, new)]
        if values[0] != values[1]:
            yield f"behaviour `{field.name}`: {values[0]} → {values[1]}"


def struct_sections() -> Iterator[str]:
    """Yield the layout of every structure, once per different layout."""
    layouts: dict[str, list[tuple[Release, Struct]]] = {}
    for release in RELEASES.values():
        for call in release.ioctls.values():
            if call.implemented and call.struct.size:
                layouts.setdefault(call.struct.name, []).append((release, call.struct))
    for name in sorted(layouts):
        former: Struct | None = None
        for struct, uses in groupby(layouts[name], key=lambda row: row[1]):
            yield from _struct_section(struct, [release.name for release, _ in uses], former)
            former = struct


def _struct_section(struct: Struct, releases: list[str], former: Struct | None) -> Iterator[str]:
    span = releases[0] if releases[0] == releases[-1] else f"{releases[0]} - {releases[-1]}"
    yield f"### {struct.name}, {span}: {struct.size} bytes"
    yield ""
    known = {(m.name, m.offset, m.count) for m in former.members} if former else set()
    rows = []
    for member in struct.members:
        count = f"[{member.count}]" if member.count > 1 else ""
        kind = f"{member.type.name}{count}" if isinstance(member.type, Struct) else f"{member.type}{count}"
        row = [str(member.offset), str(member.size_bytes), f"`{member.name}`", kind]
        differs = former is not None and (member.name, member.offset, member.count) not in known
        rows.append([f"**{cell}**" for cell in row] if differs else row)
    yield from table(["offset", "bytes", "member", "type"], rows)
    for member in struct.members:
        if isinstance(member.type, Struct):
            inner = " · ".join(f"`{m.name}` {m.offset}:{m.size_bytes}" for m in member.type.members)
            yield f"Each `{member.type.name}` ({member.type.size} bytes): {inner} (offset:bytes)."
            yield ""


def render() -> str:
    """Return the page."""
    names = list(RELEASES)
    lines = [INTRO, "## Releases", ""]
    lines += table(["release", "ABI family"], ([r.name, r.family] for r in RELEASES.values()))
    lines += ["## From release to release", "", *change_sections()]
    lines += ["## Requests", "", "Numbers in hexadecimal.", ""]
    lines += table(["request", "flow", *names], request_rows())
    lines += ["Declared by the headers, refused by the driver of a Hailo-8 (ENOTTY; SOC_* from 4.18 on: EINVAL):", ""]
    lines += table(["request", *names], refused_rows())
    lines += ["## Behaviour that differs", "", "The names are those of `openhailo.spec.ioctl.Behaviour`.", ""]
    lines += table(["behaviour", *names], behaviour_rows())
    lines += ["## Structures", "", *struct_sections()]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Write the page; with ``--check`` return 1 when it is not what would be written."""
    page = render()
    if "--check" in sys.argv[1:]:
        same = PAGE.exists() and PAGE.read_text() == page
        print("docs/ioctl.md is up to date" if same else "docs/ioctl.md is old: run python -m tools.ioctl_reference")
        return 0 if same else 1
    PAGE.write_text(page)
    print(f"{PAGE}: {len(page.splitlines())} lines")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
