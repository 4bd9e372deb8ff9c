"""A HEF as programs ask about it (pyhailort-api.md 7, hef.md 6)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from openhailo import hef as oh
from openhailo.hef import model as ohm

from ._enums import FormatFlags, FormatOrder, FormatType, StreamDirection, StreamInterface
from ._errors import HailoRTStatusException, Translating, fail
from ._params import ConfigureParams, MipiInputStreamParams, NetworkParameters, StreamParameters
from ._structs import HailoFormat, NetworkGroupInfo, NmsShape, QuantInfo, StreamInfo, VStreamInfo

NO_ETHERNET = "rates are for Ethernet boards; a Hailo-8 on PCIe takes frames as fast as it can"
NO_CAMERA = "a Hailo-8 on PCIe has no camera interface: send frames with InputVStreams or bindings"


def read_file(path: str) -> bytes:
    """Return the content of a file. Raises the status of a file that cannot be opened."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        message = f"{path}: {error.strerror or error}"
    return fail("OPEN_FILE_FAILURE", message)


class Hef(Translating):
    """A parsed file. ``file`` is openhailo's own view of it, ``content`` its bytes."""

    def __init__(self, content: bytes) -> None:
        """Use `create_from_file` or `create_from_buffer`."""
        self.content = content
        self.file: ohm.Hef = oh.read(content)

    @staticmethod
    def create_from_file(path: str) -> Hef:
        """Read a file."""
        return Hef(read_file(os.fspath(path)))

    @staticmethod
    def create_from_buffer(content: bytes) -> Hef:
        """Read a file that is in memory."""
        return Hef(bytes(content))

    # --- names ------------------------------------------------------------------------------------------------------

    def get_network_group_names(self) -> list[str]:
        """Return the names of the groups; the first is the default one."""
        return [group.name for group in self.file.network_groups]

    def get_network_groups_infos(self) -> list[NetworkGroupInfo]:
        """Return name and kind of every group."""
        return [
            NetworkGroupInfo(group.name, len(group.core_op_for().contexts) > 1) for group in self.file.network_groups
        ]

    def get_networks_names(self, net_group_name: str = "") -> list[str]:
        """Return the full names ``group/network`` of a group's networks."""
        return list(self.group(net_group_name).network_names)

    def get_sorted_output_names(self, net_group_name: str = "") -> list[str]:
        """Return the outputs in the compiler's order."""
        return [vstream.name for vstream in self.group(net_group_name).output_vstreams]

    def get_bottleneck_fps(self, net_group_name: str = "") -> float:
        """Return the compiler's estimate in frames per second."""
        return float(self.group(net_group_name).core_op_for().metadata.bottleneck_fps)

    def get_vstream_name_from_original_name(self, original_name: str, net_group_name: str = "") -> str:
        """Return the vstream made of a layer of the model."""
        for vstream in self.group(net_group_name).vstreams:
            if original_name in vstream.original_names:
                return vstream.name
        return fail("NOT_FOUND", f"no vstream comes from a layer called {original_name!r}")

    def get_original_names_from_vstream_name(self, vstream_name: str, net_group_name: str = "") -> list[str]:
        """Return the layers of the model that became a vstream."""
        return list(self._vstream(vstream_name, net_group_name).original_names)

    def get_vstream_names_from_stream_name(self, stream_name: str, net_group_name: str = "") -> list[str]:
        """Return the vstreams that go through a stream."""
        found = [v.name for v in self.group(net_group_name).vstreams if stream_name in v.streams]
        return found or fail("NOT_FOUND", f"there is no stream {stream_name!r}")

    def get_stream_names_from_vstream_name(self, vstream_name: str, net_group_name: str = "") -> list[str]:
        """Return the streams that a vstream goes through."""
        return list(self._vstream(vstream_name, net_group_name).streams)

    def get_external_resources(self) -> dict[str, bytes]:
        """Return the files in the file."""
        additional = memoryview(self.file.additional)
        return {
            entry.name: bytes(additional[entry.offset : entry.offset + entry.size])
            for entry in self.file.external_resources
        }

    # --- streams ----------------------------------------------------------------------------------------------------

    def get_input_vstream_infos(self, name: str = "") -> list[VStreamInfo]:
        """Describe the inputs of a group or network."""
        return self._vstreams(name, lambda group: group.input_vstreams)

    def get_output_vstream_infos(self, name: str = "") -> list[VStreamInfo]:
        """Describe the outputs of a group or network."""
        return self._vstreams(name, lambda group: group.output_vstreams)

    def get_all_vstream_infos(self, name: str = "") -> list[VStreamInfo]:
        """Describe inputs, then outputs."""
        return self._vstreams(name, lambda group: group.vstreams)

    def get_input_stream_infos(self, name: str = "") -> list[StreamInfo]:
        """Describe the channels to the device."""
        return self._streams(name, lambda group: group.input_streams)

    def get_output_stream_infos(self, name: str = "") -> list[StreamInfo]:
        """Describe the channels from the device."""
        return self._streams(name, lambda group: group.output_streams)

    def get_all_stream_infos(self, name: str = "") -> list[StreamInfo]:
        """Describe the channels to the device, then those from it."""
        return self._streams(name, lambda group: group.input_streams + group.output_streams)

    def group(self, name: str = "") -> ohm.NetworkGroup:
        """Return a network group; the default one without a name."""
        for group in self.file.network_groups:
            if not name or group.name == name:
                return group
        return fail(
            "NOT_FOUND", f"no network group {name!r}; this file has {', '.join(self.get_network_group_names())}"
        )

    def _scope(self, name: str) -> tuple[ohm.NetworkGroup, str]:
        """Return the group that ``name`` is or belongs to, and the network's full name if it names one."""
        for group in self.file.network_groups:
            if name in group.network_names and name != group.name:
                return group, name
        return self.group(name), ""

    def _vstreams(self, name: str, pick: Callable[[ohm.NetworkGroup], Iterable[ohm.VStream]]) -> list[VStreamInfo]:
        group, network = self._scope(name)
        found = [vstream for vstream in pick(group) if network in ("", vstream.network_name)]
        return [vstream_info(group, vstream) for vstream in found]

    def _streams(self, name: str, pick: Callable[[ohm.NetworkGroup], Iterable[ohm.Stream]]) -> list[StreamInfo]:
        group, network = self._scope(name)
        return [stream_info(group, stream) for stream in pick(group) if network in ("", stream.network_name)]

    def _vstream(self, name: str, net_group_name: str) -> ohm.VStream:
        for vstream in self.group(net_group_name).vstreams:
            if vstream.name == name:
                return vstream
        return fail("NOT_FOUND", f"there is no vstream {name!r}")

    # --- configuration ----------------------------------------------------------------------------------------------

    def create_configure_params(self, stream_interface: StreamInterface) -> dict[str, ConfigureParams]:
        """Return default parameters for every group."""
        return {group.name: _configure_params(group, stream_interface) for group in self.file.network_groups}

    def create_configure_params_mipi_input(
        self, output_interface: StreamInterface, mipi_params: MipiInputStreamParams
    ) -> dict[str, ConfigureParams]:
        """Refuse: there is no camera interface."""
        fail("NOT_SUPPORTED", NO_CAMERA)

    def get_udp_rates_dict(self, net_group_name: str, fps: int, max_supported_rate_bytes: int) -> dict[str, int]:
        """Refuse: there is no Ethernet."""
        fail("NOT_SUPPORTED", NO_ETHERNET)


