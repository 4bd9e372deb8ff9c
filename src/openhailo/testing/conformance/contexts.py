"""Applications, the state machine and the effect of each action (context-switch.md 2, 3, 10, 15, 16, 20)."""

from __future__ import annotations

import struct
from typing import Any

from openhailo.testing.check import check, expect, expect_true
from openhailo.testing.rig import Rig

from .raw.host import MessageHost, message
from .raw.lists import (
    ACTIVATION,
    BATCH_SWITCHING,
    CORE_CPU,
    DYNAMIC,
    PRELIMINARY,
    Config,
    Network,
    Ring,
    action,
    answer_to,
    buffer,
    configure,
    enable,
    frame,
    header,
    registers,
    reset,
    status_of_enable,
)
from .vdma import SILICON, reverse

_NEEDS = ("raw", "state", "clock")
_ABOUT = ("application_header", "action_header", "repeated_header", "host_buffer_info", "stream_reg_info", "limits")
_PARK = action(21)
#: Status words (control-protocol.md 13).
TIMEOUT_SEQUENCER, BURSTS, NO_APPLICATION = 0x4013007C, 0x402B0005, 0x40130037


def run_list(rig: Rig, dynamic: bytes, *, activation: bytes = b"", head: bytes | None = None) -> dict[str, Any]:
    """Run one dynamic list to its end, which parks it, and return what it set up."""
    host = rig.raw_host()
    configure(host, [(ACTIVATION, action(30) + activation), (DYNAMIC, dynamic + _PARK)], head)
    enable(host)
    host.settle()
    held: dict[str, Any] | None = rig.state()["contexts"]["run"]
    if held is None:
        expect("run-time error", error_of(host), None)
    assert held is not None, "without an error the application runs"
    return held


def error_of(host: MessageHost) -> tuple[int, int, int, int, int] | None:
    """Return (status, application, batch, context, action) of event 12, None when it did not come."""
    data = host.notification(0.01)
    if data is None or data[16:20] != b"\x0c\0\0\0":
        return None
    status, application, batch, context, number = struct.unpack("<IBHHH", data[28:39])
    return status, application, batch, context, number


def failure(rig: Rig, dynamic: bytes, *, activation: bytes = b"", head: bytes | None = None) -> int:
    """Run one dynamic list that fails, and return the status of event 12."""
    with rig.fresh() as other:
        host = other.raw_host()
        configure(host, [(ACTIVATION, action(30) + activation), (DYNAMIC, dynamic + _PARK)], head)
        enable(host)
        host.settle()
        error = error_of(host)
        return error[0] if error is not None else 0


# --- limits of what can be stored -------------------------------------------------------------------------------------


def _header_status(host: MessageHost, head: bytes) -> int:
    answer = host.ask(CORE_CPU, message(32, head))
    return int.from_bytes(answer[16:20], "big") if answer is not None else -1


@check("contexts", needs=_NEEDS, about=_ABOUT)
def header_limits(rig: Rig) -> None:
    """Contexts, networks, config channels, batch and applications: each limit, and one more (context-switch.md 22)."""
    cases = (
        ("1021 dynamic contexts", header(dynamic=1021), 0),
        ("1022 dynamic contexts", header(dynamic=1022), 0x40130015),
        ("8 networks", header(networks=8), 0),
        ("9 networks", header(networks=9), 0x4013005B),
        ("4 config channels", header(config_channels=4), 0),
        ("5 config channels", header(config_channels=5), 0x40130065),
        ("batch 63", header(batch=63), 0),
        ("batch 64", header(batch=64), 0x4013003F),
        ("an external list", header(external=0x1000), 0x40130076),
    )
    host = rig.raw_host()
    stored = 0
    for what, head, status in cases:
        expect(what, _header_status(host, head), status)
        stored += not status
    while stored < 32:
        expect(f"application {stored}", _header_status(host, header()), 0)
        stored += 1
    expect("application 32", _header_status(host, header()), 0x40130014)


@check("contexts", needs=_NEEDS, about=("max_batch_size", "CHANGE_CONTEXT_SWITCH_STATUS"))
def dynamic_batch_limits(rig: Rig) -> None:
    """0 is the configured batch; a single context takes 63 and not 64; several take no more than was configured."""
    host = rig.raw_host()
    configure(host, [(ACTIVATION, action(30)), (DYNAMIC, _PARK)], header(batch=5))
    for batch, effective, status in ((0, 5, 0), (63, 63, 0), (64, None, 0x4013003F)):
        reset(host)
        expect(f"status at batch {batch}", status_of_enable(host, 0, batch), status)
        run = rig.state()["contexts"]["run"]
        expect(f"effective batch at {batch}", run and run["batch"], effective)


