"""The device-file port: the twin behind a virtual kernel driver of any release, 4.17.0 ... 4.23.0, in process.

`VirtualKernelDriver` probes the twin as the release does and hands out opens that behave as ``/dev/hailoN`` does
(`openhailo.bus.protocols.DeviceFile`). The semantics are in `openhailo.twin.ports.kernel`, from driver.md alone.
"""

from __future__ import annotations

from .kernel.driver import VirtualKernelDriver
from .kernel.files import VirtualDeviceFile
from .kernel.releases import VERSIONS, Release, parse_release

#: The releases that can be asked for, oldest first.
RELEASES = tuple(".".join(map(str, version)) for version in VERSIONS)

__all__ = ["RELEASES", "Release", "VirtualDeviceFile", "VirtualKernelDriver", "parse_release"]
