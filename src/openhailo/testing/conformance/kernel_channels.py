"""Channels of the kernel driver by request and byte: launch, wait, timestamps, disable (driver.md 6.6-6.8, 8.1)."""

from __future__ import annotations

import errno
from functools import partial

from openhailo.testing.check import check, expect, expect_error, expect_true
from openhailo.testing.rig import Rig

from .kernel_pieces import FACTS, Launched, LaunchedRing, expect_errno, node_of, virtual
from .raw.lists import answer_to, frame
from .raw.node import FROM_DEVICE, MAX_BUFFERS, TO_DEVICE, Memory, Piece

_NODE, _STATE = ("device_file",), ("device_file", "fresh", "state", "faults", "clock")
_LAUNCH = ("VDMA_LAUNCH_TRANSFER", "vdma_launch_transfer_params", "vdma_transfer_buffer")
#: A channel that stays disabled.
_NEVER = 1 << 31


@check("kernel_driver", needs=_NODE, about=["VDMA_ENABLE_CHANNELS", "VDMA_DISABLE_CHANNELS", "disable_refuses_idle"])
def enabling_and_disabling(rig: Rig) -> None:
    """A channel has one owner; 4.17 refuses to disable what is not enabled (driver.md 6.8)."""
    first, second = node_of(rig), node_of(rig)
    first.enable(0x00040002)
    for node in (first, second):
        expect_errno("a channel that is enabled", errno.EINVAL, partial(node.enable, 0x00040000))
    first.disable(0x00040002)
    if first.family == "A":
        expect_errno("a channel that is not", errno.EINVAL, partial(first.disable, 0x00040000))
    else:
        first.disable(0x00040000)
    second.enable(0x00040000)
    second.disable(0x00040000)


@check("kernel_driver", needs=_NODE, about=["VDMA_INTERRUPTS_WAIT", "vdma_interrupts_wait_params"])
def waits_that_do_not_wait(rig: Rig) -> None:
    """No channel is EINVAL; one that is not enabled ends the wait at once (driver.md 7.5, 8.1 row 5)."""
    node = node_of(rig)
    expect_errno("no channels", errno.EINVAL, partial(node.wait, 0))
    expect("a channel that is not enabled", node.wait(_NEVER), [])
    node.enable(0b110)
    expect("one of three is not enabled", node.wait(0b1110), [])
    node.disable(0b110)


@check("kernel_driver", needs=_STATE, about=[*_LAUNCH, "VDMA_INTERRUPTS_WAIT", "vdma_interrupts_channel_data"])
def frames_by_request(rig: Rig) -> None:
    """Frames through both rings; waits tell an index, a count or a byte (driver.md 6.6, 6.7)."""
    running = Launched(rig, count=8)
    for number in range(20):
        running.output.launch()
        running.input.send(frame(number))
        amount = (number + 1) % 8 if running.node.family == "A" else 1
        expect(f"what is told of frame {number}", running.poll(), [(1, amount), (16, amount)])
        expect(f"frame {number}", running.output.take(number), answer_to(frame(number)))
    expect("nothing more", running.poll(), [])


@check("kernel_driver", needs=_STATE, about=[*_LAUNCH, "VDMA_INTERRUPTS_WAIT"])
def several_transfers_at_once(rig: Rig) -> None:
    """Completed transfers are counted together, oldest first (driver.md 6.7)."""
    running = Launched(rig)
    running.output.hand_over(5)
    for number in range(3):
        running.input.send(frame(number))
    expect("what is told", running.poll(), [(1, 3), (16, 3)])
    for number in range(3):
        expect(f"frame {number}", running.output.take(number), answer_to(frame(number)))


@check("kernel_driver", needs=_STATE, about=["host_error", "device_error", "is_active", "entry_inactive"])
def failed_channels(rig: Rig) -> None:
    """Error bytes and activity up to 4.20.1; one mark since 4.21 (driver.md 6.7)."""
    running = Launched(rig)
    rig.faults.descriptor_errors[1] = 0
    running.output.launch()
    running.input.send(frame(1))
    running.host.rest(0.01)
    (entry,) = [entry for entry in running.node.wait(running.bitmap | _NEVER) if entry.channel == 1]
    if running.node.family in "CD":
        expect("mark", entry.amount, 0xFF)
    else:
        expect_true("inactive, or an error byte", not entry.active or entry.errors[0])


