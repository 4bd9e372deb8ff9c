"""Controls on their way: areas, digest, lengths, doorbells, sequence numbers (driver.md 3; control-protocol.md 1-3)."""

from __future__ import annotations

from functools import partial

from openhailo.driver.link import CPU_APP
from openhailo.errors import (
    ControlFailed,
    DeviceLost,
    DeviceTimeout,
    InputError,
    MalformedReply,
    SequenceMismatch,
)
from openhailo.testing.check import check, expect, expect_error, expect_true
from openhailo.testing.rig import Rig

from .raw.exchange import unhex
from .raw.host import ANSWERED, RESPONSE, RING_APP, RING_CORE, STATUS, RawHost, message
from .raw.lists import header

_THROTTLING, _HW_CONSTS, _STORE_MEMORY = 64, 72, 1
_SCRATCH = 0x61000
#: Status words (control-protocol.md 13).
_WRONG_DIGEST, _TOO_LONG, _DATA_LENGTH = 0x400B0004, 0x40030099, 0x4003004E
_CHUNK_LENGTH = 0x40030065


def _status(answer: bytes | None) -> int:
    return int.from_bytes(answer[16:20], "big") if answer is not None else -1


@check("mailbox", needs=("function",), about=["mailbox", "mailbox_header", "GET_THROTTLING_STATE"])
def areas_of_a_message(rig: Rig) -> None:
    """Digest at 0x640, length at 0x650, payload at 0x654; nothing of the request area changes."""
    host = RawHost(rig.open_function())
    request = message(_THROTTLING)
    before = host.bar4.read_block(0, 40)
    expect("the request area before", before[:20], bytes(20))
    host.send(request, RING_APP)
    expect_true("a message", host.function.irq.wait(1.0))
    expect("status", host.bar0.read32(STATUS), ANSWERED)
    expect("length word", host.bar4.read32(RESPONSE + 16), 33)
    expect("opcode of the answer", host.bar4.read_block(RESPONSE + 20, 16).hex()[24:], "00000040")
    expect("request as written", host.bar4.read_block(20, 20), request)


@check("mailbox", needs=("function",), about=["doorbell", "cpu"])
def doorbells_of_both_processors(rig: Rig) -> None:
    """Bit 0 rings the application CPU, bit 1 the core CPU; the answer is bit 26."""
    host = RawHost(rig.open_function())
    for bell, opcode in ((RING_APP, _THROTTLING), (RING_CORE, _HW_CONSTS)):
        host.send(message(opcode), bell)
        expect_true(f"doorbell {bell}", host.wait(ANSWERED))
        expect(f"status of {opcode}", _status(host.response()), 0)


@check("mailbox", needs=("raw",), about=["mailbox_header", "max_message_bytes"])
def digest_and_length_are_checked(rig: Rig) -> None:
    """A wrong digest is refused; 1500 bytes arrive whole."""
    host = rig.raw_host()
    expect("status with a wrong digest", _status(host.ask(0, message(_THROTTLING), digest=bytes(16))), _WRONG_DIGEST)
    longest = message(33, b"\1", b"\1", b"\3", bytes(1461))
    expect("bytes of the longest message", len(longest), 1500)
    host.control(1, 32, header())
    expect("status of 1500 bytes", _status(host.ask(1, longest)), 0)


@check("mailbox", needs=("function", "state"), about=["mailbox_header", "max_message_bytes"])
def too_long_messages_are_refused(rig: Rig) -> None:
    """A length above 1500 is an error of its own."""
    host = RawHost(rig.open_function())
    host.send(bytes(1501), RING_CORE, length=1501)
    expect_true("an answer", host.wait(ANSWERED))
    expect("status of 1501 bytes", _status(host.response()), _TOO_LONG)