@check("contexts", needs=_NEEDS, about=_ABOUT)
def chunks_may_split_anywhere(rig: Rig) -> None:
    """A list in pieces of 1, 7 and 1461 bytes is the same list (context-switch.md trap 3)."""
    block = action(24, b"\x02\0\x03", b"\x13\0", b"\x14\0")
    whole = block + action(43, struct.pack("<I", 7))
    wanted = [
        ("ENABLE_LCU_DEFAULT", {"packed_lcu_id": 0x13, "network_index": 0}),
        ("ENABLE_LCU_DEFAULT", {"packed_lcu_id": 0x14, "network_index": 0}),
        ("SLEEP", {"sleep_time": 7}),
    ]
    for size in (1, 7, 1461):
        with rig.fresh() as other:
            configure(other.raw_host(), [(DYNAMIC, whole)], chunk=size)
            ((_, seen),) = other.state()["contexts"]["applications"][0]["contexts"]
            expect(f"list in chunks of {size}", seen, wanted)


@check("contexts", needs=_NEEDS, about=_ABOUT)
def broken_lists(rig: Rig) -> None:
    """Unknown types, cut payloads and empty blocks stop the state machine with event 12."""
    cases = (
        ("type 45", action(45)),
        ("type 255", action(255)),
        ("an empty block", action(24, b"\0\0\x03")),
        ("a block of an unknown type", action(24, b"\x02\0\x2d", bytes(8))),
    )
    for what, data in cases:
        expect_true(f"{what} is an error", failure(rig, data))


# --- the state machine ------------------------------------------------------------------------------------------------


@check("contexts", needs=_NEEDS, about=("CHANGE_CONTEXT_SWITCH_STATUS", "channel"))
def activation_restarts_rings(rig: Rig) -> None:
    """RESET aborts the channels, ENABLED begins at 0 again; both may be repeated (context-switch.md 15)."""
    rig.bind(reverse)
    host = rig.raw_host()
    network = Network(host, SILICON, count=8)
    network.start()
    for _ in range(2):
        network.input.next = network.output.next = 0
        network.output.hand_over(2)
        network.input.send(frame(1))
        host.settle()
        expect("frame", network.output.take(0), answer_to(frame(1)))
        reset(host)
        reset(host)
        expect("control byte after RESET", host.registers(1)[0] & 3, 0)
        enable(host)
        expect("counters after ENABLED", (host.registers(1)[0], host.registers(1)[1]), (0x1801, 0))
    answer = host.ask(CORE_CPU, message(71))
    expect("CLEAR while running", (answer or b"")[16:20].hex(), "4013006c")
    expect("another application while running", _header_status(host, header()), 0x40130056)


@check("contexts", needs=_NEEDS, about=("can_fast_batch_switch", "CHANGE_BOUNDARY_INPUT_BATCH", "application_header"))
def fast_batch_switch(rig: Rig) -> None:
    """The same application at another batch keeps its rings when the header allows it (context-switch.md trap 8)."""
    for fast, kept in ((1, 3), (0, 0)):
        with rig.fresh() as other:
            other.bind(reverse)
            host = other.raw_host()
            network = Network(host, SILICON, count=8)
            configure(host, network.contexts(), header(batch=4, fast=fast))
            enable(host)
            network.output.hand_over(3)
            for number in range(3):
                network.input.send(frame(number))
            host.settle()
            expect("status of the switch", status_of_enable(host, 0, 2), 0)
            expect(f"num processed, fast {fast}", network.input.processed, kept)
            expect("batch", other.state()["contexts"]["run"]["batch"], 2)


@check("contexts", needs=_NEEDS, about=("CHANGE_CONTEXT_SWITCH_STATUS",))
def switching_applications(rig: Rig) -> None:
    """ENABLED of another application replaces the running one; headers number them from 0."""
    host = rig.raw_host()
    for number in range(2):
        lcu = action(3, bytes([0x10 + number, 0]))
        configure(host, [(ACTIVATION, action(30)), (DYNAMIC, lcu + _PARK)])
    for number in (1, 0, 1):
        enable(host, number)
        host.settle()
        run = rig.state()["contexts"]["run"]
        expect("application", (run["application"], run["lcus"]), (number, {(1, number): (1, 2)}))
    expect("status of a third", status_of_enable(host, 2), NO_APPLICATION)


