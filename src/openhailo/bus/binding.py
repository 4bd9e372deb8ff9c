"""Which kernel driver has a function: plans to change it, as writes to files under ``/sys``, and carrying them out.

A plan is made by reading only, so that it can be shown first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from openhailo.errors import AccessDenied, DeviceError, DeviceNotFound, InputError
from openhailo.spec.pci import PciIdentity

from .syscalls import LinuxKernel
from .sysfs import SYSFS, PciFunctionInfo, find_function, group_members, is_address, list_functions

VFIO: Final = "vfio-pci"
#: What a function can be bound to: VFIO, whichever kernel driver wants it, or nothing.
TARGETS: Final = ("vfio", "kernel", "none")
#: Drivers beside which the kernel still hands out the other functions of a group.
_HARMLESS: Final = frozenset({"", VFIO, "pcieport", "pci-stub"})


@dataclass(frozen=True)
class Write:
    """Write ``text`` to ``path``; ``meaning`` is for the reader."""

    path: Path
    text: str
    meaning: str


@dataclass(frozen=True)
class Plan:
    """What to write, in order, and what must be so afterwards.

    ``problems`` are reasons why it would not work, with what to do; ``notes`` what else is good to know; ``undo`` is
    the way back.
    """

    function: PciFunctionInfo
    target: str
    writes: tuple[Write, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    undo: tuple[Write, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do."""
        return not self.writes


def plan_binding(target: str, address: str = "", root: Path = SYSFS) -> Plan:
    """Return how to bind the function at ``address`` (by default the only one of the chip's) to ``target``.

    Raises `InputError` (no such target, more than one function), `DeviceNotFound`.
    """
    if target not in TARGETS:
        raise InputError(what="target", detail=f"{target!r} is not {', '.join(TARGETS[:-1])} or {TARGETS[-1]}")
    function = _choose(address, root)
    plan = {"vfio": _to_vfio, "kernel": _to_kernel, "none": _to_nothing}[target](function, root)
    return replace(plan, undo=_undo(plan, root) if plan.writes else ())


def _choose(address: str, root: Path) -> PciFunctionInfo:
    found = list_functions(root)
    if not address:
        if len(found) > 1:
            raise InputError(what="address", detail=f"which of {', '.join(f.address for f in found)}?")
        if not found:
            raise DeviceNotFound(name="pci:", hint="no Hailo-8 is on the PCI bus; check power and seating")
        return found[0]
    address = address.lower().removeprefix("pci:")
    if not is_address(address):
        raise InputError(what="address", detail=f"{address!r} is not like 0000:01:00.0")
    function = find_function(address, root)
    if function is None:
        raise DeviceNotFound(name=f"pci:{address}", hint="`openhailo devices` lists what is there")
    identity = PciIdentity()
    if (function.vendor_id, function.device_id) != (identity.vendor_id, identity.device_id):
        seen = f"{function.vendor_id:04x}:{function.device_id:04x}"
        raise DeviceNotFound(name=f"pci:{address}", hint=f"{seen} is there, which is no Hailo-8; it is left alone")
    return function


def _folder(function: PciFunctionInfo, root: Path) -> Path:
    return root / "bus" / "pci" / "devices" / function.address


def _override(function: PciFunctionInfo, root: Path, driver: str) -> Write:
    if driver:
        meaning = f"from now on only {driver} may take this function"
    else:
        meaning = "from now on whichever driver knows the card may take it (an empty line clears the choice)"
    return Write(_folder(function, root) / "driver_override", driver or "\n", meaning)


def _release(function: PciFunctionInfo, root: Path) -> tuple[Write, ...]:
    if not function.driver:
        return ()
    path = root / "bus" / "pci" / "drivers" / function.driver / "unbind"
    users = "waits until programs that use it close it" if function.driver == VFIO else "programs that use it fail"
    return (Write(path, function.address, f"take the function away from {function.driver}; {users}"),)


def _without_l0s(function: PciFunctionInfo, root: Path) -> tuple[Write, ...]:
    """Switch ASPM L0s off, an erratum of the card (driver.md 8.2 row 12): VFIO lets no program change the link."""
    path = _folder(function, root) / "link" / "l0s_aspm"
    try:
        is_on = path.read_text(encoding="ascii").strip() == "1"
    except OSError:  # the kernel does not manage the link, or L0s cannot be had at all
        return ()
    return (Write(path, "0", "keep both ends of the link out of L0s, which the card does not take"),) if is_on else ()


def _probe(function: PciFunctionInfo, root: Path, who: str) -> Write:
    return Write(root / "bus" / "pci" / "drivers_probe", function.address, f"offer the function to {who}")


