"""The twin's DMA engine, fed by our driver, against a plain copy of the same bytes."""

from __future__ import annotations

import numpy as np
from tools.report import Row

from benchmarks.pairs import measure_pair
from openhailo.bus.protocols import DmaDirection
from openhailo.driver.link import DOMAIN_HOST
from openhailo.driver.pcie_link import PcieLink
from openhailo.twin import Twin
from openhailo.twin.firmware.image import build_placeholder_image

FRAME_BYTES, PAGE_BYTES, RING, CHANNEL = 416 * 416 * 3, 512, 4096, 1


def rows() -> list[Row]:
    """Measure frames of a 416x416x3 input: launch, descriptors, copy, interrupt, completion."""
    twin = Twin()
    with PcieLink(twin.function(), firmware=build_placeholder_image()) as link:
        ring = link.create_descriptor_list(RING, PAGE_BYTES, circular=True)
        source = link.alloc_buffer(FRAME_BYTES, DmaDirection.TO_DEVICE)
        sink = np.empty(FRAME_BYTES, np.uint8)
        engine = twin.chip.vdma
        with twin.chip.loop.lock:
            engine.open_channel(CHANNEL, list_address=ring.dma_address, desc_count=RING, page_size=PAGE_BYTES)
            engine.on_work(lambda channel: engine.pull(channel, FRAME_BYTES, sink))
        link.enable_channels(1 << CHANNEL)
        position = 0

        def move_frame() -> None:
            nonlocal position
            used = link.launch(CHANNEL, ring, position, [(source, 0, FRAME_BYTES)], last_domain=DOMAIN_HOST)
            position = (position + used) % RING
            (event,) = link.wait_channels(1 << CHANNEL, 1.0)
            assert event.completed == 1, event

        plain = np.frombuffer(source.view, np.uint8)
        pair = measure_pair(move_frame, lambda: np.copyto(sink, plain))
        link.disable_channels(1 << CHANNEL)
    rate = FRAME_BYTES / pair.ours_s / 1e9
    return [Row("dma_vs_memcpy", rate, "GB/s", f"memcpy of the same {FRAME_BYTES} bytes", pair.speed_ratio)]
