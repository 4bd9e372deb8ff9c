"""Writes `build/report/TARGET.json`: rows of what a target measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure: ``ratio`` = value / against where ``against`` is a peer or a limit measured in the same run."""

    name: str
    value: float
    unit: str
    against: str = ""
    ratio: float | None = None
    aim: str = ""


def write_report(path: Path, rows: list[Row]) -> None:
    """Write ``rows`` as JSON and print them as a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    for row in rows:
        ratio = f"  ratio {row.ratio:.3f} to {row.against}" if row.ratio is not None else ""
        aim = f"  (aim {row.aim})" if row.aim else ""
        print(f"{row.name:24} {row.value:12.4g} {row.unit:10}{ratio}{aim}")