def _to_vfio(function: PciFunctionInfo, root: Path) -> Plan:
    if function.driver == VFIO:
        return Plan(function, "vfio", notes=_vfio_notes(function))
    problems = []
    if not (root / "bus" / "pci" / "drivers" / VFIO).is_dir():
        problems.append("the module vfio-pci is not loaded: run `sudo modprobe vfio-pci`")
    if function.iommu_group is None and not _allows_noiommu(root):
        problems.append(
            "there is no IOMMU in front of it, without which vfio-pci refuses it: switch on VT-d or AMD-Vi in the "
            "firmware setup, on Intel also intel_iommu=on on the kernel command line, and restart (docs/vfio.md)"
        )
    others = [m for m in group_members(function, root) if m.address != function.address and m.driver not in _HARMLESS]
    if others:
        named = ", ".join(f"{other.address} ({other.driver})" for other in others)
        problems.append(f"its IOMMU group {function.iommu_group} has devices that the kernel uses: {named}")
    writes = (
        _override(function, root, VFIO),
        *_release(function, root),
        *_without_l0s(function, root),
        _probe(function, root, VFIO),
    )
    return Plan(function, "vfio", writes, tuple(problems), _vfio_notes(function))


def _allows_noiommu(root: Path) -> bool:
    """Tell whether VFIO was told to hand out devices that nothing confines."""
    try:
        text = (root / "module" / "vfio" / "parameters" / "enable_unsafe_noiommu_mode").read_text(encoding="ascii")
    except OSError:
        return False
    return text.strip() in ("Y", "1")


def _vfio_notes(function: PciFunctionInfo) -> tuple[str, ...]:
    notes = ["it holds until the next boot; `openhailo setup vfio` makes it last"]
    if function.iommu_group is not None:
        node = f"/dev/vfio/{function.iommu_group}"
        notes.append(f"{node} belongs to root; docs/vfio.md shows the udev rule that opens it to a group")
    else:
        notes.append("without an IOMMU only trusted-host ways reach it (docs/vfio.md)")
    return tuple(notes)


def _to_kernel(function: PciFunctionInfo, root: Path) -> Plan:
    if function.driver not in ("", VFIO):
        return Plan(function, "kernel")
    writes = (_override(function, root, ""), *_release(function, root), _probe(function, root, "all drivers"))
    notes = ("if none takes it, its module is not loaded: `sudo modprobe hailo_pci`",)
    return Plan(function, "kernel", writes, notes=notes)


def _to_nothing(function: PciFunctionInfo, root: Path) -> Plan:
    notes = ("until it is bound again, only trusted-host ways reach it (docs/vfio.md)",)
    return Plan(function, "none", _release(function, root), notes=notes if function.driver else ())


def _undo(plan: Plan, root: Path) -> tuple[Write, ...]:
    """Return the writes that bring the driver of now back, whichever took the function meanwhile."""
    function, had = plan.function, plan.function.driver
    leave = Write(_folder(function, root) / "driver" / "unbind", function.address, "take it away from its new driver")
    back = (_probe(function, root, had or "all drivers"),) if had else ()
    leaving = () if plan.target == "none" else (leave,)
    return (_override(function, root, VFIO if had == VFIO else ""), *leaving, *back)


def apply(
    plan: Plan,
    root: Path = SYSFS,
    *,
    write: Callable[[Path, str], None] | None = None,
    uid: int | None = None,
) -> PciFunctionInfo:
    """Carry ``plan`` out and check the result. Returns the function as it is then.

    Raises `AccessDenied` (not root), `DeviceError` (the plan has problems, a write failed, or all had no effect); the
    message says what to do.
    """
    if plan.problems:
        raise DeviceError(f"{plan.function.address} cannot go to {plan.target}: {'; '.join(plan.problems)}")
    if plan.writes and (os.geteuid() if uid is None else uid) != 0:
        raise AccessDenied(name=plan.function.address, hint="only root may change drivers; run it with sudo")
    write = write or LinuxKernel().write_attribute
    for step in plan.writes:
        try:
            write(step.path, step.text)
        except OSError as error:
            raise DeviceError(
                f"writing {step.text.strip()!r} to {step.path} failed: {error.strerror}; the kernel log says why, "
                f"`openhailo bind kernel {plan.function.address} --apply` goes back"
            ) from error
    return _verify(plan, root)


def _verify(plan: Plan, root: Path) -> PciFunctionInfo:
    seen = find_function(plan.function.address, root)
    if seen is None:
        raise DeviceError(f"{plan.function.address} is gone from the bus; check power and seating")
    fits = {"vfio": seen.driver == VFIO, "kernel": seen.driver != VFIO, "none": not seen.driver}[plan.target]
    if not fits:
        raise DeviceError(
            f"{seen.address} is bound to {seen.driver or 'no driver'} after all writes; the kernel log (dmesg) says why"
        )
    return seen