# --- configuration ----------------------------------------------------------------------------------------------------


@check("contexts", needs=_NEEDS, about=("ACTIVATE_CFG_CHANNEL", "FETCH_CFG_CHANNEL_DESCRIPTORS", "host_buffer_info"))
def configuration_reaches_the_core(rig: Rig) -> None:
    """Each descriptor's own bytes, in order, per config stream; preliminary and dynamic apart (trap 6, 7)."""
    host = rig.raw_host()
    first = Config(host, 0, 0, [frame(1, 64), frame(2, 1200), frame(3, 512)])
    second = Config(host, 2, 1, [frame(4, 700)])
    third = Config(host, 0, 0, [frame(5, 8)])
    preliminary = first.activate() + second.activate() + first.fetch(0) + second.fetch(0)
    preliminary += first.fetch(1) + first.fetch(2) + first.deactivate() + second.deactivate()
    contexts = [(ACTIVATION, action(30)), (PRELIMINARY, preliminary), (DYNAMIC, third.load() + _PARK)]
    configure(host, contexts, header(config_channels=2))
    enable(host)
    host.settle()
    wanted = {(-1, 0): frame(1, 64) + frame(2, 1200) + frame(3, 512), (-1, 1): frame(4, 700), (0, 0): frame(5, 8)}
    expect("configuration", rig.state()["core"], wanted)


@check("contexts", needs=_NEEDS, about=("ACTIVATE_CFG_CHANNEL", "DEACTIVATE_CFG_CHANNEL", "FETCH_CCW_BURSTS"))
def impossible_configuration(rig: Rig) -> None:
    """Fetching from a channel that is not open, past its end, or in bursts."""
    expect_true("a fetch before the channel is open", failure(rig, action(0, b"\1\0", b"\0")))
    expect("a fetch in bursts", failure(rig, action(27, b"\1\0\0")), BURSTS)
    with rig.fresh() as other:
        host = other.raw_host()
        config = Config(host, 0, 0, [frame(1, 64)])
        too_many = config.activate() + action(0, b"\x03\0", b"\0")
        configure(host, [(ACTIVATION, action(30)), (DYNAMIC, too_many + _PARK)])
        enable(host)
        host.settle()
        expect_true("a fetch past the end", error_of(host))


# --- clusters, registers, waits ---------------------------------------------------------------------------------------


@check(
    "contexts",
    needs=_NEEDS,
    about=("ENABLE_LCU_DEFAULT", "ENABLE_LCU_NON_DEFAULT", "DISABLE_LCU", "SWITCH_LCU_BATCH", "action_rules"),
)
def layer_controllers(rig: Rig) -> None:
    """3 means twice, 4 and 36 say how often, 5 takes one away."""
    lcu = action(3, b"\x11\0") + action(4, b"\x12\0\x4d\0\x05\0\0\0") + action(3, b"\x13\0")
    lcu += action(5, b"\x13") + action(36, b"\x11\x01\x09\0\0\0") + action(3, b"\x7f\x01") + action(16, b"\x7f")
    run = run_list(rig, lcu, head=header(networks=2))
    expect("controllers", run["lcus"], {(1, 1): (1, 9), (1, 2): (0x4D, 5), (7, 15): (1, 2)})
    expect("status of network 2", failure(rig, action(3, b"\x11\x02"), head=header(networks=2)), 0x4013005B)


@check("contexts", needs=_NEEDS, about=("TRIGGER_SEQUENCER", "SEQUENCER_DONE_INTERRUPT"))
def sequencers(rig: Rig) -> None:
    """17 waits for a sequencer that 1 started."""
    run = run_list(rig, action(1, b"\x02", bytes(43)) + action(17, b"\x02"))
    expect("sequencers", run["sequencers"], [2])
    expect("status without", failure(rig, action(1, b"\x02", bytes(43)) + action(17, b"\x03")), TIMEOUT_SEQUENCER)


@check("contexts", needs=_NEEDS, about=("WRITE_DATA_BY_TYPE",))
def core_registers(rig: Rig) -> None:
    """Value or batch, shifted, under the mask (context-switch.md 16)."""
    first = action(35, struct.pack("<IBIBIB", 0x01020304, 0, 0x11223344, 4, 0x00FFFF00, 0))
    second = action(35, struct.pack("<IBIBIB", 0x01020304, 0, 0xFF, 24, 0xFF000000, 0))
    batch = action(35, struct.pack("<IBIBIB", 0x10, 1, 0x77, 8, 0xFFFFFFFF, 0))
    run = run_list(rig, first + second + batch, head=header(batch=6))
    expect("registers", run["registers"], {0x01020304: 0xFF233400 | 0x00003400, 0x10: 0x600})


