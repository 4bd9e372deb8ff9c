"""The journal: what setup did, written down before it is done, so that it can be taken back after anything."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openhailo.errors import InputError

from .run import Runner
from .tree import Tree

#: Where the journal lies; it is there exactly as long as there is something to take back. Everybody may read it: it
#: holds former contents of configuration files that everybody may read.
JOURNAL = "/var/lib/openhailo/setup.json"
_FORMAT = 1
#: Programs that a journal may name: those that plans use to take something back.
_UNDOERS = frozenset({"apt-mark", "apt-get", "depmod", "dkms", "gpasswd", "groupdel", "modprobe", "udevadm"})
_TREES = "/usr/src/"
_KEYS: Mapping[str, Mapping[str, Any]] = {
    "folder": {"path": str},
    "file": {"path": str, "wrote": str, "previous": (str, type(None)), "mode": int, "added": str},
    "tree": {"path": str},
    "run": {"argv": list, "gone": str},
}


class Journal:
    """The records in the order in which things were done; each change reaches the disk before `record` returns."""

    def __init__(self, tree: Tree) -> None:
        """Read the journal under ``tree``, if there is one. Raises `InputError` for one that is damaged."""
        self._tree = tree
        self.records: list[dict[str, Any]] = _load(tree)

    def record(self, kind: str, **values: Any) -> None:
        """Note what is about to be done."""
        if not self._tree.exists(JOURNAL):
            self._make_home()
        self.records.append({"kind": kind, **values})
        self._save()

    def forget(self) -> None:
        """Drop the last record: it was not done, or has been taken back. The last one takes the file with it."""
        record = self.records.pop()
        if self.records:
            self._save()
            return
        self._tree.remove(JOURNAL)
        with contextlib.suppress(OSError):
            for path in record.get("home", ()):
                self._tree.locate(path).rmdir()

    def _make_home(self) -> None:
        """Folders that the journal itself needs are part of its first record."""
        home = self._tree.missing_folders(JOURNAL)
        for path in home:
            self._tree.make_folder(path)
        self.records.append({"kind": "run", "argv": [], "gone": "", "home": home[::-1]})
        self._save()

    def _save(self) -> None:
        text = json.dumps({"format": _FORMAT, "records": self.records}, indent=1)
        self._tree.write(JOURNAL, text.encode(), 0o644)


def file_record(tree: Tree, path: str, content: bytes, added: str = "") -> dict[str, Any]:
    """Return what must be known to take a written file back; ``added`` is the text that was added to a user's file."""
    previous = tree.read(path)
    return {
        "path": path,
        "wrote": hashlib.sha256(content).hexdigest(),
        "previous": None if previous is None else base64.b64encode(previous).decode(),
        "mode": tree.mode(path) or 0,
        "added": added,
    }


def _load(tree: Tree) -> list[dict[str, Any]]:
    raw = tree.read(JOURNAL)
    if raw is None:
        if tree.exists(JOURNAL):
            raise InputError(what=JOURNAL, detail="cannot be read; run as root")
        return []
    status = tree.locate(JOURNAL).stat()
    if status.st_uid != tree.root.stat().st_uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(what=JOURNAL, detail="others can write to it, so it is not trusted; look at it and remove it")
    try:
        value = json.loads(raw)
        records = value["records"] if value["format"] == _FORMAT else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(what=JOURNAL, detail=f"is damaged: {error}") from error
    if not isinstance(records, list) or not all(_is_sound(record) for record in records):
        raise InputError(what=JOURNAL, detail="has records that setup does not write; look at it and remove it")
    return records


