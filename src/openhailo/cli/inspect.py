"""Show what is in a HEF (or a firmware image): networks, streams, formats, quantization, contexts, rules it breaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openhailo._units import format_bytes
from openhailo.errors import InputError

from ._host_ops import gives_real_numbers, op_facts
from ._output import JsonOption, print_json, print_table

if TYPE_CHECKING:
    from openhailo.hef import Finding, Hef, NetworkGroup
    from openhailo.hef.streams import VStream

NAME = "inspect"


def command(
    file: Annotated[Path, typer.Argument(help="A .hef file, or a firmware image (hailo8_fw.bin).")],
    check: Annotated[bool, typer.Option("--check", help="List broken rules; exit code 1 on an error.")] = False,
    json: JsonOption = False,
) -> None:
    """Run `openhailo inspect`."""
    from openhailo import hef
    from openhailo.errors import NotAHef

    if not file.is_file():
        raise InputError(what=str(file), detail="there is no such file")
    try:
        parsed = hef.read(file)
    except NotAHef:
        if not _looks_like_firmware(file):
            raise
        _show(firmware_facts(file), json)
        return
    findings = hef.check(parsed) if check else []
    _show(hef_facts(parsed, findings), json)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


def _looks_like_firmware(file: Path) -> bool:
    from openhailo.spec.chip import CHIP

    with file.open("rb") as stream:
        return stream.read(4) == CHIP.firmware.magic.to_bytes(4, "little")


def firmware_facts(file: Path) -> dict[str, Any]:
    """Describe a firmware image; a bad one is a `BadImage`."""
    from openhailo.driver.boot import parse_image
    from openhailo.spec.chip import CHIP

    image = parse_image(file.read_bytes(), CHIP)
    parts = {name: len(value) for name, value in vars(image).items() if isinstance(value, bytes | memoryview)}
    version = ".".join(str(part) for part in image.version)
    return {"file": {"kind": "firmware image", "version": version, **{f"{n} (bytes)": s for n, s in parts.items()}}}


def hef_facts(hef: Hef, findings: list[Finding]) -> dict[str, Any]:
    """Describe a HEF as plain tables: section -> mapping, or list of mappings."""
    container = hef.container
    facts: dict[str, Any] = {
        "file": {
            "kind": "HEF",
            "chip": hef.header.hw_arch.name,
            "compiler": hef.header.sdk_version,
            "header version": container.version if container else None,
            "size": format_bytes(container.file_size) if container else None,
            "protobuf": format_bytes(container.proto_size) if container else None,
            "configuration": format_bytes(container.ccws_size) if container else None,
            container.integrity_kind if container else "hash": container.integrity if container else None,
            "extensions": ", ".join(sorted({e.name or str(e.type_index) for e in hef.extensions})),
        },
        "network groups": [_group_facts(group) for group in hef.network_groups],
        "streams": [_stream_facts(group, v) for group in hef.network_groups for v in group.vstreams],
    }
    contexts = [row for group in hef.network_groups for row in _context_facts(group)]
    if contexts:
        facts["contexts"] = contexts
    ops = [op_facts(group, vstream) for group in hef.network_groups for vstream in group.output_vstreams if vstream.op]
    if ops:
        facts["host operations"] = ops
    if findings:
        facts["findings"] = [vars(finding) for finding in findings]
    return facts


def _group_facts(group: NetworkGroup) -> dict[str, Any]:
    from openhailo.hef.operations import WriteCcw

    core = group.core_op_for()
    operations = [*core.preliminary, *(operation for context in core.contexts for operation in context.operations)]
    config = sum(len(a.data) for operation in operations for a in operation.actions if isinstance(a, WriteCcw))
    return {
        "name": group.name,
        "networks": ", ".join(group.network_names),
        "contexts": len(core.contexts),
        "actions": sum(len(operation.actions) for operation in operations),
        "configuration": format_bytes(config),
        "compiler's fps": round(core.metadata.bottleneck_fps, 1),
    }


def _context_facts(group: NetworkGroup) -> list[dict[str, Any]]:
    """Describe what every context of a group with several loads, and moves per frame; nothing for one context."""
    from openhailo.hef.enums import Connection
    from openhailo.hef.operations import WriteCcw

    rows: list[dict[str, Any]] = []
    contexts = group.core_op_for().contexts
    for number, context in enumerate(contexts if len(contexts) > 1 else ()):
        moved = {kind: [0, 0] for kind in Connection}
        for layer in context.edge_layers:
            moved[layer.connection][not layer.is_input] += layer.hw_frame_size_bytes(hw_padding=True)
        config = sum(len(a.data) for o in context.operations for a in o.actions if isinstance(a, WriteCcw))
        rows.append(
            {
                "group": group.name,
                "context": number,
                "configuration": format_bytes(config),
                "from host": format_bytes(moved[Connection.BOUNDARY][0]),
                "to host": format_bytes(moved[Connection.BOUNDARY][1]),
                "from contexts": format_bytes(moved[Connection.INTERMEDIATE][0]),
                "to contexts": format_bytes(moved[Connection.INTERMEDIATE][1]),
                "buffered": format_bytes(moved[Connection.DDR][1]),
            }
        )
    return rows


def _stream_facts(group: NetworkGroup, vstream: VStream) -> dict[str, Any]:
    quant = vstream.quant
    per_feature, real = len(quant.qp_scales), gives_real_numbers(vstream)
    return {
        "group": group.name,
        "name": vstream.name,
        "direction": "input" if vstream.direction == 0 else "output",
        "shape": "x".join(str(size) for size in vstream.shape),
        "order": vstream.order.name,
        "type": "float32" if real else f"uint{8 * vstream.data_bytes}",
        "scale": "" if real else f"{per_feature} per feature" if per_feature else f"{quant.qp_scale:.6g}",
        "zero point": "" if real or per_feature else f"{quant.qp_zp:g}",
        "original names": ", ".join(vstream.original_names),
    }


def _show(facts: dict[str, Any], json: bool) -> None:
    if json:
        print_json(facts)
        return
    for title, section in facts.items():
        if isinstance(section, dict):
            print_table(title, ("fact", "value"), [(k, v) for k, v in section.items() if v not in (None, "")])
        elif section:
            hidden = {"original names"} | ({"group"} if len({row.get("group") for row in section}) == 1 else set())
            columns = [c for c in section[0] if c not in hidden and any(row[c] != "" for row in section)]
            print_table(title, columns, [[row[column] for column in columns] for row in section])
