"""`ConfiguredNetwork` and its activation (pyhailort-api.md 10)."""

from __future__ import annotations

import os
from typing import Any

from hailo_platform.common.logger.logger import default_logger

from . import _pyhailort
from ._exceptions import ExceptionWrapper, HailoRTException
from ._hef import _get_name_as_str
from ._pyhailort import StreamInfo, VStreamInfo

#: Milliseconds that "wait for ever" means.
_WAIT_FOR_EVER_MS = 0x7FFFFFFF


class ConfiguredNetwork:
    """A network group on a `VDevice`."""

    def __init__(self, configured_network: _pyhailort.ConfiguredNetworkGroup) -> None:
        """Use ``VDevice.configure``."""
        self._configured_network = configured_network
        self._input_vstreams_holders: list[Any] = []
        self._output_vstreams_holders: list[Any] = []
        self._creator_pid = os.getpid()

    def get_networks_names(self) -> list[str]:
        """Return the full names of the networks."""
        return self._configured_network.get_networks_names()

    def activate(self, network_group_params: _pyhailort.ActivateNetworkGroupParams | None = None) -> Any:
        """Return a context in which the network has the device. Under a scheduler nothing needs to be done."""
        if self._configured_network.is_scheduled():
            default_logger().warning(
                "Calls to `activate()` when working with scheduler are deprecated! On future versions this call will "
                "raise an error."
            )
            return EmptyContextManager()
        with ExceptionWrapper():
            params = network_group_params or self.create_params()
            return ActivatedNetworkContextManager(self, self._configured_network.activate(params))

    def wait_for_activation(self, timeout_ms: int | None = None) -> None:
        """Wait until the network has the device. Raises `HailoRTTimeout`."""
        with ExceptionWrapper():
            self._configured_network.wait_for_activation(_WAIT_FOR_EVER_MS if timeout_ms is None else timeout_ms)

    @staticmethod
    def create_params() -> _pyhailort.ActivateNetworkGroupParams:
        """Return the only parameters that there are."""
        with ExceptionWrapper():
            return _pyhailort.ActivateNetworkGroupParams.default()

    @property
    def name(self) -> str:
        """The name of the group."""
        return self._configured_network.get_name()

    def get_output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the outputs in the compiler's order."""
        shapes = {info.name: info.shape for info in self.get_output_vstream_infos()}
        return tuple(shapes[name] for name in self.get_sorted_output_names())

    def get_sorted_output_names(self) -> list[str]:
        """Return the outputs in the compiler's order."""
        with ExceptionWrapper():
            return self._configured_network.get_sorted_output_names()

    def get_input_vstream_infos(self, network_name: str | None = None) -> list[VStreamInfo]:
        """Describe the inputs."""
        return self._configured_network.get_input_vstream_infos(_get_name_as_str(network_name))

    def get_output_vstream_infos(self, network_name: str | None = None) -> list[VStreamInfo]:
        """Describe the outputs."""
        return self._configured_network.get_output_vstream_infos(_get_name_as_str(network_name))

    def get_all_vstream_infos(self, network_name: str | None = None) -> list[VStreamInfo]:
        """Describe inputs, then outputs."""
        return self._configured_network.get_all_vstream_infos(_get_name_as_str(network_name))

    def get_input_stream_infos(self, network_name: str | None = None) -> list[StreamInfo]:
        """Describe the channels to the device."""
        return self._configured_network.get_input_stream_infos(_get_name_as_str(network_name))

    def get_output_stream_infos(self, network_name: str | None = None) -> list[StreamInfo]:
        """Describe the channels from the device."""
        return self._configured_network.get_output_stream_infos(_get_name_as_str(network_name))

    def get_all_stream_infos(self, network_name: str | None = None) -> list[StreamInfo]:
        """Describe the channels to the device, then those from it."""
        return self._configured_network.get_all_stream_infos(_get_name_as_str(network_name))

    def get_udp_rates_dict(self, fps: float, max_supported_rate_bytes: float) -> dict[int, int]:
        """Refuse: there is no Ethernet."""
        with ExceptionWrapper():
            return self._configured_network.get_udp_rates_dict(int(fps), int(max_supported_rate_bytes))

    def _create_input_vstreams(self, input_vstreams_params: Any) -> _pyhailort.InputVStreams:
        made: _pyhailort.InputVStreams = self._configured_network.InputVStreams(input_vstreams_params)
        self._input_vstreams_holders.append(made)
        return made

    def _create_output_vstreams(self, output_vstreams_params: Any) -> _pyhailort.OutputVStreams:
        made: _pyhailort.OutputVStreams = self._configured_network.OutputVStreams(output_vstreams_params)
        self._output_vstreams_holders.append(made)
        return made

    def get_stream_names_from_vstream_name(self, vstream_name: str) -> list[str]:
        """Return the streams that a vstream goes through."""
        with ExceptionWrapper():
            return self._configured_network.get_stream_names_from_vstream_name(vstream_name)

    def get_vstream_names_from_stream_name(self, stream_name: str) -> list[str]:
        """Return the vstreams that go through a stream."""
        with ExceptionWrapper():
            return self._configured_network.get_vstream_names_from_stream_name(stream_name)

    def set_scheduler_timeout(self, timeout_ms: int, network_name: str | None = None) -> None:
        """Compete with fewer frames after so long without a turn."""
        self._configured_network.set_scheduler_timeout(timeout_ms, _get_name_as_str(network_name))

    def set_scheduler_threshold(self, threshold: int) -> None:
        """Compete for a device only when so many frames wait."""
        self._configured_network.set_scheduler_threshold(threshold)

    def set_scheduler_priority(self, priority: int) -> None:
        """Among networks that compete the highest priority (0..31, normal 16) wins."""
        self._configured_network.set_scheduler_priority(priority)

    # --- caches of language models: no network for a Hailo-8 has one ------------------------------------------------

    def init_cache(self, read_offset: int) -> None:
        """Refuse: this network has no cache."""
        self._configured_network.init_cache(read_offset)

    def update_cache_offset(self, offset_delta_entries: int) -> None:
        """Refuse: this network has no cache."""
        self._configured_network.update_cache_offset(offset_delta_entries)

    def get_cache_ids(self) -> list[int]:
        """Return the caches: none."""
        return self._configured_network.get_cache_ids()

    def read_cache_buffer(self, cache_id: int) -> bytes:
        """Refuse: this network has no cache."""
        return self._configured_network.read_cache_buffer(cache_id)

    def write_cache_buffer(self, cache_id: int, buffer: bytes) -> None:
        """Refuse: this network has no cache."""
        self._configured_network.write_cache_buffer(cache_id, buffer)


