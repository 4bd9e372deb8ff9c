"""Which vDMA channel carries what (context-switch.md 12): first free number of the direction's half."""

from __future__ import annotations

from openhailo.errors import DoesNotFit
from openhailo.runtime.configure.layers import Layer
from openhailo.spec.enums import EdgeLayerDirection
from openhailo.spec.vdma import VdmaRules

Key = tuple[int, EdgeLayerDirection, int]


class ChannelAllocator:
    """Hands out channels of one network group: config and boundary channels for good, internal ones per context."""

    def __init__(self, rules: VdmaRules | None = None) -> None:
        """Start with every channel free."""
        rules = rules or VdmaRules()
        half = rules.host_to_device_channels
        self._ranges = {
            EdgeLayerDirection.HOST_TO_DEVICE: range(half),
            EdgeLayerDirection.DEVICE_TO_HOST: range(half, rules.channels),
        }
        self._taken: set[int] = set()
        self._internal: dict[Key, int] = {}
        self._ever_internal: set[int] = set()

    def _first_free(self, direction: EdgeLayerDirection, avoid: set[int]) -> int:
        channels = self._ranges[direction]
        for channel in channels:
            if channel not in avoid:
                self._taken.add(channel)
                return channel
        raise DoesNotFit(resource=f"{direction.name.lower()} DMA channels", need=len(channels) + 1, have=len(channels))

    def fixed(self, direction: EdgeLayerDirection) -> int:
        """Take a config or boundary channel; numbers that an internal channel ever had are left alone."""
        return self._first_free(direction, self._taken | self._ever_internal)

    def internal(self, layer: Layer) -> int:
        """Return the channel of an inter-context, DDR or cache layer, taking one the first time."""
        channel = self._internal.get(layer.key)
        if channel is None:
            channel = self._internal[layer.key] = self._first_free(layer.direction, self._taken)
            self._ever_internal.add(channel)
        return channel

    def release_context(self, context: int) -> None:
        """Free the internal channels of ``context``, whose numbers the next context reuses."""
        for key in [key for key in self._internal if key[0] == context]:
            self._taken.discard(self._internal.pop(key))
