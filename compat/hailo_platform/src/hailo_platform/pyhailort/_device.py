"""`Device` and the older handles of a board (pyhailort-api.md 15, 19)."""

from __future__ import annotations

import argparse
import gc
from typing import Any, NoReturn, Self

from . import _pyhailort
from ._control import Control
from ._exceptions import ExceptionWrapper, HailoRTException
from ._hints import DEVICE, Guided, guided
from ._names import PCIE_ANY_DOMAIN


class Device(metaclass=Guided):
    """A board, for controls; networks run through `VDevice`."""

    _hints_ = DEVICE

    @classmethod
    def scan(cls) -> list[str]:
        """Return the ids of the boards there are."""
        return _pyhailort.Device.scan()

    def __init__(self, device_id: str | None = None) -> None:
        """Open a board; without an id the first of the scan."""
        gc.collect()
        self._device: _pyhailort.Device | None = None
        self._loaded_network_groups: list[Any] = []
        if device_id is None:
            found = self.scan()
            if not found:
                raise HailoRTException("HailoRT device not found in the system")
            device_id = found[0]
        self._device_id = device_id
        self._open_device()
        self._control = Control(self._opened())
        self._control.identify()

    def _open_device(self) -> None:
        # A bad id reaches the program as the raw status, as in the original (pyhailort-api.md 3).
        self._device = _pyhailort.Device.create(self._device_id)
        self._device_id = self._device.device_id

    def _opened(self) -> _pyhailort.Device:
        assert self._device is not None, "opened above"
        return self._device

    def release(self) -> None:
        """Let go of the board. Idempotent."""
        if self._device is not None:
            self._device.release()
            self._device = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.release()

    def __del__(self) -> None:
        # Whoever still holds the controls keeps the board: a temporary Device().control goes on working.
        self._device = None

    def __repr__(self) -> str:
        return f"Device('{self._device_id}')"

    @property
    def device_id(self) -> str:
        """The PCI address."""
        return self._device_id

    @property
    def control(self) -> Control:
        """The controls of the firmware. Keep the device in a variable while they are used."""
        return self._control

    def read_log(self, count: int, cpu_id: Any) -> bytes:
        """Return and consume up to ``count`` bytes of a processor's log."""
        with ExceptionWrapper():
            return self._control._device.read_log(count, cpu_id)

    @property
    def loaded_network_groups(self) -> list[Any]:
        """Networks on this handle: none, since `VDevice` configures them."""
        return self._loaded_network_groups

    @property
    def _loaded_network_group(self) -> Any:
        if len(self._loaded_network_groups) == 1:
            return self._loaded_network_groups[0]
        raise HailoRTException("Access to network group is only allowed when there is a single loaded network group")

    __getattr__ = guided(DEVICE)


class PcieDeviceInfo(_pyhailort.PcieDeviceInfo):
    """The PCI address of a board."""

    BOARD_LOCATION_HELP_STRING = (
        "Board location in the format of the command: \"lspci -d 1e60: | cut -d' ' -f1\" "
        "([<domain>]:<bus>:<device>.<func>)"
    )

    def __init__(self, bus: int, device: int, func: int, domain: int | None = None) -> None:
        """Take the numbers; without a domain any fits."""
        super().__init__()
        self.bus, self.device, self.func = bus, device, func
        self.domain = PCIE_ANY_DOMAIN if domain is None else domain

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _pyhailort.PcieDeviceInfo) and self._numbers() == (
            other.domain,
            other.bus,
            other.device,
            other.func,
        )

    def __hash__(self) -> int:
        return hash(self._numbers())

    def __repr__(self) -> str:
        return f"PcieDeviceInfo('{self}')"

    def _numbers(self) -> tuple[int, int, int, int]:
        return (self.domain, self.bus, self.device, self.func)

    @classmethod
    def from_string(cls, board_location_str: str) -> PcieDeviceInfo:
        """Read ``[domain:]bus:device.function``. Raises `HailoRTException`."""
        try:
            found = _pyhailort.PcieDeviceInfo._parse(board_location_str)
        except _pyhailort.HailoRTException as error:
            raise HailoRTException(str(error)) from error
        return cls(found.bus, found.device, found.func, found.domain)

    @classmethod
    def argument_type(cls, board_location_str: str) -> PcieDeviceInfo:
        """Do the same for ``argparse``."""
        try:
            return cls.from_string(board_location_str)
        except HailoRTException as error:
            raise argparse.ArgumentTypeError(str(error)) from error


