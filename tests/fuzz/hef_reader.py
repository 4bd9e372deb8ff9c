"""Fuzzing of the HEF reader: damaged real files and samples, most sealed again so that damage gets past the hash.

The oracle: an input is read, or refused with a `HefError`; what was read can be described, checked, and written to a
file that reads and writes the same again. Anything else is raised, with the input kept for reproduction.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "unit" / "hef"))

from hef_samples import REAL, SAMPLES, seal_bytes  # noqa: E402

from openhailo.errors import HefError  # noqa: E402
from openhailo.hef import check, compatible_with, model, read, write  # noqa: E402
from openhailo.hef.schema import hef_pb2 as pb  # noqa: E402
from openhailo.spec.enums import DeviceArchitecture  # noqa: E402

#: Protobuf part and configuration bytes of an undamaged file.
Seed = tuple[bytes, bytes]

EDGES = (0, 1, 2, 127, 128, 255, 256, 4095, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
MAX_PIECE = 24


class FuzzFailure(AssertionError):
    """An input that broke the oracle; ``data`` reproduces it."""

    def __init__(self, data: bytes, cause: BaseException) -> None:
        self.data = data
        super().__init__(f"{type(cause).__name__}: {cause} for input {data[:4096].hex()}")


def run(*, count: int = 0, seconds: float = 0.0, seed: int = 0) -> int:
    """Try ``count`` inputs, or as many as fit into ``seconds``; return how many were tried. Raises `FuzzFailure`."""
    chance = random.Random(seed)
    files = seeds()
    tried, end = 0, time.monotonic() + seconds
    while tried < count or time.monotonic() < end:
        attempt(mutated(files, chance))
        tried += 1
    return tried


def attempt(data: bytes) -> bool:
    """Hold one input against the oracle; return whether it was read."""
    try:
        return exercise(data)
    except Exception as error:
        raise FuzzFailure(data, error) from error


def exercise(data: bytes) -> bool:
    try:
        hef = read(data)
    except HefError as error:
        assert str(error)
        return False
    for group in hef.network_groups:
        assert all(stream.hw_frame_size_bytes >= 0 for stream in (*group.input_streams, *group.output_streams))
        assert all(vstream.streams for vstream in group.vstreams)
    check(hef)
    try:
        compatible_with(hef, DeviceArchitecture.HAILO8)
    except HefError as error:
        assert str(error)
    version = hef.version
    assert version is not None
    written = write(hef, version, verify=False)
    assert write(read(written), version, verify=False) == written
    return True


# --- seeds ------------------------------------------------------------------------------------------------------------


def seeds() -> list[Seed]:
    """The samples, and the real files where they are, cut down to what is not opaque."""
    hefs = [make() for make in SAMPLES.values()]
    folder = REPOSITORY.parent / "shared" / "hefs"
    hefs += [slim(read(path)) for stem in REAL if (path := folder / f"{stem}.hef").is_file()]
    return [parts(hef, version) for hef in hefs for version in (0, 1)]


def parts(hef: model.Hef, version: int) -> Seed:
    data = write(hef, version, verify=False)
    container = read(data).container
    assert container is not None
    end = container.header_size + container.proto_size
    return data[container.header_size : end], data[end:]


def slim(hef: model.Hef) -> model.Hef:
    """Drop opaque bytes and most of the configuration, which only cost time."""
    groups = tuple(replace(group, legacy=slim_core(group.legacy)) for group in hef.network_groups)
    return replace(hef, network_groups=groups, mapping=b"")


def slim_core(core_op: model.CoreOp | None) -> model.CoreOp | None:
    if core_op is None:
        return None
    operations = tuple(
        replace(operation, actions=tuple(slim_action(action) for action in operation.actions[:12]))
        for operation in core_op.preliminary
    )
    contexts = tuple(
        replace(context, edge_layers=tuple(map(slim_layer, context.edge_layers))) for context in core_op.contexts
    )
    return replace(core_op, preliminary=operations, contexts=contexts)


def slim_action(action: model.Action) -> model.Action:
    return replace(action, data=bytes(action.data[:16]), offset=None) if isinstance(action, model.WriteCcw) else action


def slim_layer(layer: model.EdgeLayer) -> model.EdgeLayer:
    return replace(
        layer, quant=replace(layer.quant, qp_zps=layer.quant.qp_zps[:2], qp_scales=layer.quant.qp_scales[:2])
    )


# --- mutations --------------------------------------------------------------------------------------------------------


def mutated(files: list[Seed], chance: random.Random) -> bytes:
    """One input: a seed with its protobuf part, its sections or its file damaged."""
    number = chance.randrange(len(files))
    proto, ccws = files[number]
    version = 0 if number % 2 == 0 else chance.choice((1, 2, 3))
    how = chance.random()
    if how < 0.40:
        return seal_bytes(bend_message(proto, chance), ccws, version)
    if how < 0.80:
        for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
            proto = chance.choice(BYTES)(proto, chance)
        return seal_bytes(proto, ccws, version)
    if how < 0.85:
        return seal_bytes(proto, chance.choice(BYTES)(ccws, chance), version)
    sealed = seal_bytes(proto, ccws, version)
    if how < 0.95:
        return chance.choice(BYTES)(sealed[:56], chance) + sealed[56:]
    return chance.choice(BYTES)(sealed, chance)


def flip(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]


def overwrite(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + bytes([chance.choice((0, 1, 0x7F, 0x80, 0xFF))]) + data[place + 1 :]


def insert(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.randbytes(chance.randrange(1, MAX_PIECE)) + data[place:]


def insert_varint(data: bytes, chance: random.Random) -> bytes:
    place, number, out = chance.randrange(len(data) + 1), chance.choice(EDGES), bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return data[:place] + bytes(out) + bytes([number]) + data[place + chance.randrange(3) :]


def remove(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + data[place + chance.randrange(1, MAX_PIECE) :]


def repeat(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) + 1)
    piece = data[place : place + chance.randrange(1, MAX_PIECE * 4)]
    return data[:place] + piece * chance.choice((2, 2, 3, 50)) + data[place + len(piece) :]


def move(data: bytes, chance: random.Random) -> bytes:
    place, to = chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)
    return data[:place] + data[to : to + chance.randrange(1, MAX_PIECE)] + data[place:]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip,
    flip,
    overwrite,
    insert,
    insert_varint,
    insert_varint,
    remove,
    repeat,
    move,
    cut,
)


def bend_message(proto: bytes, chance: random.Random) -> bytes:
    """Change a few fields somewhere in the message, keeping it well formed."""
    message = pb.ProtoHEFHef.FromString(proto)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        bend_somewhere(message, chance)
    return message.SerializeToString()


def bend_somewhere(message: Any, chance: random.Random) -> None:
    """Walk down from ``message`` at random and bend a field on the way."""
    while True:
        below = [value for field, value in message.ListFields() if field.message_type is not None]
        if not below or chance.random() < 0.15:
            break
        chosen = chance.choice(below)
        message = chosen if hasattr(chosen, "ListFields") else chance.choice(chosen)
    field = chance.choice(message.DESCRIPTOR.fields or [None])
    if field is None:
        return
    if chance.random() < 0.25:
        message.ClearField(field.name)
    elif field.message_type is not None:
        bend_nested(getattr(message, field.name), chance)
    else:
        bend_scalar(message, field, chance)


def bend_nested(value: Any, chance: random.Random) -> None:
    if hasattr(value, "SetInParent"):
        value.SetInParent()
        return
    how = chance.random()
    if how < 0.5 or not value:
        value.add()
    elif how < 0.75:
        value.append(chance.choice(value))
    else:
        del value[chance.randrange(len(value))]


def bend_scalar(message: Any, field: Any, chance: random.Random) -> None:
    values: dict[int, Callable[[], Any]] = {
        field.CPPTYPE_STRING: lambda: chance.choice(("", "net", "net/out", "x" * 127, "x" * 128, "\0", "ü" * 70)),
        field.CPPTYPE_BOOL: lambda: chance.random() < 0.5,
        field.CPPTYPE_DOUBLE: lambda: chance.choice((0.0, -1.0, 1e308, float("inf"), float("nan"), 64.0)),
        field.CPPTYPE_FLOAT: lambda: chance.choice((0.0, -1.0, 1e38, float("inf"), float("nan"))),
    }
    value = values.get(field.cpp_type, lambda: chance.choice((chance.randrange(40), *EDGES)))()
    if field.type == field.TYPE_BYTES:
        value = chance.randbytes(chance.randrange(20))
    try:
        if isinstance(getattr(message, field.name), (str, bytes, int, float)):
            setattr(message, field.name, value)
        else:
            getattr(message, field.name).extend([value] * chance.choice((1, 2, 3, 100)))
    except ValueError:
        message.ClearField(field.name)  # the value is out of the field's range


if __name__ == "__main__":
    print(run(seconds=float(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0))
