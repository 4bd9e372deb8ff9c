"""Recorded exchanges of the official stack, walked parameter by parameter with our declarations."""

from __future__ import annotations

import hashlib

import pytest

from openhailo.spec.control import CONTROLS, Param
from openhailo.spec.fw_access import MAILBOX_HEADER
from openhailo.spec.layout import SCALARS, Struct
from openhailo.spec.messages import FEATURE_FLAGS, FLAGS, PARAMETER_HEADER, REQUEST_HEADER, RESPONSE_HEADER

pytestmark = pytest.mark.facts

#: The recorder's spelling of opcode names is the wire definition's.
SPELLING = ("MEASUEMENT", "MEASUREMENT")


def walk(params: tuple[Param, ...], data: bytes, at: int) -> dict[str, object]:
    """Parse parameters from ``at`` to the end of ``data``; every width must be the declared one."""
    values: dict[str, object] = {}
    for param in params:
        length = PARAMETER_HEADER.unpack(data, at)["length"]
        at += PARAMETER_HEADER.size
        value = data[at : at + length]
        assert len(value) == length, param.name
        if isinstance(param.type, Struct):
            assert length == param.type.size, param.name
            values[param.name] = param.type.unpack(value)
        elif param.type == "bytes":
            assert param.size in {0, length}, param.name
            assert param.max_size == 0 or length <= param.max_size, param.name
            values[param.name] = value
        else:
            assert length == SCALARS[param.type][1], param.name
            values[param.name] = value
        at += length
    assert at == len(data), "bytes left over"
    return values


def controls(facts):
    for path in facts.trace_files():
        for record in facts.trace(path):
            if record["k"] == "control":
                yield path, record


def test_every_recorded_request(facts, checked):
    seen = 0
    for path, record in controls(facts):
        data = bytes.fromhex(record["req"])
        header = REQUEST_HEADER.unpack(data)
        control = CONTROLS[header["opcode"]]
        assert (header["version"], header["flags"], header["sequence"]) == (2, 0, 0), path
        assert (control.opcode, control.cpu) == (record["op"], record["cpu"]), path
        assert control.name == record["name"].replace(*SPELLING)
        assert header["parameter_count"] == len(control.request)
        walk(control.request, data, REQUEST_HEADER.size)
        seen += 5 + len(control.request)
    checked(seen, 10000)


def test_every_recorded_response(facts, checked):
    """The values are the recorder's; the layouts were accepted by the official library."""
    seen = 0
    for path, record in controls(facts):
        data = bytes.fromhex(record["rsp"])
        if not data:
            assert record["op"] == 7, path
            continue
        header = RESPONSE_HEADER.unpack(data)
        assert (header["version"], header["opcode"]) == (2, record["op"])
        assert header["flags"] == FLAGS.pack(ack=1)
        if header["major_status"] == 0 and len(data) > RESPONSE_HEADER.size:
            walk(CONTROLS[record["op"]].response, data, RESPONSE_HEADER.size + 4)
            seen += 4 + len(CONTROLS[record["op"]].response)
    checked(seen, 10000)


def responses(facts, name: str) -> dict[int, bytes]:
    path = next(path for path in facts.trace_files() if path.name == name)
    return {record["op"]: bytes.fromhex(record["rsp"]) for record in facts.trace(path) if record["k"] == "control"}


