"""`HEF` and `ConfigureParams` (pyhailort-api.md 7, 9)."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from . import _pyhailort
from ._exceptions import ExceptionWrapper, HailoRTException
from ._hints import needing
from ._pyhailort import (
    IspLightFrequency,
    MipiClockSelection,
    MipiDataTypeRx,
    MipiIspImageInOrder,
    MipiIspImageOutDataType,
    MipiPixelsPerClock,
    StreamInfo,
    StreamInterface,
    VStreamInfo,
)


def _get_name_as_str(name: str | None) -> str:
    return "" if name is None else name


class HEF:
    """A compiled network; ``HEF(path)`` or ``HEF(content)``."""

    def __init__(self, hef_source: str | bytes) -> None:
        """Read a file, or bytes that were read. Raises `HailoRTException` and subclasses."""
        if isinstance(hef_source, os.PathLike):
            raise ValueError(f"HEF takes a path as text: use HEF(str(path)) for {os.fspath(hef_source)!r}")
        if not isinstance(hef_source, str | bytes):
            raise ValueError(f"HEF takes a path (str) or the content of a file (bytes), not {type(hef_source)}")
        self._path = hef_source if isinstance(hef_source, str) else None
        with ExceptionWrapper():
            if isinstance(hef_source, str):
                self._hef = _pyhailort.Hef.create_from_file(hef_source)
            else:
                self._hef = _pyhailort.Hef.create_from_buffer(hef_source)
        self._sorted_output_layer_names: dict[str, list[str]] = {}

    def get_networks_names(self, network_group_name: str | None = None) -> list[str]:
        """Return the full names of a group's networks."""
        with ExceptionWrapper():
            return self._hef.get_networks_names(_get_name_as_str(network_group_name))

    @property
    def path(self) -> str | None:
        """The file; None when it came as bytes."""
        return self._path

    def get_network_group_names(self) -> list[str]:
        """Return the names of the groups; the first is the default one."""
        with ExceptionWrapper():
            return self._hef.get_network_group_names()

    def get_network_groups_infos(self) -> list[_pyhailort.NetworkGroupInfo]:
        """Return name and kind of the groups."""
        with ExceptionWrapper():
            return self._hef.get_network_groups_infos()

    def _get_external_resources(self) -> dict[str, bytes]:
        with ExceptionWrapper():
            return self._hef.get_external_resources()

    def get_input_vstream_infos(self, name: str | None = None) -> list[VStreamInfo]:
        """Describe the inputs of a group or network."""
        return self._hef.get_input_vstream_infos(_get_name_as_str(name))

    def get_output_vstream_infos(self, name: str | None = None) -> list[VStreamInfo]:
        """Describe the outputs of a group or network."""
        return self._hef.get_output_vstream_infos(_get_name_as_str(name))

    def get_all_vstream_infos(self, name: str | None = None) -> list[VStreamInfo]:
        """Describe inputs, then outputs."""
        return self._hef.get_all_vstream_infos(_get_name_as_str(name))

    def get_input_stream_infos(self, name: str | None = None) -> list[StreamInfo]:
        """Describe the channels to the device."""
        return self._hef.get_input_stream_infos(_get_name_as_str(name))

    def get_output_stream_infos(self, name: str | None = None) -> list[StreamInfo]:
        """Describe the channels from the device."""
        return self._hef.get_output_stream_infos(_get_name_as_str(name))

    def get_all_stream_infos(self, name: str | None = None) -> list[StreamInfo]:
        """Describe the channels to the device, then those from it."""
        return self._hef.get_all_stream_infos(_get_name_as_str(name))

    def get_sorted_output_names(self, network_group_name: str | None = None) -> list[str]:
        """Return the outputs in the compiler's order."""
        name = _get_name_as_str(network_group_name)
        if name not in self._sorted_output_layer_names:
            with ExceptionWrapper():
                self._sorted_output_layer_names[name] = self._hef.get_sorted_output_names(name)
        return self._sorted_output_layer_names[name]

    def bottleneck_fps(self, network_group_name: str | None = None) -> float:
        """Return the compiler's estimate in frames per second. A file without one: `HailoRTException`."""
        with ExceptionWrapper():
            found = self._hef.get_bottleneck_fps(_get_name_as_str(network_group_name))
        if found == 0:
            raise HailoRTException("bottleneck_fps is zero")
        return found

    def get_udp_rates_dict(
        self, fps: int, max_supported_rate_bytes: int, network_group_name: str | None = None
    ) -> dict[str, int]:
        """Refuse: there is no Ethernet."""
        with ExceptionWrapper():
            name = _get_name_as_str(network_group_name)
            return self._hef.get_udp_rates_dict(name, int(fps), int(max_supported_rate_bytes))

    def get_vstream_name_from_original_name(self, original_name: str, network_group_name: str | None = None) -> str:
        """Return the vstream made of a layer of the model."""
        with ExceptionWrapper():
            name = _get_name_as_str(network_group_name)
            return self._hef.get_vstream_name_from_original_name(original_name, name)

    def get_original_names_from_vstream_name(
        self, vstream_name: str, network_group_name: str | None = None
    ) -> list[str]:
        """Return the layers of the model that became a vstream."""
        with ExceptionWrapper():
            name = _get_name_as_str(network_group_name)
            return self._hef.get_original_names_from_vstream_name(vstream_name, name)

    def get_vstream_names_from_stream_name(self, stream_name: str, network_group_name: str | None = None) -> list[str]:
        """Return the vstreams that go through a stream."""
        with ExceptionWrapper():
            name = _get_name_as_str(network_group_name)
            return self._hef.get_vstream_names_from_stream_name(stream_name, name)

    def get_stream_names_from_vstream_name(self, vstream_name: str, network_group_name: str | None = None) -> list[str]:
        """Return the streams that a vstream goes through."""
        with ExceptionWrapper():
            name = _get_name_as_str(network_group_name)
            return self._hef.get_stream_names_from_vstream_name(vstream_name, name)


