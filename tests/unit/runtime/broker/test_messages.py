"""Bodies: exactly the fields, types and bounds of their class; errors arrive as they were."""

from __future__ import annotations

import json

import pytest

from openhailo import errors
from openhailo.runtime.broker import messages as m
from openhailo.runtime.broker.refusals import error_of, refusal_of


def test_a_body_comes_back_as_it_was():
    slots = (m.Slots("net/x", False, 12, 0, 4096), m.Slots("net/y", True, 7, 4096, 4096))
    sent = m.Configure("ab" * 32, "net", 3, 10.5, 32, False, 1, True, False, 8, 8192, slots)
    assert m.from_bytes(m.Configure, m.to_bytes(sent)) == sent


HELLO = {"protocol": 1, "version": "1", "pid": 5}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 40000,
        json.dumps({**HELLO, "more": 1}).encode(),
        json.dumps({"protocol": 1, "version": "1"}).encode(),
        json.dumps({**HELLO, "protocol": "1"}).encode(),
        json.dumps({**HELLO, "protocol": True}).encode(),
        json.dumps({**HELLO, "protocol": 1.0}).encode(),
        json.dumps({**HELLO, "protocol": 1 << 60}).encode(),
        json.dumps({**HELLO, "version": "x" * 3000}).encode(),
        json.dumps({**HELLO, "version": None}).encode(),
        b'{"protocol": ' + b"9" * 5000 + b', "version": "1", "pid": 5}',
        bytes(50_000),
    ],
)
def test_bodies_that_are_refused(body):
    with pytest.raises(errors.MalformedMessage):
        m.from_bytes(m.Hello, body)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-2", "1e18", '"1"'])
def test_numbers_that_are_refused(value):
    body = b'{"model": 1, "threshold": 0, "timeout_s": %s, "priority": 1}' % value.encode()
    with pytest.raises(errors.MalformedMessage):
        m.from_bytes(m.Schedule, body)


def test_long_lists_are_refused():
    body = json.dumps({"protocol": 1, "version": "1", "pid": 5, "devices": ["x"] * 200}).encode()
    with pytest.raises(errors.MalformedMessage):
        m.from_bytes(m.Welcome, body)


@pytest.mark.parametrize(
    "error",
    [
        errors.DeviceNotFound(name="pci:1"),
        errors.ControlFailed(opcode=3, opcode_name="X", major=1, minor=2),
        errors.ShapeMismatch(name="x", expected=(1, 2), seen=(3,)),
        errors.DeviceTimeout(what="w", budget_s=1.0, elapsed_s=2.0),
        errors.Cancelled(what="net", reason="because"),
        errors.BadChecksum(kind="md5", expected="1", seen="2"),
    ],
)
def test_errors_arrive_as_they_were(error):
    got = error_of(m.from_bytes(m.Refusal, m.to_bytes(refusal_of(error))))
    assert type(got) is type(error)
    assert str(got) == str(error)
    plain = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float)}
    assert plain.items() <= vars(got).items()


def test_foreign_errors_become_ours():
    got = error_of(refusal_of(ZeroDivisionError("by what")))
    assert type(got) is errors.DeviceError
    assert "ZeroDivisionError: by what" in str(got)


@pytest.mark.parametrize("name", ["SystemExit", "Sequence", "annotations", "__builtins__", "", "OpenHailoError.x"])
def test_names_that_are_no_errors_of_ours(name):
    got = error_of(m.Refusal(name, "text", {"__class__": 1, "args": "x"}))
    assert type(got) is errors.DeviceError
    assert str(got) == "text"
