"""The twin's DMA engine, fed by our driver, against a plain copy of the same bytes."""

from __future__ import annotations

import numpy as np
from tools.report import Row

from benchmarks.pairs import Pair, measure_pair
from openhailo.bus.protocols import DmaDirection
from openhailo.driver.link import DOMAIN_HOST
from openhailo.driver.pcie_link import PcieLink
from openhailo.twin import Twin
from openhailo.twin.firmware.image import build_placeholder_image

#: A 416x416x3 input in the ring that the runtime makes for it.
FRAME_BYTES, PAGE_BYTES, RING, CHANNEL = 416 * 416 * 3, 512, 32768, 1
SLOT_BYTES, IN_FLIGHT = -(-FRAME_BYTES // 4096) * 4096, 8


def rows() -> list[Row]:
    """Measure the whole way of frames: launch, descriptors, copy, interrupt, completion."""
    stream, single = _measure(IN_FLIGHT), _measure(1)
    return [
        _row("dma_vs_memcpy", stream, IN_FLIGHT, f"memcpy of the same {IN_FLIGHT} frames of {FRAME_BYTES} bytes"),
        _row("dma_vs_memcpy_single", single, 1, f"memcpy of the same {FRAME_BYTES} bytes, one frame at a time"),
    ]


def _row(name: str, pair: Pair, frames: int, against: str) -> Row:
    return Row(name, frames * FRAME_BYTES / pair.ours_s / 1e9, "GB/s", against, pair.speed_ratio)


def _measure(frames: int) -> Pair:
    """Move ``frames`` per launch."""
    twin = Twin()
    with PcieLink(twin.function(), firmware=build_placeholder_image()) as link:
        ring = link.create_descriptor_list(RING, PAGE_BYTES, circular=True)
        source = link.alloc_buffer(SLOT_BYTES * frames, DmaDirection.TO_DEVICE)
        transfers = tuple(((source, SLOT_BYTES * i, FRAME_BYTES),) for i in range(frames))
        sink = np.zeros((frames, FRAME_BYTES), np.uint8)
        engine = twin.chip.vdma
        with twin.chip.loop.lock:
            engine.open_channel(CHANNEL, list_address=ring.dma_address, desc_count=RING, page_size=PAGE_BYTES)
            engine.on_work(lambda channel: engine.pull_frames(channel, sink))
        link.enable_channels(1 << CHANNEL)
        position = 0

        def move() -> None:
            nonlocal position
            used = link.launch_many(CHANNEL, ring, position, transfers, last_domain=DOMAIN_HOST)
            position = (position + used) % RING
            (event,) = link.wait_channels(1 << CHANNEL, 1.0)
            assert event.completed == frames, event

        plain = np.frombuffer(source.view, np.uint8).reshape(frames, SLOT_BYTES)[:, :FRAME_BYTES]
        plain[:] = 7
        pair = measure_pair(move, lambda: np.copyto(sink, plain))
        assert (sink == 7).all(), "the frames did not arrive"
        link.disable_channels(1 << CHANNEL)
    return pair
