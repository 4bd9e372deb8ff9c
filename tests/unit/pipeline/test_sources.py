"""Files, folders and patterns become lists of pictures."""

from __future__ import annotations

import pytest

from openhailo.errors import InputError
from openhailo.pipeline.sources import find_images


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", "deep/c.webp", "odd[1].png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_a_folder_gives_its_pictures_sorted(folder):
    assert names(find_images([folder])) == ["a.JPG", "b.png", "odd[1].png"]


def test_patterns(folder):
    assert names(find_images([f"{folder}/?.*"])) == ["a.JPG", "b.png"]
    assert names(find_images([f"{folder}/**/*.webp"])) == ["c.webp"]


def test_order_is_kept_and_each_comes_once(folder):
    paths = find_images([folder / "b.png", folder, str(folder / "notes.txt"), f"{folder}/b*"])
    assert names(paths) == ["b.png", "a.JPG", "odd[1].png", "notes.txt"]


def test_a_name_with_brackets_is_a_file_first(folder):
    assert names(find_images([folder / "odd[1].png"])) == ["odd[1].png"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [("missing.png", "no such file"), ("*.gif", "matches no picture"), ("folder.png", "folder without pictures")],
)
def test_what_names_no_picture_is_refused(folder, entry, message):
    with pytest.raises(InputError, match=message):
        find_images([folder / entry])
