"""Setup inside a throw-away Debian 13 and 12, with the real programs: DKMS compiles, udev and modprobe read.

Only the card and the running kernel are missing. Needs root and a Debian mirror; skips with the reason otherwise.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.setup_root import build_root
from tests.unit.setup.computers import build_driver_tree, build_firmware
from tests.vm.packages import RigMissing

from openhailo.setup import SystemRunner
from openhailo.setup.source import read_tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MODULE = """
#include <linux/module.h>
#include "../../../common/hailo_ioctl_common.h"
static bool no_power_mode;
module_param(no_power_mode, bool, 0444);
static int __init start(void) { return DRIVER_VERSION_MAJOR - 4; }
static void __exit stop(void) { }
module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
MODULE_VERSION("4.23.0");
"""
#: What programs of the system keep for themselves: the state before the last change, and locks.
BACKUPS = {"etc/passwd-", "etc/group-", "etc/gshadow-", "etc/.pwd.lock", "etc/subuid-", "etc/subgid-"}
READ = ("etc/", "var/lib/", "usr/lib/modules/", "usr/lib/firmware/", "usr/src/hailo", "dev/")


@dataclass
class Sandbox:
    """The throw-away system."""

    root: Path
    kernel: str

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the sandbox, as setup does."""
        done = SystemRunner(self.root).run(words, timeout_s=300)
        return subprocess.CompletedProcess(words, done.code, done.output, done.error)

    def verify_rules(self) -> None:
        """Let udev read the rules; Debian 12's cannot yet."""
        done = self.run("udevadm", "verify", "/etc/udev/rules.d")
        if "verify" in self.run("udevadm", "--help").stdout:
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Success: 1" in done.stdout

    def setup(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `openhailo setup` on it."""
        command = [sys.executable, "-m", "openhailo.cli.main", "setup", *map(str, words), "--root", str(self.root)]
        return subprocess.run([*command, "--kernel", self.kernel], capture_output=True, text=True, check=False)

    def snapshot(self) -> dict[str, object]:
        """Every path; mode and hash of those that setup and its programs could touch."""
        found: dict[str, object] = {}
        for folder, names, files in os.walk(self.root):
            for name in (*names, *files):
                path = Path(folder, name)
                relative = str(path.relative_to(self.root))
                if relative in BACKUPS or relative.startswith("tmp/"):
                    continue
                found[relative] = _mark(path) if relative.startswith(READ) else None
        return found


def _mark(path: Path) -> object:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return path.readlink()
    # depmod writes its indexes anew; they have the same entries in the same order, and no dates.
    return mode, hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(mode) else ""


@pytest.fixture(scope="module", params=["trixie", "bookworm"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    folder = Path(tempfile.mkdtemp(prefix="openhailo-setup-"))
    try:
        yield Sandbox(folder / "root", build_root(folder / "root", request.param))
    except RigMissing as missing:
        if missing.reachable:
            raise
        pytest.skip(f"no sandbox: {missing}")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A driver of our own, in a folder with an awkward name, one that does not compile, and firmware."""
    folder = tmp_path_factory.mktemp("what the user has; $(touch pwned)")
    driver = build_driver_tree(folder / "driver 'four'")
    (driver / "linux/pcie/src/pcie.c").write_text(MODULE)
    broken = build_driver_tree(folder / "broken", "4.22.0")
    (broken / "linux/pcie/src/pcie.c").write_text("#error not today\n")
    (folder / "fw.bin").write_bytes(build_firmware())
    return {"driver": driver, "broken": broken, "firmware": folder / "fw.bin"}


def test_the_kernel_drivers_way_there_and_back(sandbox: Sandbox, files: dict[str, Path]) -> None:
    wishes = ("kernel", "--driver-source", files["driver"], "--firmware", files["firmware"], "--user", "anna")
    wishes += ("--module-option", "no_power_mode=Y")
    before = sandbox.snapshot()
    dry = sandbox.setup(*wishes)
    assert dry.returncode == 0, dry.stderr
    assert "$ dkms build -m hailo_pci -v 4.23.0" in dry.stdout
    assert sandbox.snapshot() == before

    done = sandbox.setup(*wishes, "--apply")
    assert done.returncode == 0, done.stderr
    facts = sandbox.run("modinfo", "-k", sandbox.kernel, "hailo_pci").stdout
    assert "4.23.0" in facts
    assert sandbox.kernel in facts
    depends = sandbox.run("modprobe", "--set-version", sandbox.kernel, "--show-depends", "hailo_pci").stdout
    assert "no_power_mode=Y" in depends
    assert "options hailo_pci no_power_mode=Y" in sandbox.run("modprobe", "--showconfig").stdout
    sandbox.verify_rules()
    assert "hailo" in sandbox.run("id", "-nG", "anna").stdout.split()
    placed = sandbox.root / "lib/firmware/hailo/hailo8_fw.bin"
    assert placed.read_bytes() == files["firmware"].read_bytes()

    during = sandbox.snapshot()
    assert {name for name in before if during[name] != before[name]} >= {"etc/group"}
    built = f"usr/lib/modules/{sandbox.kernel}/updates/dkms/hailo_pci.ko"  # Debian 13 compresses it
    assert any(name in during for name in (built, f"{built}.xz"))

    again = sandbox.setup(*wishes)
    assert "\n0 to do, 0 blocked" in again.stdout
    undone = sandbox.setup("--undo", "--apply")
    assert undone.returncode == 0, undone.stdout
    assert sandbox.snapshot() == before


def test_the_way_without_a_driver_there_and_back(sandbox: Sandbox, files: dict[str, Path]) -> None:
    wishes = ("vfio", "--firmware", files["firmware"], "--user", "anna")
    before = sandbox.snapshot()
    done = sandbox.setup(*wishes, "--apply")
    assert done.returncode == 0, done.stderr
    config = sandbox.run("modprobe", "--showconfig").stdout
    assert "options vfio_pci ids=1e60:2864" in config
    assert "softdep hailo_pci pre: vfio-pci" in config
    sandbox.verify_rules()
    assert sandbox.setup("--undo", "--apply").returncode == 0
    assert sandbox.snapshot() == before


def test_a_driver_that_was_registered_before(sandbox: Sandbox, files: dict[str, Path]) -> None:
    source = sandbox.root / "usr/src/hailo_pci-4.23.0"
    shutil.copytree(files["driver"], source)
    (source / "dkms.conf").write_text(read_tree(files["driver"]).dkms_conf)
    added = sandbox.run("dkms", "add", "-m", "hailo_pci", "-v", "4.23.0")
    assert added.returncode == 0, added.stderr
    before = sandbox.snapshot()
    done = sandbox.setup("--driver-source", files["driver"], "--firmware", files["firmware"], "--apply")
    assert done.returncode == 0, done.stderr
    assert "installed" in sandbox.run("dkms", "status").stdout
    assert sandbox.setup("--undo", "--apply").returncode == 0
    assert "hailo_pci/4.23.0: added" in sandbox.run("dkms", "status").stdout
    # DKMS compiles in a folder of its own, which it makes and removes as it likes.
    scratch = "var/lib/dkms/hailo_pci/4.23.0/build"
    assert sandbox.snapshot() | {scratch: 0} == before | {scratch: 0}
    sandbox.run("dkms", "remove", "-m", "hailo_pci", "-v", "4.23.0", "--all")
    shutil.rmtree(source)


def test_a_driver_that_does_not_compile(sandbox: Sandbox, files: dict[str, Path]) -> None:
    before = sandbox.snapshot()
    wishes = ("kernel", "--driver-source", files["broken"], "--firmware", files["firmware"])
    failed = sandbox.setup(*wishes, "--apply")
    assert failed.returncode == 1
    assert "setup step 'driver': dkms build" in failed.stderr
    assert "--undo" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert sandbox.setup("--undo", "--apply").returncode == 0
    assert sandbox.snapshot() == before