#: Controls with data of a variable length: opcode, CPU, what comes before the data, most bytes (control-protocol.md 5).
VARIABLE = (
    ("WRITE_MEMORY", 1, 0, (_SCRATCH.to_bytes(4, "big"),), 1024, _DATA_LENGTH),
    ("WRITE_FIRMWARE_UPDATE", 15, 0, (bytes(4),), 1024, _DATA_LENGTH),
    ("WRITE_USER_CONFIG", 21, 0, (bytes(4),), 1024, _DATA_LENGTH),
    ("WRITE_SECOND_STAGE_TO_INTERNAL_MEMORY", 56, 0, (bytes(4),), 1024, _DATA_LENGTH),
    ("CONTEXT_SWITCH_SET_CONTEXT_INFO", 33, 1, (b"\1", b"\0", b"\3"), 1461, _CHUNK_LENGTH),
)


@check("mailbox", needs=("raw",), about=[row[0] for row in VARIABLE] + ["SENSOR_STORE_CONFIG", "CONFIG_STREAM"])
def longest_parameters(rig: Rig) -> None:
    """Each variable parameter takes its largest size, and one byte more is refused."""
    host = rig.raw_host()
    host.control(0, 14)
    host.control(1, 32, header())
    for name, opcode, cpu, before, size_bytes, refusal in VARIABLE:
        expect(f"{name} of {size_bytes}", _status(host.ask(cpu, message(opcode, *before, bytes(size_bytes)))), 0)
        if size_bytes < 1461:
            longer = message(opcode, *before, bytes(size_bytes + 1))
            expect(f"{name} of {size_bytes + 1}", _status(host.ask(cpu, longer)), refusal)
    section = [value.to_bytes(4, "big") for value in (0, 1, 0, 0, 0, 1025)]
    section += [bytes(2)] * 3 + [bytes(100)]
    expect("SENSOR_STORE_CONFIG of 1024", _status(host.ask(0, message(26, *section, bytes(1024)))), 0)
    expect("SENSOR_STORE_CONFIG of 1025", _status(host.ask(0, message(26, *section, bytes(1025)))), _DATA_LENGTH)
    stream = [b"\0", b"\0", bytes(4), b"\0", b"\0", bytes(17)]
    expect("CONFIG_STREAM of 35", _status(host.ask(0, message(3, *stream, bytes(35)))), 0x400300B4)
    expect("CONFIG_STREAM of 36", _status(host.ask(0, message(3, *stream, bytes(36)))), 0x4003001A)
    for size_bytes, refusal in ((500, 0), (1024, 0x401A0005), (1025, _DATA_LENGTH)):
        board = message(48, bytes(4), bytes(size_bytes))
        expect(f"WRITE_BOARD_CONFIG of {size_bytes}", _status(host.ask(0, board)), refusal)


@check("mailbox", needs=("raw",), about=["max_data_bytes", "READ_MEMORY", "READ_USER_CONFIG", "board_config_bytes"])
def longest_reads(rig: Rig) -> None:
    """1024 bytes a read, and not one more."""
    host = rig.raw_host()
    host.control(0, 21, bytes(4), bytes(1024))
    host.control(0, 21, (1024).to_bytes(4, "big"), bytes(1024))
    for name, opcode, address in (("READ_MEMORY", 2, _SCRATCH), ("READ_USER_CONFIG", 19, 0)):
        for size_bytes, succeeds in ((1024, True), (1025, False)):
            request = message(opcode, address.to_bytes(4, "big"), size_bytes.to_bytes(4, "big"))
            expect(f"{name} of {size_bytes}", _status(host.ask(0, request)) == 0, succeeds)
    for size_bytes, succeeds in ((500, True), (501, False)):
        request = message(47, bytes(4), size_bytes.to_bytes(4, "big"))
        expect(f"READ_BOARD_CONFIG of {size_bytes}", _status(host.ask(0, request)) == 0, succeeds)
    slave = (b"\0", b"\0\1", b"\1", b"\0", b"\0", bytes(4))
    for size_bytes, succeeds in ((4, True), (1025, False)):
        request = message(23, *slave, size_bytes.to_bytes(4, "big"))
        expect(f"I2C_READ of {size_bytes}", _status(host.ask(0, request)) == 0, succeeds)


# --- the driver's side --------------------------------------------------------------------------------------------


