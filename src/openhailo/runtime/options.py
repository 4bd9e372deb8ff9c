"""How a network is configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from openhailo.errors import InputError
from openhailo.runtime.formats import FormatOrder
from openhailo.runtime.streams import OutputRefill
from openhailo.spec.limits import FRAME_TIMEOUT_S, MAX_BATCH_SIZE


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is configured.

    Args:
        batch_size: most frames that a multi-context network takes at a time (0: 1). Calls with fewer frames take
            fewer, and never wait for more.
        timeout_s: longest time without a frame before `DeviceTimeout`.
        queue_transfers: transfers per channel, 32, or 8 as in the vendor's packaged build (context-switch.md 13).
        performance: the ordinary power mode; False keeps small buffers (ultra performance).
        dynamic_batch_size: frames per burst that the firmware is told at the activation (0: ``batch_size``); the
            vendor's scheduler says 1 to single-context networks.
        output_refill: when output slots are handed to the device (see `openhailo.runtime.streams.OutputRefill`).
        interrupt_at_start: the host is interrupted when the device begins to read a frame as well.
        repeat_queries: ask the firmware for its constants before every list, as the vendor's library does.
        input_orders, output_orders: user's order of a layer by name, where it is not the default.
        host_ops: do what the file leaves to the host (boxes, softmax, argmax); False gives the layers themselves.
        measure_latency: follow the hardware's latency (`Network.latency`); for networks of one input stream, without
            boxes from the chip.
    """

    batch_size: int = 0
    timeout_s: float = FRAME_TIMEOUT_S
    queue_transfers: int = 32
    performance: bool = True
    dynamic_batch_size: int = 0
    output_refill: OutputRefill = OutputRefill.HALF
    interrupt_at_start: bool = False
    repeat_queries: bool = False
    input_orders: Mapping[str, FormatOrder] = field(default_factory=dict)
    output_orders: Mapping[str, FormatOrder] = field(default_factory=dict)
    host_ops: bool = True
    measure_latency: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.batch_size <= MAX_BATCH_SIZE:
            raise InputError(what="batch_size", detail=f"{self.batch_size} is not in 0..{MAX_BATCH_SIZE}")
        if not 0 <= self.dynamic_batch_size <= MAX_BATCH_SIZE:
            detail = f"{self.dynamic_batch_size} is not in 0..{MAX_BATCH_SIZE}"
            raise InputError(what="dynamic_batch_size", detail=detail)
        try:
            object.__setattr__(self, "output_refill", OutputRefill(self.output_refill))
        except ValueError:
            known = ", ".join(OutputRefill)
            raise InputError(what="output_refill", detail=f"{self.output_refill!r} is not one of {known}") from None
        if self.queue_transfers < 1:
            raise InputError(what="queue_transfers", detail=f"{self.queue_transfers} is below 1")
        if not self.timeout_s > 0:
            raise InputError(what="timeout_s", detail=f"{self.timeout_s} is not positive")
