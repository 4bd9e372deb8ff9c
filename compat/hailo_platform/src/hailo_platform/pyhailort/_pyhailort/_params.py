"""Parameters of devices, networks, streams and vstreams (pyhailort-api.md 8, 9, 11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._enums import (
    FormatFlags,
    FormatOrder,
    FormatType,
    IspLightFrequency,
    MipiClockSelection,
    MipiDataTypeRx,
    MipiIspImageInOrder,
    MipiIspImageOutDataType,
    MipiPixelsPerClock,
    PipelineElemStatsFlags,
    PowerMode,
    SchedulingAlgorithm,
    StreamDirection,
    StreamInterface,
    TransformMode,
    VStreamStatsFlags,
)
from ._errors import fail
from ._structs import HailoFormat

UNIQUE_GROUP = "UNIQUE"


class VDeviceParams:
    """How a `VDevice` is made. Use `default`, which is what ``VDevice.create_params()`` gives."""

    __slots__ = ("_device_ids", "_scheduling_algorithm", "device_count", "group_id", "multi_process_service")

    def __init__(self) -> None:
        """Set the defaults; the scheduler is off, unlike in C++ (pyhailort-api.md 25 row 1)."""
        self.device_count = 1
        self.group_id = UNIQUE_GROUP
        self.multi_process_service = False
        self._scheduling_algorithm = SchedulingAlgorithm(0)
        self._device_ids: list[str] = []

    @staticmethod
    def default() -> VDeviceParams:
        """Return one device, no scheduler, no group, no service."""
        return VDeviceParams()

    @property
    def scheduling_algorithm(self) -> int:
        """The number of the algorithm; set with a member of `HailoSchedulingAlgorithm`."""
        return int(self._scheduling_algorithm)

    @scheduling_algorithm.setter
    def scheduling_algorithm(self, value: SchedulingAlgorithm) -> None:
        if not isinstance(value, SchedulingAlgorithm | int):
            raise TypeError(
                "scheduling_algorithm takes a member of HailoSchedulingAlgorithm, such as "
                f"HailoSchedulingAlgorithm.ROUND_ROBIN, not {value!r}"
            )
        self._scheduling_algorithm = SchedulingAlgorithm(int(value))

    @property
    def device_ids(self) -> list[str]:
        """The devices to take; setting them sets ``device_count`` as well."""
        return list(self._device_ids)

    @device_ids.setter
    def device_ids(self, value: list[str]) -> None:
        self._device_ids = [str(entry) for entry in value]
        self.device_count = len(self._device_ids)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in VDEVICE_FIELDS and not name.startswith("_"):
            raise AttributeError(f"VDeviceParams has no {name!r}; it has {', '.join(sorted(VDEVICE_FIELDS))}")
        object.__setattr__(self, name, value)


VDEVICE_FIELDS = frozenset({"device_count", "device_ids", "group_id", "multi_process_service", "scheduling_algorithm"})


@dataclass(eq=False)
class ActivateNetworkGroupParams:
    """Nothing can be chosen."""

    @staticmethod
    def default() -> ActivateNetworkGroupParams:
        """Return the only value there is."""
        return ActivateNetworkGroupParams()


@dataclass(eq=False)
class NetworkParameters:
    """Of one network of a group."""

    batch_size: int = 0


# --- streams ----------------------------------------------------------------------------------------------------------


class PcieInputStreamParams:
    """Nothing can be chosen."""


class PcieOutputStreamParams:
    """Nothing can be chosen."""


class IntegratedInputStreamParams:
    """Nothing can be chosen."""


class IntegratedOutputStreamParams:
    """Nothing can be chosen."""


@dataclass(eq=False)
class sockaddr_in:  # noqa: N801 - the original's name
    """An address of which only the port shows."""

    sin_port: int = 0


@dataclass(eq=False)
class EthInputStreamParams:
    """An Ethernet input (no Hailo-8 on PCIe has one)."""

    host_address: sockaddr_in = field(default_factory=sockaddr_in)
    device_port: int = 0
    is_sync_enabled: bool = False
    frames_per_sync: int = 0
    max_payload_size: int = 1456
    buffers_threshold: int = 0


@dataclass(eq=False)
class EthOutputStreamParams:
    """An Ethernet output (no Hailo-8 on PCIe has one)."""

    host_address: sockaddr_in = field(default_factory=sockaddr_in)
    device_port: int = 0
    is_sync_enabled: bool = False
    max_payload_size: int = 1456
    buffers_threshold: int = 0


@dataclass(eq=False)
class MipiCommonParams:
    """A camera interface."""

    img_width_pixels: int = 0
    img_height_pixels: int = 0
    pixels_per_clock: MipiPixelsPerClock = field(default_factory=lambda: MipiPixelsPerClock(0))
    number_of_lanes: int = 0
    clock_selection: MipiClockSelection = field(default_factory=lambda: MipiClockSelection(0))
    virtual_channel_index: int = 0
    data_rate: int = 0


@dataclass(eq=False)
class MipiIspParams:
    """An image signal processor."""

    img_in_order: MipiIspImageInOrder = field(default_factory=lambda: MipiIspImageInOrder(0))
    img_out_data_type: MipiIspImageOutDataType = field(default_factory=lambda: MipiIspImageOutDataType(36))
    crop_enable: bool = False
    crop_output_width_pixels: int = 0
    crop_output_height_pixels: int = 0
    crop_output_width_start_offset_pixels: int = 0
    crop_output_height_start_offset_pixels: int = 0
    test_pattern_enable: bool = False
    configuration_bypass: bool = False
    run_time_ae_enable: bool = False
    run_time_awb_enable: bool = False
    run_time_adt_enable: bool = False
    run_time_af_enable: bool = False
    isp_run_time_calculations_interval_ms: int = 0
    isp_light_frequency: IspLightFrequency = field(default_factory=lambda: IspLightFrequency(0))


@dataclass(eq=False)
class MipiInputStreamParams:
    """A camera as an input (no Hailo-8 on PCIe has one)."""

    mipi_rx_id: int = 0
    data_type: MipiDataTypeRx = field(default_factory=lambda: MipiDataTypeRx(32))
    isp_enable: bool = False
    mipi_common_params: MipiCommonParams = field(default_factory=MipiCommonParams)
    isp_params: MipiIspParams = field(default_factory=MipiIspParams)


_VARIANTS: Mapping[str, tuple[str, StreamDirection, type[Any]]] = {
    "pcie_input_params": ("PCIe", StreamDirection.H2D, PcieInputStreamParams),
    "pcie_output_params": ("PCIe", StreamDirection.D2H, PcieOutputStreamParams),
    "integrated_input_params": ("INTEGRATED", StreamDirection.H2D, IntegratedInputStreamParams),
    "integrated_output_params": ("INTEGRATED", StreamDirection.D2H, IntegratedOutputStreamParams),
    "eth_input_params": ("ETH", StreamDirection.H2D, EthInputStreamParams),
    "eth_output_params": ("ETH", StreamDirection.D2H, EthOutputStreamParams),
    "mipi_input_params": ("MIPI", StreamDirection.H2D, MipiInputStreamParams),
}


def _variant(name: str) -> Any:
    """Return the property of one variant; another interface or direction than the stream's is status 6."""
    interface, direction, _ = _VARIANTS[name]

    def check(self: StreamParameters) -> None:
        if self.stream_interface.name != interface or self.direction != direction:
            detail = f"{name} needs a stream of interface {interface}; this one is {self.stream_interface!r}"
            fail("INVALID_OPERATION", detail)

    def getter(self: StreamParameters) -> Any:
        check(self)
        return self._variants[name]

    def setter(self: StreamParameters, value: Any) -> None:
        check(self)
        self._variants[name] = value

    return property(getter, setter, None, f"Parameters of a stream over {interface}.")


