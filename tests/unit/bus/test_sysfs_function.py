"""A function by the files of sysfs: files of a folder here, and the real system calls."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from openhailo.bus.syscalls import LinuxKernel
from openhailo.bus.sysfs import PciFunctionInfo
from openhailo.bus.sysfs_function import PollingInterrupts, SysfsFunction
from openhailo.errors import AccessDenied, DeviceBusy, DeviceError, DeviceLost

ADDRESS = "0000:01:00.0"


class Kernel(LinuxKernel):
    """The real one, except that huge pages are ordinary and some calls fail."""

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}
        self.attributes: list[tuple[str, str]] = []

    def open(self, path: Path) -> int:
        self._may_fail(path.name)
        return super().open(path)

    def write_attribute(self, path: Path, text: str) -> None:
        self._may_fail(path.name)
        self.attributes.append((path.name, text))
        super().write_attribute(path, text)

    def _may_fail(self, name: str) -> None:
        if name in self.fail:
            raise OSError(self.fail[name], os.strerror(self.fail[name]))

    def huge_page_bytes(self) -> int:
        return 2 << 20


def make(root: Path, *, vendor: int = 0x1E60) -> Path:
    folder = root / "bus" / "pci" / "devices" / ADDRESS
    folder.mkdir(parents=True)
    config = bytearray(256)
    config[0:4] = vendor.to_bytes(2, "little") + b"\x64\x28"
    (folder / "config").write_bytes(config)
    for bar, size in ((0, 0x4000), (2, 0x1000), (4, 0x4000)):
        (folder / f"resource{bar}").write_bytes(bytes(size))
    for name in ("enable", "reset"):
        (folder / name).write_text("")
    return folder


def info(driver: str = "", start: int = 0xFE000000) -> PciFunctionInfo:
    bars = ((0, start, 0x4000), (2, 0xFE004000, 0x1000), (4, 0xFE008000, 0x4000))
    return PciFunctionInfo(ADDRESS, 0x1E60, 0x2864, driver=driver, bars=bars)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_life_of_a_function(tmp_path: Path) -> None:
    folder, kernel, before = make(tmp_path), Kernel(), open_descriptors()
    function = SysfsFunction(kernel, info(), tmp_path)
    assert function.config.read(0, 4) == 0x28641E60
    assert function.config.read(4, 2) == 0x0402  # memory, and no interrupt lines
    function.config.write(4, 2, 0x0406)
    window = function.window(2)
    assert function.window(2) is window
    window.write32(0x20, 0x01020304)
    assert (folder / "resource2").read_bytes()[0x20:0x24] == bytes.fromhex("04030201")
    function.reset()
    with pytest.raises(DeviceLost, match="no BAR 1"):
        function.window(1)
    function.close()
    function.close()
    assert kernel.attributes == [("enable", "1"), ("reset", "1"), ("enable", "0")]
    assert (folder / "config").read_bytes()[4:6] == bytes.fromhex("0204")  # no mastering
    assert open_descriptors() == before
    with pytest.raises(ValueError):
        window.read32(0)


def test_a_bar_in_the_middle_of_a_page(tmp_path: Path) -> None:
    """What is mapped is the page; the BAR lies where its address says."""
    folder = make(tmp_path)
    place = mmap.PAGESIZE // 4
    (folder / "resource0").write_bytes(bytes(8 * mmap.PAGESIZE))
    function = SysfsFunction(Kernel(), info(start=0xFE000000 + place), tmp_path)
    function.window(0).write32(0, 0xAABBCCDD)
    assert (folder / "resource0").read_bytes()[place : place + 4] == bytes.fromhex("ddccbbaa")
    function.close()


def test_a_function_that_a_driver_has(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(DeviceBusy, match=r"'hailo' has it; `openhailo bind none"):
        SysfsFunction(Kernel(), info(driver="hailo"), tmp_path)


@pytest.mark.parametrize("name", ["enable", "config", "resource0"])
@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EACCES, AccessDenied, "run as root"),
        (errno.EPERM, AccessDenied, "run as root"),
        (errno.ENOENT, DeviceLost, "does not exist"),
        (errno.EIO, DeviceError, "kernel log"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, number: int, kind: type[DeviceError], words: str) -> None:
    make(tmp_path)
    kernel, before = Kernel(), open_descriptors()
    kernel.fail[name] = number
    with pytest.raises(kind, match=words):
        SysfsFunction(kernel, info(), tmp_path)
    assert open_descriptors() == before


def test_a_card_in_another_place(tmp_path: Path) -> None:
    make(tmp_path, vendor=0xFFFF)
    with pytest.raises(DeviceLost, match="does not show its vendor"):
        SysfsFunction(Kernel(), info(), tmp_path)


# --- polling ---------------------------------------------------------------------------------------------------------


class Steps:
    """A clock that moves by a step each time it is read."""

    def __init__(self, step_s: float) -> None:
        self.now_s, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def status_after(looks: int, value: int = 1) -> Callable[[], int]:
    seen = iter([0] * looks)
    return lambda: next(seen, value)


def test_a_status_is_seen_at_once_and_later() -> None:
    irq = PollingInterrupts(status_after(0), Steps(0))
    irq.enable()
    assert irq.wait(0)
    irq.close()
    irq = PollingInterrupts(status_after(5), Steps(0.0001))
    assert irq.wait(100)
    irq.close()


def test_all_ones_is_something_to_look_at() -> None:
    irq = PollingInterrupts(status_after(1, 0xFFFFFFFF), Steps(0))
    assert irq.wait(1)
    irq.close()


def test_the_wait_ends() -> None:
    clock = Steps(1.0)
    irq = PollingInterrupts(lambda: 0, clock)
    assert not irq.wait(3.5)
    assert clock.now_s <= 6
    assert not irq.wait(-1)
    irq.disable()
    irq.close()
    irq.close()


def test_a_wake_ends_the_wait() -> None:
    irq = PollingInterrupts(lambda: 0, Steps(0))
    irq.wake()
    assert not irq.wait(1000)
    irq.close()
    irq.wake()
