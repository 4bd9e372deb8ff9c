"""Older classes of controls; use ``Device().control`` (pyhailort-api.md 19)."""

from __future__ import annotations

from typing import Any

from hailo_platform.common.logger.logger import default_logger

from ._control import Control
from ._device import InternalEthernetDevice, InternalPcieDevice, PcieDeviceInfo


class ControlObjectException(Exception):
    """A control that cannot be."""


class FirmwareUpdateException(Exception):
    """An update of the firmware that failed."""


class HailoControl(Control):
    """Deprecated: `Control`."""


class HcpControl(HailoControl):
    """Deprecated: `Control`."""


class UdpHcpControl(HcpControl):
    """Would control an Ethernet board."""

    def __init__(
        self,
        remote_ip: str,
        device: Any = None,
        remote_control_port: int = 22401,
        retries: int = 2,
        response_timeout_seconds: float = 10.0,
        ignore_socket_errors: bool = False,
    ) -> None:
        """Refuse: there is no Ethernet."""
        InternalEthernetDevice(remote_ip, remote_control_port, response_timeout_seconds, retries + 1)


class PcieHcpControl(HcpControl):
    """Deprecated: ``Device().control``."""

    def __init__(self, device: Any = None, device_info: PcieDeviceInfo | None = None) -> None:
        """Control an open device, or open the one at an address."""
        default_logger().warning("PcieHcpControl is deprecated! Please use Control object")
        self._owner: InternalPcieDevice | None = None
        if device is None:
            self._owner = InternalPcieDevice(device_info)
            device = self._owner.device
        super().__init__(device)

    def release(self) -> None:
        """Close the device, if it was opened here."""
        if self._owner is not None:
            self._owner.release()