def test_identify(facts):
    """Values that the official tool printed for the recorded bytes."""
    data = responses(facts, "identify_extended.jsonl")
    values = walk(CONTROLS[0].response, data[0], 28)
    assert values["fw_version"] == {"major": 4, "minor": 23, "revision": 0}
    assert values["board_name"] == b"Hailo-8" + b"\0" * 25
    assert values["device_architecture"] == b"\0\0\0\1"
    assert values["serial_number"] == b"SIM0000000000001"
    assert values["part_number"] == b"SIM-PART" + b"\0" * 8
    assert values["product_name"] == b"SIMULATED HAILO-8" + b"\0" * 25
    extended = walk(CONTROLS[51].response, data[51], 28)
    assert extended["neural_network_core_clock_rate"] == (400_000_000).to_bytes(4, "big")
    flags = extended["supported_features"]["flags"]
    assert FEATURE_FLAGS.unpack(flags) == {"ethernet": 0, "mipi": 0, "pcie": 1, "current_monitoring": 1, "mdio": 0}
    assert extended["eth_mac_address"].hex() == "020000000001"
    assert extended["fuse_info"]["lot_id"] == b"LOT00001"
    assert extended["lcs"] == b"\3"


def test_sensor_values(facts):
    """device_api_calls printed: ts0 42.5, ts1 43.25, n 7; power 2.5; min 1.5, max 3.5, average 2.5, n 100."""
    data = responses(facts, "device_api_calls.jsonl")
    assert walk(CONTROLS[46].response, data[46], 28)["info"] == {
        "ts0_temperature": 42.5,
        "ts1_temperature": 43.25,
        "sample_count": 7,
    }
    power = walk(CONTROLS[9].response, data[9], 28)
    assert power == {"power_measurement": b"\0\0 @", "dvm": b"\x09\0\0\0", "measurement_type": b"\2\0\0\0"}
    assert walk(CONTROLS[42].response, data[42], 28)["fw_version"] == {
        "major": 4,
        "minor": 23,
        "revision": 0x08000000,
    }


def test_hw_consts(facts, checked):
    """Each recorded answer to opcode 72 against the values that its scenario states."""
    seen = 0
    for path in facts.trace_files():
        stated = None
        for record in facts.trace(path):
            stated = record["hw_consts"] if record["k"] == "meta" else stated
            if record["k"] == "control" and record["op"] == 72 and len(record["rsp"]) > 56:
                values = walk(CONTROLS[72].response, bytes.fromhex(record["rsp"]), 28)
                assert values["hw_consts"] == stated, path
                seen += 7
    checked(seen, 1000)


@pytest.mark.parametrize(
    ("opcode", "request_hex"),
    [
        (0, "0000000200000000000000000000000000000000"),
        (9, "000000020000000000000000000000090000000200000004000000000000000400000003"),
        (12, "0000000200000000000000000000000c000000030000000400000001000000020005000000020004"),
        (37, "0000000200000000000000000000002500000004000000010000000001ff000000020000000000020000"),
        (47, "0000000200000000000000000000002f00000002000000040000000000000004000001f4"),
        (55, "000000020000000000000000000000370000000200000001030000000103"),
        (65, "000000020000000000000000000000410000000200000004000000000000000400000001"),
        (71, "0000000200000000000000000000004700000000"),
        (72, "0000000200000000000000000000004800000000"),
    ],
)
def test_requests_were_really_sent(facts, opcode, request_hex):
    """These literals occur in the traces, and our declaration walks them to the last byte."""
    sent = {record["req"] for _, record in controls(facts) if record["op"] == opcode}
    assert request_hex in sent
    walk(CONTROLS[opcode].request, bytes.fromhex(request_hex), 20)


def test_mailbox_digest(facts):
    """BAR4 words of the first request in identify.bars.txt: MD5 of the request, its length, its bytes."""
    request = bytes.fromhex("0000000200000000000000000000000000000000")
    digest = hashlib.md5(request, usedforsecurity=False).digest()
    assert digest.hex() == "6a3d1c7fe84cfe2f184d69c2376dcc43"
    written = MAILBOX_HEADER.pack(digest=digest, length=20) + request
    words = [written[i : i + 4][::-1].hex() for i in range(0, len(written), 4)]
    assert words == [
        "7f1c3d6a",
        "2ffe4ce8",
        "c2694d18",
        "43cc6d37",
        "00000014",
        "02000000",
        "00000000",
        "00000000",
        "00000000",
        "00000000",
    ]
