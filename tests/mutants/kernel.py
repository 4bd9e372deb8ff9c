"""The client's copy of the kernel driver's interface, bent: requests, structures, behaviour of each release.

The virtual driver has tables of its own, so what is bent in the client's is noticed by the checks that go through the
link. If both were wrong alike, the facts would say so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from openhailo.driver.kernel import resources
from openhailo.spec.ioctl import KERNEL, Behaviour, Direction, EntryKind, Ioctl, KernelSpec
from openhailo.spec.layout import Struct
from openhailo.testing import rig_kernel
from openhailo.testing.check import Check
from openhailo.testing.reference import RELEASES
from openhailo.testing.rig import TwinSetup
from openhailo.testing.rig_kernel import KernelRig
from tests.golden.abi import AbiFacts

from .judge import CHECK_LIMIT_S, Verdict, limit
from .mutations import Mutant, of_rules, of_struct, swap

#: What the link has no use for; the facts alone look at it.
UNUSED = frozenset(
    {
        "MEMORY_TRANSFER",
        "list_mmap",
        "disable_refuses_idle",
        "close_disables_channels",
        "no_contiguous_errno",
        "boots_without_firmware",
        "has_memory_transfer",
    }
)
#: Subjects with checks that go through the link; the others go by byte, or ask the firmware for what is no transport.
SUBJECTS = frozenset({"kernel_link", "board", "logs", "mailbox", "notifications", "vdma", "inference", "recovery"})
_PREFIX = "kernel."
#: Real seconds that are given to threads which may never come back.
PATIENCE_S = 0.5


def enumerate_kernel_mutants(kernel: KernelSpec = KERNEL) -> list[Mutant]:
    """Return every mutant; the names begin with "kernel." and a release to judge it on."""
    mutants: list[Mutant] = []
    for release, request in _requests(kernel):
        mutants += _of_request(kernel, f"{_PREFIX}{release}.{request.name}", request)
    for release, struct, tags in _structs(kernel):
        found = of_struct(kernel, struct, tags)
        where = f"{_PREFIX}{_TELLING.get(struct.name, release)}"
        mutants += [replace(mutant, name=f"{where}.{mutant.name}") for mutant in found if _has_meaning(mutant)]
    for release, behaviour in _behaviours(kernel):
        where = f"{_PREFIX}{release}.behaviour"
        mutants += [m for m in of_rules(kernel, where, behaviour, frozenset({"behaviour"})) if _is_read(behaviour, m)]
        mutants += _of_enumerations(kernel, where, behaviour)
    rules = of_rules(kernel, f"{_PREFIX}{RELEASES[-1]}.rules", kernel.rules, frozenset({"rules"}))
    mutants += [mutant for mutant in rules if mutant.tags & _READ_RULES]
    names = [mutant.name for mutant in mutants]
    assert len(set(names)) == len(names), "every mutant has a name of its own"
    return mutants


def _is_read(behaviour: Behaviour, mutant: Mutant) -> bool:
    """Tell whether the link looks at what ``mutant`` bends, in releases that behave so."""
    name = mutant.name.rsplit(".", 1)[1].split(" ")[0]
    if name == "entry_error":
        return False  # told of debug launches only, which the link makes in 4.17 alone, where entries are no bytes
    if name == "entry_inactive":
        return behaviour.entry_kind is EntryKind.BYTE
    if name == "inactive_errno":
        return behaviour.launch_moves_on_error  # else every refused launch leaves the channel where it was
    if name == "program_sets_interrupts":
        return not behaviour.program_has_batch  # one request does it all
    if name == "map_has_type":
        return not behaviour.map_has_type  # the type of what is mapped is zero
    return True


#: Members that the link does not look at, or leaves zero, so that their byte order and exact place have no meaning.
_UNREAD = frozenset({"board_type", "dma_type", "dma_engines_count", "stride", "launch_transfer_status", "buffer_type"})
#: Both are errors of the engine to the link; both are always zero.
_ALIKE = frozenset({"host_error swapped with device_error", "is_debug swapped with stride"})
#: A release whose numbers all differ, for what can only be told there.
_TELLING = {"driver_info": "4.20.1", "device_properties": "4.18.0"}


def _has_meaning(mutant: Mutant) -> bool:
    _, _, what = mutant.name.rpartition(".")
    member, _, rest = what.partition(" ")
    other = rest.removeprefix("swapped with ")
    if member in _UNREAD and (rest.startswith("order") or other in _UNREAD):
        return False
    return what not in _ALIKE


#: Numbers of `IoctlRules` that the link reads.
_READ_RULES = {"max_control_bytes", "max_log_read_bytes", "max_transfers_in_flight", "no_allocated_buffer"}


def is_kernel(name: str) -> bool:
    """Tell whether a mutant of that name is one of the kernel driver's interface."""
    return name.startswith(_PREFIX)


def release_of(mutant: Mutant) -> str:
    """Return the release that ``mutant`` is judged on."""
    return ".".join(mutant.name.removeprefix(_PREFIX).split(".")[:3])


