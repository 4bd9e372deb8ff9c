"""Closing, states, threads, watchdog and recovery."""

from __future__ import annotations

import gc
import struct
import threading
from collections.abc import Iterator

import pytest
from driver_fakes import FakeChip, answer, firmware_image

from openhailo.bus.protocols import DmaDirection
from openhailo.driver.link import ChannelEvent, ChipLink, DescriptorList, HostBuffer
from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.driver.state import LinkState, StateMachine
from openhailo.driver.watchdog import Recovery, Watchdog, recover
from openhailo.errors import BootFailed, DeviceLost, MalformedReply, StateError

TO = DmaDirection.TO_DEVICE


def opcode(request: bytes) -> int:
    return struct.unpack(">I", request[12:16])[0]


def identify_answer(request: bytes) -> bytes:
    strings = [b"board".ljust(32), b"s".ljust(16), b"p".ljust(16), b"x".ljust(42)]
    return answer(request, bytes(4), struct.pack("<3I", 4, 23, 0), bytes(4), strings[0], bytes(4), *strings[1:])


# --- closing -----------------------------------------------------------------------------------------------------


def test_it_is_a_chip_link(link: PcieLink) -> None:
    assert isinstance(link, ChipLink)
    assert isinstance(link.alloc_buffer(64, TO), HostBuffer)
    assert isinstance(link.create_descriptor_list(2, 64, circular=True), DescriptorList)


def test_opening_wakes_the_function(chip: FakeChip, link: PcieLink) -> None:
    assert chip.config.read(0x44, 2) & 3 == 0  # D0
    assert chip.config.read(0x04, 2) & 6 == 6  # memory, bus master
    assert chip.config.read(0x80, 2) == 2  # L0s off, L1 kept
    assert chip.irq.enabled


def assert_quiet(chip: FakeChip) -> None:
    assert chip.mask == 0
    assert not chip.irq.enabled
    assert not chip.config.read(0x04, 2) & 4
    assert chip.dma.buffers == {}
    assert chip.closed


def test_close_leaves_the_chip_quiet(chip: FakeChip, options: LinkOptions) -> None:
    order: list[str] = []
    link = PcieLink(chip, options=options)
    dlist = link.create_descriptor_list(128, 512, circular=True)
    link.enable_channels(4)
    chip.start_channel(2, 128, dlist.dma_address)
    link.launch(2, dlist, 0, [(link.alloc_buffer(512, TO), 0, 512)])
    plain_close, plain_disable, plain_ring = chip.close, chip.irq.disable, chip.ring
    chip.close = lambda: (order.append(f"close with {len(chip.dma.buffers)} buffers"), plain_close())  # type: ignore
    chip.irq.disable = lambda: (order.append(f"msi off, mask {chip.mask}"), plain_disable())  # type: ignore
    chip.ring = lambda value: (order.append(f"doorbell {value}"), plain_ring(value))  # type: ignore
    link.close()
    assert order == ["doorbell 4", "msi off, mask 0", "close with 0 buffers"]
    assert_quiet(chip)
    assert link.state is LinkState.IDLE
    link.close()
    assert order[-1] == "close with 0 buffers" and len(order) == 3


def test_close_without_acknowledgement_takes_5_ms(chip: FakeChip, options: LinkOptions) -> None:
    chip.acknowledges_shutdown = False
    link = PcieLink(chip, options=options)
    started = chip.clock.now
    link.close()
    assert chip.clock.now - started == pytest.approx(0.005)
    assert_quiet(chip)


def test_an_exception_inside_still_closes(chip: FakeChip, options: LinkOptions) -> None:
    with pytest.raises(KeyError), PcieLink(chip, options=options) as link:
        link.alloc_buffer(4096, TO)
        raise KeyError("user code")
    assert_quiet(chip)
    assert chip.doorbells == [4]