@check("kernel_driver", needs=_STATE, about=["validation_success", "entry_error", "is_debug"])
def debug_launches(rig: Rig) -> None:
    """Status is written back and looked at; what was not done is not valid (driver.md 6.3, 6.7)."""
    running = Launched(rig)
    node = running.node
    running.output.launch(debug=True)
    running.input.put(frame(1))
    running.input.launch(debug=True)
    running.host.rest(0.01)
    table = rig.twin.dma.view(running.output.address, 16, write=True)
    assert table is not None, "the list is registered"
    expect("status of the output's descriptor", table[12], 1)
    table[12] = 0
    good, bad = node.wait(running.bitmap | _NEVER)
    if node.family in "CD":
        expect("bytes", (good.amount, bad.amount), (1, 0xFE))
    else:
        expect("validity", (good.valid, bad.valid), (True, False))


@check("kernel_driver", needs=_STATE, about=[*_LAUNCH, "launch_returns_count"])
def launch_errors(rig: Rig) -> None:
    """Engine, channel, list, number of buffers, place, buffer, direction (driver.md 6.6, 7.5)."""
    running = Launched(rig)
    node, ring = running.node, running.input
    other, _ = node.create(32, 256)
    small = node.memory(4096, TO_DEVICE)
    piece: Piece = (small, 0, 192)
    launch = partial(node.launch, 1, ring.dlist, 0)
    for what, code, call in (
        ("another engine", errno.EINVAL, partial(launch, [piece], engine=1)),
        ("channel 32", errno.EINVAL, partial(node.launch, 32, ring.dlist, 0, [piece])),
        ("no list", errno.EFAULT, partial(node.launch, 1, ring.dlist + 77, 0, [piece])),
        ("too many buffers", errno.EINVAL, partial(launch, [piece], buffers=MAX_BUFFERS[node.family] + 1)),
        ("another place", errno.EFAULT, partial(node.launch, 1, ring.dlist, 1, [piece])),
    ):
        expect_errno(what, code, call)
    unmapped = Memory(4096)
    expect_errno("a buffer that is not mapped", errno.EFAULT, partial(launch, [(unmapped, 0, 192)]))
    expect_errno("more than is mapped", _outside(node.family), partial(launch, [(small, 0, 4097)]))
    wrong = node.memory(4096, FROM_DEVICE)
    expect_errno("the wrong direction", _outside(node.family), partial(launch, [(wrong, 0, 192)]))
    expect("the counter stays", running.host.registers(1)[0] >> 16, 0)
    expect("descriptors of a good one", launch([piece]), 1)
    expect_errno("another list than before", errno.EINVAL, partial(node.launch, 1, other, 1, [piece]))


def _outside(family: str) -> int:
    """Up to 4.20.1 a buffer is found by handle and looked at; later, what does not fit is not found (driver.md 7.5)."""
    return errno.EINVAL if family in "AB" else errno.EFAULT


@check("kernel_driver", needs=_STATE, about=[*_LAUNCH, "max_buffers_per_launch"])
def most_buffers_of_a_launch(rig: Rig) -> None:
    """2 up to 4.20.1, 8 later: a frame in that many pieces (driver.md 6.4)."""
    running = Launched(rig)
    ring, pieces = running.input, MAX_BUFFERS[running.node.family]
    size, data = 192 // pieces, frame(7)
    running.output.launch()
    for number in range(pieces):
        ring.buffer.view[number * 256 : number * 256 + size] = data[number * size : (number + 1) * size]
    parts = [(ring.buffer, number * 256, size) for number in range(pieces)]
    expect("descriptors", running.node.launch(1, ring.dlist, 0, parts), pieces)
    running.host.rest(0.01)
    expect("frame", running.output.take(0), answer_to(data))


