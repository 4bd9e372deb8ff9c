"""Folders that look like machines, and a runner that does to them what the programs would do."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openhailo.setup import Completed, Machine, Platform, Request, Tree, read_machine
from openhailo.setup.request import Wishes, build_request
from openhailo.twin.firmware.image import build_placeholder_image

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux {v} ({n})"\nNAME="Debian GNU/Linux"\nVERSION_ID="{v}"\nID=debian\n'
OS_RELEASE = {
    "debian12": DEBIAN.format(v=12, n="bookworm"),
    "debian13": DEBIAN.format(v=13, n="trixie"),
    "raspberry": DEBIAN.format(v=12, n="bookworm"),
    "ubuntu": 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n',
    "debian11": DEBIAN.format(v=11, n="bullseye"),
    "nothing": "",
}
KERNELS = {
    "debian12": "6.1.0-37-amd64",
    "debian13": "6.12.41+deb13-arm64",
    "raspberry": "6.12.25+rpt-rpi-2712",
}
BDF = "0001:01:00.0"
PASSWD = "root:x:0:0:root:/root:/bin/bash\nanna:x:1000:1000::/home/anna:/bin/bash\n"
GROUP = "root:x:0:\nvideo:x:44:anna\nanna:x:1000:\n"


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every path with its mode and its content (the target of a link, nothing for a folder)."""
    found = {}
    for path in root.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            content = os.fsencode(path.readlink())
        else:
            content = path.read_bytes() if stat.S_ISREG(mode) else b""
        found[str(path.relative_to(root))] = (mode, content)
    return found


@dataclass
class FakeRunner:
    """Writes down what it is asked to run, and does it to the folder; ``fails`` maps a word to an exit code."""

    root: Path
    kernel: str
    driver_version: str = "4.23.0"
    fails: Mapping[str, int] = field(default_factory=dict)
    fields: str = ""
    calls: list[tuple[str, ...]] = field(default_factory=list)
    cards: int = 1
    lazy: bool = False

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Completed:
        assert timeout_s > 0
        self.calls.append(tuple(argv))
        for word in argv:
            if word in self.fails:
                return Completed(self.fails[word], error=f"E: {word} does not work\n")
        if self.lazy:
            return Completed(0)
        name = argv[0].replace("-", "_")
        return getattr(self, name)(list(argv[1:])) or Completed(0)

    @property
    def programs(self) -> list[str]:
        return [call[0] for call in self.calls]

    def dpkg_deb(self, words: list[str]) -> Completed:
        return Completed(0, output=self.fields) if self.fields else Completed(2, error="dpkg-deb: error: not a package")

    def apt_get(self, words: list[str]) -> None:
        names = [word for word in words[1:] if not word.startswith("-")]
        if words[0] == "install":
            for name in names:
                self._install(name)
        if words[0] == "remove":
            self._forget(names)
            self._drop_module()

    def apt_mark(self, words: list[str]) -> None:
        """Nothing else needs them: the next autoremove takes them."""
        self._forget(words[1:])
        if any("headers" in word for word in words):
            shutil.rmtree(self.root / f"lib/modules/{self.kernel}/build", ignore_errors=True)

    def _install(self, name: str) -> None:
        version, architecture = "1.0", "all"
        if name.startswith("/"):
            fields = dict(line.split(": ") for line in self.fields.splitlines())
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            self._put_module()
        if "headers" in name:
            build = self.root / f"lib/modules/{self.kernel}/build"
            build.mkdir(parents=True, exist_ok=True)
            (build / "Makefile").touch()
        with (self.root / "var/lib/dpkg/status").open("a") as status:
            status.write(package_block(name, version, architecture))

    def _forget(self, names: list[str]) -> None:
        path = self.root / "var/lib/dpkg/status"
        kept = [b for b in path.read_text().split("\n\n") if b.split("\n")[0].removeprefix("Package: ") not in names]
        path.write_text("\n\n".join(kept))

    def groupadd(self, words: list[str]) -> None:
        with (self.root / "etc/group").open("a") as file:
            file.write(f"{words[-1]}:x:{os.getgid()}:\n")

    def usermod(self, words: list[str]) -> None:
        self._edit_group(words[-2], lambda members: [*members, words[-1]])

    def gpasswd(self, words: list[str]) -> None:
        self._edit_group(words[-1], lambda members: [member for member in members if member != words[-2]])

    def groupdel(self, words: list[str]) -> None:
        path = self.root / "etc/group"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith(words[-1] + ":")))

    def _edit_group(self, group: str, edit: Callable[[list[str]], list[str]]) -> None:
        path = self.root / "etc/group"
        lines = []
        for line in path.read_text().splitlines():
            head, _, members = line.rpartition(":")
            found = [m for m in members.split(",") if m]
            lines.append(f"{head}:{','.join(edit(found) if line.startswith(group + ':') else found)}\n")
        path.write_text("".join(lines))

    def dkms(self, words: list[str]) -> None:
        name, version = words[words.index("-m") + 1], words[words.index("-v") + 1]
        home = self.root / f"var/lib/dkms/{name}/{version}"
        if words[0] == "add":
            home.mkdir(parents=True)
            (home / "source").symlink_to(f"/usr/src/{name}-{version}")
        elif words[0] == "build":
            (home / self.kernel / "x86_64").mkdir(parents=True)
        elif words[0] == "install":
            self._put_module()
        elif words[0] == "unbuild":
            shutil.rmtree(home / self.kernel)
            self._drop_module()
        elif words[0] == "remove":
            shutil.rmtree(home)
            home.parent.rmdir()
            self._drop_module()

    def _put_module(self) -> None:
        folder = self.root / f"lib/modules/{self.kernel}/updates/dkms"
        folder.mkdir(parents=True)
        (folder / "hailo_pci.ko").write_bytes(b"\x7fELF\0version=" + self.driver_version.encode() + b"\0")
        with (folder.parents[1] / "modules.dep").open("a") as index:
            index.write("updates/dkms/hailo_pci.ko:\n")

    def _drop_module(self) -> None:
        folder = self.root / f"lib/modules/{self.kernel}"
        shutil.rmtree(folder / "updates", ignore_errors=True)
        index = folder / "modules.dep"
        index.write_text(index.read_text().replace("updates/dkms/hailo_pci.ko:\n", ""))

    def modprobe(self, words: list[str]) -> None:
        name = words[-1].replace("-", "_")
        home = self.root / f"sys/module/{name}"
        nodes = [self.root / f"dev/hailo{n}" for n in range(self.cards)] if name == "hailo_pci" else []
        if words[0] == "--remove":
            shutil.rmtree(home)
            for node in nodes:
                node.unlink()
            return
        home.mkdir()
        if name == "hailo_pci":
            (home / "version").write_text(self.driver_version + "\n")
        for node in nodes:
            node.touch(0o660)
            node.chmod(0o660)

    def udevadm(self, words: list[str]) -> None:
        pass


