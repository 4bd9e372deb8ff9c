"""Control messages: build requests, parse responses (control-protocol.md 2, 3, 5, 6). Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openhailo.errors import ControlFailed, InputError, MalformedReply, SequenceMismatch
from openhailo.spec.chip import ChipSpec
from openhailo.spec.layout import Member, Struct
from openhailo.spec.messages import Control, Param


def build_request(spec: ChipSpec, control: Control, values: Mapping[str, Any], sequence: int = 0) -> bytes:
    """Serialise a request; ``values`` holds one entry per parameter. Raises `InputError` for wrong or missing ones."""
    names = {param.name for param in control.request}
    if names != values.keys():
        raise InputError(what=control.name, detail=f"takes {sorted(names)}, got {sorted(values)}")
    message = bytearray(
        spec.request_header.pack(
            version=spec.control_rules.protocol_version,
            flags=0,
            sequence=sequence,
            opcode=control.opcode,
            parameter_count=len(control.request),
        )
    )
    for param in control.request:
        try:
            raw = _pack(param, values[param.name])
        except (ValueError, TypeError) as error:
            raise InputError(what=f"{control.name}.{param.name}", detail=str(error)) from error
        message += spec.parameter_header.pack(length=len(raw)) + raw
    if len(message) > spec.mailbox.max_message_bytes:
        raise InputError(
            what=control.name,
            detail=f"{len(message)} bytes, at most {spec.mailbox.max_message_bytes} are possible",
        )
    return bytes(message)


def parse_response(spec: ChipSpec, control: Control, data: bytes, sequence: int = 0) -> dict[str, Any]:
    """Check a response and return its parameters by name.

    Raises `ControlFailed` (the firmware says no), `SequenceMismatch` (the answer to another request) and
    `MalformedReply` (framing, opcode, count or width of a parameter). The checks are those of control-protocol.md 2.3,
    and each width besides, because the official library would read all later fields from wrong offsets.
    """
    header = _parse_header(spec, control, data)
    if header["sequence"] != sequence:
        raise SequenceMismatch(expected=sequence, seen=header["sequence"])
    if header["major_status"]:
        raise _refusal(spec, control, header["major_status"], header["minor_status"])
    values = _split_parameters(spec, control, data)
    if len(values) != len(control.response):
        raise _malformed(control, f"{len(values)} parameters, {len(control.response)} expected")
    return {param.name: _unpack(control, param, raw) for param, raw in zip(control.response, values, strict=True)}


def _parse_header(spec: ChipSpec, control: Control, data: bytes) -> dict[str, Any]:
    if len(data) < spec.response_header.size:
        raise _malformed(control, f"{len(data)} bytes, at least {spec.response_header.size} are needed")
    header = spec.response_header.unpack(data)
    if header["version"] != spec.control_rules.protocol_version:
        raise _malformed(control, f"protocol version {header['version']}")
    if not spec.flags["ack"].get(header["flags"]):
        raise _malformed(control, "it is not marked as an answer")
    if header["opcode"] != control.opcode:
        raise _malformed(control, f"it answers opcode {header['opcode']}")
    return header


def _split_parameters(spec: ChipSpec, control: Control, data: bytes) -> list[bytes]:
    """Walk the parameters; the walk must end exactly at the end of the message."""
    at = spec.response_header.size
    if len(data) == at:
        return []
    if len(data) - at < spec.parameter_count.size:
        raise _malformed(control, f"{len(data) - at} bytes where the parameter count should be")
    count = spec.parameter_count.unpack(data, at)["parameter_count"]
    at += spec.parameter_count.size
    if count > len(data):
        raise _malformed(control, f"{count} parameters in {len(data)} bytes")
    values = []
    for index in range(count):
        if len(data) - at < spec.parameter_header.size:
            raise _malformed(control, f"it ends before parameter {index}")
        length = spec.parameter_header.unpack(data, at)["length"]
        at += spec.parameter_header.size
        if length > len(data) - at:
            raise _malformed(control, f"parameter {index} of {length} bytes leaves the message")
        values.append(data[at : at + length])
        at += length
    if at != len(data):
        raise _malformed(control, f"{len(data) - at} bytes follow the last parameter")
    return values


def _refusal(spec: ChipSpec, control: Control, major: int, minor: int) -> ControlFailed:
    return ControlFailed(
        opcode=control.opcode,
        opcode_name=control.name,
        major=major,
        minor=minor,
        major_name=spec.status_names.get(major, ""),
        minor_name=spec.status_names.get(minor, ""),
    )


def _pack(param: Param, value: Any) -> bytes:
    if isinstance(param.type, Struct):
        if isinstance(value, bytes | bytearray | memoryview):
            raw = bytes(value)
            if len(raw) != param.type.size:
                raise ValueError(f"{len(raw)} bytes, {param.type.size} needed")
            return raw
        return param.type.pack(**value)
    if param.type == "bytes":
        raw = bytes(value)
        limit = param.size or param.max_size
        if limit and len(raw) > limit:
            raise ValueError(f"{len(raw)} bytes, at most {limit} are possible")
        return raw.ljust(param.size, b"\0")
    return _scalar(param).pack(value=value)


def _unpack(control: Control, param: Param, raw: bytes) -> Any:
    if isinstance(param.type, Struct):
        _check_width(control, param, raw, param.type.size)
        return param.type.unpack(raw)
    if param.type == "bytes":
        if param.size:
            _check_width(control, param, raw, param.size)
        elif param.max_size and len(raw) > param.max_size:
            raise _malformed(control, f"{param.name} has {len(raw)} bytes, at most {param.max_size} are possible")
        return raw
    scalar = _scalar(param)
    _check_width(control, param, raw, scalar.size)
    return scalar.unpack(raw)["value"]


def _scalar(param: Param) -> Struct:
    member = Member("value", 0, param.type)
    return Struct(param.name, member.size_bytes, (member,))


def _check_width(control: Control, param: Param, raw: bytes, size_bytes: int) -> None:
    if len(raw) != size_bytes:
        raise _malformed(control, f"{param.name} has {len(raw)} bytes, {size_bytes} expected")


def _malformed(control: Control, detail: str) -> MalformedReply:
    return MalformedReply(what=f"answer to {control.name}", detail=detail)
