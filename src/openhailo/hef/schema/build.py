"""Write the protobuf schema of a HEF from tables of its fields and enums, and the Python module from the schema.

Run where ``hef.fields.json`` and ``hef.enums.json`` are, with the oldest grpcio-tools whose protobuf release is the
lower bound in pyproject.toml (generated code must not be newer than the runtime)::

    python -m openhailo.hef.schema.build FOLDER_WITH_THE_TABLES

Names and numbers are those of the format, so files made with this schema are read by every HEF reader; the package
keeps our descriptors apart from those of other software in the same process (it never appears in a file).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE_ROOT = HERE.parents[2]
PACKAGE = "openhailo.hef"

#: Fields whose absence differs from zero (hef.md 5, EdgeLayer: "optional presence").
EXPLICIT_PRESENCE = frozenset({("ProtoHEFEdgeLayer", "pad_index")})

HEADER = f"""\
// The protobuf part of a HEF file. Written by build.py from tables of messages, fields and enums; do not edit.

syntax = "proto3";

package {PACKAGE};
"""

Field = tuple[int, str, str, str]


def schema_text(messages: Mapping[str, Sequence[Field]], enums: Mapping[str, object]) -> str:
    """Return the .proto text.

    Args:
        messages: message name -> fields as (number, name, type, "optional" or "repeated").
        enums: ``{"enums": {name: [[number, name]]}, "oneofs": {message: {oneof: [field numbers]}}}``.
    """
    tables, oneofs = enums["enums"], enums["oneofs"]
    assert isinstance(tables, dict)
    assert isinstance(oneofs, dict)
    blocks = [enum_text(name, values) for name, values in tables.items()]
    blocks += [message_text(name, fields, oneofs.get(name, {})) for name, fields in messages.items()]
    return "\n".join([HEADER, *blocks])


def enum_text(name: str, values: Iterable[tuple[int, str]]) -> str:
    """Return one enum."""
    return "\n".join([f"enum {name} {{", *(f"  {label} = {number};" for number, label in values), "}", ""])


def message_text(name: str, fields: Sequence[Field], oneofs: Mapping[str, Sequence[int]]) -> str:
    """Return one message; alternatives of a oneof come last, as they exclude each other."""
    return "\n".join([f"message {name} {{", *field_lines(name, fields, oneofs), "}", ""])


def field_lines(message: str, fields: Sequence[Field], oneofs: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Yield the lines inside one message."""
    inside = {number for numbers in oneofs.values() for number in numbers}
    for number, name, kind, label in fields:
        if number not in inside:
            prefix = "repeated " if label == "repeated" else ""
            prefix = "optional " if (message, name) in EXPLICIT_PRESENCE else prefix
            yield f"  {prefix}{kind} {name} = {number};"
    for oneof, numbers in oneofs.items():
        yield f"  oneof {oneof} {{"
        yield from (f"    {kind} {name} = {number};" for number, name, kind, _ in fields if number in numbers)
        yield "  }"


def main(folder: str) -> None:
    """Write ``hef.proto`` beside this file and run the protobuf compiler on it."""
    tables = Path(folder)
    messages = json.loads((tables / "hef.fields.json").read_text())
    enums = json.loads((tables / "hef.enums.json").read_text())
    (HERE / "hef.proto").write_text(schema_text(messages, enums))
    # The path from the source root is the file's name in the process-wide descriptor pool, so it must be our own.
    source = (HERE / "hef.proto").relative_to(SOURCE_ROOT)
    outputs = [f"-I{SOURCE_ROOT}", f"--python_out={SOURCE_ROOT}", f"--pyi_out={SOURCE_ROOT}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *outputs, str(source)], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
