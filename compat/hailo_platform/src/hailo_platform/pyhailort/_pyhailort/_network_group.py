"""A network group on a virtual device, and its activation (pyhailort-api.md 10)."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, NoReturn

from openhailo.runtime.network_group import NetworkGroup

from . import _fork
from ._enums import FormatFlags, FormatOrder, FormatType, StreamInterface
from ._errors import Translating, fail
from ._hef import Hef
from ._params import ActivateNetworkGroupParams, VStreamParams
from ._structs import HailoFormat, StreamInfo, VStreamInfo
from ._vstreams import InputVStreams, OutputVStreams, Params, seconds

_NO_CACHE = "only networks of language models for other chips have caches"


class ConfiguredNetworkGroup(Translating):
    """A network group that is configured. In a forked child its streams are those of the parent."""

    def __init__(self, group: NetworkGroup, hef: Hef) -> None:
        """Use ``VDevice.configure``."""
        self._group: NetworkGroup | None = group
        self._name, self._hef = group.name, hef
        self._scheduled = not group.vdevice.is_manual
        self._pid = os.getpid()
        self._changed = threading.Condition()
        group.on_state.append(_notifier(self._changed))
        self.server = _fork.serve_children_of(self)

    @property
    def group(self) -> NetworkGroup:
        """Openhailo's network group; status 8 when the device was released."""
        if self._group is None:
            fail("INTERNAL_FAILURE", "the VDevice of this network was released: keep it as long as the network is used")
        return self._group

    @property
    def is_foreign(self) -> bool:
        """Whether this is a copy in a forked child."""
        return os.getpid() != self._pid

    def drop(self) -> None:
        """Let go: the device is released."""
        group, self._group = self._group, None
        if group is not None and not self.is_foreign:
            self.server.close()
            group.close()

    # --- what it is -------------------------------------------------------------------------------------------------

    def get_name(self) -> str:
        """The name of the group."""
        if self._group is None:
            return self.group.name
        return self._name

    def is_scheduled(self) -> bool:
        """Whether it takes turns with others."""
        return self._scheduled

    def get_default_streams_interface(self) -> StreamInterface:
        """Over PCIe."""
        return StreamInterface(0)

    def get_networks_names(self) -> list[str]:
        """Return the full names of the networks."""
        return self._hef.get_networks_names(self._name)

    def get_sorted_output_names(self) -> list[str]:
        """Return the outputs in the compiler's order."""
        return self._hef.get_sorted_output_names(self._name)

    def get_input_vstream_infos(self, network_name: str = "") -> list[VStreamInfo]:
        """Describe the inputs."""
        return self._hef.get_input_vstream_infos(network_name or self._name)

    def get_output_vstream_infos(self, network_name: str = "") -> list[VStreamInfo]:
        """Describe the outputs."""
        return self._hef.get_output_vstream_infos(network_name or self._name)

    def get_all_vstream_infos(self, network_name: str = "") -> list[VStreamInfo]:
        """Describe inputs, then outputs."""
        return self._hef.get_all_vstream_infos(network_name or self._name)

    def get_input_stream_infos(self, network_name: str = "") -> list[StreamInfo]:
        """Describe the channels to the device."""
        return self._hef.get_input_stream_infos(network_name or self._name)

    def get_output_stream_infos(self, network_name: str = "") -> list[StreamInfo]:
        """Describe the channels from the device."""
        return self._hef.get_output_stream_infos(network_name or self._name)

    def get_all_stream_infos(self, network_name: str = "") -> list[StreamInfo]:
        """Describe the channels to the device, then those from it."""
        return self._hef.get_all_stream_infos(network_name or self._name)

    def get_stream_names_from_vstream_name(self, vstream_name: str) -> list[str]:
        """Return the streams that a vstream goes through."""
        return self._hef.get_stream_names_from_vstream_name(vstream_name, self._name)

    def get_vstream_names_from_stream_name(self, stream_name: str) -> list[str]:
        """Return the vstreams that go through a stream."""
        return self._hef.get_vstream_names_from_stream_name(stream_name, self._name)

    def get_udp_rates_dict(self, fps: int, max_supported_rate_bytes: int) -> NoReturn:
        """Refuse: there is no Ethernet."""
        self._hef.get_udp_rates_dict(self._name, fps, max_supported_rate_bytes)
        raise AssertionError("the call above raises")

    # --- streams ----------------------------------------------------------------------------------------------------

    def make_input_vstream_params(
        self, name: str, format_type: FormatType, timeout_ms: int, queue_size: int
    ) -> dict[str, VStreamParams]:
        """Return parameters for the inputs of the group or of a network."""
        infos = self.get_input_vstream_infos(name)
        return {info.name: _vstream_params(format_type, timeout_ms, queue_size) for info in infos}

    def make_output_vstream_params(
        self, name: str, format_type: FormatType, timeout_ms: int, queue_size: int
    ) -> dict[str, VStreamParams]:
        """Return parameters for the outputs of the group or of a network."""
        infos = self.get_output_vstream_infos(name)
        return {info.name: _vstream_params(format_type, timeout_ms, queue_size) for info in infos}

    def InputVStreams(self, params: Params) -> Any:  # noqa: N802 - the original's name
        """Open inputs."""
        if self.is_foreign:
            return self.server.open_in_child(params, is_output=False)
        return InputVStreams(self.group, params, {info.name: info for info in self.get_input_vstream_infos()})

    def OutputVStreams(self, params: Params) -> Any:  # noqa: N802 - the original's name
        """Open outputs."""
        if self.is_foreign:
            return self.server.open_in_child(params, is_output=True)
        return OutputVStreams(self.group, params, {info.name: info for info in self.get_output_vstream_infos()})

    # --- its turn ---------------------------------------------------------------------------------------------------

    def activate(self, network_group_params: ActivateNetworkGroupParams | None = None) -> ActivatedApp:
        """Return a context in which it has the device."""
        if self.is_foreign:
            fail("INVALID_OPERATION", "activate the network in the process that configured it")
        return ActivatedApp(self.group)

    def wait_for_activation(self, timeout_ms: int) -> None:
        """Wait until it has the device; status 6 under a scheduler."""
        if self._scheduled:
            fail("INVALID_OPERATION", "under a scheduler networks take turns: there is nothing to wait for")
        if self.is_foreign:
            self.server.wait_in_child(timeout_ms)
            return
        with self._changed:
            if not self._changed.wait_for(lambda: self.group.is_active, seconds(timeout_ms)):
                fail("TIMEOUT", f"{self._name} was not activated within {timeout_ms} ms")

    def set_scheduler_timeout(self, timeout_ms: int, network_name: str = "") -> None:
        """Compete with fewer frames after so long without a turn."""
        self._require_whole_group(network_name)
        self.group.set_scheduler_timeout(seconds(timeout_ms))

    def set_scheduler_threshold(self, threshold: int) -> None:
        """Compete for a device only when so many frames wait."""
        self.group.set_scheduler_threshold(threshold)

    def set_scheduler_priority(self, priority: int) -> None:
        """Among networks that compete the highest priority wins."""
        self.group.set_scheduler_priority(priority)

    def _require_whole_group(self, network_name: str) -> None:
        if not self._scheduled:
            fail("INVALID_OPERATION", "there is no scheduler: set params.scheduling_algorithm before VDevice(params)")
        if network_name not in ("", f"{self._name}/{self._name}"):
            fail("NOT_IMPLEMENTED", f"a timeout is the whole group's: {self._name}/{self._name} or no name")

    # --- caches -----------------------------------------------------------------------------------------------------

    def init_cache(self, read_offset: int) -> None:
        """Refuse: there is no cache."""
        fail("INVALID_OPERATION", _NO_CACHE)

    def update_cache_offset(self, offset_delta_entries: int) -> None:
        """Refuse: there is no cache."""
        fail("INVALID_OPERATION", _NO_CACHE)

    def get_cache_ids(self) -> list[int]:
        """Return the caches: none."""
        return []

    def read_cache_buffer(self, cache_id: int) -> bytes:
        """Refuse: there is no cache."""
        return fail("NOT_FOUND", _NO_CACHE)

    def write_cache_buffer(self, cache_id: int, buffer: bytes) -> None:
        """Refuse: there is no cache."""
        fail("NOT_FOUND", _NO_CACHE)


