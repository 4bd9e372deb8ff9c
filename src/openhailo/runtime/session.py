"""Configuring a network group on a link: lists, buffers and controls in the vendor's order (traces, section 6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from openhailo._units import align_up
from openhailo.driver.control import FirmwareClient
from openhailo.driver.link import DOMAIN_DEVICE, ChipLink, DescriptorList, DmaDirection, HostBuffer
from openhailo.driver.results import HwConsts
from openhailo.errors import DoesNotFit, InvalidHef
from openhailo.runtime.configure.actions import chunks
from openhailo.runtime.configure.channels import ChannelAllocator, Key
from openhailo.runtime.configure.header import header_fields
from openhailo.runtime.configure.layers import D2H, H2D, BoundLayer, HostBufferInfo, Layer, LayerKind
from openhailo.runtime.configure.operations import ConfigFetch, Operations
from openhailo.runtime.configure.periph import initial_credit, stream_registers
from openhailo.runtime.configure.recipes import ConfigStream, Recipes
from openhailo.runtime.configure.requirements import (
    Ring,
    boundary_ring,
    config_count,
    ddr_count,
    default_page_size,
    inter_context_count,
)
from openhailo.runtime.description import NetworkDescription
from openhailo.spec.enums import ContextType
from openhailo.spec.limits import MAX_CONFIG_CHANNELS, MAX_CONTEXTS, MAX_NETWORKS
from openhailo.spec.vdma import VdmaRules

#: Configuration that a network group may have in all its contexts; a small file can point at the same bytes many times.
MAX_CONFIG_BYTES = 1 << 30


@dataclass(frozen=True)
class BoundaryChannel:
    """A boundary layer with its channel, descriptor list and ring."""

    layer: Layer
    channel: int
    dlist: DescriptorList
    ring: Ring


class Session:
    """One network group's resources on a link, and the controls that made them known to the firmware.

    ``batch_size`` 0 is the file's default; ``transfers`` is the queue length of the vendor's build (32, or 8);
    ``performance`` the power mode; ``repeat_queries`` asks for the hardware's constants before every list, as the
    vendor's library does.
    """

    def __init__(
        self,
        link: ChipLink,
        firmware: FirmwareClient,
        description: NetworkDescription,
        *,
        batch_size: int = 0,
        transfers: int = 32,
        performance: bool = True,
        repeat_queries: bool = False,
    ) -> None:
        """Check the limits; nothing is allocated yet. Raises `DoesNotFit`."""
        self._link, self._firmware, self._description = link, firmware, description
        self._batch, self._transfers, self._performance = max(batch_size, 1), transfers, performance
        self._repeat_queries = repeat_queries
        self._known_consts: HwConsts | None = None
        self._max_page = link.info.desc_max_page_size
        self._page = default_page_size(self._max_page)
        self._channels = ChannelAllocator()
        self._closables: list[HostBuffer | DescriptorList] = []
        self._internal: dict[Key, tuple[DescriptorList, int]] = {}
        self.boundary: list[BoundaryChannel] = []
        _check_limits(description)

    def configure(self) -> None:
        """Allocate everything and send header and action lists; on failure everything is given back."""
        try:
            self._configure()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give lists and buffers back; the network must not run. Idempotent."""
        while self._closables:
            self._closables.pop().close()

    def _configure(self) -> None:
        description = self._description
        config = [self._channels.fixed(H2D) for _ in range(description.config_channels)]
        for layer in description.boundary:
            self.boundary.append(self._open_boundary(layer))
        lists: list[tuple[ContextType, list[bytes]]] = []
        recipes = self._recipes()
        lists.append((ContextType.ACTIVATION, recipes.activation()))
        consts = self._consts()
        first = self._bind(description.context(0), consts)
        lists.append((ContextType.BATCH_SWITCHING, recipes.batch_switching(description.preliminary, first)))
        lists.append((ContextType.PRELIMINARY, self._preliminary(recipes, config)))
        indices = range(len(description.contexts))
        lists += [(ContextType.DYNAMIC, self._dynamic(recipes, config, index)) for index in indices]
        self._send(config, lists)

    def _consts(self) -> HwConsts:
        """Return the constants of the buffer formulas, which never change."""
        if self._known_consts is None or self._repeat_queries:
            self._known_consts = self._firmware.hw_consts()
        return self._known_consts

    def _recipes(self) -> Recipes:
        consts = self._consts()
        bound = [self._bound_boundary(boundary, consts) for boundary in self.boundary]
        return Recipes(bound, multi_context=self._description.multi_context, batch_size=self._batch)

    def _preliminary(self, recipes: Recipes, config: list[int]) -> list[bytes]:
        description = self._description
        streams = self._config_streams(description.preliminary, config)
        consts = self._consts()
        self._fill(streams, description.preliminary)
        asap = description.features.preliminary_run_asap
        layers = self._bind(description.context(0), consts) if asap else None
        return recipes.preliminary([stream for stream, _, _ in streams], description.preliminary, layers)

    def _dynamic(self, recipes: Recipes, config: list[int], index: int) -> list[bytes]:
        description = self._description
        operations = description.contexts[index]
        streams = self._config_streams(operations, config)
        consts = self._consts()
        self._fill(streams, operations)
        layers = self._bind(description.context(index), consts)
        last = index == len(description.contexts) - 1
        caches = last and any(layer.kind is LayerKind.CACHE for layer in description.layers)
        built = recipes.dynamic([stream for stream, _, _ in streams], operations, layers, wait_for_cache=caches)
        self._channels.release_context(index)
        return built

    def _send(self, config: list[int], lists: Iterable[tuple[ContextType, list[bytes]]]) -> None:
        description = self._description
        self._firmware.set_application_header(
            header_fields(
                contexts=len(description.contexts),
                networks=description.networks,
                batch_size=self._batch,
                csm_buffer_size=self._page,
                config_channels=config,
                features=description.features,
            )
        )
        for kind, pieces in lists:
            parts = chunks(pieces)
            for index, chunk in enumerate(parts):
                self._firmware.set_context_info_chunk(kind, chunk, is_first=index == 0, is_last=index == len(parts) - 1)

    # --- boundary channels ------------------------------------------------------------------------------------------

    def _open_boundary(self, layer: Layer) -> BoundaryChannel:
        ring = boundary_ring(layer, batch_size=self._batch, transfers=self._transfers, max_page_size=self._max_page)
        channel = self._channels.fixed(layer.direction)
        dlist = self._list(ring.count, ring.page_size, circular=True)
        return BoundaryChannel(layer, channel, dlist, ring)

    def _bound_boundary(self, boundary: BoundaryChannel, consts: HwConsts) -> BoundLayer:
        layer, dlist = boundary.layer, boundary.dlist
        info = HostBufferInfo(dlist.dma_address, dlist.page_size, dlist.count, layer.transfer_bytes)
        registers = stream_registers(layer, dlist.page_size, consts, performance=self._performance)
        return BoundLayer(layer, boundary.channel, info, registers, initial_credit(layer, consts))

    def _bind(self, layers: Iterable[Layer], consts: HwConsts) -> list[BoundLayer]:
        boundary = {b.layer.key: b for b in self.boundary}
        return [
            self._bound_boundary(boundary[layer.key], consts)
            if layer.kind is LayerKind.BOUNDARY
            else self._bound_internal(layer, consts)
            for layer in layers
        ]

    # --- internal channels ------------------------------------------------------------------------------------------

    def _bound_internal(self, layer: Layer, consts: HwConsts) -> BoundLayer:
        channel = self._channels.internal(layer)
        dlist, pattern = self._internal_list(layer)
        info = HostBufferInfo(dlist.dma_address, dlist.page_size, dlist.count, pattern)
        registers = stream_registers(layer, dlist.page_size, consts, performance=self._performance)
        peer = 0
        if layer.kind is LayerKind.DDR and layer.direction is H2D:
            peer = self._channels.internal(self._writer_of(layer))
        return BoundLayer(layer, channel, info, registers, initial_credit(layer, consts), peer)

    def _writer_of(self, layer: Layer) -> Layer:
        """Return the output layer at the other end of an internal layer (itself when it is one)."""
        if layer.direction is D2H:
            return layer
        for other in self._description.layers:
            if other.direction is D2H and (other.context, other.stream) == layer.peer and other.kind is layer.kind:
                return other
        raise InvalidHef(rule="connection", where=layer.name, detail=f"no layer writes {layer.peer}")

    def _internal_list(self, layer: Layer) -> tuple[DescriptorList, int]:
        """Return the list and the pattern of a layer; both ends of a connection share it."""
        writer = self._writer_of(layer)
        if writer.key not in self._internal:
            make = self._ddr_list if writer.kind is LayerKind.DDR else self._inter_context_list
            self._internal[writer.key] = make(writer)
        return self._internal[writer.key]

    def _inter_context_list(self, writer: Layer) -> tuple[DescriptorList, int]:
        frame, page = writer.transfer_bytes, self._page
        dlist = self._list(inter_context_count(frame, page, self._batch), page, circular=False)
        buffer = self._bound_buffer(dlist, DmaDirection.BOTH)
        per_frame = -(-frame // page)
        for index in range(self._batch):
            self._link.program(
                dlist,
                buffer,
                size_bytes=frame,
                starting_desc=index * per_frame,
                bind=False,
                last_domain=DOMAIN_DEVICE,
                channel=self._channels.internal(writer),
            )
        return dlist, frame

    def _ddr_list(self, writer: Layer) -> tuple[DescriptorList, int]:
        row = writer.core_bytes_per_buffer
        if row < 1 or row % 512:
            raise InvalidHef(rule="DDR row", where=writer.name, detail=f"{row} bytes are not a multiple of 512")
        dlist = self._list(ddr_count(row, self._page, writer.buffered_rows), self._page, circular=True)
        self._bound_buffer(dlist, DmaDirection.BOTH)
        return dlist, row

    def _bound_buffer(self, dlist: DescriptorList, direction: DmaDirection, channel: int = 0) -> HostBuffer:
        """Allocate memory for a whole list and point every descriptor at it, without interrupts."""
        size = dlist.count * dlist.page_size
        buffer = self._link.alloc_buffer(size, direction)
        self._closables.append(buffer)
        self._link.program(dlist, buffer, size_bytes=size, channel=channel)
        return buffer

    # --- configuration ----------------------------------------------------------------------------------------------

    def _config_streams(
        self, operations: Operations, channels: list[int]
    ) -> list[tuple[ConfigStream, DescriptorList, HostBuffer]]:
        streams = operations.config_streams
        if streams != list(range(len(streams))) or len(streams) > len(channels):
            raise InvalidHef(rule="config channels", where=self._description.name, detail=f"streams {streams} in use")
        return [self._config_stream(operations, stream, channels[stream]) for stream in streams]

    def _config_stream(
        self, operations: Operations, stream: int, channel: int
    ) -> tuple[ConfigStream, DescriptorList, HostBuffer]:
        fetches = operations.fetches(stream)
        groups = [fetch.size_bytes for fetch in fetches]
        if self._description.ccw_by_reference:
            # The vendor reserves whole pages for each write, and uses whole pages for each group only.
            groups = [len(piece) for fetch in fetches for piece in fetch.pieces]
        rules = VdmaRules()
        if self._max_page > rules.max_page_size:
            raise DoesNotFit(resource="bytes of a descriptor page", need=self._max_page, have=rules.max_page_size)
        page, limit = self._page, rules.max_descriptors
        while config_count(groups, page) > limit and page < self._max_page:
            page *= 2
        count = config_count(groups, page)
        if count > limit:
            raise DoesNotFit(resource="config descriptors", need=count, have=limit)
        # The device reads this memory again at every activation, so it lives as long as the network.
        buffer = self._link.alloc_buffer(count * page, DmaDirection.TO_DEVICE)
        self._closables.append(buffer)
        dlist = self._list(count, page, circular=False)
        self._link.program(dlist, buffer, size_bytes=count * page, channel=channel)
        pattern = sum(align_up(fetch.size_bytes, page) for fetch in fetches)
        info = HostBufferInfo(dlist.dma_address, page, count, pattern)
        return ConfigStream(stream, channel, info), dlist, buffer

    def _fill(self, streams: Iterable[tuple[ConfigStream, DescriptorList, HostBuffer]], operations: Operations) -> None:
        """Copy every group to descriptors of its own and give these the true byte counts (context-switch.md 13)."""
        by_stream = {config.stream: (config, dlist, buffer) for config, dlist, buffer in streams}
        used = dict.fromkeys(by_stream, 0)
        for fetch in operations.all_fetches():
            config, dlist, buffer = by_stream[fetch.stream]
            at = used[fetch.stream]
            size, offset = fetch.size_bytes, at * dlist.page_size
            self._write_group(buffer, offset, fetch)
            if size:
                self._link.program(
                    dlist,
                    buffer,
                    size_bytes=size,
                    starting_desc=at,
                    bind=False,
                    last_domain=DOMAIN_DEVICE,
                    channel=config.channel,
                )
            used[fetch.stream] = at + -(-size // dlist.page_size)

    def _write_group(self, buffer: HostBuffer, offset: int, fetch: ConfigFetch) -> None:
        """Copy one group to ``offset`` and make it visible to the device, per write or as a whole."""
        position = offset
        for piece in fetch.pieces:
            buffer.view[position : position + len(piece)] = piece
            if self._description.ccw_by_reference and len(piece):
                self._link.sync_buffer(buffer, position, len(piece), True)
            position += len(piece)
        if not self._description.ccw_by_reference and position > offset:
            self._link.sync_buffer(buffer, offset, position - offset, True)

    def _list(self, count: int, page_size: int, *, circular: bool) -> DescriptorList:
        limit = VdmaRules().max_descriptors
        if count > limit:
            raise DoesNotFit(resource="descriptors of a list", need=count, have=limit)
        dlist = self._link.create_descriptor_list(count, page_size, circular=circular)
        self._closables.append(dlist)
        return dlist


def _check_limits(description: NetworkDescription) -> None:
    operations = (description.preliminary, *description.contexts)
    config_bytes = sum(fetch.size_bytes for context in operations for fetch in context.all_fetches())
    have = {
        "contexts": (len(description.contexts) + 3, MAX_CONTEXTS),
        "config channels": (description.config_channels, MAX_CONFIG_CHANNELS),
        "networks of a group": (description.networks, MAX_NETWORKS),
        "configuration bytes": (config_bytes, MAX_CONFIG_BYTES),
    }
    for resource, (need, limit) in have.items():
        if need > limit:
            raise DoesNotFit(resource=resource, need=need, have=limit)
