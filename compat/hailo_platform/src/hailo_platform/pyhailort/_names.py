"""Names that the Python part gives to enumerations, and its constants (pyhailort-api.md 4, 5)."""

from __future__ import annotations

from enum import Enum, IntEnum

from ._pyhailort import (
    CpuId,
    FormatFlags,
    HailoRTDefaults,
    HailoSocketDefs,
    PowerMode,
    SchedulingAlgorithm,
    StreamDirection,
    StreamInterface,
)

BBOX_PARAMS = HailoRTDefaults.BBOX_PARAMS()
BBOX_WITH_MASK_PARAMS = 6
HAILO_DEFAULT_ETH_CONTROL_PORT = HailoRTDefaults.HAILO_DEFAULT_ETH_CONTROL_PORT()
INPUT_DATAFLOW_BASE_PORT = HailoRTDefaults.DEVICE_BASE_INPUT_STREAM_PORT()
OUTPUT_DATAFLOW_BASE_PORT = HailoRTDefaults.DEVICE_BASE_OUTPUT_STREAM_PORT()
PCIE_ANY_DOMAIN = HailoRTDefaults.PCIE_ANY_DOMAIN()
HAILO_UNIQUE_VDEVICE_GROUP_ID = HailoRTDefaults.HAILO_UNIQUE_VDEVICE_GROUP_ID()
DEFAULT_VSTREAM_TIMEOUT_MS = 10000
DEFAULT_VSTREAM_QUEUE_SIZE = 2
BOARD_INFO_NOT_CONFIGURED_ATTR = "<N/A>"
SUPPORTED_PROTOCOL_VERSION = 2
SUPPORTED_FW_MAJOR = 4
SUPPORTED_FW_MINOR = 23
SUPPORTED_FW_REVISION = 0
MEGA_MULTIPLIER = 1000.0 * 1000.0


class HailoSocket:
    """Limits of Ethernet frames."""

    MAX_UDP_PAYLOAD_SIZE = HailoSocketDefs.MAX_UDP_PAYLOAD_SIZE()
    MIN_UDP_PAYLOAD_SIZE = HailoSocketDefs.MIN_UDP_PAYLOAD_SIZE()
    MAX_UDP_PADDED_PAYLOAD_SIZE = HailoSocketDefs.MAX_UDP_PADDED_PAYLOAD_SIZE()
    MIN_UDP_PADDED_PAYLOAD_SIZE = HailoSocketDefs.MIN_UDP_PADDED_PAYLOAD_SIZE()
    MAX_ALIGNED_UDP_PAYLOAD_SIZE_RTP = HailoSocketDefs.MAX_ALIGNED_UDP_PAYLOAD_SIZE_RTP()


class HailoSchedulingAlgorithm(SchedulingAlgorithm):
    """Who chooses the network that runs."""


class HailoPowerMode(PowerMode):
    """How buffers are sized."""


class HailoStreamInterface(StreamInterface):
    """The bus that frames take; over PCIe it is spelled ``HailoStreamInterface.PCIe``."""


class HailoStreamDirection(StreamDirection):
    """Host to device, or device to host."""


class HailoCpuId(CpuId):
    """The two processors of the chip."""


class HailoFormatFlags(FormatFlags):
    """What else is special about a format."""


class DeviceArchitectureTypes(IntEnum):
    """Kinds of chips; `str` is the name alone."""

    HAILO8_A0 = 0
    HAILO8 = 1
    HAILO8L = 2
    HAILO15H = 3
    HAILO15L = 4
    HAILO15M = 5
    HAILO10H = 6

    def __str__(self) -> str:
        return self.name


class HailoFirmwareMode(Enum):
    """How firmware was built."""

    DEVELOP = "develop"
    RELEASE = "release"


class HailoFirmwareType(Enum):
    """Which processor firmware is for."""

    CORE = "core"
    APP = "app"
