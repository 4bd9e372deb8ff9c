"""The ring against a model: any mix of launches, transfers, sizes and re-opens (driver.md 10.4)."""

from __future__ import annotations

from collections import deque

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin


class Firmware:
    """Does nothing: the machine plays firmware itself."""

    def __init__(self, *_args):
        self.boot = self.halt = lambda *_a: None


class RingMachine(RuleBasedStateMachine):
    """One channel each way over rings of random size; a queue of transfers is the model."""

    @initialize(depth=st.integers(1, 7), page=st.sampled_from([64, 128, 512]))
    def start(self, depth, page):
        self.twin = Twin(clock=SteppedClock(), firmware=Firmware, booted=True)
        function = self.twin.function()
        function.config.write(0x04, 2, 6)
        self.vdma, self.bar2, self.bar0 = self.twin.chip.vdma, function.window(2), function.window(0)
        self.count, self.page, self.dma = 1 << depth, page, function.dma
        self.sides = {}
        for channel in (5, 20):
            ring = self.dma.alloc(self.count * 16, alignment=0x10000)
            data = self.dma.alloc(self.count * page)
            self.sides[channel] = {
                "words": np.frombuffer(ring.view, "<u4").reshape(-1, 4),
                "bytes": np.frombuffer(data.view, np.uint8).reshape(-1, page),
                "iova": data.iova,
                "list": ring.iova,
                "half": channel * 0x20 + (0x10 if channel > 15 else 0),
            }
            self.reopen(channel)
        self.random = np.random.default_rng(depth * 1000 + page)

    @rule(channel=st.sampled_from([5, 20]))
    def reopen(self, channel):
        side = self.sides[channel]
        self.vdma.open_channel(channel, list_address=side["list"], desc_count=self.count, page_size=self.page)
        side.update(next=0, used=0, processed=0, queue=deque())

    @rule(channel=st.sampled_from([5, 20]), data=st.data())
    def launch(self, channel, data):
        """Queue one transfer of random descriptor sizes if there is room."""
        side = self.sides[channel]
        room = self.count - 1 - side["used"]
        if room < 1:
            return
        sizes = data.draw(st.lists(st.integers(1, self.page // 64).map(lambda n: 64 * n), min_size=1, max_size=room))
        slots = [(side["next"] + i) % self.count for i in range(len(sizes))]
        for i, (slot, size) in enumerate(zip(slots, sizes, strict=True)):
            address = side["iova"] + slot * self.page
            control = 0x2F if i == len(sizes) - 1 else 0x02
            side["words"][slot] = (size << 8 | control, address & 0xFFFFFFFF, address >> 32, 0)
            if channel == 5:
                side["bytes"][slot] = self.random.integers(0, 256, self.page, np.uint8)
        side["next"] = (side["next"] + len(sizes)) % self.count
        side["used"] += len(sizes)
        side["queue"].append(list(zip(slots, sizes, strict=True)))
        word = self.bar2.read32(side["half"])
        self.bar2.write32(side["half"], (word & 0xFFFF) | side["next"] << 16)

    def content(self, side, transfer):
        return b"".join(side["bytes"][slot, :size].tobytes() for slot, size in transfer)

    def finished(self, side):
        transfer = side["queue"].popleft()
        side["used"] -= len(transfer)
        side["processed"] += len(transfer)
        assert side["words"][transfer[-1][0], 3] & 0xFF == 1, "status written back"

    @rule()
    def pull(self):
        side = self.sides[5]
        if not side["queue"]:
            assert self.vdma.pull(5, 64) is None
            return
        transfer = side["queue"][0]
        data = self.vdma.pull(5, sum(size for _, size in transfer))
        assert bytes(data) == self.content(side, transfer)
        assert self.bar0.read32(0x400) == 1 << 5
        self.bar0.write32(0x400, 1 << 5)
        self.finished(side)

    @rule(shorten=st.integers(0, 63))
    def push(self, shorten):
        side = self.sides[20]
        if not side["queue"]:
            assert not self.vdma.push(20, b"x")
            return
        transfer = side["queue"][0]
        size = sum(size for _, size in transfer) - shorten
        data = self.random.integers(0, 256, size, np.uint8)
        assert self.vdma.push(20, data)
        assert self.content(side, transfer)[:size] == data.tobytes()
        assert side["words"][transfer[-1][0], 3] >> 8 == shorten
        assert self.bar0.read32(0x500) == 1 << 20
        self.bar0.write32(0x500, 1 << 20)
        self.finished(side)

    @precondition(lambda self: hasattr(self, "sides"))
    @invariant()
    def registers_tell_the_position(self):
        for channel, side in self.sides.items():
            shown = side["processed"] % self.count or (self.count if side["processed"] else 0)
            assert self.bar2.read32(side["half"] + 4) == shown << 16 | shown
            assert self.bar2.read32(side["half"]) >> 16 == side["next"]
            assert self.bar2.read32(side["half"] + 8) & 0xFF == 0
            assert self.vdma.available(channel) == side["used"]


TestRing = RingMachine.TestCase
TestRing.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