def test_a_lost_card_is_closed_too(chip: FakeChip, options: LinkOptions) -> None:
    with PcieLink(chip, options=options) as link:
        link.alloc_buffer(4096, TO)
        chip.dead = True
    assert chip.closed and not chip.irq.enabled and not chip.dma.buffers
    assert chip.doorbells == []


def test_a_foreign_error_while_closing_does_not_stop_the_rest(chip: FakeChip, options: LinkOptions) -> None:
    class OwnBug(BaseException):
        pass

    def broken(value: int) -> None:
        raise OwnBug

    link = PcieLink(chip, options=options)
    chip.ring = broken  # type: ignore[method-assign]
    with pytest.raises(OwnBug):
        link.close()
    assert_quiet(chip)


def test_a_forgotten_link_is_closed_by_the_collector(chip: FakeChip, options: LinkOptions) -> None:
    link = PcieLink(chip, options=options)
    link.alloc_buffer(4096, TO)
    del link
    gc.collect()
    assert_quiet(chip)


def test_closed_links_refuse(chip: FakeChip, options: LinkOptions) -> None:
    link = PcieLink(chip, options=options)
    link.close()
    for call in (
        lambda: link.wait_channels(1, 0),
        lambda: link.read_notification(0),
        lambda: link.read_log(0),
        lambda: link.alloc_buffer(64, TO),
        lambda: link.enable_channels(1),
        lambda: link.create_descriptor_list(2, 64, circular=True),
        link.soft_reset,
        link.recover,
    ):
        with pytest.raises(StateError):
            call()
    link.wake()
    link.disable_channels(1)


# --- states ------------------------------------------------------------------------------------------------------

ALLOWED = {
    "IDLE": {"LOADING"},
    "LOADING": {"READY", "ERROR", "IDLE"},
    "READY": {"RUNNING", "LOADING", "ERROR", "IDLE"},
    "RUNNING": {"READY", "LOADING", "ERROR", "IDLE"},
    "ERROR": {"LOADING", "IDLE"},
}
PATHS = {"IDLE": [], "LOADING": ["LOADING"], "READY": ["LOADING", "READY"], "RUNNING": ["LOADING", "READY", "RUNNING"],
         "ERROR": ["LOADING", "ERROR"]}  # fmt: skip


@pytest.mark.parametrize("before", ALLOWED)
@pytest.mark.parametrize("after", ALLOWED)
def test_transitions(before: str, after: str) -> None:
    machine = StateMachine()
    for name in PATHS[before]:
        machine.move(LinkState[name])
    heard: list[tuple[LinkState, LinkState]] = []
    stop = machine.listen(lambda a, b: heard.append((a, b)))
    if after in ALLOWED[before]:
        machine.move(LinkState[after])
        assert heard == [(LinkState[before], LinkState[after])]
    elif before != after:
        with pytest.raises(StateError):
            machine.move(LinkState[after])
    else:
        machine.move(LinkState[after])
        assert heard == []
    stop()
    stop()
    heard.clear()
    machine.move(LinkState.IDLE) if machine.state is not LinkState.IDLE else machine.move(LinkState.LOADING)
    assert heard == []


# --- threads -----------------------------------------------------------------------------------------------------


class ThreadedInterrupts:
    """A real wait: messages come when another thread rings `fire`."""

    def __init__(self, chip: FakeChip) -> None:
        self._chip, self._condition = chip, threading.Condition()
        self._messages, self._woken, self.waiting = 0, False, 0

    def enable(self) -> None:
        """Always on."""

    def disable(self) -> None:
        """Always on."""

    def fire(self) -> None:
        with self._condition:
            self._messages += 1
            self._condition.notify_all()

    def wait(self, timeout_s: float) -> bool:
        with self._condition:
            self.waiting += 1
            assert self.waiting == 1, "two threads wait for messages"
            self._condition.wait_for(lambda: self._messages or self._woken or self._chip.due, timeout_s)
            self.waiting -= 1
            self._woken, arrived = False, self._messages > 0
            self._messages = 0
        while self._chip.due:
            self._chip.due.popleft()()
            arrived = True
        return arrived

    def wake(self) -> None:
        with self._condition:
            self._woken = True
            self._condition.notify_all()