@check("kernel_driver", needs=_STATE, about=[*_LAUNCH, "inactive_errno", "debug_checks_activity"])
def launches_on_stopped_channels(rig: Rig) -> None:
    """ECONNRESET since 4.18; 4.17 looks in debug launches only, and says EBUSY (driver.md 6.6)."""
    running = Launched(rig)
    running.host.control(1, 37, b"\0", b"\xff", b"\0\0", b"\0\0")
    piece: Piece = (running.input.buffer, 0, 192)
    launch = partial(running.node.launch, 1, running.input.dlist, 0, [piece])
    if FACTS[running.node.release].checks_channel:
        expect_errno("a launch", errno.ECONNRESET, launch)
        return
    expect_errno("a debug launch", errno.EBUSY, partial(launch, debug=True))
    expect("descriptors of another one", launch(), 1)


@check("kernel_driver", needs=_STATE, about=[*_LAUNCH, "max_transfers_in_flight"])
def most_transfers_in_flight(rig: Rig) -> None:
    """127; one more does not fit the driver's ring (driver.md 6.4, 6.6)."""
    running = Launched(rig, count=256)
    running.output.hand_over(127)
    expect_errno("transfer 128", errno.EFAULT, running.output.launch)


@check("kernel_driver", needs=_STATE, about=[*_LAUNCH, "launch_moves_on_error"])
def failed_launches_move_the_counter(rig: Rig) -> None:
    """Since 4.18 a wrong offset fails, and the counter has moved by the errno: 2 to 12 or 20 (driver.md 8.1 row 14)."""
    running = Launched(rig, pages=(256, 512))
    node, ring = running.node, running.output
    memory = node.memory(8192)
    expect("descriptors", node.launch(16, ring.dlist, 0, [(memory, 0, 784)]), 2)
    expect("counter", running.host.registers(16)[0] >> 16, 2)
    facts = FACTS[node.release]
    expect_errno("offset 100", facts.place, partial(node.launch, 16, ring.dlist, 2, [(memory, 100, 512)]))
    lands = {14: 20, 22: 12}[facts.place] if facts.checks_channel else 2
    expect("counter afterwards", running.host.registers(16)[0] >> 16, lands)


@check("kernel_driver", needs=_STATE, about=[*_LAUNCH, "CONTROL_AVAIL"])
def the_counter_is_the_drivers(rig: Rig) -> None:
    """Since 4.18 a launch looks whether somebody else moved it (driver.md 6.6)."""
    running = Launched(rig)
    chip, place = rig.twin.chip, 16 * 0x20 + 0x10
    word = chip.bar_read(2, place, 4)
    chip.bar_write(2, place, 4, word & 0xFFFF | 5 << 16)
    if FACTS[running.node.release].checks_channel:
        expect_errno("a launch", errno.EFAULT, running.output.launch)
    else:
        expect("descriptors", running.output.launch(), 1)


@check("kernel_driver", needs=_STATE, about=["disable_wipes_all", "VDMA_DISABLE_CHANNELS"])
def what_disabling_forgets(rig: Rig) -> None:
    """Up to 4.18 all channels begin at 0 again, whichever was disabled (driver.md 6.8, 8.1 row 19)."""
    running = Launched(rig)
    running.output.launch()
    running.input.send(frame(1))
    running.poll()
    running.node.disable(1 << 1)
    if FACTS[running.node.release].wipes_all:
        expect_errno("a launch at the old place", errno.EFAULT, running.output.launch)
    else:
        expect("a launch at the old place", running.output.launch(), 1)


@check("kernel_driver", needs=_STATE, about=["VDMA_INTERRUPTS_WAIT"])
def bits_from_before_wake_the_first_wait(rig: Rig) -> None:
    """What came while a channel was not enabled is told once it is, as nothing (driver.md 5.3, 8.1 row 34)."""
    running = Launched(rig)
    node = running.node
    running.output.launch()
    running.input.send(frame(1))
    running.poll()
    running.host.control(1, 37, b"\0", b"\xff", b"\0\0", b"\0\0")
    node.disable(running.bitmap)
    with rig.twin.chip.loop.lock:
        rig.twin.chip.registers.raise_channel(1)
    running.host.rest(0.01)
    node.enable(1 << 1)
    running.host.rest(0.01)  # up to 4.20.1 the message comes with the unmasking
    driver = virtual(rig).driver
    expect_true("a wait would end", driver.channels.is_due(1 << 1))
    expect("entries of a channel without a list", node.wait(1 << 1), [])
    expect_true("the next one would not", not driver.channels.is_due(1 << 1))