def _configure_params(group: ohm.NetworkGroup, interface: StreamInterface) -> ConfigureParams:
    made = ConfigureParams()
    streams = {}
    for stream in group.input_streams + group.output_streams:
        streams[stream.name] = StreamParameters(direction_of(stream.direction), interface)
    made.stream_params_by_name = streams
    made.network_params_by_name = {name: NetworkParameters() for name in group.network_names}
    return made


# --- infos ------------------------------------------------------------------------------------------------------------


def direction_of(direction: ohm.Direction) -> StreamDirection:
    """Return the direction in the API's numbers."""
    is_input = direction is ohm.Direction.HOST_TO_DEVICE
    return StreamDirection.H2D if is_input else StreamDirection.D2H  # type: ignore[no-any-return]


def quant_info(group: ohm.NetworkGroup, quant: ohm.QuantInfo) -> QuantInfo:
    """Return the one set of parameters; all zero where features have sets of their own (hef.md 8)."""
    if per_feature(group, quant):
        return QuantInfo()
    return QuantInfo(quant.qp_zp, quant.qp_scale, quant.limvals_min, quant.limvals_max)


def per_feature(group: ohm.NetworkGroup, quant: ohm.QuantInfo) -> bool:
    """Whether features have parameters of their own."""
    return group.features.scale_per_feature and bool(quant.qp_scales)