@check("contexts", needs=_NEEDS, about=("ENABLE_NMS",))
def nms(rig: Rig) -> None:
    """Classes, burst size and division factor per network."""
    run = run_list(rig, action(34, struct.pack("<BBHHB", 3, 1, 0x0102, 0x0304, 5)), head=header(networks=2))
    wanted = {
        "nms_unit_index": 3,
        "network_index": 1,
        "number_of_classes": 0x0102,
        "burst_size": 0x0304,
        "division_factor": 5,
    }
    expect("units", run["nms"], {1: wanted})


@check("contexts", needs=_NEEDS, about=("SLEEP", "HALT", "MODULE_CONFIG_DONE_INTERRUPT", "WAIT_FOR_NMS"))
def sleeping_and_halting(rig: Rig) -> None:
    """43 lets microseconds pass; 44 stops until CONTINUE (context-switch.md 20)."""
    host = rig.raw_host()
    data = action(20, b"\x01") + action(26, bytes(6)) + action(43, struct.pack("<I", 40_000))
    data += action(3, b"\x21\0") + action(44) + action(3, b"\x22\0") + _PARK
    configure(host, [(ACTIVATION, action(30)), (DYNAMIC, data)])
    enable(host)
    started = rig.now_s
    host.rest(0.039)
    expect("controllers while asleep", rig.state()["contexts"]["run"]["lcus"], {})
    host.rest(0.002)
    expect("milliseconds slept", round((rig.now_s - started) * 1000), 41)
    expect("controllers while halted", rig.state()["contexts"]["run"]["lcus"], {(2, 1): (1, 2)})
    host.control(CORE_CPU, 52, struct.pack("<I", 0), b"\x01", bytes(11))
    host.settle()
    expect("controllers afterwards", rig.state()["contexts"]["run"]["lcus"], {(2, 1): (1, 2), (2, 2): (1, 2)})


@check("contexts", needs=_NEEDS, about=("CONTEXT_SWITCH_BREAKPOINT_REACHED", "CONFIG_CONTEXT_SWITCH_BREAKPOINT"))
def breakpoints(rig: Rig) -> None:
    """A breakpoint stops before the action it names and tells where (event 9), until CONTINUE."""
    host = rig.raw_host()
    data = b"".join(action(3, bytes([0x30 + number, 0])) for number in range(4))
    configure(host, [(ACTIVATION, action(30)), (DYNAMIC, data + _PARK)])
    where = struct.pack("<BBBHBHBH", 0, 0, 1, 0, 0, 3, 0, 2)
    host.control(CORE_CPU, 52, struct.pack("<I", 4), b"\0", where)
    enable(host)
    event = host.notification() or b""
    expect("event and position", (event[16:20].hex(), event[28:].hex()), ("09000000", "00000003000200"))
    expect("status", host.control(CORE_CPU, 53, struct.pack("<I", 4))[-1], 2)
    expect("controllers", rig.state()["contexts"]["run"]["lcus"], {(3, 0): (1, 2), (3, 1): (1, 2)})
    host.control(CORE_CPU, 52, struct.pack("<I", 4), b"\x01", bytes(11))
    host.settle()
    expect("controllers afterwards", len(rig.state()["contexts"]["run"]["lcus"]), 4)


@check("contexts", needs=_NEEDS, about=("CONFIG_CONTEXT_SWITCH_TIMESTAMP", "DOWNLOAD_CONTEXT_ACTION_LIST"))
def time_stamps(rig: Rig) -> None:
    """The times of the actions are in the list that can be downloaded, progress in a block's header."""
    host = rig.raw_host()
    block = action(24, b"\x02\0\x03", b"\x13\0", b"\x14\0")
    data = action(43, struct.pack("<I", 1000)) + block + action(43, struct.pack("<I", 500)) + _PARK
    configure(host, [(ACTIVATION, action(30)), (DYNAMIC, data)])
    host.control(CORE_CPU, 59, b"\0\0", b"\x01")
    enable(host)
    host.settle()
    seen = host.control(CORE_CPU, 36, bytes(4), b"\x01", b"\0\0", b"\0\0")[33:]
    stamps = [int.from_bytes(seen[at : at + 4], "little") for at in (1, 10, 22)]
    expect("stamps grow with the sleeps", (stamps[1] - stamps[0], stamps[2] - stamps[1]), (0, 500))
    expect_true("first stamp", 1000 <= stamps[0] < 1100)
    expect("last executed of the block", seen[9 + 5 + 1], 1)
    untouched = b"".join((seen[:1], seen[5:10], seen[14:15], seen[16:22], seen[26:32]))
    wanted = b"".join((data[:1], data[5:10], data[14:15], data[16:22], data[26:32]))
    expect("everything but times and progress", untouched, wanted)