class InternalPcieDevice:
    """A thin handle of a board."""

    def __init__(self, device_info: PcieDeviceInfo | None = None) -> None:
        """Open a board; the first one without an address."""
        self.device: _pyhailort.Device | None = None
        if device_info is None:
            found = self.scan_devices()
            if not found:
                raise HailoRTException("HailoRT PCIe device not found in the system")
            device_info = found[0]
        with ExceptionWrapper():
            self.device = _pyhailort.Device.create_pcie(device_info)

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Let go of the board. Idempotent."""
        device, self.device = getattr(self, "device", None), None
        if device is not None:
            device.release()

    @staticmethod
    def scan_devices() -> list[PcieDeviceInfo]:
        """Return the PCI addresses of the boards there are."""
        with ExceptionWrapper():
            found = _pyhailort.PcieScan().scan_devices()
        return [PcieDeviceInfo(info.bus, info.device, info.func, info.domain) for info in found]

    def create_debug_log(self) -> PcieDebugLog:
        """Return a reader of the firmware's logs."""
        return PcieDebugLog(self)

    def _opened(self) -> _pyhailort.Device:
        if self.device is None:
            raise HailoRTException("the device was released")
        return self.device

    def write_memory(self, address: int, data: bytes) -> None:
        """Write memory of the device."""
        with ExceptionWrapper():
            self._opened().direct_write_memory(address, data)

    def read_memory(self, address: int, size: int) -> bytes:
        """Read memory of the device."""
        with ExceptionWrapper():
            return self._opened().direct_read_memory(address, size)


class PcieDebugLog:
    """Reads the firmware's logs."""

    def __init__(self, pci_device: InternalPcieDevice) -> None:
        """Take an open board."""
        self._pcie_device = pci_device

    def read(self, count: int, cpu_id: Any) -> bytes:
        """Return and consume up to ``count`` bytes of a processor's log."""
        with ExceptionWrapper():
            return self._pcie_device._opened().read_log(count, cpu_id)


class InternalEthernetDevice:
    """Would be an Ethernet board."""

    def __init__(
        self, address: str, port: int, response_timeout_seconds: float = 10, max_number_of_attempts: int = 3
    ) -> None:
        """Refuse: there is no Ethernet."""
        self.device = None
        with ExceptionWrapper():
            _pyhailort.Device.create_eth(address, port, response_timeout_seconds, max_number_of_attempts)

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        """Do nothing."""


class HailoUdpScan:
    """Would list Ethernet boards."""

    def __init__(self) -> None:
        """Make the scanner; scanning is what is refused."""
        self._logger = None

    def scan_devices(self, interface_name: str, timeout_seconds: int = 3) -> NoReturn:
        """Refuse: there is no Ethernet."""
        with ExceptionWrapper():
            _pyhailort.UdpScan().scan_devices(interface_name, timeout_seconds)
        raise AssertionError("the call above raises")


class NetworkRateLimiter:
    """Would limit the rate of Ethernet frames."""

    def __init__(self, ip: str, port: int, rate_bytes_per_sec: int) -> None:
        """Refuse: there is no Ethernet."""
        with ExceptionWrapper():
            self._rate_limiter = _pyhailort.NetworkRateLimiter(ip, port)
        self._rate_bytes_per_sec = rate_bytes_per_sec

    def __enter__(self) -> None:
        self.set_rate_limit()

    def __exit__(self, *args: object) -> None:
        self.reset_rate_limit()

    def set_rate_limit(self) -> None:
        """Refuse: there is no Ethernet."""
        with ExceptionWrapper():
            self._rate_limiter.set_rate_limit(self._rate_bytes_per_sec)

    def reset_rate_limit(self) -> None:
        """Refuse: there is no Ethernet."""
        with ExceptionWrapper():
            self._rate_limiter.reset_rate_limit()

    def get_interface_name(ip: str) -> NoReturn:  # type: ignore[misc]  # noqa: N805 - called on the class
        """Refuse: there is no Ethernet. Called on the class, like the original, which lacks a decorator."""
        with ExceptionWrapper():
            _pyhailort.NetworkRateLimiter.get_interface_name(ip)
        raise AssertionError("the call above raises")