class StreamParameters:
    """Of one stream; which variant can be used depends on interface and direction."""

    pcie_input_params = _variant("pcie_input_params")
    pcie_output_params = _variant("pcie_output_params")
    integrated_input_params = _variant("integrated_input_params")
    integrated_output_params = _variant("integrated_output_params")
    eth_input_params = _variant("eth_input_params")
    eth_output_params = _variant("eth_output_params")
    mipi_input_params = _variant("mipi_input_params")

    def __init__(self, direction: StreamDirection, stream_interface: StreamInterface) -> None:
        """Made by ``ConfigureParams.create_from_hef``."""
        self._direction, self._interface = direction, stream_interface
        self._variants = {name: kind() for name, (_, _, kind) in _VARIANTS.items()}

    @property
    def stream_interface(self) -> StreamInterface:
        """The bus."""
        return self._interface

    @stream_interface.setter
    def stream_interface(self, value: StreamInterface) -> None:
        self._interface = value

    @property
    def direction(self) -> StreamDirection:
        """Host to device, or device to host."""
        return self._direction


class ConfigureParams:
    """Of one network group.

    Reading a map gives a new dict of the stored objects: changes of an object count, changes of the dict do not
    (pyhailort-api.md 9).
    """

    def __init__(self) -> None:
        """Start with the defaults and no streams."""
        self.batch_size = 0
        self.power_mode: PowerMode = PowerMode.PERFORMANCE
        self._streams: dict[str, StreamParameters] = {}
        self._networks: dict[str, NetworkParameters] = {}

    @property
    def stream_params_by_name(self) -> dict[str, StreamParameters]:
        """Parameters of each stream."""
        return dict(self._streams)

    @stream_params_by_name.setter
    def stream_params_by_name(self, value: Mapping[str, StreamParameters]) -> None:
        self._streams = dict(value)

    @property
    def network_params_by_name(self) -> dict[str, NetworkParameters]:
        """Parameters of each network, by its full name."""
        return dict(self._networks)

    @network_params_by_name.setter
    def network_params_by_name(self, value: Mapping[str, NetworkParameters]) -> None:
        self._networks = dict(value)


# --- vstreams ---------------------------------------------------------------------------------------------------------


class VStreamParams:
    """Of one vstream. A bare one has zeros; ``InputVStreamParams.make`` fills in the defaults."""

    def __init__(self) -> None:
        """Start with zeros."""
        self.user_buffer_format = HailoFormat(FormatType(0), FormatOrder(0), FormatFlags(0))
        self.timeout_ms = 0
        self.queue_size = 0

    @property
    def vstream_stats_flags(self) -> VStreamStatsFlags:
        """What is measured; cannot be chosen from Python."""
        return VStreamStatsFlags(0)

    @property
    def pipeline_elements_stats_flags(self) -> PipelineElemStatsFlags:
        """What elements measure; cannot be chosen from Python."""
        return PipelineElemStatsFlags(0)


@dataclass(eq=False)
class TransformParams:
    """How a frame is transformed."""

    transform_mode: TransformMode = field(default_factory=lambda: TransformMode(0))
    user_buffer_format: HailoFormat = field(default_factory=HailoFormat)