def _notifier(changed: threading.Condition) -> Any:
    held = weakref.ref(changed)

    def notify() -> None:
        condition = held()
        if condition is not None:
            with condition:
                condition.notify_all()

    return notify


def _vstream_params(format_type: FormatType, timeout_ms: int, queue_size: int) -> VStreamParams:
    made = VStreamParams()
    made.user_buffer_format = HailoFormat(FormatType(int(format_type)), FormatOrder(0), FormatFlags(0))
    made.timeout_ms, made.queue_size = timeout_ms, queue_size
    return made


class ActivatedApp(Translating):
    """A context in which a network group has the device."""

    def __init__(self, group: NetworkGroup) -> None:
        """Use ``ConfiguredNetworkGroup.activate``."""
        self._group = group

    def enter(self) -> ActivatedNetworkGroup:
        """Activate; status 6 when another group is active."""
        self._group.activate()
        return ActivatedNetworkGroup()

    def leave(self) -> None:
        """Deactivate. Idempotent."""
        self._group.deactivate()

    def __enter__(self) -> ActivatedNetworkGroup:
        return self.enter()

    def __exit__(self, *args: object) -> None:
        self.leave()


class ActivatedNetworkGroup(Translating):
    """A network group that has the device."""

    def get_invalid_frames_count(self) -> int:
        """Return the frames that arrived broken: over PCIe none."""
        return 0

    def get_intermediate_buffer(self, src_context_index: int, src_stream_index: int) -> bytes:
        """Refuse: what lies between contexts stays there."""
        return fail("NOT_SUPPORTED", "tensors between contexts are not kept for reading")
