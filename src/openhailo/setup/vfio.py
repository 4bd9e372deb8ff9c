"""The plan for the way without the vendor's kernel driver: our own, in user space, over the kernel's ``vfio-pci``."""

from __future__ import annotations

from openhailo.spec.pci import PciIdentity

from .machine import Machine, require_supported
from .plan import VFIO_OPTIONS, Request, file_step, firmware_step, group_step, udev_commands
from .steps import Available, Bound, Command, Loaded, Plan, State, Step, make_step
from .tree import Tree

MODULES_LOAD = "/etc/modules-load.d/openhailo-vfio.conf"
UDEV_RULES = "/etc/udev/rules.d/60-openhailo-vfio.rules"
LIMITS = "/etc/security/limits.d/openhailo.conf"
#: Memory that a program may pin for the card, in KiB. GUESS: the buffers of a large network are tens of MiB.
_MEMLOCK_KIB = 2 << 20
_DRIVER = "vfio-pci"


def plan_vfio(machine: Machine, request: Request, tree: Tree) -> Plan:
    """Return the steps to a card that a plain user reaches over VFIO. Raises `InputError` on unknown systems."""
    require_supported(machine)
    steps = (
        _isolation(machine, request),
        _module(machine, tree),
        firmware_step(request, tree),
        group_step(request, tree),
        _udev(request, tree),
        _limits(request, tree),
        _at_boot(tree),
        _ids(tree),
        *_load(machine, request, tree),
    )
    warnings = request.firmware.warnings if request.firmware else ()
    return Plan("vfio", steps, tuple(_advice(machine, request)), warnings)


def _isolation(machine: Machine, request: Request) -> Step:
    what = "an IOMMU"
    why = "it keeps the card to the memory that it is given; without one VFIO refuses the card"
    if not request.live:
        return Step("iommu", what, why, State.SKIPPED, note="another root is prepared: its machine will tell")
    if machine.iommu_groups and all(function.iommu_group is not None for function in machine.functions):
        return Step("iommu", what, why, State.DONE, note=f"groups that the kernel keeps apart: {machine.iommu_groups}")
    note = (
        "the kernel shows no group for the card: switch it on in the firmware's settings, and on Intel add "
        "intel_iommu=on to GRUB_CMDLINE_LINUX in /etc/default/grub, `update-grub`, restart. Without one only root can "
        "drive the card, as `pci:ADDRESS,trusted-host`, and its faults reach all memory: docs/debian-raspberry-pi.md"
    )
    return Step("iommu", what, why, State.BLOCKED, note=note)


def _module(machine: Machine, tree: Tree) -> Step:
    has = Available(machine.kernel, _DRIVER)
    missing = has.missing(tree)
    what, why = "the kernel's vfio-pci", "it hands a PCI function to a program"
    if missing:
        note = f"{missing}: take a kernel of the distribution"
        return Step("vfio-pci", what, why, State.BLOCKED, conditions=(has,), note=note)
    return Step("vfio-pci", what, why, State.DONE, conditions=(has,), note="part of the kernel's package")


def _udev(request: Request, tree: Tree) -> Step:
    identity = PciIdentity()
    ids = f'ATTRS{{vendor}}=="0x{identity.vendor_id:04x}", ATTRS{{device}}=="0x{identity.device_id:04x}"'
    owner = f'GROUP="{request.group}", MODE="0660"'
    text = (
        "# Written by openhailo setup. The node of a group does not say which functions are in it, so this opens\n"
        "# every group that is handed to vfio-pci. Later kernels have nodes of single devices, used with /dev/iommu.\n"
        f'SUBSYSTEM=="vfio", KERNEL=="[0-9]*", {owner}\n'
        f'SUBSYSTEM=="vfio-dev", {ids}, {owner}\n'
        f'SUBSYSTEM=="misc", KERNEL=="iommu", {owner}\n'
    )
    why = f"the nodes under /dev/vfio belong to root; now members of {request.group} may use them"
    commands = udev_commands(tree, "vfio")
    return file_step(tree, "udev", "the udev rules for /dev/vfio", why, UDEV_RULES, text, *commands)


def _limits(request: Request, tree: Tree) -> Step:
    text = (
        "# Written by openhailo setup: memory that members of the group may pin, in KiB.\n"
        f"@{request.group} - memlock {_MEMLOCK_KIB}\n"
    )
    why = (
        "what the card reaches is pinned and counts against this limit, which is small by default; counts from the "
        "next login (services: LimitMEMLOCK=)"
    )
    return file_step(tree, "limits", f"up to {_MEMLOCK_KIB >> 20} GiB of pinned memory", why, LIMITS, text)


def _at_boot(tree: Tree) -> Step:
    why = "nothing else asks for it at boot"
    text = f"# Written by openhailo setup.\n{_DRIVER}\n"
    return file_step(tree, "boot", f"{_DRIVER} at each boot", why, MODULES_LOAD, text)


def _ids(tree: Tree) -> Step:
    identity = PciIdentity()
    text = (
        "# Written by openhailo setup: vfio-pci comes first and takes the card.\n"
        f"options vfio-pci ids={identity.vendor_id:04x}:{identity.device_id:04x}\n"
        "softdep hailo_pci pre: vfio-pci\n"
    )
    why = "a card has one driver; where the vendor's is installed too, it would take it first"
    return file_step(tree, "ids", "the card goes to vfio-pci at boot", why, VFIO_OPTIONS, text)


def _load(machine: Machine, request: Request, tree: Tree) -> list[Step]:
    what, why = f"{_DRIVER} is loaded", "it takes a card that has no driver"
    if not request.live:
        return [Step("load", what, why, State.SKIPPED, note="another root is prepared: it happens when that boots")]
    command = Command(("modprobe", _DRIVER), undo=("modprobe", "--remove", _DRIVER))
    steps = [make_step(tree, "load", what, why, (command,), (Loaded(_DRIVER),), undo="it is unloaded")]
    for function in machine.functions:
        bound = Bound(function.address, _DRIVER)
        missing = bound.missing(tree)
        bind = f"openhailo bind vfio {function.address} --apply"
        advice = f"{missing}; `{bind}` changes it until the next boot"
        note = advice if missing else ""
        state = State.SKIPPED if missing else State.DONE
        why = "the step above takes it unless another driver has it; that is left to you, a program may be using it"
        steps.append(Step("bind", f"{function.address} is bound to {_DRIVER}", why, state, note=note))
    return steps


def _advice(machine: Machine, request: Request) -> list[str]:
    found = []
    if request.live and not machine.functions:
        found.append("no Hailo card is visible on PCI: check power and seating")
    if machine.is_pi5:
        found.append(
            "Raspberry Pi 5: the stock kernels show no IOMMU for its PCIe connector, and its DMA bypasses caches; "
            "the way over the kernel driver is the safe one here (`openhailo setup kernel`)"
        )
    if machine.lockdown:
        found.append(f"the kernel is locked down ({machine.lockdown}): VFIO works, access without an IOMMU does not")
    return found
