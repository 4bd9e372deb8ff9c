"""The cache of compiled networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from openhailo.runtime.compiled import cache_dir, cache_key, load_or_compile, save_atomically


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "m.onnx"
    path.write_bytes(b"model")
    return path


def test_compiles_once_per_content_and_options(model):
    asked = []

    def compile_model(path, options):
        asked.append((path.read_bytes(), dict(options)))
        return b"hef of " + path.read_bytes()

    assert load_or_compile(model, {}, compile_model) == b"hef of model"
    assert load_or_compile(model, {}, compile_model) == b"hef of model"
    load_or_compile(model, {"a": 1}, compile_model)
    load_or_compile(model, {"a": 2}, compile_model)
    model.write_bytes(b"other")
    assert load_or_compile(model, {}, compile_model) == b"hef of other"
    assert asked == [(b"model", {}), (b"model", {"a": 1}), (b"model", {"a": 2}), (b"other", {})]


def test_a_cache_that_cannot_be_written_costs_only_time(model, monkeypatch):
    blocked = model.parent / "cache"
    blocked.write_bytes(b"a file where the folder should be")
    assert load_or_compile(model, {}, lambda path, options: b"hef") == b"hef"


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        save_atomically(tmp_path / "x.hef", b"content")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_where_the_desktop_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "openhailo" / "compiled"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / ".cache" / "openhailo" / "compiled"


def test_keys_do_not_depend_on_the_order_of_options():
    assert cache_key(b"m", {"a": 1, "b": 2}) == cache_key(b"m", {"b": 2, "a": 1})
    assert cache_key(b"m", {"a": 1}) != cache_key(b"m", {"a": "1"})
