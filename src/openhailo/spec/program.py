"""The image that the virtual chip's core executes (our own format; no silicon has it).

It is the byte stream of config stream 0: `PROGRAM_HEADER`, ``io_count`` times `IO_RECORD`, the payload, zeros up to a
multiple of 8. All little endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .layout import Struct, sequential


class ProgramKind(IntEnum):
    """What the payload is."""

    ONNX = 1
    SNN = 2


class IoDirection(IntEnum):
    """Direction of an I/O record."""

    HOST_TO_DEVICE = 0
    DEVICE_TO_HOST = 1


class FormatOrder(IntEnum):
    """Order of a frame's elements (hailo_format_order_t in hailort.api.enums.json)."""

    AUTO = 0
    NHWC = 1
    NHCW = 2
    FCR = 3
    F8CR = 4
    NHW = 5
    NC = 6
    BAYER_RGB = 7
    BAYER_RGB_12_BIT = 8
    HAILO_NMS = 9
    RGB888 = 10
    NCHW = 11
    YUY2 = 12
    NV12 = 13
    NV21 = 14
    HAILO_YYUV = 15
    HAILO_YYVU = 16
    RGB4 = 17
    I420 = 18
    HAILO_YYYYUV = 19
    HAILO_NMS_WITH_BYTE_MASK = 20
    HAILO_NMS_ON_CHIP = 21
    HAILO_NMS_BY_CLASS = 22
    HAILO_NMS_BY_SCORE = 23


_SOURCE = "this project's own format"

PROGRAM_HEADER: Struct = sequential(
    "program_header",
    _SOURCE,
    ("magic", "bytes", 8),
    ("kind", "le32"),
    ("io_count", "le32"),
    ("payload_size", "le64"),
    ("payload_xxh3", "le64"),
    ("reserved", "bytes", 32),
)
IO_RECORD: Struct = sequential(
    "io_record",
    _SOURCE,
    ("direction", "u8"),
    ("stream_index", "u8"),
    ("order", "u8"),
    ("data_bytes", "u8"),
    ("height", "le32"),
    ("width", "le32"),
    ("features", "le32"),
    ("padded_height", "le32"),
    ("padded_width", "le32"),
    ("padded_features", "le32"),
    ("transfer_bytes", "le32"),
    ("name", "bytes", 128),
    ("reserved", "bytes", 32),
)


@dataclass(frozen=True)
class ProgramRules:
    """Constants of the image and bounds a reader enforces."""

    magic: bytes = b"OHPROG\0\1"
    alignment: int = 8
    config_stream: int = 0
    max_io: int = 32  # one record per vDMA channel
    max_payload_bytes: int = 1 << 30
