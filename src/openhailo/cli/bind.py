"""Give a PCI function to VFIO (for our own driver) or back to a kernel driver; shows what it would do first."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._output import JsonOption, print_json

if TYPE_CHECKING:
    from openhailo.bus.binding import Plan, Write

NAME = "bind"


def command(
    target: Annotated[str, typer.Argument(help="vfio, kernel, or none (no driver at all).")],
    address: Annotated[str, typer.Argument(help="Like 0000:01:00.0; not needed with one card.")] = "",
    apply: Annotated[bool, typer.Option("--apply", help="Do it (as root); without it, only show.")] = False,
    root: Annotated[Path, typer.Option("--sysfs", hidden=True, help="Another /sys.")] = Path("/sys"),
    json: JsonOption = False,
) -> None:
    """Run `openhailo bind`."""
    from openhailo.bus import binding

    plan = binding.plan_binding(target, address, root)
    seen = binding.apply(plan, root) if apply else plan.function
    if json:
        print_json({**_as_data(plan), "applied": apply, "driver": seen.driver})
        return
    _show(plan, applied=apply)
    if apply:
        typer.echo(f"{seen.address} is bound to {seen.driver or 'no driver'}.")


def _show(plan: Plan, *, applied: bool) -> None:
    function = plan.function
    if not applied:
        group = "no IOMMU" if function.iommu_group is None else f"IOMMU group {function.iommu_group}"
        typer.echo(f"{function.address}: driver {function.driver or 'none'}, {group}")
    if plan.is_done:
        typer.echo("Nothing to do.")
    elif not applied:
        typer.echo("These writes would be made, in this order (--apply makes them):")
    for step in plan.writes:
        typer.echo(_line(step))
    for problem in plan.problems:
        typer.echo(f"PROBLEM: {problem}")
    for note in plan.notes:
        typer.echo(f"Note: {note}")
    if plan.undo:
        typer.echo("The way back:")
        for step in plan.undo:
            typer.echo(_line(step))


def _line(step: Write) -> str:
    text = "''" if step.text == "\n" else shlex.quote(step.text)
    return f"  echo {text} > {shlex.quote(str(step.path))}\n      # {step.meaning}"


def _as_data(plan: Plan) -> dict[str, Any]:
    def steps(writes: tuple[Write, ...]) -> list[dict[str, str]]:
        return [{"path": str(w.path), "text": w.text, "meaning": w.meaning} for w in writes]

    return {
        "address": plan.function.address,
        "target": plan.target,
        "writes": steps(plan.writes),
        "problems": list(plan.problems),
        "notes": list(plan.notes),
        "undo": steps(plan.undo),
    }
