"""A PCI function as the guest's kernel shows it."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import openhailo
from openhailo.cli.bind import command
from openhailo.errors import OpenHailoError
from openhailo.twin.firmware.image import build_placeholder_image

BUS = Path("/sys/bus/pci")
#: Everything here is answered within milliseconds; a kernel that resets or removes a device may take seconds.
_LIMIT_S = 20.0


def wait_until(what: str, ready, limit_s: float = _LIMIT_S) -> None:
    """Poll ``ready`` until it is true; fails with ``what``."""
    deadline = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not within {limit_s} s"
        time.sleep(0.01)


class Function:
    """The function at ``address``."""

    def __init__(self, address: str) -> None:
        self.address, self.folder = address, BUS / "devices" / address
        self.name = f"pci:{address}"

    @property
    def present(self) -> bool:
        """Whether the kernel lists it."""
        return (self.folder / "vendor").exists()

    @property
    def driver(self) -> str:
        """The name of the driver it is bound to, or nothing."""
        link = self.folder / "driver"
        return link.readlink().name if link.is_symlink() else ""

    def read(self, attribute: str) -> str:
        """Return an attribute."""
        return (self.folder / attribute).read_text().strip()

    def write(self, attribute: str, text: str) -> None:
        """Write an attribute."""
        (self.folder / attribute).write_text(text)

    def config(self, offset: int, width: int) -> int:
        """Read configuration space; this wakes a function that sleeps."""
        with (self.folder / "config").open("rb") as file:
            file.seek(offset)
            return int.from_bytes(file.read(width), "little")

    def capability(self, wanted: int) -> int:
        """Return where capability ``wanted`` begins."""
        at, seen = self.config(0x34, 1), set()
        while at and at not in seen:
            seen.add(at)
            if self.config(at, 1) == wanted:
                return at
            at = self.config(at + 1, 1)
        raise AssertionError(f"no capability 0x{wanted:02X}")

    def bind(self) -> None:
        """Give it to VFIO as `openhailo bind vfio ADDRESS --apply` does."""

        def probe() -> bool:
            command("vfio", self.address, apply=True)
            return self.driver == "vfio-pci"

        # A function that was just plugged is listed before the kernel lets drivers have it.
        wait_until("a driver", probe)

    def unbind(self) -> None:
        """Take it away from every driver."""
        command("none", self.address, apply=True)
        assert not self.driver

    def open(self, **options):
        """Open it with our driver, with a placeholder for firmware."""
        return openhailo.open(self.name, firmware=build_placeholder_image(), **options)


def rescan() -> None:
    """Have the kernel look for functions."""
    (BUS / "rescan").write_text("1")


def kernel_log() -> list[str]:
    """Return the kernel's messages of level error and worse."""
    lines = []
    with Path("/dev/kmsg").open("rb", buffering=0) as file:
        os.set_blocking(file.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while record := file.read(8192):
                head, _, text = record.decode(errors="replace").partition(";")
                if int(head.split(",")[0]) & 7 <= 3:
                    lines.append(text.split("\n")[0])
    return lines


def error_of(action) -> OpenHailoError:
    """Return the error that ``action`` must end in."""
    try:
        result = action()
    except OpenHailoError as error:
        return error
    raise AssertionError(f"gave {result!r} instead of an error")