def quant_infos(group: ohm.NetworkGroup, quant: ohm.QuantInfo) -> list[QuantInfo]:
    """Return the parameters, one set or one per feature."""
    if not per_feature(group, quant):
        return [quant_info(group, quant)]
    pairs = zip(quant.qp_zps, quant.qp_scales, strict=True)
    return [QuantInfo(zero, scale, quant.limvals_min, quant.limvals_max) for zero, scale in pairs]


def default_type(vstream: ohm.VStream) -> FormatType:
    """Return the element type that AUTO stands for (runtime-behaviour.md 14)."""
    softmax = isinstance(getattr(vstream.op, "body", None), ohm.LogitsOp) and _is_softmax(vstream)
    boxes = bool(vstream.nms_classes)
    decoded = isinstance(getattr(vstream.op, "body", None), ohm.NmsOp)
    if softmax or boxes or decoded:
        return FormatType.FLOAT32  # type: ignore[no-any-return]
    return FormatType(vstream.data_bytes)


def _is_softmax(vstream: ohm.VStream) -> bool:
    body = vstream.op.body if vstream.op is not None else None
    return isinstance(body, ohm.LogitsOp) and body.logits_type is ohm.LogitsType.SOFTMAX


def vstream_info(group: ohm.NetworkGroup, vstream: ohm.VStream) -> VStreamInfo:
    """Describe an input or output in its default format."""
    order = FormatOrder(int(vstream.order))
    nms = None
    if vstream.nms_classes:
        nms = NmsShape(vstream.nms_classes, vstream.nms_max_per_class, _mask_size(vstream))
    return VStreamInfo(
        vstream.name,
        vstream.network_name,
        direction_of(vstream.direction),
        HailoFormat(default_type(vstream), order, FormatFlags.NONE),
        quant_info(group, vstream.quant),
        tuple(vstream.shape),
        nms,
    )


def _mask_size(vstream: ohm.VStream) -> int:
    """Return the bytes for masks: twice the picture by default (hef.md 13), zero without masks."""
    method = getattr(getattr(vstream.op, "body", None), "method", None)
    if int(vstream.order) != FormatOrder.HAILO_NMS_WITH_BYTE_MASK or method is None:
        return 0
    return int(2 * method.image_width * method.image_height)


def stream_info(group: ohm.NetworkGroup, stream: ohm.Stream) -> StreamInfo:
    """Describe a channel in the device's format."""
    nms = stream.layer.nms
    flags = FormatFlags.TRANSPOSED if stream.transposed else FormatFlags.NONE
    return StreamInfo(
        stream.name,
        direction_of(stream.direction),
        HailoFormat(FormatType(stream.data_bytes), FormatOrder(int(stream.order)), flags),
        quant_info(group, stream.quant),
        stream.index,
        stream.data_bytes,
        tuple(stream.hw_shape),
        stream.hw_frame_size_bytes,
        None if nms is None else NmsShape(nms.number_of_classes, nms.max_output_size * nms.chunks, 0),
    )


def is_status(error: BaseException, number: int) -> bool:
    """Whether ``error`` is the status ``number``."""
    return isinstance(error, HailoRTStatusException) and error.args[0] == str(number)
