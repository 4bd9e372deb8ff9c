"""Older handles of devices; use `Device` and `VDevice` (pyhailort-api.md 19)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Self

import numpy as np

from hailo_platform.common.logger.logger import default_logger

from . import _pyhailort
from ._control import Control
from ._device import HailoUdpScan, InternalEthernetDevice, InternalPcieDevice, PcieDeviceInfo
from .control_object import PcieHcpControl


class InferenceTargets:
    """Kinds of devices."""

    UNINITIALIZED = "uninitialized"
    UDP_CONTROLLER = "udp"
    PCIE_CONTROLLER = "pcie"


class HailoHWObjectException(Exception):
    """A question that this device cannot answer."""


class HailoHWObject:
    """Deprecated: what a device has in common."""

    NAME = InferenceTargets.UNINITIALIZED
    IS_HARDWARE = True

    def __init__(self) -> None:
        """Begin without networks."""
        self._id = "UNKNOWN"
        self._loaded_network_groups: list[Any] = []
        self._is_device_used = False
        default_logger().warning(f"{type(self).__name__} is deprecated! Please use VDevice object")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) or self.name == other

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def name(self) -> str:
        """The kind of device."""
        return type(self).NAME

    @property
    def is_hardware(self) -> bool:
        """Whether it is a chip."""
        return self.IS_HARDWARE

    @property
    def device_id(self) -> str:
        """The PCI address."""
        return self._id

    @property
    def sorted_output_layer_names(self) -> list[str]:
        """The outputs of the one network."""
        return list(self._only_group().get_sorted_output_names())

    @contextmanager
    def use_device(self, *args: object, **kwargs: object) -> Iterator[None]:
        """Mark the device as in use."""
        self._is_device_used = True
        try:
            yield
        finally:
            self._is_device_used = False

    def get_output_device_layer_to_original_layer_map(self) -> dict[str, list[str]]:
        """Return output -> layers of the model."""
        return {info.name: [info.name] for info in self._only_group().get_output_vstream_infos()}

    def get_original_layer_to_device_layer_map(self) -> dict[str, str]:
        """Return layer of the model -> output."""
        found = self.get_output_device_layer_to_original_layer_map()
        return {original: name for name, originals in found.items() for original in originals}

    @property
    def device_input_layers(self) -> list[str]:
        """The inputs of the one network."""
        return [info.name for info in self._only_group().get_input_vstream_infos()]

    @property
    def device_output_layers(self) -> list[str]:
        """The outputs of the one network."""
        return [info.name for info in self._only_group().get_output_vstream_infos()]

    def hef_loaded(self) -> bool:
        """Whether a network is configured."""
        return bool(self._loaded_network_groups)

    def outputs_count(self) -> int:
        """How many outputs the network has."""
        return len(self.device_output_layers)

    def _clear_shapes(self) -> None:
        self._hw_consts = None

    @property
    def model_name(self) -> str:
        """The name of the network."""
        return str(self._only_group().name)

    def get_output_shapes(self) -> Any:
        """The shapes of the outputs, in order."""
        return self._only_group().get_output_shapes()

    def _only_group(self) -> Any:
        if len(self._loaded_network_groups) != 1:
            raise HailoHWObjectException("Access to network group is only allowed when there is a single loaded group")
        return self._loaded_network_groups[0]


class HailoChipObject(HailoHWObject):
    """Deprecated: a chip."""

    def __init__(self) -> None:
        """Begin without a device."""
        super().__init__()
        self._control_object: Control | None = None
        self._device: Any = None

    @property
    def control(self) -> Control:
        """The controls of the firmware."""
        if self._control_object is None:
            raise HailoHWObjectException("The device has been released")
        return self._control_object

    def get_all_input_layers_dtype(self) -> dict[str, np.dtype[Any]]:
        """Return input -> element type."""
        infos = self._only_group().get_input_stream_infos()
        return {info.name: np.dtype(f"uint{8 * info.data_bytes}") for info in infos}

    def get_input_vstream_infos(self, network_name: str | None = None) -> Any:
        """Describe the inputs."""
        return self._only_group().get_input_vstream_infos(network_name)

    def get_output_vstream_infos(self, network_name: str | None = None) -> Any:
        """Describe the outputs."""
        return self._only_group().get_output_vstream_infos(network_name)

    def get_all_vstream_infos(self, network_name: str | None = None) -> Any:
        """Describe inputs, then outputs."""
        return self._only_group().get_all_vstream_infos(network_name)

    def get_input_stream_infos(self, network_name: str | None = None) -> Any:
        """Describe the channels to the device."""
        return self._only_group().get_input_stream_infos(network_name)

    def get_output_stream_infos(self, network_name: str | None = None) -> Any:
        """Describe the channels from the device."""
        return self._only_group().get_output_stream_infos(network_name)

    def get_all_stream_infos(self, network_name: str | None = None) -> Any:
        """Describe the channels to the device, then those from it."""
        return self._only_group().get_all_stream_infos(network_name)

    @property
    def loaded_network_groups(self) -> list[Any]:
        """The networks on this handle."""
        return self._loaded_network_groups

    @property
    def _loaded_network_group(self) -> Any:
        return self._only_group()

    def get_input_shape(self, name: str | None = None) -> Any:
        """Return the shape of an input; the first one without a name."""
        infos = {info.name: info for info in self.get_input_vstream_infos()}
        wanted = next(iter(infos)) if name is None else name
        if wanted not in infos:
            raise HailoHWObjectException(f"There is no input {wanted}; there is {', '.join(infos)}")
        return infos[wanted].shape

    def get_index_from_name(self, name: str) -> int:
        """Return the number of a stream."""
        for info in self.get_all_stream_infos():
            if info.name == name:
                return int(info.sys_index)
        raise HailoHWObjectException(f"There is no stream {name}")

    def release(self) -> None:
        """Let go of the device. Idempotent."""
        device, self._device = getattr(self, "_device", None), None
        self._control_object = None
        if device is not None:
            device.release()


class EthernetDevice(HailoChipObject):
    """Would be an Ethernet board."""

    NAME = InferenceTargets.UDP_CONTROLLER

    def __init__(self, remote_ip: str, remote_control_port: int = 22401) -> None:
        """Refuse: there is no Ethernet."""
        super().__init__()
        self._remote_ip, self._remote_control_port = remote_ip, remote_control_port
        self._open_device()

    @staticmethod
    def scan_devices(interface_name: str, timeout_seconds: int = 3) -> NoReturn:
        """Refuse: there is no Ethernet."""
        HailoUdpScan().scan_devices(interface_name, timeout_seconds)

    def _open_device(self) -> None:
        self._device = InternalEthernetDevice(self._remote_ip, self._remote_control_port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()

    @property
    def remote_ip(self) -> str:
        """The address of the board."""
        return self._remote_ip


class PcieDevice(HailoChipObject):
    """Deprecated: `Device`."""

    NAME = InferenceTargets.PCIE_CONTROLLER

    def __init__(self, device_info: PcieDeviceInfo | None = None) -> None:
        """Open a board; the first one without an address."""
        super().__init__()
        self._open_device(device_info)

    @staticmethod
    def scan_devices() -> list[PcieDeviceInfo]:
        """Return the PCI addresses of the boards there are."""
        return InternalPcieDevice.scan_devices()

    def _open_device(self, device_info: PcieDeviceInfo | None) -> None:
        self._device = InternalPcieDevice(device_info)
        handle: _pyhailort.Device = self._device._opened()
        self._id = handle.device_id
        self._control_object = PcieHcpControl(handle)
        self._control_object.identify()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()