# --- timestamps -----------------------------------------------------------------------------------------------------


@check("kernel_driver", needs=_STATE, about=["VDMA_INTERRUPTS_READ_TIMESTAMPS", "enable_timestamps_measure"])
def timestamps(rig: Rig) -> None:
    """Time and counter of every interrupt, drained by the read; none where they are not measured (driver.md 7.5)."""
    running = Launched(rig, measure=True)
    node = running.node
    for number in range(3):
        running.output.launch()
        running.input.send(frame(number))
        running.poll()
    stamps = node.timestamps(16)
    expect("counters", [done for _, done in stamps], [1, 2, 3])
    times = [time for time, _ in stamps]
    expect_true("times grow, and are past", 0 < times[0] < times[1] < times[2] <= round(rig.now_s * 1e9))
    expect("after reading", node.timestamps(16), [])
    expect("of another channel", node.timestamps(17), [])
    expect_errno("channel 32", errno.EINVAL, partial(node.timestamps, 32))
    expect_errno("engine 1", errno.EINVAL, partial(node.timestamps, 1, 1))


@check("kernel_driver", needs=_STATE, about=["timestamps", "VDMA_INTERRUPTS_READ_TIMESTAMPS"])
def most_timestamps(rig: Rig) -> None:
    """255 are kept; enabling again forgets them (driver.md 6.4, 6.8)."""
    running = Launched(rig, measure=True)
    for number in range(260):
        running.output.launch()
        running.input.send(frame(number))
        running.poll()
    expect("timestamps", len(running.node.timestamps(1)), 255)
    running.node.disable(running.bitmap)
    running.node.enable(running.bitmap, measure=False)
    expect("timestamps after enabling", running.node.timestamps(16), [])


@check("kernel_driver", needs=_STATE, about=["DESC_LIST_RELEASE", "VDMA_DISABLE_CHANNELS"])
def releasing_in_flight_is_a_crash(rig: Rig) -> None:
    """Nothing stops it; disabling the channel uses freed memory (driver.md 8.1 row 10)."""
    from openhailo.twin import TwinViolation

    running = Launched(rig)
    running.output.launch()
    running.node.call("RELEASE", running.output.dlist.to_bytes(8, "little"))
    expect_error("disabling", TwinViolation, partial(running.node.disable, 1 << 16))


@check("kernel_driver", needs=_STATE, about=["DESC_LIST_CREATE", *_LAUNCH])
def lists_that_crash_the_kernel(rig: Rig) -> None:
    """Pages of 0 and lists of 0 are taken, and divided by later (driver.md 8.1 row 11)."""
    from openhailo.twin import TwinViolation

    node = node_of(rig)
    memory = node.memory(4096)
    dlist, _ = node.create(4, 0)
    expect_error("binding pages of 0 bytes", TwinViolation, partial(node.program, dlist, memory.handle, 512))


@check("kernel_driver", needs=_STATE, about=["DESC_LIST_PROGRAM", "segment"])
def scattered_memory(rig: Rig) -> None:
    """Scatter entries of one page: descriptors never cross them, and short ones appear (driver.md 6.5, 8.1 row 13)."""
    with virtual(rig).on_machine(segment_bytes=4096) as other:
        running = Launched(other)
        ring = LaunchedRing(running.node, 2, 16, 256, 192)
        memory = running.node.memory(8192)
        expect("descriptors of 8192 bytes", running.node.program(ring.dlist, memory.handle, 4096), 16)
        large, _ = running.node.create(16, 8192)
        expect("descriptors of a page of two segments", running.node.program(large, memory.handle, 8192), 2)