@check("mailbox", needs=("state",), about=["max_message_bytes", "request_header"])
def driver_refuses_impossible_requests(rig: Rig) -> None:
    """Requests below 20 and above 1500 bytes never reach the device."""
    slave = {"endianness": 0, "slave_address": 1, "register_address_size": 1, "bus_index": 0, "should_hold_bus": 0}
    for size_bytes, error in ((1442, ControlFailed), (1443, InputError)):
        write = partial(rig.client.i2c_write, 0, bytes(size_bytes), **{**slave, "bus_index": 9})
        expect_error(f"{size_bytes} bytes for a slave", error, write)
    for size_bytes in (0, 19, 1501):
        expect_error(f"{size_bytes} bytes", InputError, partial(rig.link.control, bytes(size_bytes), CPU_APP))
    expect("status of an empty request", _status(rig.link.control(bytes(20), CPU_APP)) != 0, True)
    answer = rig.link.control(message(1, _SCRATCH.to_bytes(4, "big"), bytes(1024)), CPU_APP)
    expect("bytes of an answer without parameters", len(answer), 28)


@check(
    "mailbox",
    needs=("fresh",),
    about=["max_data_bytes", "READ_MEMORY", "READ_USER_CONFIG", "SENSOR_GET_CONFIG", "READ_BOARD_CONFIG"],
)
def driver_refuses_too_much_data(rig: Rig) -> None:
    """An answer with more than 1024 bytes of data is noticed, whatever was asked for."""
    for opcode, name in (
        (2, "READ_MEMORY"),
        (19, "READ_USER_CONFIG"),
        (27, "SENSOR_GET_CONFIG"),
        (47, "READ_BOARD_CONFIG"),
    ):
        for size_bytes, fits in ((1024, True), (1025, False)):
            head = f"00000002 00000001 00*4 {opcode:08x} 00*8 00000001 {size_bytes:08x} 55*{size_bytes}"
            with rig.fresh(answers={opcode: [unhex(head)]}) as other:
                names = ("section_index", "offset", "data_size") if opcode == 27 else ("address", "data_count")
                call = partial(other.client.call, name, **dict.fromkeys(names, 0))
                if fits:
                    expect(f"{name} of {size_bytes}", call()["data"], b"\x55" * size_bytes)
                else:
                    expect_error(f"{name} of {size_bytes}", MalformedReply, call)


@check("mailbox", needs=("state",), about=["SWITCH_APPLICATION", "GET_SOC_ID", "SIGNAL_DRIVER_DOWN", "cpu"])
def obsolete_controls(rig: Rig) -> None:
    """Each keeps its number and its processor (control-protocol.md 4)."""
    for opcode, name in (
        (45, "SWITCH_APPLICATION"),
        (49, "GET_SOC_ID"),
        (75, "SIGNAL_DRIVER_DOWN"),
        (76, "CONTEXT_SWITCH_INIT_CACHE_INFO"),
        (77, "CONTEXT_SWITCH_GET_CACHE_INFO"),
        (78, "CONTEXT_SWITCH_UPDATE_CACHE_READ_OFFSET"),
    ):
        error = expect_error(name, ControlFailed, partial(rig.client.call, name))
        expect(f"opcode and status of {name}", (error.opcode, error.major), (opcode, 0x4003000F))


@check("mailbox", needs=("state",), about=["ControlFailed", "status_names"])
def refusals_have_names(rig: Rig) -> None:
    """Both status words, and what they are called."""
    error = expect_error("a clock that does not exist", ControlFailed, partial(rig.client.set_clock, 12345))
    expect("opcode", (error.opcode, error.opcode_name), (61, "SET_CLOCK_FREQ"))
    expect_true("a status word", error.major != 0 and error.major_name)


@check("mailbox", needs=("faults", "clock"), about=["control_timeout_s", "limits"])
def driver_waits_one_second(rig: Rig) -> None:
    """An answer that never comes is given up after 1 s, once for a control that changes something."""
    client = rig.client
    rig.faults.drop_answers = 1
    started = rig.now_s
    error = expect_error("no answer", DeviceTimeout, partial(client.set_clock, 400_000_000))
    expect("seconds waited", round(rig.now_s - started, 2), 1.0)
    expect("budget", error.budget_s, 1.0)


