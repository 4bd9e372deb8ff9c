"""What every command shares: options, tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

#: Columns of a table that goes into a file or a pipe.
PLAIN_WIDTH = 132

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        "-d",
        envvar="OPENHAILO_DEVICE",
        help="Which device, e.g. `twin:`, `twin:hailo8l`. Default: the first real one, else the twin.",
    ),
]


def console() -> Console:
    """Return a console on standard output (plain text when it is no terminal)."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print one table; numbers are right-aligned."""
    from rich import box
    from rich.table import Table

    materialised = [tuple(row) for row in rows]
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        numeric = bool(materialised) and all(isinstance(row[index], int | float) for row in materialised)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in materialised:
        table.add_row(*(_cell(value) for value in row))
    console().print(table)


def print_json(value: object) -> None:
    """Print ``value`` (dataclasses, enums, arrays, paths and bytes allowed) as one JSON document."""
    typer.echo(json.dumps(to_plain(value), indent=2))


def to_plain(value: object) -> Any:
    """Turn a value into what `json` takes: bytes become hex, arrays lists, private fields are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
        return {name: to_plain(getattr(value, name)) for name in shown}
    if isinstance(value, dict):
        return {str(to_plain(key)): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(entry) for entry in value]
    return _plain_scalar(value)


def _plain_scalar(value: object) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
