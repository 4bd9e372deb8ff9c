"""A look at a program's ONNX graph before ONNX Runtime sees it: what could read files or never end is refused.

The graph arrives as a serialized ModelProto (onnx.proto). Only the fields that lead to nodes and tensors are walked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from openhailo.errors import BadProgram

#: Message -> fields that hold messages: number -> message. Attributes with graphs belong to Loop, Scan and If.
_CHILDREN: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
#: Message -> fields that must not be there: number -> why.
_REFUSED: Mapping[str, Mapping[int, str]] = {
    "model": {20: "graphs for training", 25: "functions of its own"},
    "attribute": {6: "a graph inside a node", 11: "a graph inside a node"},
    "tensor": {13: "data in another file"},
}
_FIXED_BYTES = {1: 8, 5: 4}
_LENGTH_DELIMITED = 2


def check_graph(payload: bytes | memoryview) -> None:
    """Raise `BadProgram` for a graph with external data, graphs inside nodes or functions, or no protobuf message.

    External data would let a program read files of whoever runs it, a Loop may run for ever, and functions that call
    functions grow beyond all bounds when they are expanded. The compiler writes none of them. Time is bounded by the
    size of ``payload``: nothing is looked at twice.
    """
    waiting = [("model", memoryview(payload))]
    while waiting:
        kind, message = waiting.pop()
        children, refused = _CHILDREN[kind], _REFUSED.get(kind, {})
        for number, content in _messages(message):
            if number in refused:
                raise BadProgram(detail=f"the graph has {refused[number]}, which no program may")
            if number in children:
                waiting.append((children[number], content))


def _messages(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (field number, bytes) of every length-delimited field."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            _, at = _varint(message, at)
            continue
        size = _FIXED_BYTES.get(wire, 0)
        if wire == _LENGTH_DELIMITED:
            size, at = _varint(message, at)
        elif not size:
            raise BadProgram(detail=f"the graph has wire type {wire}")
        if size > end - at:
            raise BadProgram(detail=f"a field of the graph needs {size} bytes, {end - at} are left")
        if wire == _LENGTH_DELIMITED:
            yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise BadProgram(detail="the graph has a number that does not end")
