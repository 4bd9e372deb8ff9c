"""Carrying a plan out: step by step, each written into the journal first and looked at afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openhailo.errors import SetupFailed

from .journal import Journal, file_record
from .run import Runner
from .steps import Action, Command, CopyTree, Plan, PutFile, State, Step
from .tree import Tree


@dataclass(frozen=True)
class StepResult:
    """A step that was carried out, or found done."""

    step: Step
    changed: bool


def apply_plan(plan: Plan, tree: Tree, runner: Runner) -> Iterator[StepResult]:
    """Carry out what is to be done and yield each step afterwards.

    Raises `SetupFailed` at the first step that fails, or that leaves its condition unmet; what was done until then is
    in the journal. Nothing is begun while a step is blocked, or while another run works (`DeviceBusy`).
    """
    if plan.blocked:
        step = plan.blocked[0]
        raise SetupFailed(step=step.name, detail=step.note, hint="nothing was changed")
    with tree.locked():
        journal = Journal(tree)
        for step in plan.steps:
            changed = step.state is State.TO_DO
            if changed:
                _do(step, tree, runner, journal)
            yield StepResult(step, changed)


def _do(step: Step, tree: Tree, runner: Runner, journal: Journal) -> None:
    for action in step.actions:
        _carry_out(action, step, tree, runner, journal)
    missing = step.missing(tree)
    if missing:
        raise SetupFailed(step=step.name, detail=f"all commands worked, and yet: {missing}")


def _carry_out(action: Action, step: Step, tree: Tree, runner: Runner, journal: Journal) -> None:
    if isinstance(action, Command):
        _run(action, step, runner, journal)
        return
    try:
        if isinstance(action, PutFile):
            _put(action, tree, journal)
        else:
            _copy(action, tree, journal)
    except OSError as error:
        raise SetupFailed(step=step.name, detail=f"{error.filename}: {error.strerror}") from error


def _run(action: Command, step: Step, runner: Runner, journal: Journal) -> None:
    if action.undo:
        journal.record("run", argv=list(action.undo), gone=action.gone)
    done = runner.run(action.argv, timeout_s=action.timeout_s)
    if done.code:
        if action.undo:
            journal.forget()
        raise SetupFailed(step=step.name, detail=f"{' '.join(action.argv)} ended with {done.code}: {done.last_words}")


def _put(action: PutFile, tree: Tree, journal: Journal) -> None:
    if tree.read(action.path) == action.content and tree.mode(action.path) == action.mode:
        return
    tree.require_plain(action.path)
    _make_folders(action.path, tree, journal)
    journal.record("file", **file_record(tree, action.path, action.content, action.added))
    tree.write(action.path, action.content, action.mode)


def _make_folders(path: str, tree: Tree, journal: Journal) -> None:
    for folder in tree.missing_folders(path):
        journal.record("folder", path=folder)
        tree.make_folder(folder)


def _copy(action: CopyTree, tree: Tree, journal: Journal) -> None:
    """Copy plain files with plain modes: what is special about the user's files does not reach the system's folders."""
    target = tree.locate(action.target, follow_last=False)
    if target.is_symlink() or target.exists():
        raise FileExistsError(17, "is there already; remove it first", action.target)
    _make_folders(action.target, tree, journal)
    journal.record("tree", path=action.target)
    tree.make_folder(action.target)
    for name in action.entries:
        _copy_entry(action.source / name, target / name, is_folder=name.endswith("/"))


def _copy_entry(source: Path, target: Path, *, is_folder: bool) -> None:
    if is_folder:
        target.mkdir(exist_ok=True)
        target.chmod(0o755)
    elif source.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.readlink())
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        # O_NOFOLLOW: the file may have become a link since the plan looked at it.
        with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as read, target.open("xb") as write:
            shutil.copyfileobj(read, write)
            os.fchmod(write.fileno(), 0o755 if os.fstat(read.fileno()).st_mode & 0o100 else 0o644)
