"""Requests to the kernel driver: built from the release's tables, errors typed, signals survived."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Any

from openhailo.bus.chardev import driver_error, retry_interrupted
from openhailo.bus.protocols import DeviceFile
from openhailo.errors import DeviceLost, OpenHailoError, VersionUnsupported
from openhailo.spec.ioctl import KERNEL, Ioctl, IoctlRules, KernelSpec, Release
from openhailo.spec.layout import SCALARS, Member

Version = tuple[int, int, int]


class Calls:
    """The requests of one release over one open of the node. Safe for several threads."""

    def __init__(self, file: DeviceFile, release: Release, rules: IoctlRules = KERNEL.rules) -> None:
        self.file, self.release, self.rules = file, release, rules

    def raw(self, name: str, argument: bytearray) -> int:
        """Make request ``name`` with ``argument``, again if a signal interrupts it. Raises ``OSError``, `Cancelled`."""
        number = self.release[name].number
        return retry_interrupted(lambda: self.file.ioctl(number, argument))

    def call(self, name: str, **values: Any) -> dict[str, Any]:
        """Make request ``name``; return the members of its structure afterwards, and the result as ``returned``."""
        layout = self.release[name].struct
        argument = bytearray(layout.pack(**values))
        try:
            returned = self.raw(name, argument)
        except OSError as error:
            raise self.typed(error, name) from error
        return {**layout.unpack(argument), "returned": returned}

    def typed(self, error: OSError, name: str) -> OpenHailoError:
        """Return what an error of request ``name`` means.

        After a suspend the driver answers everything with EINVAL (driver.md 8.1 row 37); so does a wrong argument, and
        only asking for the version, which cannot be wrong, tells them apart.
        """
        if error.errno == errno.EINVAL and self._is_invalid():
            return DeviceLost(name=self.file.name, detail="the system was suspended, which ended this open")
        return driver_error(error, name=self.file.name, what=name)

    def _is_invalid(self) -> bool:
        query = self.release["QUERY_DRIVER_INFO"]
        try:
            retry_interrupted(lambda: self.file.ioctl(query.number, bytearray(query.struct.size)))
        except OSError as error:
            return error.errno == errno.EINVAL
        return False


def codec(members: Sequence[Member]) -> struct.Struct:
    """Compile scalar members that follow each other, for paths that run once per frame."""
    assert all(SCALARS[str(member.type)][0][0] == "<" and member.count == 1 for member in members)
    return struct.Struct("<" + "".join(SCALARS[str(member.type)][0][1] for member in members))


def read_version(file: DeviceFile, kernel: KernelSpec = KERNEL) -> Version:
    """Ask for the driver's version: releases from 4.18 know the first number, 4.17 the second (driver.md 7.2).

    Raises `VersionUnsupported` when neither is known, `DeviceError`.
    """
    for probe in kernel.probes:
        version = _try_probe(file, probe)
        if version is not None:
            return version
    raise VersionUnsupported(component="the kernel driver of", version=file.name, supported=_supported())


def find_release(version: Version, *, allow_unknown: bool = False, kernel: KernelSpec = KERNEL) -> Release:
    """Return the tables for ``version``; for an unknown one those of the nearest older release, if that is allowed.

    Drivers from 5.0 on are refused always: their interface has 40 channels, and they do not drive this chip any more
    (driver.md 1.1, 7.6). Raises `VersionUnsupported`.
    """
    text = ".".join(map(str, version))
    known = kernel.releases.get(text)
    if known is not None:
        return known
    if version >= (5, 0, 0):
        raise VersionUnsupported(
            component="kernel driver",
            version=f"{text} (drivers from 5.0 on are for other chips)",
            supported="hailo_pci 4.23.0 for a Hailo-8 or Hailo-8L",
        )
    older = [release for release in kernel.releases.values() if release.version <= version]
    if not allow_unknown or not older:
        hint = ", or try it at your own risk with allow_unknown_driver=True (--allow-unknown-driver)" if older else ""
        raise VersionUnsupported(component="kernel driver", version=text, supported=_supported() + hint)
    return older[-1]


def _try_probe(file: DeviceFile, probe: Ioctl) -> Version | None:
    argument = bytearray(probe.struct.size)
    try:
        retry_interrupted(lambda: file.ioctl(probe.number, argument))
    except OSError as error:
        if error.errno == errno.ENOTTY:
            return None
        raise driver_error(error, name=file.name, what=probe.name) from error
    info = probe.struct.unpack(argument)
    return info["major_version"], info["minor_version"], info["revision_version"]


def _supported() -> str:
    names = list(KERNEL.releases)
    return f"hailo_pci {names[0]} to {names[-1]}"
