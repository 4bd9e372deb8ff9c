"""Numbers of the HEF schema with their names (hef.enums.json; hef.md sections 3 to 7)."""

from __future__ import annotations

from enum import IntEnum


class HwArch(IntEnum):
    """What a HEF was compiled for (ProtoHEFHwArch; hef.md 4)."""

    HAILO8_A0 = 0
    HAILO8P = 1
    HAILO8R = 2
    HAILO8L = 3
    HAILO15M = 4
    HAILO10H = 5
    HAILO15L = 6
    SAGE_A0 = 100
    SAGE_B0 = 101
    PAPRIKA_B0 = 102
    HAILO15H = 103
    GINGER = 104
    LAVENDER = 105
    PLUTO = 106


class ExtensionType(IntEnum):
    """Features a HEF asks for (ProtoHEFExtensionType; hef.md 3)."""

    ABBALE = 0
    POSTED_WRITES = 1
    DDR = 2
    PADDED_DDR_BUFFERS = 3
    IS_MULTI_CONTEXTS = 4
    COMPRESSED_PARAMS = 5
    TRANSPOSE_COMPONENT = 6
    TEST_ONE = 7
    MULTI_NETWORK_VARIABLE_BATCH_SIZE = 8
    IS_NMS_MULTI_CONTEXT = 9
    OFFLOAD_ARGMAX = 10
    HW_PADDING = 11
    KO_RUN_ASAP = 12
    HAILO_NET_FLOW = 13
    HAILO_NET_FLOW_YOLOV5_NMS = 14
    HAILO_NET_FLOW_YOLOX_NMS = 15
    HAILO_NET_FLOW_SSD_NMS = 16
    HAILO_NET_FLOW_IOU_NMS = 17
    WRITE_DATA_BY_TYPE = 18
    NMS_OUTPUT_BURST = 19
    DUAL_DIRECTION_STREAM_INDEX = 20
    HAILO_NET_FLOW_ARGMAX = 21
    HAILO_NET_FLOW_SOFTMAX = 22
    ALIGNED_FORMAT_TYPE = 23
    HAILO_NET_FLOW_YOLOV5_SEG_NMS = 24
    OUTPUT_SCALE_PER_FEATURE = 25
    PERIPH_CALCULATION_IN_HAILORT = 26
    HAILO_NET_FLOW_YOLOV8_NMS = 27
    BATCH_REGISTER_CONFIG = 28
    HAILO_NET_FLOW_BBOX_DECODING = 29
    CCW_PTR_SQUEEZE = 30
    EXTERNAL_RESOURCES = 31
    SHARED_CONFIG = 32
    UNUSED = 65535


class Direction(IntEnum):
    """Which way an edge layer moves data (ProtoHEFEdgeLayerDirection)."""

    HOST_TO_DEVICE = 0
    DEVICE_TO_HOST = 1


class Connection(IntEnum):
    """What is at the other end of an edge layer (ProtoHEFEdgeConnectionType)."""

    BOUNDARY = 0
    INTERMEDIATE = 1
    DDR = 2
    CACHE = 3


class EdgeKind(IntEnum):
    """One stream, several interleaved in one, or one per image plane (ProtoHEFEdgeLayerType)."""

    INFO = 0
    MUX = 1
    PLANES = 2


class PlanesFormat(IntEnum):
    """Image formats whose planes are streams of their own (ProtoHEFEPlanesFormat)."""

    NV12 = 0
    NV21 = 1
    I420 = 2


class NmsBurst(IntEnum):
    """How boxes are grouped into transfers (ProtoHEFNmsBurstType; hef.md 11)."""

    NO_BURST = 0
    H8_PER_CLASS = 1
    H15_PER_CLASS = 2
    H15_PER_FRAME = 3


class LogitsType(IntEnum):
    """Final operation of a classifier done by the host (ProtoHEFLogitsType)."""

    ARGMAX = 0
    SOFTMAX = 1


class PadDataType(IntEnum):
    """Element type of a pad, old field (ProtoHEFDataType)."""

    UINT8 = 0
    UINT16 = 1


class PadFormatType(IntEnum):
    """Element type of a pad (ProtoHEFFormatType)."""

    AUTO = 0
    UINT8 = 1
    UINT16 = 2
    MAX_ENUM = 65535


class PadFormatOrder(IntEnum):
    """Element order of a pad (ProtoHEFFormatOrder); numbers equal `openhailo.spec.program.FormatOrder`."""

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
    MAX_ENUM = 65535


class WriteDataKind(IntEnum):
    """What `WriteDataByType` writes (ProtoHEFWriteDataType)."""

    DATA_FROM_ACTION = 0
    BATCH_SIZE = 1