# --- internal channels ------------------------------------------------------------------------------------------------


def ddr_lists(host: MessageHost) -> tuple[bytes, bytes, Ring]:
    """Return the actions that open a DDR pair on channels 17 and 2, those that run it, and its ring."""
    ring = Ring(host, 17, 16, 512, 512)
    info = buffer(ring.list.iova, 512, 16, 512)
    rows = struct.pack("<HHHHHIHB", 512, 16, 512, 16, 0, 0, 0, 0)
    opening = action(11, b"\x11\x02", rows, info, struct.pack("<I", 8))
    opening += action(10, b"\x02\x03", rows, info, struct.pack("<I", 2048), b"\x11")
    running = action(14, b"\x02\x11\0", struct.pack("<IH", 16, 16)) + action(15)
    return opening, running, ring


@check(
    "contexts",
    needs=_NEEDS,
    about=(
        "ACTIVATE_DDR_BUFFER_INPUT",
        "ACTIVATE_DDR_BUFFER_OUTPUT",
        "ADD_DDR_PAIR_INFO",
        "DDR_BUFFERING_START",
        "DDR_BUFFERING_RESET",
        "DEACTIVATE_VDMA_CHANNEL",
    ),
)
def ddr_pairs(rig: Rig) -> None:
    """A D2H and an H2D channel on one list; the task runs until it is reset (context-switch.md 17.3)."""
    host = rig.raw_host()
    opening, running, ring = ddr_lists(host)
    configure(host, [(ACTIVATION, action(30)), (DYNAMIC, opening + running + _PARK)])
    enable(host)
    host.settle()
    run = rig.state()["contexts"]["run"]
    expect("open channels and task", (run["internals"], run["is_ddr_running"]), ([2, 17], True))
    pair = {
        "h2d_packed_vdma_channel_id": 2,
        "d2h_packed_vdma_channel_id": 17,
        "network_index": 0,
        "descriptors_per_frame": 16,
        "programmed_descriptors_count": 16,
    }
    expect("pairs", run["ddr_pairs"], [pair])
    for channel in (2, 17):
        expect(f"list of channel {channel}", host.registers(channel)[2], ring.list.iova & 0xFFFF0000)
        expect(f"start of channel {channel}", host.registers(channel)[0], 0x2001)
    reset(host)
    closing = action(31) + action(12, b"\x11\x02\0\0\0\x08\0\0") + action(12, b"\x02\x01\0\0\0\x08\0\0")
    host.control(CORE_CPU, 71)
    configure(host, [(ACTIVATION, action(30)), (DYNAMIC, opening + running + closing + _PARK)])
    enable(host)
    host.settle()
    run = rig.state()["contexts"]["run"]
    expect("after reset and closing", (run["internals"], run["is_ddr_running"], run["ddr_pairs"]), ([], False, []))


@check("contexts", needs=_NEEDS, about=("DDR_BUFFERING_START", "ADD_DDR_PAIR_INFO"))
def impossible_ddr(rig: Rig) -> None:
    """Starting without a pair, and pairs of channels that are not open."""
    expect_true("a start without pairs", failure(rig, action(15)))
    expect_true("a pair that is not open", failure(rig, action(14, b"\x02\x11\0", struct.pack("<IH", 16, 16))))


