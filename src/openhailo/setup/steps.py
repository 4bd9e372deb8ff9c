"""The words a plan is made of: actions, conditions that tell whether they are needed, steps."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from .machine import find_module, group_members, has_module, packages
from .tree import Tree


class State(Enum):
    """Where a step stands before anything is done."""

    DONE = "done"
    TO_DO = "to do"
    BLOCKED = "blocked"
    SKIPPED = "skipped"


# --- actions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """Run a program; ``undo`` is the program that takes it back (empty: there is nothing to take back).

    ``gone`` is a path that must not be there after it was taken back, whatever the program says.
    """

    argv: tuple[str, ...]
    undo: tuple[str, ...] = ()
    gone: str = ""
    timeout_s: float = 120.0

    def lines(self) -> Iterator[str]:
        """Yield it as one would type it."""
        yield f"$ {shlex.join(self.argv)}"


@dataclass(frozen=True)
class PutFile:
    """Put ``content`` at ``path``.

    ``source`` is the file it comes from, for content that is not text; ``added`` the text that is new at the end of a
    file of the user.
    """

    path: str
    content: bytes
    mode: int = 0o644
    source: str = ""
    added: str = ""

    def lines(self) -> Iterator[str]:
        """Yield path, mode, owner, and the content or what is added to it."""
        if self.added:
            yield f"add to the end of {self.path}"
            yield from (f"    {line}" for line in self.added.splitlines() if line)
            return
        yield f"write {self.path} (mode {self.mode:04o}, owner root:root, {len(self.content)} bytes)"
        if self.source:
            yield f"    = {self.source}"
        else:
            yield from (f"    {line}" for line in self.content.decode("utf-8", "replace").splitlines())


@dataclass(frozen=True)
class CopyTree:
    """Copy a folder of the user to ``target``, which must not be there; ``entries`` as in `DriverTree`."""

    source: Path
    target: str
    entries: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield one line."""
        yield f"copy {shlex.quote(str(self.source))} to {self.target} ({len(self.entries)} entries, owner root:root)"


Action = Command | PutFile | CopyTree


# --- conditions ----------------------------------------------------------------------------------------------------


class Condition(Protocol):
    """Something that is so, or not yet, on a machine. Reading only."""

    def missing(self, tree: Tree) -> str:
        """Return what is not as it should be; empty when all is."""
        ...


@dataclass(frozen=True)
class Installed:
    """Packages are installed."""

    names: tuple[str, ...]

    def missing(self, tree: Tree) -> str:
        """See `Condition`."""
        there = packages(tree)
        absent = [name for name in self.names if name not in there]
        return f"not installed: {', '.join(absent)}" if absent else ""


@dataclass(frozen=True)
class HasFile:
    """A file has this content and mode."""

    path: str
    content: bytes
    mode: int = 0o644

    def missing(self, tree: Tree) -> str:
        """See `Condition`."""
        found = tree.read(self.path)
        if found is None:
            return f"{self.path} is missing"
        if found != self.content:
            return f"{self.path} differs"
        mode = tree.mode(self.path)
        return "" if mode == self.mode else f"{self.path} has mode {mode or 0:04o}"


@dataclass(frozen=True)
class HasMember:
    """A group exists and a user is in it; without a user only the group is asked for."""

    group: str
    user: str = ""

    def missing(self, tree: Tree) -> str:
        """See `Condition`."""
        members = group_members(tree, self.group)
        if members is None:
            return f"there is no group {self.group}"
        return "" if not self.user or self.user in members else f"{self.user} is not in group {self.group}"


@dataclass(frozen=True)
class HasModule:
    """A kernel has a module."""

    kernel: str
    name: str

    def missing(self, tree: Tree) -> str:
        """See `Condition`."""
        return "" if find_module(tree, self.kernel, self.name) else f"kernel {self.kernel} has no module {self.name}"


@dataclass(frozen=True)
class Loaded:
    """A module is loaded, in this version if one is given."""

    name: str
    version: str = ""

    def missing(self, tree: Tree) -> str:
        """See `Condition`."""
        folder = f"/sys/module/{self.name.replace('-', '_')}"
        if not tree.exists(folder):
            return f"{self.name} is not loaded"
        found = tree.text(f"{folder}/version").strip()
        return f"{self.name} {found} is loaded" if self.version and found != self.version else ""


@dataclass(frozen=True)
class Bound:
    """A PCI function is bound to a driver."""

    address: str
    driver: str

    def missing(self, tree: Tree) -> str:
        """See `Condition`."""
        link = tree.root / "sys/bus/pci/devices" / self.address / "driver"
        found = link.readlink().name if link.is_symlink() else "no driver"
        return "" if found == self.driver else f"{self.address} is bound to {found}"


@dataclass(frozen=True)
class Available:
    """A module can be loaded, or is part of the kernel."""

    kernel: str
    name: str

    def missing(self, tree: Tree) -> str:
        """See `Condition`."""
        return "" if has_module(tree, self.kernel, self.name) else f"kernel {self.kernel} has no {self.name}"


# --- steps ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One thing to be made so: what, why, how, how it is recognised, how it is taken back.

    ``note`` tells why the step stands where it stands; ``checked`` what was looked at before it was planned; ``would``
    what a blocked step does as soon as it has what it lacks.
    """

    name: str
    what: str
    why: str
    state: State
    actions: tuple[Action, ...] = ()
    conditions: tuple[Condition, ...] = ()
    note: str = ""
    undo: str = ""
    checked: tuple[str, ...] = ()
    would: tuple[str, ...] = ()

    def missing(self, tree: Tree) -> str:
        """Return the first condition that does not hold; empty when the step is done."""
        return next((text for text in (c.missing(tree) for c in self.conditions) if text), "")


@dataclass(frozen=True)
class Plan:
    """Ordered steps for one way to the card, and advice that no step can carry out."""

    way: str
    steps: tuple[Step, ...]
    advice: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default_factory=tuple)

    @property
    def blocked(self) -> list[Step]:
        """The steps that need something from the user first."""
        return [step for step in self.steps if step.state is State.BLOCKED]

    @property
    def open(self) -> list[Step]:
        """The steps that are to be done."""
        return [step for step in self.steps if step.state is State.TO_DO]


def make_step(
    tree: Tree,
    name: str,
    what: str,
    why: str,
    actions: tuple[Action, ...],
    conditions: tuple[Condition, ...],
    *,
    undo: str = "",
    checked: tuple[str, ...] = (),
) -> Step:
    """Return the step, to do or done as its conditions say."""
    step = Step(name, what, why, State.TO_DO, actions, conditions, "", undo, checked)
    missing = step.missing(tree)
    state = State.TO_DO if missing else State.DONE
    return Step(name, what, why, state, actions, conditions, missing, undo, checked)
