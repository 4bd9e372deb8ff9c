"""The API that programs import (pyhailort-api.md 24), gathered from the modules beside this one."""

from __future__ import annotations

from ._control import Control, HailoPowerMeasurementUtils
from ._device import (
    Device,
    HailoUdpScan,
    InternalEthernetDevice,
    InternalPcieDevice,
    NetworkRateLimiter,
    PcieDebugLog,
    PcieDeviceInfo,
)
from ._exceptions import (
    EXCEPTION_OF_STATUS,
    ExceptionWrapper,
    HailoCommunicationClosedException,
    HailoRTDriverOperationFailedException,
    HailoRTEthException,
    HailoRTException,
    HailoRTFirmwareControlFailedException,
    HailoRTHEFNotCompatibleWithDevice,
    HailoRTInvalidArgumentException,
    HailoRTInvalidFrameException,
    HailoRTInvalidHEFException,
    HailoRTInvalidOperationException,
    HailoRTNetworkGroupNotActivatedException,
    HailoRTNotFoundException,
    HailoRTPCIeDriverException,
    HailoRTStreamAborted,
    HailoRTStreamAbortedByUser,
    HailoRTTimeout,
    HailoRTUnsupportedOpcodeException,
    HailoStatusInvalidValueException,
    InvalidProtocolVersionException,
    UdpRecvError,
    get_status_message,
)
from ._hef import HEF, ConfigureParams, _get_name_as_str
from ._infer_model import AsyncInferCompletionInfo, AsyncInferJob, ConfiguredInferModel, InferModel
from ._infer_pipeline import InferVStreams
from ._information import (
    BoardInformation,
    CoreInformation,
    ExtendedDeviceInformation,
    HailoFirmwareVersion,
    HealthInformation,
    SupportedFeatures,
    TemperatureThrottlingLevel,
)
from ._names import (
    BBOX_PARAMS,
    BBOX_WITH_MASK_PARAMS,
    BOARD_INFO_NOT_CONFIGURED_ATTR,
    DEFAULT_VSTREAM_QUEUE_SIZE,
    DEFAULT_VSTREAM_TIMEOUT_MS,
    HAILO_DEFAULT_ETH_CONTROL_PORT,
    HAILO_UNIQUE_VDEVICE_GROUP_ID,
    INPUT_DATAFLOW_BASE_PORT,
    MEGA_MULTIPLIER,
    OUTPUT_DATAFLOW_BASE_PORT,
    PCIE_ANY_DOMAIN,
    SUPPORTED_FW_MAJOR,
    SUPPORTED_FW_MINOR,
    SUPPORTED_FW_REVISION,
    SUPPORTED_PROTOCOL_VERSION,
    DeviceArchitectureTypes,
    HailoCpuId,
    HailoFirmwareMode,
    HailoFirmwareType,
    HailoFormatFlags,
    HailoPowerMode,
    HailoSchedulingAlgorithm,
    HailoSocket,
    HailoStreamDirection,
    HailoStreamInterface,
)
from ._network import ActivatedNetwork, ActivatedNetworkContextManager, ConfiguredNetwork, EmptyContextManager
from ._pyhailort import (
    AveragingFactor,
    BootSource,
    CpuId,
    DvmTypes,
    Endianness,
    FormatOrder,
    FormatType,
    FwLoggerInterface,
    FwLoggerLevel,
    HailoFormat,
    HailoRTDefaults,
    HailoSocketDefs,
    IspLightFrequency,
    MeasurementBufferIndex,
    MipiClockSelection,
    MipiDataTypeRx,
    MipiIspImageInOrder,
    MipiIspImageOutDataType,
    MipiPixelsPerClock,
    NotificationId,
    PowerMeasurementData,
    PowerMeasurementTypes,
    QuantInfo,
    ResetDeviceMode,
    SamplingPeriod,
    SensorConfigTypes,
    SleepState,
    TemperatureInfo,
    VDeviceParams,
    VStreamInfo,
    VStreamParams,
    WatchdogMode,
)
from ._transform_utils import Detection, DetectionWithByteMask, HailoRTTransformUtils
from ._vdevice import VDevice
from ._vstreams import (
    InputVStream,
    InputVStreamParams,
    InputVStreams,
    OutputLayerUtils,
    OutputVStream,
    OutputVStreamParams,
    OutputVStreams,
)

for _value in list(globals().values()):
    _home = getattr(_value, "__module__", "")
    if isinstance(_value, type) and _home.startswith(f"{__package__}._") and "_pyhailort" not in _home:
        # Tracebacks and pickles then name the place that programs import from.
        _value.__module__ = __name__
