"""A HEF as frozen dataclasses: what `openhailo.hef.read` returns and `openhailo.hef.write` takes.

::

    Hef -> NetworkGroup (API order: reversed file order) -> CoreOp -> Context -> Operation -> trigger, actions
                                                                            -> EdgeLayer
                        -> ops: host post-processing behind the core op

Names follow the schema (hef.md 5). HEFs made before net-flow keep the core op in the network group itself; the model
shows both alike: `NetworkGroup.core_op_for` finds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from openhailo.errors import InputError, InvalidHef

from .contexts import (
    CfgChannel,
    ClusterEndGuarantee,
    Context,
    CoreOp,
    FusedLayers,
    GroupMetadata,
    HwPackageInfo,
    OrderedTrigger,
    PartialCoreOp,
    ShmiglueInfo,
)
from .enums import (
    Connection,
    Direction,
    EdgeKind,
    ExtensionType,
    HwArch,
    LogitsType,
    NmsBurst,
    PlanesFormat,
)
from .layers import (
    ConnectedContext,
    ContextSwitchInfo,
    EdgeLayer,
    FusedLayer,
    MuxInfo,
    NmsDefuseInfo,
    NmsInfo,
    PlanesInfo,
    QuantInfo,
    ResourceIndices,
    Shape,
)
from .operations import Action, Operation, Trigger, WriteCcw
from .ops import LogitsOp, NmsOp, Pad, PadEdge
from .streams import Stream, VStream, input_vstreams, output_vstreams, streams_of

__all__ = [
    "Action",
    "CfgChannel",
    "ClusterEndGuarantee",
    "ConnectedContext",
    "Connection",
    "Container",
    "Context",
    "ContextSwitchInfo",
    "CoreOp",
    "Direction",
    "EdgeKind",
    "EdgeLayer",
    "Extension",
    "ExtensionType",
    "ExternalResource",
    "Features",
    "FusedLayer",
    "FusedLayers",
    "GroupMetadata",
    "Hef",
    "HefHeader",
    "HwArch",
    "HwPackageInfo",
    "IncludedFeatures",
    "LogitsOp",
    "LogitsType",
    "MuxInfo",
    "NetworkGroup",
    "NmsBurst",
    "NmsDefuseInfo",
    "NmsInfo",
    "NmsOp",
    "Op",
    "Operation",
    "OrderedTrigger",
    "Pad",
    "PadEdge",
    "PartialCoreOp",
    "PartialNetworkGroup",
    "PlanesFormat",
    "PlanesInfo",
    "QuantInfo",
    "ResourceIndices",
    "Shape",
    "ShmiglueInfo",
    "Stream",
    "Trigger",
    "VStream",
    "WriteCcw",
]


# --- file -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Container:
    """How the parts lie in the file (hef.md 1). All sizes in bytes; ``integrity`` is hex, as the header stores it."""

    version: int
    header_size: int
    proto_size: int
    integrity_kind: str
    integrity: str
    ccw_base: int
    ccws_size: int
    padding_size: int
    additional_size: int
    file_size: int


@dataclass(frozen=True)
class HefHeader:
    """Header of the protobuf part. ``version`` above 0 makes extensions count (hef.md 3)."""

    hw_arch: HwArch = field(default=HwArch.HAILO8P, metadata={"of": HwArch})
    timestamp: int = 0
    sdk_version: str = ""
    version: int = 1


@dataclass(frozen=True)
class Extension:
    """A feature the file asks for; only the number counts (hef.md 3)."""

    type_index: int = 0
    name: str = ""


@dataclass(frozen=True)
class IncludedFeatures:
    """Feature flags of old files, which count when `HefHeader.version` is 0."""

    abbale: bool = False
    posted_writes: bool = False
    ddr: bool = False
    is_multi_context: bool = False
    compressed_params: bool = False
    transpose_component: bool = False
    padded_ddr_buffers: bool = False
    sequencer: bool = False


@dataclass(frozen=True)
class ExternalResource:
    """Bytes of the additional section of a version 3 file."""

    offset: int = 0
    size: int = 0
    name: str = ""


@dataclass(frozen=True)
class Features:
    """What the extensions of a file switch on (hef.md 3); derived, never stored."""

    net_flow: bool = True
    multi_context: bool = False
    multi_network: bool = False
    hw_padding: bool = False
    preliminary_run_asap: bool = False
    nms_burst: bool = False
    dual_direction_stream_index: bool = False
    scale_per_feature: bool = False
    batch_register_config: bool = False
    padded_ddr_buffers: bool = False
    shared_config: bool = False


# --- network groups ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Op:
    """A node of the network group: the core op, or work of the host (``body`` None: a kind unknown to the schema)."""

    body: CoreOp | NmsOp | LogitsOp | None
    name: str = ""
    input_pads: tuple[Pad, ...] = ()
    output_pads: tuple[Pad, ...] = ()


@dataclass(frozen=True)
class PartialNetworkGroup:
    """The network group for one set of working clusters (Hailo-8L; hef.md 17)."""

    network_group: NetworkGroup
    layout: int = 0


@dataclass(frozen=True)
class NetworkGroup:
    """Networks that are loaded together.

    ``legacy`` is the core op of a file made without net-flow (its fields lie in the group itself). ``declared_name``
    and ``index`` are fields 10 and 11, which nothing reads. ``features`` is set by the `Hef` around the group.
    """

    metadata: GroupMetadata
    ops: tuple[Op, ...] = ()
    pad_edges: tuple[PadEdge, ...] = ()
    sorted_outputs_order: tuple[str, ...] = ()
    networks_names: tuple[str, ...] = ()
    legacy: CoreOp | None = None
    partial_network_groups: tuple[PartialNetworkGroup, ...] = ()
    declared_name: str = ""
    index: int = 0
    features: Features = field(default=Features(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """Name of the group; a partial group's where there are any (hef.md 17)."""
        if self.partial_network_groups:
            return self.partial_network_groups[0].network_group.metadata.network_group_name
        return self.metadata.network_group_name

    @property
    def core_op(self) -> CoreOp:
        """The core op as written, before a cluster layout is chosen. Missing: `InvalidHef`."""
        if not self.features.net_flow:
            found = self.legacy
        else:
            found = next((op.body for op in self.ops if isinstance(op.body, CoreOp)), None)
        if found is None:
            raise InvalidHef(rule="core op", where=self.name, detail="the network group has no core op")
        return found

    def core_op_for(self, layout: int | None = None) -> CoreOp:
        """Return the core op for a device's cluster layout; None: for queries without a device (hef.md 17).

        Raises `InvalidHef` without a core op, or without one for that layout.
        """
        if self.features.net_flow or self.legacy is not None or not self.partial_network_groups:
            return self.core_op.for_layout(layout)
        partials = [PartialCoreOp(p.network_group.core_op, p.layout) for p in self.partial_network_groups]
        return replace(partials[0].core_op, partial_core_ops=tuple(partials)).for_layout(layout)

    @property
    def host_ops(self) -> tuple[Op, ...]:
        """Post-processing that the host does."""
        return tuple(op for op in self.ops if isinstance(op.body, NmsOp | LogitsOp))

    @property
    def network_names(self) -> tuple[str, ...]:
        """Full names ``group/network``, indexed by `EdgeLayer.network_index` (hef.md 6)."""
        if not self.features.multi_network:
            return (f"{self.name}/{self.name}",)
        partial = self.partial_network_groups
        names = partial[0].network_group.networks_names if partial else self.networks_names
        return tuple(f"{self.name}/{name}" for name in names) or (f"{self.name}/{self.name}",)

    @property
    def output_order(self) -> tuple[str, ...]:
        """Names of the output vstreams in the API's order (hef.md 6)."""
        fused = self.core_op_for().fused_layers
        if fused is not None and fused.updated_sorted_output_names:
            return fused.updated_sorted_output_names
        return self.sorted_outputs_order

    @property
    def input_streams(self) -> tuple[Stream, ...]:
        """Physical input streams in order of appearance."""
        return streams_of(self, Direction.HOST_TO_DEVICE)

    @property
    def output_streams(self) -> tuple[Stream, ...]:
        """Physical output streams in order of appearance."""
        return streams_of(self, Direction.DEVICE_TO_HOST)

    @property
    def input_vstreams(self) -> tuple[VStream, ...]:
        """The user's inputs."""
        return input_vstreams(self)

    @property
    def output_vstreams(self) -> tuple[VStream, ...]:
        """The user's outputs, in the API's order."""
        return output_vstreams(self)

    @property
    def vstreams(self) -> tuple[VStream, ...]:
        """The user's inputs, then outputs."""
        return self.input_vstreams + self.output_vstreams