class ConfigureParams:
    """Makers of parameters for ``VDevice.configure``."""

    @staticmethod
    @needing("use ConfigureParams.create_from_hef(hef, interface=HailoStreamInterface.PCIe)")
    def create_from_hef(hef: HEF, interface: StreamInterface) -> dict[str, _pyhailort.ConfigureParams]:
        """Return default parameters of every group; over PCIe: ``interface=HailoStreamInterface.PCIe``."""
        with ExceptionWrapper():
            return hef._hef.create_configure_params(interface)

    @staticmethod
    def create_mipi_inputs_from_hef(
        hef: HEF,
        output_interface: StreamInterface,
        mipi_rx_id: int = 0,
        data_type: MipiDataTypeRx = MipiDataTypeRx.RAW_8,
        img_width_pixels: int = 1920,
        img_height_pixels: int = 1080,
        pixels_per_clock: MipiPixelsPerClock = MipiPixelsPerClock.PIXELS_PER_CLOCK_4,
        number_of_lanes: int = 2,
        clock_selection: MipiClockSelection = MipiClockSelection.SELECTION_AUTOMATIC,
        data_rate: int = 260,
        virtual_channel_index: int = 0,
        isp_enable: bool = False,
        isp_img_in_order: MipiIspImageInOrder = MipiIspImageInOrder.GR_FIRST,
        isp_img_out_data_type: MipiIspImageOutDataType = MipiIspImageOutDataType.RGB_888,
        isp_crop_enable: bool = False,
        isp_crop_output_width_pixels: int = 1920,
        isp_crop_output_height_pixels: int = 1080,
        isp_crop_output_width_start_offset_pixels: int = 0,
        isp_crop_output_height_start_offset_pixels: int = 0,
        isp_test_pattern_enable: bool = True,
        isp_configuration_bypass: bool = False,
        isp_run_time_ae_enable: bool = True,
        isp_run_time_awb_enable: bool = True,
        isp_run_time_adt_enable: bool = True,
        isp_run_time_af_enable: bool = False,
        isp_run_time_calculations_interval_ms: int = 0,
        isp_light_frequency: IspLightFrequency = IspLightFrequency.LIGHT_FREQ_50_HZ,
    ) -> NoReturn:
        """Refuse: a Hailo-8 on PCIe has no camera interface."""
        made: Any = _pyhailort.MipiInputStreamParams()
        with ExceptionWrapper():
            hef._hef.create_configure_params_mipi_input(output_interface, made)
        raise AssertionError("the call above raises")
