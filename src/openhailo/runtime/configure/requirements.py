"""Sizes of descriptor lists and queues (context-switch.md 13)."""

from __future__ import annotations

from dataclasses import dataclass

from openhailo._units import MIB
from openhailo.errors import DoesNotFit
from openhailo.runtime.configure.layers import Layer
from openhailo.spec.vdma import VdmaRules

#: Bytes that the frames of one queue may take before it gets shorter (context-switch.md 13).
MAX_QUEUE_BYTES = 32 * MIB


@dataclass(frozen=True)
class Ring:
    """Geometry of a boundary channel: ``depth`` transfers fit into ``count`` descriptors of ``page_size`` bytes."""

    transfer_bytes: int
    page_size: int
    count: int
    depth: int

    @property
    def descs_per_transfer(self) -> int:
        """Descriptors that one transfer takes when it starts on a page."""
        return -(-self.transfer_bytes // self.page_size)


def default_page_size(max_page_size: int, rules: VdmaRules | None = None) -> int:
    """Return the page size of config, inter-context and DDR lists, and of large boundary transfers."""
    return min((rules or VdmaRules()).default_page_size, max_page_size)


def boundary_page_size(
    transfer_bytes: int, max_shmifo_size: int, max_page_size: int, rules: VdmaRules | None = None
) -> int:
    """Return the page size of a boundary ring: 512, or the power of two that holds a smaller transfer."""
    rules = rules or VdmaRules()
    page = default_page_size(max_page_size, rules)
    if transfer_bytes < page:
        page = max(rules.min_page_size, 1 << (transfer_bytes - 1).bit_length())
    if page == max_shmifo_size:
        page //= 2
    while 2 * -(-transfer_bytes // page) > rules.max_descriptors - 1:
        if page * 2 > max_page_size:
            raise DoesNotFit(resource="descriptors", need=2 * -(-transfer_bytes // page), have=rules.max_descriptors)
        page *= 2
    return page


def queue_transfers(layer: Layer, batch_size: int, transfers: int) -> int:
    """Return how many transfers the layer's queue holds; ``transfers`` is 32, or 8 in the vendor's packaged build."""
    per_frame = layer.transfers_per_frame
    fewest = 2 * batch_size * per_frame
    most = max(fewest, transfers * per_frame)
    return min(max(MAX_QUEUE_BYTES // (layer.transfer_bytes * per_frame), fewest), most)


def boundary_ring(
    layer: Layer,
    *,
    batch_size: int,
    transfers: int,
    max_page_size: int,
    rules: VdmaRules | None = None,
) -> Ring:
    """Return the ring of a boundary layer. Raises `DoesNotFit` when not even one transfer fits."""
    rules = rules or VdmaRules()
    size = layer.transfer_bytes
    page = boundary_page_size(size, layer.max_shmifo_size, max_page_size, rules)
    queue, per_transfer = queue_transfers(layer, batch_size, transfers), -(-size // page)
    wanted = (per_transfer + 1) * queue + 1
    count = min(max(1 << (wanted - 1).bit_length(), 2), rules.max_descriptors)
    depth = min(queue, (count - 1) // per_transfer, rules.max_transfers_in_flight)
    return Ring(size, page, count, depth)


def inter_context_count(frame_bytes: int, page_size: int, batch_size: int) -> int:
    """Return the descriptors of an inter-context list: a batch of frames and one more, at least two."""
    return max(2, -(-frame_bytes // page_size) * batch_size + 1)


def ddr_count(row_bytes: int, page_size: int, rows: int) -> int:
    """Return the descriptors of a DDR ring: a power of two above the buffered rows, at least two."""
    wanted = rows * -(-row_bytes // page_size) + 1
    return max(2, 1 << (wanted - 1).bit_length())


def config_count(groups: list[int], page_size: int) -> int:
    """Return the descriptors of a config list whose fetches take ``groups`` bytes each; a list has at least two."""
    return max(2, sum(-(-group // page_size) for group in groups) + 1)
