"""Where pictures come from: files, folders and glob patterns."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from openhailo.errors import InputError
from openhailo.vision.images import READABLE_SUFFIXES

_WILDCARDS = frozenset("*?[")


def find_images(inputs: Iterable[str | Path]) -> list[Path]:
    """The picture files that the inputs name, in their order, each once.

    A file is taken whatever its suffix; a folder gives the pictures directly in it, sorted; a pattern (``*``, ``?``,
    ``[...]``, ``**``) gives the picture files that match, sorted.

    Raises:
        InputError: an input that does not exist, or names no picture.
    """
    found: dict[Path, None] = {}
    for entry in inputs:
        found.update(dict.fromkeys(_expand(str(entry))))
    return list(found)


def _expand(entry: str) -> Iterator[Path]:
    path = Path(entry)
    if path.is_dir():
        yield from _some(sorted(p for p in path.iterdir() if _is_picture(p)), entry, "folder without pictures")
    elif path.exists():
        yield path
    elif _WILDCARDS & set(entry):
        matches = sorted(Path(match) for match in glob.iglob(entry, recursive=True))  # noqa: PTH207 - Path.glob refuses absolute ones
        yield from _some([p for p in matches if _is_picture(p)], entry, "matches no picture")
    else:
        raise InputError(what=entry, detail="no such file or folder")


def _some(paths: list[Path], entry: str, complaint: str) -> list[Path]:
    if not paths:
        raise InputError(what=entry, detail=f"{complaint} ({' '.join(sorted(READABLE_SUFFIXES))})")
    return paths


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in READABLE_SUFFIXES and path.is_file()
