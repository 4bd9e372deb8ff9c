"""Malformed and foreign requests: each has the status that fw.status.json names for it (literal numbers)."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.spec.chip import CHIP
from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin

IDENTIFY = "0000000200000000000000000000000000000000"


def major(answer: bytes | None) -> int:
    assert answer is not None
    assert len(answer) >= 24
    assert answer[:8] == bytes.fromhex("0000000200000001")
    return int(struct.unpack(">I", answer[16:20])[0])


CASES = [
    ("", 0x40030004),
    ("00000002", 0x40030004),
    (IDENTIFY[:-2], 0x40030004),
    ("00000001" + IDENTIFY[8:], 0x40030003),
    ("00000002" + "00000001" + IDENTIFY[16:], 0x40030006),
    (IDENTIFY[:-8] + "00000001", 0x40030012),
    (IDENTIFY + "00", 0x4003009C),
    # WRITE_MEMORY: two parameters
    ("0000000200000000000000000000000100000002", 0x40030005),
    ("0000000200000000000000000000000100000002" + "000000", 0x40030005),
    ("0000000200000000000000000000000100000002" + "00000004" + "20001000", 0x40030005),
    ("0000000200000000000000000000000100000002" + "00000004" + "20001000" + "ffffffff00", 0x40030005),
    ("0000000200000000000000000000000100000002" + "00000003" + "201000" + "0000000100", 0x40030013),
    ("0000000200000000000000000000000100000002" + "00000004" + "20001000" + "0000000100" + "77", 0x4003009C),
    ("0000000200000000000000000000000100000002" + "00000004" + "20001000" + "00000401" + "00" * 1025, 0x4003004E),
    # unknown and obsolete opcodes
    ("0000000200000000000000000000005000000000", 0x4003000F),
    ("00000002000000000000000000000fff00000000", 0x4003000F),
    ("0000000200000000000000000000003100000000", 0x4003000F),
]


@pytest.mark.parametrize(("request_hex", "status"), CASES)
def test_malformed(host: Any, request_hex: str, status: int) -> None:
    assert major(host.raw(bytes.fromhex(request_hex))) == status


def test_every_fixed_width_is_checked(host: Any) -> None:
    """One byte more or less in any parameter is refused, with a status of its own wherever there is one."""
    for control in CHIP.controls.values():
        widths = [_width(p) for p in control.request]
        for index, (param, width) in enumerate(zip(control.request, widths, strict=True)):
            if param.type == "bytes" and not param.size:
                continue
            values = [bytes(w) for w in widths]
            values[index] = bytes(width + 1)
            status = host.status(control.opcode, *values) if control.opcode != 7 else 0x40030022
            assert status >> 16 == 0x4003, (control.name, param.name, hex(status))


def _width(param: Any) -> int:
    if hasattr(param.type, "size"):
        return int(param.type.size)
    if param.type == "bytes":
        return param.size or 8
    return {"u8": 1, "i8": 1, "be16": 2, "le16": 2, "be32": 4, "le32": 4, "f32": 4, "be64": 8}[param.type]


def test_wrong_cpu(host: Any) -> None:
    assert major(host.ask(0, cpu=1)) == 0x40030074
    assert major(host.ask(72, cpu=0)) == 0x40030074


def test_obsolete_says_so_in_the_minor_word(host: Any) -> None:
    for opcode in (45, 49, 75, 76, 77, 78):
        answer = host.ask(opcode)
        assert answer[16:24] == bytes.fromhex("4003000f400300a6")


def test_digest_and_length(host: Any) -> None:
    assert major(host.raw(bytes.fromhex(IDENTIFY), digest_ok=False)) == 0x400B0004
    assert major(host.raw(bytes(1500), digest_ok=False)) == 0x40030099
    assert major(host.raw(bytes.fromhex(IDENTIFY) + bytes(1500))) == 0x40030099


def test_sequence_is_echoed_and_repeated_ones_are_dropped(host: Any) -> None:
    first = host.ask(0, sequence=7)
    assert first[8:12] == bytes.fromhex("00000007")
    assert host.ask(0, sequence=7) is None
    assert host.ask(0, sequence=8) is not None
    assert host.ask(0) is not None
    assert host.ask(0) is not None
    assert host.ask(0, sequence=8) is not None


def test_injected_status(host: Any) -> None:
    host.twin.faults.control_status[46] = (0x40030083, 0x40170007)
    assert host.ask(46)[16:24] == bytes.fromhex("4003008340170007")
    assert host.ask(46)[24:] == bytes(4)
    host.twin.faults.clear()
    assert host.status(46) == 0


def test_scripted_answers_replace_and_refusals_have_no_effect(make_host: Any) -> None:
    from openhailo.twin.firmware import FirmwareConfig

    refusal = bytes.fromhex("000000020000000100000000000000254013000200000000")
    success = bytes.fromhex("00000002000000010000000000000025000000000000000000000000")
    host = make_host(FirmwareConfig(scripted_responses={37: [success, refusal], 0: [b""]}))
    assert host.ask(37, b"\0", b"\xff", b"\0\0", b"\0\0") == success
    assert host.ask(37, b"\0", b"\xff", b"\0\0", b"\0\0") == refusal
    assert host.ask(37, b"\0", b"\xff", b"\0\0", b"\0\0") == refusal
    assert host.ask(0) is None


def test_a_scripted_success_stands_where_this_firmware_would_refuse(make_host: Any) -> None:
    from openhailo.twin.firmware import FirmwareConfig

    accepted = bytes.fromhex("0000000200000001000000000000001d000000000000000000000000")
    host = make_host(FirmwareConfig(scripted_responses={29: [accepted]}))
    assert host.ask(29, bytes(4)) == accepted
    # A request that is no request is refused all the same.
    assert host.ask(29, bytes(3)) != accepted


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_hostile_bytes_are_always_answered(data: st.DataObject) -> None:
    """Random bodies behind valid headers: an answer with a status of fw.status.json, or silence where documented."""
    opcode = data.draw(st.integers(0, 90))
    body = data.draw(st.binary(max_size=120))
    count = data.draw(st.integers(0, 16))
    message = struct.pack(">5I", 2, 0, 0, opcode, count) + body
    answer = _FUZZED.firmware.control(data.draw(st.integers(0, 1)), message, True)
    assert answer is not None
    status = struct.unpack(">I", answer[16:20])[0]
    assert status == 0 or status in CHIP.status_names


_FUZZED = Twin(clock=SteppedClock(), booted=True)
