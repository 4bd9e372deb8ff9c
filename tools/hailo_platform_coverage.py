"""How much of the original's Python API is there and tested: the table in docs/hailo_platform.md, and a figure.

``python -m tools.hailo_platform_coverage`` runs the tests, writes ``build/report/hailo_platform.json`` and the part of
the page between its two marks; ``--check`` only says whether the page is as it should be.

A name is *implemented* when what it names is what the list says (kind, signature, defaults, value, bases). It is
*tested* when its code ran in `tests/compat`; names without code of their own are compared with the list by a test, and
attributes are looked for in the tests.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.hailo_platform_names import Name, check, names, resolve
from tools.hailo_platform_record import VARIABLE
from tools.report import Row, write_report

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "hailo_platform.md"
REPORT = ROOT / "build" / "report" / "hailo_platform.json"
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"
#: Names that are compared with the list one by one; nothing else could be tested about them.
_COMPARED = frozenset({"export", "constant", "enum member", "bound enum", "status"})


@dataclass(frozen=True)
class Line:
    """One name, and what is known of ours."""

    name: Name
    implemented: bool
    tested: bool


def record_tests() -> set[str]:
    """Run the tests; return ``file:line`` of every function of the package that ran. Exits when a test fails."""
    with tempfile.TemporaryDirectory() as folder:
        seen = Path(folder, "seen")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tools.hailo_platform_record", "tests/compat"]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, VARIABLE: str(seen)}, check=False)
        if done.returncode:
            sys.exit(f"the tests failed ({done.returncode}): no coverage without them")
        return set(seen.read_text(encoding="utf-8").split())


def lines(ran: set[str]) -> Iterator[Line]:
    """Yield every name with what is known of ours."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests/compat").glob("*.py")))
    words = set(re.findall(r"\w+", text))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in names():
            yield Line(name, not check(name), _is_tested(name, ran, words))


def _is_tested(name: Name, ran: set[str], words: set[str]) -> bool:
    if name.kind in _COMPARED:
        return True
    try:
        found = resolve(name.path)
    except AttributeError:
        found = None
    short = name.path.rpartition(".")[2]
    code = _code_of(found)
    if code is not None:
        return f"{Path(code.co_filename).resolve()}:{code.co_firstlineno}" in ran
    if inspect.isclass(found):
        return short in words or any(_ran(member, ran) for member in vars(found).values())
    return short in words or short.startswith("__")


def _ran(member: Any, ran: set[str]) -> bool:
    code = _code_of(member)
    return code is not None and f"{Path(code.co_filename).resolve()}:{code.co_firstlineno}" in ran


def _code_of(found: Any) -> Any:
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    found = getattr(found, "_function", found)
    code = getattr(inspect.unwrap(found), "__code__", None) if callable(found) else None
    inside = code is not None and f"{os.sep}hailo_platform{os.sep}" in code.co_filename
    return code if inside else None


# --- the page ---------------------------------------------------------------------------------------------------------


def owner_of(name: Name) -> str:
    """Return what a name is listed under: a class, or a module's own functions and constants."""
    parts = name.path.removeprefix("hailo_platform.").split(".")
    if name.kind in ("export", "status"):
        return {"export": "hailo_platform (exports)", "status": "status codes"}[name.kind]
    places = [index for index, part in enumerate(parts) if part[:1].isupper() or part == "sockaddr_in"]
    if name.kind in ("constant", "function", "bound function") and not places[:-1]:
        return f"{'.'.join(parts[:-1])} (functions and constants)"
    end = places[0] + 1 if places else len(parts) - 1
    return ".".join(parts[:end])


def render(found: list[Line]) -> str:
    """Return the generated part of the page."""
    possible = [line for line in found if not line.name.impossible]
    apart = [line for line in found if line.name.impossible]
    done, tested = sum(line.implemented for line in possible), sum(line.tested for line in possible)
    out = [
        BEGIN,
        "",
        f"Of {len(possible)} names that can exist on a Hailo-8 over PCIe, **{done}** are implemented "
        f"({100 * done / len(possible):.1f} %) and **{tested}** are tested ({100 * tested / len(possible):.1f} %). "
        f"{len(apart)} more cannot exist there; they are listed below.",
        "",
        "| where | names | implemented | tested | not (fully) there or tested |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    out += _rows(possible)
    out += [
        "",
        "### What cannot exist over PCIe",
        "",
        "Each of these is there by name and says why it cannot work.",
        "",
    ]
    out += ["| where | names | reason |", "| --- | ---: | --- |"]
    groups: dict[tuple[str, str], int] = defaultdict(int)
    for line in apart:
        groups[owner_of(line.name), line.name.impossible] += 1
    out += [f"| `{where}` | {count} | {reason} |" for (where, reason), count in sorted(groups.items())]
    return "\n".join([*out, "", END])


def _rows(possible: list[Line]) -> Iterator[str]:
    groups: dict[str, list[Line]] = defaultdict(list)
    for line in possible:
        groups[owner_of(line.name)].append(line)
    for where, members in sorted(groups.items()):
        done, tested = sum(line.implemented for line in members), sum(line.tested for line in members)
        left = [line.name.path.rpartition(".")[2] for line in members if not (line.implemented and line.tested)]
        yield f"| `{where}` | {len(members)} | {done} | {tested} | {', '.join(f'`{name}`' for name in left)} |"


def update(page: str, part: str) -> str:
    """Return the page with its generated part exchanged."""
    before, _, rest = page.partition(BEGIN)
    return before + part + rest.partition(END)[2]


def main() -> int:
    """Write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 when the page is not up to date")
    options = parser.parse_args()
    importlib.import_module("hailo_platform")
    found = list(lines(record_tests()))
    possible = [line for line in found if not line.name.impossible]
    count = len(possible)
    done, tested = sum(line.implemented for line in possible), sum(line.tested for line in possible)
    write_report(
        REPORT,
        [
            Row("api_coverage", 100 * done / count, "%", "names of the original that can exist", done / count, "100 %"),
            Row("api_tested", 100 * tested / count, "%", "names of the original that can exist", tested / count),
        ],
    )
    page = PAGE.read_text(encoding="utf-8")
    fresh = update(page, render(found))
    if options.check:
        return int(fresh != page)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