@pytest.fixture
def threaded(chip: FakeChip) -> Iterator[PcieLink]:
    chip.irq = ThreadedInterrupts(chip)
    with PcieLink(chip) as link:
        yield link


def test_one_thread_drives_and_the_others_are_served(chip: FakeChip, threaded: PcieLink) -> None:
    link = threaded
    dlist = link.create_descriptor_list(128, 512, circular=True)
    link.enable_channels(1 << 2)
    chip.start_channel(2, 128, dlist.dma_address)
    link.launch(2, dlist, 0, [(link.alloc_buffer(512, TO), 0, 512)])
    got: dict[str, object] = {}
    workers = [
        threading.Thread(target=lambda: got.update(channels=link.wait_channels(1 << 2, 60))),
        threading.Thread(target=lambda: got.update(note=link.read_notification(60))),
    ]
    for worker in workers:
        worker.start()
    chip.run_channel(2)
    chip.put_notification(b"note")
    chip.irq.fire()
    for worker in workers:
        worker.join(60)
    assert got == {"channels": [ChannelEvent(2, 1)], "note": b"note"}


def test_controls_of_many_threads_do_not_mix(chip: FakeChip, threaded: PcieLink) -> None:
    chip.on_control = lambda cpu, request: answer(request, request[20:])
    plain_ring = chip.ring
    chip.ring = lambda value: (plain_ring(value), chip.irq.fire())  # type: ignore[method-assign, assignment, func-returns-value]
    wrong = []

    def work(number: int) -> None:
        for turn in range(20):
            request = struct.pack(">5I", 2, 0, 0, 72, 1) + struct.pack(">II", number, turn)
            if threaded.control(request, 0, 30)[32:] != request[20:]:
                wrong.append((number, turn))

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert wrong == [] and len(chip.requests) == 80


def test_wake_and_disable_end_waits(chip: FakeChip, threaded: PcieLink) -> None:
    threaded.enable_channels(1)
    for end in (threaded.wake, lambda: threaded.disable_channels(1)):
        got: list[list[ChannelEvent]] = []
        worker = threading.Thread(target=lambda out=got: out.append(threaded.wait_channels(1, 60)))
        worker.start()
        while not chip.irq.waiting:
            pass
        end()
        worker.join(60)
        assert got == [[]]


def test_close_ends_waits_of_other_threads(chip: FakeChip, threaded: PcieLink) -> None:
    got: list[bytes | None] = []
    worker = threading.Thread(target=lambda: got.append(threaded.read_notification(60)))
    worker.start()
    while not chip.irq.waiting:
        pass
    threaded.close()
    worker.join(60)
    assert got == [None]


def test_a_status_that_never_clears_is_an_error(chip: FakeChip, link: PcieLink) -> None:
    chip.status = 1 << 30
    plain_store = chip.store
    chip.store = lambda bar, at, value: None if (bar, at) == (0, 0x18C) else plain_store(bar, at, value)  # type: ignore
    with pytest.raises(MalformedReply, match="does not clear"):
        link.wait_channels(1, 1.0)
    chip.store = plain_store  # type: ignore[method-assign]


# --- watchdog ----------------------------------------------------------------------------------------------------


@pytest.fixture
def booted(chip: FakeChip) -> Iterator[PcieLink]:
    options = LinkOptions(clock=chip.clock, pause=chip.clock.sleep)
    chip.on_control = lambda cpu, request: identify_answer(request) if opcode(request) == 0 else answer(request)
    with PcieLink(chip, firmware=firmware_image(), options=options) as link:
        chip.doorbells.clear()
        yield link