def _is_sound(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str) or record["kind"] not in _KEYS:
        return False
    if not all(isinstance(record.get(key), kind) for key, kind in _KEYS[record["kind"]].items()):
        return False
    argv = record.get("argv", [])
    path = record.get("path", "/")
    if record["kind"] == "tree" and not (path.startswith(_TREES) and "/" not in path[len(_TREES) :]):
        return False
    home = record.get("home", [])
    return (
        all(isinstance(word, str) for word in argv)
        and (not argv or argv[0] in _UNDOERS)
        and record.get("gone", "")[:1] in ("", "/")
        and path.startswith("/")
        and ".." not in path.split("/")
        and isinstance(home, list)
        and all(isinstance(folder, str) and JOURNAL.startswith(folder + "/") for folder in home)
    )


# --- taking back ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Undone:
    """What became of one record: ``what`` was taken back, or ``problem`` says why it was left."""

    what: str
    problem: str = ""


def describe_undo(journal: Journal) -> list[str]:
    """Return what `undo_journal` would do, in its order."""
    return [_words(record) for record in reversed(journal.records) if record.get("argv") != []]


def undo_journal(tree: Tree, runner: Runner) -> Iterator[Undone]:
    """Take everything back, last first, and yield what became of it; what cannot be taken back does not stop the rest.

    A file that was changed since is left as it is. Raises `InputError` for a journal that cannot be trusted,
    `DeviceBusy` while another run works.
    """
    with tree.locked():
        journal = Journal(tree)
        while journal.records:
            record = journal.records[-1]
            problem = _undo(tree, runner, record)
            journal.forget()
            if record.get("argv") != []:
                yield Undone(_words(record), problem)
        # A power cut may have come between the folder and the first record.
        with contextlib.suppress(OSError):
            tree.locate(tree.folder_of(JOURNAL)).rmdir()


def _undo(tree: Tree, runner: Runner, record: dict[str, Any]) -> str:
    try:
        if record["kind"] == "file":
            return _undo_file(tree, record)
        if record["kind"] == "folder":
            return _undo_folder(tree, record["path"])
        if record["kind"] == "tree":
            return _undo_tree(tree, record["path"])
    except (OSError, InputError, binascii.Error) as error:
        return str(error)
    return _undo_run(tree, runner, record) if record["argv"] else ""


def _undo_run(tree: Tree, runner: Runner, record: dict[str, Any]) -> str:
    done = runner.run(record["argv"], timeout_s=300)
    if done.code:
        return done.last_words
    return f"the command worked, and {record['gone']} is there still" if _is_there(tree, record["gone"]) else ""


def _is_there(tree: Tree, path: str) -> bool:
    """Tell whether there is anything at ``path``, a link that leads nowhere included; no path is nothing."""
    place = tree.locate(path or "/", follow_last=False)
    return bool(path) and (place.is_symlink() or place.exists())


def _undo_file(tree: Tree, record: dict[str, Any]) -> str:
    path = record["path"]
    found = tree.read(path)
    previous = None if record["previous"] is None else base64.b64decode(record["previous"])
    if found == previous:
        return ""
    if found is not None and hashlib.sha256(found).hexdigest() != record["wrote"]:
        added = record["added"].encode()
        if not added or found.count(added) != 1:
            return "it was changed since, so it is left as it is"
        tree.write(path, found.replace(added, b""), tree.mode(path) or record["mode"])
        return ""
    if previous is None:
        tree.remove(path)
    else:
        tree.write(path, previous, record["mode"])
    return ""


def _undo_folder(tree: Tree, path: str) -> str:
    place = tree.locate(path, follow_last=False)
    if not place.is_dir() or place.is_symlink():
        return ""
    if any(place.iterdir()):
        return "it is not empty, so it is left"
    place.rmdir()
    return ""


def _undo_tree(tree: Tree, path: str) -> str:
    place = tree.locate(path, follow_last=False)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    return ""


def _words(record: dict[str, Any]) -> str:
    if record["kind"] == "run":
        return "$ " + " ".join(record["argv"])
    if record["kind"] == "file" and record["previous"] is not None:
        return f"put the former content of {record['path']} back"
    return f"remove {record['path']}"
