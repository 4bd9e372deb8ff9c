"""What a network's inputs and outputs look like before it is configured: its ports, on no device at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from openhailo.driver.link import ChipLink, DescriptorList, DmaDirection, HostBuffer
from openhailo.runtime.configure.requirements import Ring
from openhailo.runtime.description import TensorInfos
from openhailo.runtime.network import Network
from openhailo.runtime.ports import Ports, StreamOptions
from openhailo.runtime.session import BoundaryChannel
from openhailo.runtime.streams import OutputRefill


class _Nowhere:
    """Stands where the link to a chip is; gives memory that nobody ever touches, so it costs none."""

    def alloc_buffer(self, size_bytes: int, direction: DmaDirection) -> HostBuffer:
        """Return zeroed memory of the host."""
        view = np.zeros(size_bytes, np.uint8).data
        return cast(HostBuffer, SimpleNamespace(view=view, size_bytes=size_bytes, direction=direction, close=_nothing))

    def launch_many(self, *_: Any, **__: Any) -> int:
        """Nothing is ever launched."""
        raise AssertionError("an outline runs no frames")


def _nothing() -> None:
    return None


class NetworkOutline:
    """The ports of ``network``, which is not configured: enough to plan formats and buffers."""

    def __init__(self, network: Network) -> None:
        """Lay them out. Raises `InputError` for an order that cannot be."""
        self.name = network.name
        self.link = cast(ChipLink, _Nowhere())
        description = network.description
        ports = Ports(
            self.link,
            description,
            network.order_of,
            StreamOptions(OutputRefill.PAIRED, False),
            [],
            network.options.output_orders.get,
        )
        dlist = cast(DescriptorList, SimpleNamespace(count=2, close=_nothing))
        ports.open(
            [BoundaryChannel(layer, 0, dlist, Ring(layer.transfer_bytes, 64, 2, 1)) for layer in description.boundary]
        )
        self.input_ports, self.output_ports = ports.inputs, ports.outputs
        infos = {info.name: info for port in ports.outputs for info in port.infos}
        self.outputs = TensorInfos(infos[name] for name in description.outputs if name in infos)
