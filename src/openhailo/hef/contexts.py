"""Core ops and their contexts: what the chip does, load by load (hef.md 5 and 17)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from openhailo.errors import InvalidHef

from .enums import Connection
from .layers import EdgeLayer, FusedLayer
from .operations import Operation, Trigger


@dataclass(frozen=True)
class ClusterEndGuarantee:
    """A trigger that ends a cluster's work; not used for inference."""

    cluster_index: int = 0
    trigger: Trigger | None = None


@dataclass(frozen=True)
class OrderedTrigger:
    """Expected time of a trigger; not used for inference."""

    triggers: Trigger | None = None
    estimated_time_from_previous_ns: int = 0


@dataclass(frozen=True)
class HwPackageInfo:
    """Memory geometry the compiler assumed; not used for inference."""

    dense_alignment_size: int = 0
    axi_width: int = 0
    memory_width: int = 0


@dataclass(frozen=True)
class ShmiglueInfo:
    """Not used for inference."""

    should_use_shmiglue: bool = False
    shmiglue_index: int = 0


@dataclass(frozen=True)
class Context:
    """One load of the chip: operations to run and the layers that cross its edge. Its place counts, not ``index``."""

    index: int = 0
    operations: tuple[Operation, ...] = ()
    edge_layers: tuple[EdgeLayer, ...] = ()
    name: str = ""
    sorted_outputs_order: tuple[str, ...] = ()
    cluster_end_guarantees: tuple[ClusterEndGuarantee, ...] = ()
    trigger_order: tuple[OrderedTrigger, ...] = ()
    hw_package_info: HwPackageInfo | None = None
    shmiglue_info: ShmiglueInfo | None = None


@dataclass(frozen=True)
class CfgChannel:
    """A config channel and the DMA engine it uses (ignored on PCIe)."""

    cfg_channel_index: int = 0
    engine_id: int = 0


@dataclass(frozen=True)
class GroupMetadata:
    """Name and figures of a network group; the core op repeats them, with the same name (hef.md 6).

    ``cfg_channels_count`` 0 means 1. ``bottleneck_fps`` in frames per second, ``latency`` in seconds.
    """

    network_group_name: str = ""
    network_group_index: int = 0
    transposed_net: bool = False
    bottleneck_fps: float = 0.0
    latency: float = 0.0
    cfg_channels_count: int = 0
    cfg_channels_config: tuple[CfgChannel, ...] = field(default=(), metadata={"of": CfgChannel})


@dataclass(frozen=True)
class FusedLayers:
    """Outputs that the chip delivers in parts, and the output order with them put together."""

    network_has_fused_layers: bool = False
    updated_sorted_output_names: tuple[str, ...] = ()
    fused_layers: tuple[FusedLayer, ...] = ()


@dataclass(frozen=True)
class PartialCoreOp:
    """The core op for one set of working clusters (Hailo-8L; hef.md 17)."""

    core_op: CoreOp
    layout: int = 0


@dataclass(frozen=True)
class CoreOp:
    """What the chip does. ``preliminary`` runs once per activation, each context's operations each time it runs.

    ``partial_core_ops`` replaces all else where it is there: see `for_layout`.
    """

    metadata: GroupMetadata
    contexts: tuple[Context, ...] = ()
    preliminary: tuple[Operation, ...] = ()
    fused_layers: FusedLayers | None = None
    sorted_outputs_order: tuple[str, ...] = ()
    networks_names: tuple[str, ...] = ()
    partial_core_ops: tuple[PartialCoreOp, ...] = ()

    @property
    def name(self) -> str:
        """Name of the network group it belongs to."""
        return self.metadata.network_group_name

    @property
    def bottleneck_fps(self) -> float:
        """The compiler's estimate of the throughput, frames per second."""
        return self.metadata.bottleneck_fps

    @property
    def latency(self) -> float:
        """The compiler's estimate of the latency, seconds."""
        return self.metadata.latency

    @property
    def transposed_net(self) -> bool:
        """Whether rows and columns of all layers are exchanged."""
        return self.metadata.transposed_net

    @property
    def cfg_channels_count(self) -> int:
        """How many config channels the core op uses (hef.md 14)."""
        return self.metadata.cfg_channels_count or 1

    @property
    def layouts(self) -> tuple[int, ...]:
        """Cluster bitmaps that there is a version for; empty when there is one for all."""
        return tuple(partial.layout for partial in self.partial_core_ops)

    def for_layout(self, layout: int | None = None) -> CoreOp:
        """Return the core op for a device whose clusters are ``layout`` (hef.md 17).

        None means "any": the numerically smallest layout. No version for that layout: `InvalidHef`.
        """
        if not self.partial_core_ops:
            return self
        ordered = sorted(self.partial_core_ops, key=lambda partial: partial.layout)
        for partial in ordered:
            if layout is None or partial.layout == layout:
                return partial.core_op
        detail = f"no version for cluster layout 0x{layout or 0:X}; there is {[hex(p.layout) for p in ordered]}"
        raise InvalidHef(rule="cluster layout", where=self.name, detail=detail)

    def operations(self) -> Iterator[Operation]:
        """All operations: preliminary ones, then those of each context."""
        yield from self.preliminary
        for context in self.contexts:
            yield from context.operations

    def boundary_layers(self) -> tuple[EdgeLayer, ...]:
        """Edge layers that the host feeds or reads, in order of appearance."""
        layers = (layer for context in self.contexts for layer in context.edge_layers)
        return tuple(layer for layer in layers if layer.connection is Connection.BOUNDARY)
