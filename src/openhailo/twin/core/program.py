"""The program image that arrives through config stream 0: parsed, bounded, nothing trusted."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import xxhash

from openhailo.errors import BadProgram

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

Shape = tuple[int, int, int]

#: Most bytes that one frame of one stream may have; far above anything a Hailo-8 network uses.
MAX_FRAME_BYTES = 256 * 1024 * 1024
#: Most programs that one context runs in turn.
MAX_CHAIN = 16
_ORDERS = {1: "NHWC", 2: "NHCW", 6: "NC"}  # hailo_format_order_t
_KINDS = {1: "onnx", 2: "snn"}


@dataclass(frozen=True)
class IoRecord:
    """One input or output of a program: where it is on the wire and how its bytes are laid out.

    ``shape`` and ``padded_shape`` are (height, width, features); a frame takes ``transfer_bytes`` on the wire, of which
    the first ``frame_bytes`` carry the padded tensor.
    """

    name: str
    is_input: bool
    stream_index: int
    order: str
    data_bytes: int
    shape: Shape
    padded_shape: Shape
    transfer_bytes: int

    @property
    def is_nhcw(self) -> bool:
        """Rows of whole features instead of interleaved ones."""
        return self.order == "NHCW"

    @property
    def frame_bytes(self) -> int:
        """Bytes of the padded tensor."""
        return prod(self.padded_shape) * self.data_bytes


@dataclass(frozen=True)
class Program:
    """A checked program: what runs (``payload``, a view of the image) and what goes in and out."""

    kind: str
    io: tuple[IoRecord, ...]
    payload: memoryview
    digest: int


def starts_program(spec: ChipSpec, image: bytes | bytearray | memoryview) -> bool:
    """Tell whether ``image`` begins as a program does; anything else was compiled for silicon."""
    magic = spec.program.magic
    return bytes(image[: len(magic)]) == magic


def parse_programs(spec: ChipSpec, image: bytes | bytearray | memoryview) -> tuple[Program, ...]:
    """Parse images that follow each other, each beginning where the one before ends. Raises `BadProgram`."""
    programs: list[Program] = []
    rest = memoryview(image)
    while not programs or starts_program(spec, rest):
        if len(programs) == MAX_CHAIN:
            raise BadProgram(detail=f"more than {MAX_CHAIN} programs in one context")
        end = _image_end(spec, rest)
        # What follows an image and does not begin as one is not skipped but refused.
        last = not starts_program(spec, rest[end:])
        programs.append(parse_program(spec, rest if last else rest[:end]))
        if last:
            break
        rest = rest[end:]
    return tuple(programs)


def is_cut_off(spec: ChipSpec, image: bytes) -> bool:
    """Tell whether an image that begins as a program says that it goes on behind its last byte."""
    if len(image) < spec.program_header.size:
        return True
    header = spec.program_header.unpack(image)
    if header["io_count"] > spec.program.max_io or header["payload_size"] > spec.program.max_payload_bytes:
        return False
    records = int(header["io_count"]) * spec.io_record.size
    return len(image) < spec.program_header.size + records + int(header["payload_size"])


def _image_end(spec: ChipSpec, image: memoryview) -> int:
    """Return where an image says that it ends, its zeros included; all there is when that makes no sense."""
    if len(image) < spec.program_header.size:
        return len(image)
    header = spec.program_header.unpack(image)
    size = spec.program_header.size + int(header["io_count"]) * spec.io_record.size + int(header["payload_size"])
    return min(-(-size // spec.program.alignment) * spec.program.alignment, len(image))


def parse_program(spec: ChipSpec, image: bytes | bytearray | memoryview) -> Program:
    """Parse a whole image. Raises `BadProgram`, naming the first field that does not add up.

    Time and memory are bounded by the image itself: counts and sizes are compared with the bytes that are there first.
    """
    if not starts_program(spec, image):
        raise BadProgram(detail="the magic is missing")
    if len(image) < spec.program_header.size:
        raise BadProgram(detail=f"{len(image)} bytes, the header needs {spec.program_header.size}")
    header = spec.program_header.unpack(image)
    kind = _KINDS.get(header["kind"])
    if kind is None:
        raise BadProgram(detail=f"kind {header['kind']} is unknown")
    if any(header["reserved"]):
        raise BadProgram(detail="reserved header bytes are not zero")
    start = _payload_start(spec, header, len(image))
    payload = memoryview(image)[start : start + header["payload_size"]]
    _check_tail(spec, image, start + header["payload_size"])
    digest = xxhash.xxh3_64_intdigest(payload)
    if digest != header["payload_xxh3"]:
        raise BadProgram(detail=f"the payload's hash is {digest:016x}, the header says {header['payload_xxh3']:016x}")
    records = tuple(_parse_record(spec, image, index) for index in range(header["io_count"]))
    _check_records(records)
    return Program(kind, records, payload, digest)


def _payload_start(spec: ChipSpec, header: dict[str, Any], size: int) -> int:
    if not 2 <= header["io_count"] <= spec.program.max_io:
        raise BadProgram(detail=f"{header['io_count']} streams; 2 to {spec.program.max_io} are possible")
    if header["payload_size"] > spec.program.max_payload_bytes:
        raise BadProgram(detail=f"a payload of {header['payload_size']} bytes")
    start = spec.program_header.size + int(header["io_count"]) * spec.io_record.size
    if start + header["payload_size"] > size:
        raise BadProgram(detail=f"{size} bytes, header and payload need {start + header['payload_size']}")
    return start


def _check_tail(spec: ChipSpec, image: bytes | bytearray | memoryview, end: int) -> None:
    """Only zeros up to the next multiple of 8 may follow."""
    tail = bytes(image[end : end + spec.program.alignment])
    if len(image) - end >= spec.program.alignment or any(tail):
        raise BadProgram(detail=f"{len(image) - end} bytes follow the payload")


def _parse_record(spec: ChipSpec, image: bytes | bytearray | memoryview, index: int) -> IoRecord:
    raw = spec.io_record.unpack(image, spec.program_header.size + index * spec.io_record.size)
    where = f"stream record {index}"
    try:
        name = raw["name"].rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadProgram(detail=f"{where}: the name is not UTF-8") from error
    if raw["direction"] not in (0, 1):
        raise BadProgram(detail=f"{where}: direction {raw['direction']}")
    if raw["order"] not in _ORDERS:
        raise BadProgram(detail=f"{where}: format order {raw['order']} is not NHWC, NHCW or NC")
    record = IoRecord(
        name=name,
        is_input=raw["direction"] == 0,
        stream_index=raw["stream_index"],
        order=_ORDERS[raw["order"]],
        data_bytes=raw["data_bytes"],
        shape=(raw["height"], raw["width"], raw["features"]),
        padded_shape=(raw["padded_height"], raw["padded_width"], raw["padded_features"]),
        transfer_bytes=raw["transfer_bytes"],
    )
    _check_sizes(record, where)
    return record


def _check_sizes(record: IoRecord, where: str) -> None:
    if record.data_bytes not in (1, 2):
        raise BadProgram(detail=f"{where}: {record.data_bytes} bytes a value")
    if record.stream_index > 31:
        raise BadProgram(detail=f"{where}: stream {record.stream_index}; there are 32")
    if not all(0 < real <= padded for real, padded in zip(record.shape, record.padded_shape, strict=True)):
        raise BadProgram(detail=f"{where}: shape {record.shape} padded to {record.padded_shape}")
    if not record.frame_bytes <= record.transfer_bytes <= MAX_FRAME_BYTES:
        raise BadProgram(detail=f"{where}: a frame of {record.frame_bytes} bytes in {record.transfer_bytes}")
    if record.transfer_bytes % record.data_bytes:
        raise BadProgram(detail=f"{where}: {record.transfer_bytes} bytes are not whole values")


def _check_records(records: tuple[IoRecord, ...]) -> None:
    keys = [(r.is_input, r.stream_index) for r in records]
    names = [(r.is_input, r.name) for r in records]
    if len(set(keys)) != len(keys) or len(set(names)) != len(names):
        raise BadProgram(detail="two streams of one direction share an index or a name")
    if not any(r.is_input for r in records) or all(r.is_input for r in records):
        raise BadProgram(detail="a program needs an input and an output")
