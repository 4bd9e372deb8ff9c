"""`openhailo exec`: a program's environment gets two packages and two commands, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hailo_platform import _environment
from openhailo.cli import exec as exec_command
from openhailo.errors import InputError


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def openhailo_exec(*words):
    command = [sys.executable, "-m", "openhailo.cli.main", "exec", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_folder_holds_two_packages_and_two_commands(tmp_path):
    folder = exec_command.shim_folder()
    assert tmp_path in folder.parents
    assert sorted(path.name for path in (folder / "python").iterdir()) == ["hailo_platform", "openhailo"]
    assert sorted(path.name for path in (folder / "bin").iterdir()) == ["hailo", "hailortcli"]
    times = {path: path.lstat().st_mtime_ns for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
    assert exec_command.shim_folder() == folder
    assert all(path.lstat().st_mtime_ns == when for path, when in times.items())


def test_the_environment():
    base = {"PATH": "/usr/bin", "PYTHONPATH": "/mine", "HOME": "/home/me"}
    made = exec_command.environment_of(base, device="twin:hailo8l", reference="a=b.onnx")
    folder = exec_command.shim_folder()
    assert made["PYTHONPATH"].split(os.pathsep) == [str(folder / "python"), "/mine"]
    assert made["PATH"].split(os.pathsep) == [str(folder / "bin"), "/usr/bin"]
    assert made["OPENHAILO_DEVICE"] == "twin:hailo8l" and made["OPENHAILO_REFERENCE"] == "a=b.onnx"
    plain = exec_command.environment_of(base)
    assert "OPENHAILO_DEVICE" not in plain and plain["HOME"] == "/home/me"
    named = exec_command.environment_of(base, reference="model.onnx")
    assert named["OPENHAILO_REFERENCE"] == str(Path("model.onnx").resolve())


def test_a_program_runs(tmp_path):
    program = tmp_path / "app.py"
    program.write_text("import sys, hailo_platform\nprint(hailo_platform.Device.scan(), sys.argv[1:])\nsys.exit(7)\n")
    done = openhailo_exec("--device", "twin:", "--", sys.executable, str(program), "--flag", "x")
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == "['ffff:01:00.0'] ['--flag', 'x']\n"


def test_the_command_line_is_there():
    done = openhailo_exec("--device", "twin:", "--", "hailortcli", "fw-control", "identify")
    assert done.returncode == 0
    assert "Device Architecture: HAILO8\n" in done.stdout
    assert openhailo_exec("--", "hailo", "--version").stdout == "HailoRT v4.23.0\n"


def test_no_such_program():
    done = openhailo_exec("--", "no-such-program")
    assert done.returncode == 1
    assert "openhailo exec -- python app.py" in done.stderr


def test_where_the_package_is(monkeypatch, tmp_path):
    assert (exec_command.compat_package() / "pyhailort" / "pyhailort.py").is_file()
    monkeypatch.setattr(exec_command, "__file__", str(tmp_path / "a/b/openhailo/cli/exec.py"))
    assert exec_command.compat_package().name == "hailo_platform"  # installed beside openhailo
    monkeypatch.setattr(exec_command, "COMPAT_DISTRIBUTION", "no-such-distribution")
    with pytest.raises(InputError, match="pip install no-such-distribution"):
        exec_command.compat_package()


def test_missing_packages(monkeypatch):
    monkeypatch.setattr(_environment, "NEEDED", ("numpy", "no_such.package", "no_such_either"))
    monkeypatch.delenv("OPENHAILO_EXEC_SITE", raising=False)
    with pytest.raises(ImportError, match=r"-m pip install no_such\.package no_such_either$"):
        _environment.prepare()


def test_missing_packages_come_from_openhailo(monkeypatch, tmp_path):
    (tmp_path / "lacking_here.py").write_text("")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(_environment, "NEEDED", ("numpy", "lacking_here"))
    monkeypatch.setenv("OPENHAILO_EXEC_SITE", str(tmp_path))
    monkeypatch.setenv("OPENHAILO_EXEC_PYTHON", "2.7")
    with pytest.raises(ImportError, match="lacking_here"):
        _environment.prepare()
    monkeypatch.setenv("OPENHAILO_EXEC_PYTHON", f"{sys.version_info[0]}.{sys.version_info[1]}")
    _environment.prepare()
    assert sys.path[-1] == str(tmp_path)


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(_environment.sys, "version_info", (3, 9, 2))
    with pytest.raises(ImportError, match=r"needs Python 3\.11 or newer, this is 3\.9"):
        _environment.prepare()