def _requests(kernel: KernelSpec) -> Iterator[tuple[str, Ioctl]]:
    """Yield every request once, with the newest release that has it."""
    found = {id(r): (name, r) for name, release in kernel.releases.items() for r in release.ioctls.values()}
    yield from (pair for pair in found.values() if pair[1].implemented)


def _structs(kernel: KernelSpec) -> Iterator[tuple[str, Struct, frozenset[str]]]:
    """Yield every structure once, with the newest release that has it and the requests that carry it."""
    found: dict[int, tuple[str, Struct, set[str]]] = {}

    def visit(release: str, struct: Struct, tags: frozenset[str]) -> None:
        before = found.get(id(struct), (release, struct, set()))
        found[id(struct)] = (release, struct, before[2] | tags | {struct.name})
        for member in struct.members:
            if isinstance(member.type, Struct):
                visit(release, member.type, tags | {member.name})

    for release, request in _requests(kernel):
        if request.struct.size:
            visit(release, request.struct, frozenset({request.name}))
    for release, struct, tags in found.values():
        yield release, struct, frozenset(tags)


def _behaviours(kernel: KernelSpec) -> Iterator[tuple[str, Behaviour]]:
    yield from {id(release.behaviour): (name, release.behaviour) for name, release in kernel.releases.items()}.values()


def _of_request(kernel: KernelSpec, where: str, request: Ioctl) -> Iterator[Mutant]:
    turned = Direction((request.direction + 1) % 4)
    for what, bent in (
        ("nr +1", replace(request, nr=request.nr + 1)),
        ("another type", replace(request, type=chr(ord(request.type) ^ 1))),
        ("direction", replace(request, direction=turned)),
    ):
        yield Mutant(f"{where} {what}", frozenset({request.name}), swap(kernel, request, lambda b=bent: b))


def _of_enumerations(kernel: KernelSpec, where: str, behaviour: Behaviour) -> Iterator[Mutant]:
    for name, value in vars(behaviour).items():
        if isinstance(value, Enum):
            for other in type(value):
                if other is not value:
                    make = swap(kernel, behaviour, lambda n=name, o=other: replace(behaviour, **{n: o}))
                    yield Mutant(f"{where}.{name} {other.name}", frozenset({"behaviour", name}), make)


def be_impatient() -> None:
    """For a process that only judges: give up threads soon, and let those die in silence that a mutant kills."""
    threading.excepthook = lambda _args: None
    rig_kernel.SETTLE_S = resources.HOME_S = PATIENCE_S


class KernelJudge:
    """Judges mutants of the client's tables by the checks that go through the link.

    What the link does not read is left to the facts: such a verdict's ``by`` is "facts".
    """

    def __init__(self, checks: Sequence[Check], shared: Path) -> None:
        self._checks = [check for check in checks if self._goes_through_the_link(check)]
        self._cost: dict[str, float] = {}
        self.missing = "" if (shared / "facts").is_dir() else "the facts folder is not beside this checkout"
        self._facts = None if self.missing else AbiFacts(shared)

    @staticmethod
    def _goes_through_the_link(check: Check) -> bool:
        applies = check.subject in SUBJECTS and not check.missing(KernelRig.capabilities)
        return applies and bool(check.needs) and "raw" not in check.needs

    def rehearse(self) -> list[str]:
        """Run everything with the true tables on releases that differ most; return what fails."""
        failing = {}
        for release in ("4.17.1", "4.20.1", "4.23.0"):
            for check in self._checks:
                started = time.perf_counter()
                failure = run(check, release, KERNEL)
                self._cost[check.name] = time.perf_counter() - started
                if failure:
                    failing[f"{check.name} on {release}"] = failure
        return [f"{name}: {why}" for name, why in failing.items()]

    def judge(self, mutant: Mutant) -> Verdict:
        """Bend the client's copy until a check notices; then ask the facts."""
        started = time.perf_counter()
        try:
            bent = mutant.build()
        except Exception as error:
            return Verdict(mutant.name, refused=True, reason=f"{type(error).__name__}: {error}", golden=-1)
        golden = len(self._facts.differences(bent)) if self._facts is not None else 0
        if mutant.tags & UNUSED:
            return Verdict(mutant.name, by="facts", golden=golden)
        for check in self._order(mutant):
            failure = run(check, release_of(mutant), bent)
            if failure:
                return Verdict(mutant.name, False, "driver", check.name, failure, golden, _since(started))
        return Verdict(mutant.name, golden=golden, seconds=_since(started))

    def _order(self, mutant: Mutant) -> list[Check]:
        # A number that is wrong shows as soon as anything runs, so the quickest check about it comes first.
        return sorted(self._checks, key=lambda check: (-len(check.about & mutant.tags), self._cost.get(check.name, 0)))


def _since(started: float) -> float:
    return time.perf_counter() - started


def run(check: Check, release: str, kernel: KernelSpec) -> str:
    """Return why ``check`` fails behind ``release`` with the client's tables ``kernel``; empty when it passes."""
    options: dict[str, Any] = {"kernel": kernel}
    try:
        with limit(CHECK_LIMIT_S), KernelRig(release, TwinSetup(options=options)) as rig:
            check.run(rig)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""