class EmptyContextManager:
    """A context that does nothing."""

    def __init__(self) -> None:
        """Hold nothing."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *args: object) -> None:
        return None


class ActivatedNetworkContextManager:
    """Activates on entry, deactivates on exit."""

    def __init__(self, configured_network: ConfiguredNetwork, activated_network: _pyhailort.ActivatedApp) -> None:
        """Use ``ConfiguredNetwork.activate``."""
        self._configured_network = configured_network
        self._activated_network = activated_network

    def __enter__(self) -> ActivatedNetwork:
        with ExceptionWrapper():
            return ActivatedNetwork(self._configured_network, self._activated_network.__enter__())

    def __exit__(self, *args: object) -> None:
        with ExceptionWrapper():
            self._activated_network.__exit__(*args)


class ActivatedNetwork:
    """A network that has the device."""

    def __init__(
        self, configured_network: ConfiguredNetwork, activated_network: _pyhailort.ActivatedNetworkGroup
    ) -> None:
        """Use ``ConfiguredNetwork.activate`` as a context."""
        self._configured_network = configured_network
        self._activated_network = activated_network

    @property
    def name(self) -> str:
        """The name of the group."""
        return self._configured_network.name

    def get_number_of_invalid_frames(self, clear: bool = True) -> int:
        """Return the frames that arrived broken: over PCIe none."""
        with ExceptionWrapper():
            return self._activated_network.get_invalid_frames_count()

    def validate_all_frames_are_valid(self) -> None:
        """Raise `HailoRTException` when frames arrived broken."""
        number = self.get_number_of_invalid_frames()
        if number:
            raise HailoRTException(f"There are {number} invalid frames.")

    def get_sorted_output_names(self) -> list[str]:
        """Return the outputs in the compiler's order."""
        return self._configured_network.get_sorted_output_names()

    def _get_intermediate_buffer(self, src_context_index: int, src_stream_index: int) -> bytes:
        with ExceptionWrapper():
            return self._activated_network.get_intermediate_buffer(src_context_index, src_stream_index)


def group_of(network: object) -> _pyhailort.ConfiguredNetworkGroup:
    """Return the compiled part's network group. Raises `TypeError` that names the right call."""
    if isinstance(network, ConfiguredNetwork):
        return network._configured_network
    hint = "VDevice.configure(hef, params) returns a list: use its element [0]"
    raise TypeError(f"a ConfiguredNetwork is needed, not {type(network).__name__}; {hint}")
