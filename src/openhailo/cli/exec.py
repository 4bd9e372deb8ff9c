"""Run a program that was written for HailoRT: `hailo_platform` and `hailortcli` are there for it, nothing is installed.

The program's own Python, 3.11 or newer, and its own packages are used. NumPy, protobuf, xxhash and onnxruntime come
from openhailo's environment where the program's lacks them and both are of the same Python version.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import stat
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from openhailo.errors import InputError

from ._output import DeviceOption

NAME = "exec"
#: Distribution that holds `hailo_platform`, when it is installed beside openhailo.
COMPAT_DISTRIBUTION = "openhailo-hailo-platform"
#: What the child is told: where missing packages are, and for which Python they were made.
SITE_VARIABLE, VERSION_VARIABLE = "OPENHAILO_EXEC_SITE", "OPENHAILO_EXEC_PYTHON"
REFERENCE_VARIABLE, DEVICE_VARIABLE = "OPENHAILO_REFERENCE", "OPENHAILO_DEVICE"
#: Commands that the program finds in its PATH, and the modules behind them.
COMMANDS = {"hailortcli": "hailo_platform.tools.hailortcli.main", "hailo": "hailo_platform.tools.hailocli.main"}


def command(
    program: Annotated[list[str], typer.Argument(help="The program and its arguments, after `--`.")],
    device: DeviceOption = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="ONNX file with the numerics of HEFs compiled for silicon (twin only)."),
    ] = None,
) -> None:
    """Run `openhailo exec -- python app.py`."""
    environment = environment_of(os.environ, device=device, reference=reference)
    path = shutil.which(program[0], path=environment["PATH"])
    if path is None:
        raise InputError(what=program[0], detail="there is no such program; write `openhailo exec -- python app.py`")
    sys.stdout.flush()
    os.execve(path, program, environment)


def environment_of(
    base: os._Environ[str] | dict[str, str], *, device: str | None = None, reference: str | None = None
) -> dict[str, str]:
    """Return the environment of a program: `base`, with our folder in front of its paths."""
    folder = shim_folder()
    made = dict(base)
    made["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder / "python"), base.get("PYTHONPATH", "")]))
    made["PATH"] = os.pathsep.join(filter(None, [str(folder / "bin"), base.get("PATH", os.defpath)]))
    made[SITE_VARIABLE] = os.pathsep.join(dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")))
    made[VERSION_VARIABLE] = f"{sys.version_info.major}.{sys.version_info.minor}"
    if device is not None:
        made[DEVICE_VARIABLE] = device
    if reference is not None:
        made[REFERENCE_VARIABLE] = str(Path(reference).resolve()) if "=" not in reference else reference
    return made


def shim_folder() -> Path:
    """Return a folder with the two packages and the two commands, and nothing else; made once per installation."""
    compat, own = compat_package(), Path(__file__).resolve().parents[1]
    key = hashlib.sha256(f"{compat}\0{own}\0{sys.executable}".encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openhailo" / "exec"
    folder = base / key
    for place in ("python", "bin"):
        (folder / place).mkdir(parents=True, exist_ok=True, mode=0o700)
    _link(folder / "python" / "hailo_platform", compat)
    _link(folder / "python" / "openhailo", own)
    for name, module in COMMANDS.items():
        _write_script(folder / "bin" / name, module, folder / "python")
    return folder


def compat_package() -> Path:
    """Return the folder of our `hailo_platform`: in this package, in the working copy, or installed beside us."""
    own = Path(__file__).resolve().parents[1]
    for found in (own / "_compat" / "hailo_platform", own.parents[1] / "compat/hailo_platform/src/hailo_platform"):
        if (found / "__init__.py").is_file():
            return found
    try:
        metadata.distribution(COMPAT_DISTRIBUTION)
        spec = importlib.util.find_spec("hailo_platform")
    except metadata.PackageNotFoundError:
        spec = None
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent
    raise InputError(what="hailo_platform", detail=f"it is not here; install it: pip install {COMPAT_DISTRIBUTION}")


def _link(place: Path, target: Path) -> None:
    if place.is_symlink() and place.readlink() == target:
        return
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    fresh.symlink_to(target)
    fresh.replace(place)


def _write_script(place: Path, module: str, packages: Path) -> None:
    """Write a command that runs in openhailo's own environment, whatever the program's is."""
    text = (
        f"#!{sys.executable}\nimport sys\n\nsys.path.insert(0, {str(packages)!r})\n"
        f"from {module} import main\n\nsys.exit(main())\n"
    )
    if place.is_file() and place.read_text(encoding="utf-8") == text:
        return
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(stat.S_IRWXU)
    fresh.replace(place)
