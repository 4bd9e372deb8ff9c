"""``import hailo_platform`` for programs written for pyHailoRT 4.23, on openhailo (pyhailort-api.md 2).

Everything that such programs use of a Hailo-8 or Hailo-8L on PCIe is here, with the same names; what needs Ethernet, a
camera interface or another chip raises an error that says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from . import _environment
from .pyhailort import _hints, _pyhailort
from .pyhailort.hw_object import EthernetDevice, PcieDevice
from .pyhailort.pyhailort import (
    HEF,
    AsyncInferJob,
    AveragingFactor,
    ConfigureParams,
    Device,
    DvmTypes,
    Endianness,
    FormatOrder,
    FormatType,
    HailoCommunicationClosedException,
    HailoCpuId,
    HailoFormatFlags,
    HailoPowerMode,
    HailoRTException,
    HailoRTStreamAbortedByUser,
    HailoSchedulingAlgorithm,
    HailoStreamDirection,
    HailoStreamInterface,
    InferVStreams,
    InputVStreamParams,
    InputVStreams,
    IspLightFrequency,
    MeasurementBufferIndex,
    MipiClockSelection,
    MipiDataTypeRx,
    MipiIspImageInOrder,
    MipiIspImageOutDataType,
    MipiPixelsPerClock,
    OutputVStreamParams,
    OutputVStreams,
    PowerMeasurementTypes,
    SamplingPeriod,
    VDevice,
)
from .tools.udp_rate_limiter import UDPRateLimiter

__version__ = "4.23.0"


class MissingPyHRTLib(Exception):
    """The compiled part is missing. Never raised: there is none to be missing."""


def join_drivers_path(path: str) -> str:
    """Return a path below the folder ``drivers`` of this package."""
    return str(Path(__file__).parent / "drivers" / path)


def __getattr__(name: str) -> NoReturn:
    raise _hints.missing(f"module {__name__!r}", name, _hints.PACKAGE)


__all__ = [
    "HEF",
    "AsyncInferJob",
    "AveragingFactor",
    "ConfigureParams",
    "Device",
    "DvmTypes",
    "Endianness",
    "EthernetDevice",
    "FormatOrder",
    "FormatType",
    "HailoCommunicationClosedException",
    "HailoCpuId",
    "HailoFormatFlags",
    "HailoPowerMode",
    "HailoRTException",
    "HailoRTStreamAbortedByUser",
    "HailoSchedulingAlgorithm",
    "HailoStreamDirection",
    "HailoStreamInterface",
    "InferVStreams",
    "InputVStreamParams",
    "InputVStreams",
    "IspLightFrequency",
    "MeasurementBufferIndex",
    "MipiClockSelection",
    "MipiDataTypeRx",
    "MipiIspImageInOrder",
    "MipiIspImageOutDataType",
    "MipiPixelsPerClock",
    "OutputVStreamParams",
    "OutputVStreams",
    "PcieDevice",
    "PowerMeasurementTypes",
    "SamplingPeriod",
    "UDPRateLimiter",
    "VDevice",
    "join_drivers_path",
]