def package_block(name: str, version: str = "1.0", architecture: str = "all") -> str:
    return f"Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: {version}\n\n"


@dataclass
class Computer:
    """A folder that looks like a machine."""

    root: Path
    kind: str
    kernel: str
    runner: FakeRunner
    platform: Platform

    @property
    def tree(self) -> Tree:
        return Tree(self.root)

    @property
    def machine(self) -> Machine:
        return read_machine(self.tree, self.platform)

    def request(self, **wishes: object) -> Request:
        return build_request(Wishes(**wishes), self.machine, self.tree, self.runner)  # type: ignore[arg-type]

    def put(self, path: str, content: str | bytes = "", mode: int = 0o644) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        place.chmod(mode)
        return place

    def add_card(self, address: str = BDF, driver: str = "", group: int | None = None, config: bytes = b"") -> None:
        folder = f"sys/bus/pci/devices/{address}"
        self.put(f"{folder}/vendor", "0x1e60\n")
        self.put(f"{folder}/device", "0x2864\n")
        if config:
            self.put(f"{folder}/config", config)
        if driver:
            (self.root / folder / "driver").symlink_to(f"../../drivers/{driver}")
        if group is not None:
            (self.root / f"sys/kernel/iommu_groups/{group}").mkdir(parents=True, exist_ok=True)
            (self.root / folder / "iommu_group").symlink_to(f"../../../../kernel/iommu_groups/{group}")


def build_computer(root: Path, kind: str) -> Computer:
    kernel = KERNELS.get(kind, "6.8.0-45-generic")
    machine = "x86_64" if kind in ("debian12", "ubuntu", "nothing", "debian11") else "aarch64"
    page = 16384 if kind == "raspberry" else 4096
    computer = Computer(root, kind, kernel, FakeRunner(root, kernel), Platform(kernel, machine, page))
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[machine]
    for folder in ("usr/src", "usr/lib/firmware", "etc/udev/rules.d", "dev", "sys/module", "run", "var/lib/dkms"):
        (root / folder).mkdir(parents=True)
    for folder in ("etc/modprobe.d", "etc/modules-load.d", "etc/security/limits.d", f"usr/lib/modules/{kernel}"):
        (root / folder).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    computer.put("etc/os-release", OS_RELEASE[kind])
    computer.put("etc/passwd", PASSWD)
    computer.put("etc/group", GROUP)
    computer.put("var/lib/dpkg/status", package_block("dpkg", "1.22", architecture))
    modules = "kernel/drivers/vfio/pci/vfio-pci.ko.xz"
    computer.put(f"usr/lib/modules/{kernel}/modules.dep", f"{modules}:\n")
    computer.put(f"usr/lib/modules/{kernel}/{modules}")
    if kind == "raspberry":
        computer.put("etc/rpi-issue", "Raspberry Pi reference 2025-05-13\n")
        computer.put("sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0")
        (root / "proc").mkdir()
        (root / "proc/device-tree").symlink_to("/sys/firmware/devicetree/base")
        computer.put("boot/firmware/config.txt", "dtparam=audio=on\n[cm4]\notg_mode=1", 0o755)
    return computer


def build_driver_tree(folder: Path, version: str = "4.23.0") -> Path:
    major, minor, revision = version.split(".")
    header = "".join(
        f"#define DRIVER_VERSION_{name} ({value})\n"
        for name, value in (("MAJOR", major), ("MINOR", minor), ("REVISION", revision))
    )
    for path, content in {
        "common/hailo_ioctl_common.h": header,
        "linux/pcie/Kbuild": "obj-m := hailo_pci.o\nhailo_pci-objs := src/pcie.o\n",
        "linux/pcie/src/pcie.c": '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n',
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder


def build_firmware(version: tuple[int, int, int] = (4, 23, 0)) -> bytes:
    return build_placeholder_image(version).replace(b"openhailo placeholder", b"machine code of chips")
