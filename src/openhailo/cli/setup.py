"""Make this machine ready for the card, over the vendor's kernel driver or without it. Changes nothing by default."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openhailo.errors import AccessDenied, InputError

from ._devices import UnknownDriverOption
from ._output import JsonOption, print_json

if TYPE_CHECKING:
    from openhailo.setup import Machine, Plan, Request, Runner, Step, Tree
    from openhailo.setup.request import Wishes

NAME = "setup"
WAYS = ("kernel", "vfio")
_EXIT_FAILED, _EXIT_DEVICE = 1, 3
_VERIFICATION = {
    "kernel": "wait for /dev/hailo*, look who may open it, ask each node for its release and firmware",
    "vfio": "look which driver has each card, and who may open the node of its IOMMU group",
}


WayArgument = Annotated[
    str, typer.Argument(help="kernel: the vendor's kernel driver; vfio: our own driver, no module needed.")
]
ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it (as root). Without it everything is only shown.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done (the default).")]
UndoOption = Annotated[bool, typer.Option("--undo", help="Take back what --apply did; shown only, without --apply.")]
SourceOption = Annotated[
    Path | None, typer.Option("--driver-source", help="Source tree of the kernel driver that you have.")
]
PackageOption = Annotated[
    Path | None, typer.Option("--driver-package", help="Debian package of the kernel driver that you have.")
]
FirmwareOption = Annotated[Path | None, typer.Option("--firmware", help="The vendor's hailo8_fw.VERSION.bin.")]
UserOption = Annotated[
    str | None, typer.Option("--user", help="Who may use the card. Default: who called sudo, or you.")
]
GroupOption = Annotated[str, typer.Option("--group", help="The group whose members may use the card.")]
ModuleOption = Annotated[
    list[str] | None, typer.Option("--module-option", help="NAME=VALUE for the module; repeatable.")
]
Gen3Option = Annotated[bool, typer.Option("--pcie-gen3", help="Raspberry Pi 5: PCIe generation 3, from the next boot.")]
KernelOption = Annotated[str, typer.Option("--kernel", help="Kernel release to prepare. Default: the running one.")]
RootOption = Annotated[Path, typer.Option("--root", help="Prepare the system under this folder, e.g. an image.")]


def command(
    way: WayArgument = WAYS[0],
    apply: ApplyOption = False,
    dry_run: DryRunOption = False,
    undo: UndoOption = False,
    driver_source: SourceOption = None,
    driver_package: PackageOption = None,
    firmware: FirmwareOption = None,
    user: UserOption = None,
    group: GroupOption = "hailo",
    module_option: ModuleOption = None,
    pcie_gen3: Gen3Option = False,
    allow_unknown_driver: UnknownDriverOption = False,
    kernel: KernelOption = "",
    root: RootOption = Path("/"),
    json: JsonOption = False,
) -> None:
    """Run `openhailo setup`."""
    from openhailo import setup
    from openhailo.setup.request import Wishes

    if way not in WAYS:
        raise InputError(what=f"way {way!r}", detail=f"it is {' or '.join(WAYS)}")
    if apply and dry_run:
        raise InputError(what="options", detail="--apply and --dry-run exclude each other")
    if apply and os.geteuid() != 0:
        raise AccessDenied(name="the system's files", hint="run it with sudo, or leave --apply out to see the plan")
    tree = setup.Tree(root)
    runner = setup.SystemRunner(tree.root)
    if undo:
        _undo(tree, runner, apply, json)
        return
    wishes = Wishes(
        way=way,
        user=_default_user() if user is None and tree.is_host else user or "",
        group=group,
        driver_source=driver_source,
        driver_package=driver_package,
        firmware=firmware,
        module_options=module_option or (),
        pcie_gen3=pcie_gen3,
        allow_unknown_driver=allow_unknown_driver,
        live=tree.is_host,
    )
    _plan(wishes, kernel, tree, runner, apply, json)


def _plan(wishes: Wishes, kernel: str, tree: Tree, runner: Runner, apply: bool, json: bool) -> None:
    """Show the plan, or carry it out."""
    from openhailo import setup
    from openhailo.setup.request import build_request

    machine = setup.read_machine(tree, setup.Platform.of_host(), kernel)
    request = build_request(wishes, machine, tree, runner)
    plan = (setup.plan_kernel if wishes.way == "kernel" else setup.plan_vfio)(machine, request, tree)
    if apply:
        _apply(plan, request, tree, runner, json)
    elif json:
        print_json({"applied": False, **plan_facts(plan, machine)})
    else:
        typer.echo("\n".join(plan_lines(plan, machine)))


def _default_user() -> str:
    """Who called sudo; nobody for a login of root, who needs no group."""
    import pwd

    try:
        name = os.environ.get("SUDO_USER", "") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return ""
    return "" if name == "root" else name


# --- showing --------------------------------------------------------------------------------------------------------


def plan_lines(plan: Plan, machine: Machine) -> list[str]:
    """Return what a dry run prints."""
    lines = [f"openhailo setup {plan.way}: a dry run, nothing is changed (--apply does it)", *machine_lines(machine)]
    for number, step in enumerate(plan.steps, 1):
        lines += ["", *step_lines(number, step)]
    if machine.functions:
        lines += ["", f"then: {_VERIFICATION[plan.way]}"]
    lines += [f"\nwarning: {text}" for text in plan.warnings] + [f"\nadvice: {text}" for text in plan.advice]
    counts = f"{len(plan.open)} to do, {len(plan.blocked)} blocked, {len(plan.steps)} steps"
    return [*lines, "", f"{counts}; `openhailo setup --undo` shows what can be taken back"]


def machine_lines(machine: Machine) -> list[str]:
    """Describe the machine in a few lines."""
    system = "Raspberry Pi OS, " if machine.distribution.is_raspberry else ""
    facts = [f"{system}{machine.distribution.name}", machine.architecture, f"kernel {machine.kernel}"]
    facts += [f"pages of {machine.page_size_bytes} bytes"] + ([machine.model] if machine.model else [])
    facts += ["Secure Boot on"] if machine.secure_boot else []
    facts += [f"IOMMU groups: {machine.iommu_groups}" if machine.iommu_groups else "no IOMMU"]
    cards = [f"{f.address} ({f.driver or 'no driver'})" for f in machine.functions]
    return [f"machine: {', '.join(facts)}", f"cards: {', '.join(cards) or 'none visible on PCI'}"]


def step_lines(number: int, step: Step) -> list[str]:
    """Describe one step: its state, what, why, what was checked, what it does, how it is taken back."""
    from openhailo.setup import State

    lines = [f"{number}. [{step.state.value}] {step.name}: {step.what}"]
    if step.note:
        lines.append(f"   {step.note}")
    if step.state in (State.SKIPPED, State.DONE):
        return lines
    lines.append(f"   why: {step.why}")
    lines += [f"   checked: {text}" for text in step.checked]
    lines += [f"   would: {text}" for text in step.would]
    lines += [f"   {line}" for action in step.actions for line in action.lines()]
    return lines + ([f"   undo: {step.undo}"] if step.undo and step.actions else [])


def plan_facts(plan: Plan, machine: Machine) -> dict[str, Any]:
    """Return the plan as plain data."""
    steps = [
        {
            "name": step.name,
            "what": step.what,
            "why": step.why,
            "state": step.state.value,
            "note": step.note,
            "checked": step.checked,
            "would": step.would,
            "actions": [line for action in step.actions for line in action.lines()],
            "undo": step.undo,
        }
        for step in plan.steps
    ]
    facts = {key: value for key, value in vars(machine).items() if key != "users"}
    return {"way": plan.way, "machine": facts, "steps": steps, "warnings": plan.warnings, "advice": plan.advice}


# --- doing ----------------------------------------------------------------------------------------------------------


def _apply(plan: Plan, request: Request, tree: Tree, runner: Runner, json: bool) -> None:
    from openhailo.setup import apply_plan

    results = []
    for result in apply_plan(plan, tree, runner):
        words = "changed" if result.changed else result.step.state.value
        results.append({"name": result.step.name, "result": words})
        if not json:
            typer.echo(f"[{words}] {result.step.name}: {result.step.what}")
    checks = _verify(plan, request, tree)
    if json:
        print_json({"applied": True, "results": results, "checks": checks, "advice": plan.advice})
    else:
        for check in checks:
            typer.echo(f"[{'good' if check.good else 'BAD'}] {check.what}: {check.detail}")
        typer.echo("\n".join(f"advice: {text}" for text in plan.advice))
    if not all(check.good for check in checks):
        raise typer.Exit(_EXIT_DEVICE)


def _verify(plan: Plan, request: Request, tree: Tree) -> list[Any]:
    from openhailo.bus.sysfs import list_functions
    from openhailo.setup.nodes import verify_nodes, verify_vfio

    if not request.live:
        return []
    if plan.way == "vfio":
        return list(verify_vfio(tree, request.group, request.user, pause=time.sleep))
    cards = [function for function in list_functions(tree.root / "sys") if function.driver != "vfio-pci"]
    return list(verify_nodes(tree, request.group, request.user, len(cards), pause=time.sleep))


def _undo(tree: Tree, runner: Runner, apply: bool, json: bool) -> None:
    from openhailo.setup import Journal, undo_journal
    from openhailo.setup.journal import describe_undo

    if not apply:
        steps = describe_undo(Journal(tree))
        if json:
            print_json({"applied": False, "undo": steps})
        else:
            words = ["openhailo setup --undo: a dry run, nothing is changed (--apply does it)", *steps]
            typer.echo("\n".join(words if steps else ["there is nothing to take back"]))
        return
    undone = list(undo_journal(tree, runner))
    if json:
        print_json({"applied": True, "undone": undone})
    else:
        lines = [
            f"[{'left' if u.problem else 'undone'}] {u.what}" + (f": {u.problem}" * bool(u.problem)) for u in undone
        ]
        typer.echo("\n".join(lines or ["there was nothing to take back"]))
    if any(u.problem for u in undone):
        raise typer.Exit(_EXIT_FAILED)