@check(
    "contexts",
    needs=_NEEDS,
    about=("ACTIVATE_CACHE_INPUT", "ACTIVATE_CACHE_OUTPUT", "WAIT_FOR_CACHE_UPDATED", "START_UPDATE_CACHE_OFFSET"),
)
def caches(rig: Rig) -> None:
    """40 and 41 open cache channels; 42 tells the host (event 13) and waits for opcode 79."""
    host = rig.raw_host()
    ring = Ring(host, 18, 4, 512, 512)
    info, regs = buffer(ring.list.iova, 512, 4, 512), registers(512)
    data = action(41, regs, info, struct.pack("<H", 1), b"\x12\x05\0")
    data += action(40, b"\x03\x06\0", regs, info, struct.pack("<I", 2048))
    configure(host, [(ACTIVATION, action(30)), (DYNAMIC, data + action(42) + action(3, b"\x15\0") + _PARK)])
    enable(host)
    event = host.notification() or b""
    expect("event and caches", (event[16:20].hex(), event[28:].hex()), ("0d000000", "2000000000000000"))
    run = rig.state()["contexts"]["run"]
    expect("channels and controllers", (run["internals"], run["lcus"]), ([3, 18], {}))
    expect("ports", run["ports"], {(False, 5): (18, 0, 512), (True, 6): (3, 0, 512)})
    host.control(CORE_CPU, 79)
    host.settle()
    expect("controllers afterwards", rig.state()["contexts"]["run"]["lcus"], {(1, 5): (1, 2)})


# --- errors -----------------------------------------------------------------------------------------------------------


@check("contexts", needs=_NEEDS, about=("CONTEXT_SWITCH_RUN_TIME_ERROR", "ISTATUS_HOST"))
def run_time_errors(rig: Rig) -> None:
    """Event 12 names status, application and place; the application is stopped."""
    host = rig.raw_host()
    configure(host, [(ACTIVATION, action(30)), (DYNAMIC, _PARK)])
    second = [(ACTIVATION, action(30)), (PRELIMINARY, action(29)), (DYNAMIC, action(29) * 3 + action(17, b"\x05"))]
    configure(host, second)
    enable(host, 1)
    expect("run-time error", error_of(host), (TIMEOUT_SEQUENCER, 1, 0, 3, 3))
    expect("running application", rig.state()["contexts"]["run"], None)
    expect("another notification", host.notification(0.01), None)


@check("contexts", needs=_NEEDS, about=("VALIDATE_VDMA_CHANNEL", "INPUT_CHANNEL_TRANSFER_DONE_INTERRUPT"))
def actions_that_check_channels(rig: Rig) -> None:
    """28, 18, 19 and 25 name channels; engine 1 does not exist."""
    for number, payload in ((28, b"\x22\x01\0\0" + bytes(4)), (13, b"\x3f\0\0"), (38, b"\x21\x01"), (39, b"\x21\x01")):
        expect_true(f"action {number} on engine 1", failure(rig, action(number, payload)))


@check("contexts", needs=_NEEDS, about=("PAUSE_VDMA_CHANNEL", "RESUME_VDMA_CHANNEL", "pause", "channel"))
def pausing(rig: Rig) -> None:
    """38 makes the control byte 3, 39 makes it 1 (driver.md 6.1)."""
    rig.bind(reverse)
    host = rig.raw_host()
    network = Network(host, SILICON, count=8)
    network.start(after=action(38, b"\x01\x01") + action(44) + action(39, b"\x01\x01"))
    network.output.hand_over(2)
    network.input.send(frame(0))
    host.settle()
    network.input.send(frame(1))
    host.settle()
    expect("paused after the batch", (host.registers(1)[0] & 0xFF, network.input.processed), (3, 1))
    host.control(CORE_CPU, 52, struct.pack("<I", 0), b"\x01", bytes(11))
    host.settle()
    expect("resumed", (host.registers(1)[0] & 0xFF, network.input.processed), (1, 2))


@check("contexts", needs=_NEEDS, about=("BATCH_SWITCHING", "context_type"))
def batch_switching_is_not_run_at_first(rig: Rig) -> None:
    """ENABLED runs ACTIVATION, PRELIMINARY and the dynamic contexts, not BATCH_SWITCHING (context-switch.md 15)."""
    host = rig.raw_host()
    lists = [(kind, action(3, bytes([0x40 + kind, 0]))) for kind in (ACTIVATION, BATCH_SWITCHING, PRELIMINARY)]
    configure(host, [*lists, (DYNAMIC, action(3, b"\x41\0") + _PARK)])
    enable(host)
    host.settle()
    expect("controllers", rig.state()["contexts"]["run"]["lcus"], dict.fromkeys(((4, n) for n in (3, 0, 1)), (1, 2)))
    enable(host, 0, 2)
    host.settle()
    expect(
        "after a fast switch",
        rig.state()["contexts"]["run"]["lcus"],
        dict.fromkeys(((4, n) for n in (3, 0, 1, 2)), (1, 2)),
    )