@check("mailbox", needs=("faults",), about=["mailbox_header"])
def driver_notices_broken_answers(rig: Rig) -> None:
    """Wrong digests and impossible lengths; what may be repeated is asked once more."""
    rig.faults.wrong_digests = 1
    expect_error("a wrong digest", MalformedReply, partial(rig.client.set_clock, 400_000_000))
    rig.faults.wrong_digests = 1
    expect("asked again", rig.client.identify().protocol_version, 2)
    for length in (1501, 0xFFFFFFFF):
        rig.faults.wrong_lengths, rig.faults.answer_length_bytes = 1, length
        expect_error(f"a length of {length}", MalformedReply, partial(rig.client.set_clock, 400_000_000))
    rig.faults.link_down = True
    expect_error("a card that is gone", DeviceLost, rig.client.identify)


@check("mailbox", needs=("faults", "clock"), about=["sequence", "request_header", "response_header"])
def late_answers_are_passed_over(rig: Rig) -> None:
    """An answer that comes after its time is not taken for another control's."""
    rig.faults.late_answers, rig.faults.late_by_ns = 1, 1_200_000_000
    expect_error("a late answer", DeviceTimeout, partial(rig.client.set_clock, 400_000_000))
    expect("the next control", rig.client.identify().protocol_version, 2)
    expect("and the one after", rig.client.hw_consts().fifo_word_granularity_bytes, rig_granularity(rig))


def rig_granularity(rig: Rig) -> int:
    """Return what the device was configured to answer, 8 unless it says."""
    known = rig.expected.hw_consts if "expected" in rig.capabilities else {}
    return known.get("fifo_word_granularity_bytes", 8)


#: An answer to GET_THROTTLING_STATE, and ways to break it: (what, position, byte).
_ANSWER = unhex("00000002 00000001 00000000 00000040 00000000 00000000 00000001  00000001 01")
_BROKEN = (
    ("version", 3, 3, MalformedReply),
    ("ack", 7, 0xFE, MalformedReply),
    ("sequence", 11, 9, SequenceMismatch),
    ("opcode", 15, 0x41, MalformedReply),
    ("major status", 19, 1, ControlFailed),
    ("parameter count", 27, 2, MalformedReply),
    ("parameter count of none", 27, 0, MalformedReply),
    ("parameter length", 31, 2, MalformedReply),
    ("parameter length of none", 31, 0, MalformedReply),
)


@check("mailbox", needs=("fresh",), about=["response_header", "parameter_count", "parameter_header", "flags"])
def driver_checks_every_word(rig: Rig) -> None:
    """One word of a scripted answer is wrong; the driver says so."""
    with rig.fresh(answers={64: [_ANSWER]}) as good:
        expect("throttling", good.client.throttling(), True)
    reserved = _ANSWER[:4] + b"\xff\xff\xff\xff" + _ANSWER[8:]
    with rig.fresh(answers={64: [reserved]}) as good:
        expect("throttling, reserved flags set", good.client.throttling(), True)
    for what, at, byte, error in _BROKEN:
        broken = _ANSWER[:at] + bytes([byte]) + _ANSWER[at + 1 :]
        with rig.fresh(answers={64: [broken]}) as bad:
            expect_error(f"a wrong {what}", error, bad.client.throttling)
    for cut in (1, 4, 8, 10):
        with rig.fresh(answers={64: [_ANSWER[:-cut]]}) as bad:
            expect_error(f"{cut} bytes missing", MalformedReply, bad.client.throttling)
    failed = unhex("00000002 00000001 00000000 00000040 01020304 05060708")
    with rig.fresh(answers={64: [failed]}) as bad:
        refusal = expect_error("a refusal of 24 bytes", ControlFailed, bad.client.throttling)
        expect("status words", (refusal.major, refusal.minor), (0x01020304, 0x05060708))