@dataclass(frozen=True)
class Hef:
    """A whole file.

    ``network_groups`` is in API order, the reverse of the file's: the first is the default one (hef.md 6).
    ``container`` is None for a HEF that was never in a file. ``mapping`` and ``additional`` are opaque bytes.
    """

    header: HefHeader
    network_groups: tuple[NetworkGroup, ...]
    extensions: tuple[Extension, ...] = ()
    optional_extensions: tuple[Extension, ...] = ()
    included_features: IncludedFeatures | None = None
    external_resources: tuple[ExternalResource, ...] = ()
    mapping: bytes = field(default=b"", repr=False)
    additional: memoryview | bytes = field(default=b"", repr=False)
    container: Container | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        groups = tuple(with_features(group, self.features) for group in self.network_groups)
        object.__setattr__(self, "network_groups", groups)

    @property
    def version(self) -> int | None:
        """Version of the file's header, None for a HEF that was never in a file."""
        return self.container.version if self.container else None

    def extension(self, number: int) -> bool:
        """Whether the file demands extension ``number``; a file with header version 0 demands none (hef.md 3)."""
        return self.header.version > 0 and any(e.type_index == number for e in self.extensions)

    def optional_extension(self, number: int) -> bool:
        """Whether the file offers extension ``number`` to runtimes that know it."""
        return self.header.version > 0 and any(e.type_index == number for e in self.optional_extensions)

    @property
    def features(self) -> Features:
        """What the extensions, or the flags of an old file, switch on."""
        number, flags = ExtensionType, self.included_features or IncludedFeatures()
        old = self.header.version == 0
        return Features(
            net_flow=self.extension(number.HAILO_NET_FLOW),
            multi_context=flags.is_multi_context if old else self.extension(number.IS_MULTI_CONTEXTS),
            multi_network=self.optional_extension(number.MULTI_NETWORK_VARIABLE_BATCH_SIZE),
            hw_padding=self.optional_extension(number.HW_PADDING),
            preliminary_run_asap=self.extension(number.KO_RUN_ASAP),
            nms_burst=self.extension(number.NMS_OUTPUT_BURST),
            dual_direction_stream_index=self.extension(number.DUAL_DIRECTION_STREAM_INDEX),
            scale_per_feature=self.extension(number.OUTPUT_SCALE_PER_FEATURE),
            batch_register_config=self.extension(number.BATCH_REGISTER_CONFIG),
            padded_ddr_buffers=flags.padded_ddr_buffers if old else self.extension(number.PADDED_DDR_BUFFERS),
            shared_config=self.extension(number.SHARED_CONFIG),
        )

    def network_group(self, name: str | None = None) -> NetworkGroup:
        """Return the group called ``name``, or that has a network ``group/network`` called so, or the default one.

        No such group: `InputError` that names those there are.
        """
        for group in self.network_groups:
            if name is None or group.name == name or name in group.network_names:
                return group
        names = ", ".join(group.name for group in self.network_groups)
        raise InputError(what="network group", detail=f"no {name!r} in this HEF; it has: {names or 'none'}")


def with_features(group: NetworkGroup, features: Features) -> NetworkGroup:
    """Return ``group``, and the partial groups in it, told what the file around it switches on."""
    if group.features == features:
        return group
    partials = tuple(
        replace(partial, network_group=with_features(partial.network_group, features))
        for partial in group.partial_network_groups
    )
    return replace(group, features=features, partial_network_groups=partials)