def stall(chip: FakeChip, link: PcieLink) -> None:
    dlist = link.create_descriptor_list(128, 512, circular=True)
    link.enable_channels(4)
    chip.start_channel(2, 128, dlist.dma_address)
    link.launch(2, dlist, 0, [(link.alloc_buffer(512, TO), 0, 512)])


def test_a_healthy_idle_link_is_asked_now_and_then(chip: FakeChip, booted: PcieLink) -> None:
    watchdog = Watchdog(booted, heartbeat_s=5)
    for _ in range(11):
        chip.clock.now += 1
        assert watchdog.check() is None
    assert [opcode(request) for _, request in chip.requests] == [0, 0]


def test_moving_frames_are_sign_enough(chip: FakeChip, booted: PcieLink) -> None:
    watchdog = Watchdog(booted, heartbeat_s=5, stall_s=10)
    dlist = booted.create_descriptor_list(128, 512, circular=True)
    booted.enable_channels(4)
    chip.start_channel(2, 128, dlist.dma_address)
    buffer = booted.alloc_buffer(512, TO)
    for at in range(30):
        booted.launch(2, dlist, at, [(buffer, 0, 512)])
        chip.run_channel(2)
        booted.wait_channels(4, 1)
        chip.clock.now += 1
        assert watchdog.check() is None
    assert chip.requests == []


def test_a_stalled_channel_resets_the_core(chip: FakeChip, booted: PcieLink) -> None:
    told: list[Recovery] = []
    watchdog = Watchdog(booted, heartbeat_s=100, stall_s=10, on_recovery=told.append)
    stall(chip, booted)
    assert watchdog.check() is None
    chip.clock.now += 9
    assert watchdog.check() is None
    chip.clock.now += 1
    assert watchdog.check() is Recovery.NN_CORE
    assert told == [Recovery.NN_CORE]
    assert [opcode(request) for _, request in chip.requests] == [7, 0]
    assert booted.state is LinkState.READY and booted.progress() == {}
    assert 8 not in chip.doorbells


def test_a_silent_firmware_is_loaded_again(chip: FakeChip, booted: PcieLink) -> None:
    talks = chip.on_control
    chip.on_control = lambda cpu, request: None
    plain_ring = chip.ring

    def ring(value: int) -> None:
        if value == 8:
            chip.on_control = talks
        plain_ring(value)

    chip.ring = ring  # type: ignore[method-assign]
    watchdog = Watchdog(booted, heartbeat_s=5)
    chip.clock.now += 5
    assert watchdog.check() is Recovery.FIRMWARE
    assert 8 in chip.doorbells and booted.state is LinkState.READY


def test_a_hopeless_firmware_ends_in_error(chip: FakeChip, booted: PcieLink) -> None:
    chip.on_control = lambda cpu, request: None
    chip.boots = False
    with pytest.raises(BootFailed):
        booted.recover()
    assert booted.state is LinkState.ERROR
    assert Watchdog(booted).check() is None
    with pytest.raises(StateError, match="in error"):
        booted.enable_channels(1)


def test_a_lost_card_is_not_recovered(chip: FakeChip, booted: PcieLink) -> None:
    chip.dead = True
    watchdog = Watchdog(booted, heartbeat_s=1)
    chip.clock.now += 2
    with pytest.raises(DeviceLost):
        watchdog.check()


def test_recover_without_an_image_tells_so(chip: FakeChip, link: PcieLink) -> None:
    with pytest.raises(BootFailed, match="no firmware image"):
        recover(link)
    assert link.state is LinkState.ERROR


def test_the_thread_stops(booted: PcieLink) -> None:
    checked = threading.Event()

    class Seen(Watchdog):
        def check(self) -> Recovery | None:
            checked.set()
            return super().check()

    watchdog = Seen(booted)
    watchdog.start(period_s=0.0)
    assert checked.wait(60)
    with pytest.raises(StateError):
        watchdog.start()
    watchdog.stop()
    watchdog.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "openhailo-watchdog"]
