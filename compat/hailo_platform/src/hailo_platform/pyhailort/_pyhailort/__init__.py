"""What the original has as a compiled module: values, enumerations, devices and streams, raising statuses.

Programs take enumerations and exceptions from here; the classes are the floor under
`hailo_platform.pyhailort.pyhailort` (pyhailort-api.md 23).
"""

from __future__ import annotations

from ._defaults import HailoRTDefaults, HailoSocketDefs
from ._device import (
    AVERAGES,
    PERIODS_US,
    Device,
    NetworkRateLimiter,
    PcieDeviceInfo,
    PcieScan,
    UdpScan,
)
from ._device_info import BoardInformation, CoreInformation, ExtendedDeviceInformation, FirmwareVersion
from ._enums import (
    AveragingFactor,
    BootSource,
    CpuId,
    DeviceArchitecture,
    DvmTypes,
    Endianness,
    FormatFlags,
    FormatOrder,
    FormatType,
    FwLoggerInterface,
    FwLoggerLevel,
    IspLightFrequency,
    LatencyMeasurementFlags,
    MeasurementBufferIndex,
    MipiClockSelection,
    MipiDataTypeRx,
    MipiIspImageInOrder,
    MipiIspImageOutDataType,
    MipiPixelsPerClock,
    NotificationId,
    OvercurrentAlertState,
    PipelineElemStatsFlags,
    PowerMeasurementTypes,
    PowerMode,
    ResetDeviceMode,
    SamplingPeriod,
    SchedulingAlgorithm,
    SensorConfigTypes,
    SleepState,
    StreamDirection,
    StreamInterface,
    TemperatureZone,
    TransformMode,
    VStreamStatsFlags,
    WatchdogMode,
)
from ._errors import (
    HailoRTCustomException,
    HailoRTException,
    HailoRTStatusException,
    fail,
    get_status_message,
    status_error,
    status_of,
)
from ._hef import Hef
from ._infer_model import (
    AsyncInferJob,
    ConfiguredInferModel,
    ConfiguredInferModelBindings,
    ConfiguredInferModelInferStream,
    InferModel,
    InferModelInferStream,
)
from ._network_group import ActivatedApp, ActivatedNetworkGroup, ConfiguredNetworkGroup
from ._nms import (
    DetectionWithByteMask,
    convert_nms_by_score_buffer_to_detections,
    convert_nms_with_byte_mask_buffer_to_detections,
)
from ._notifications import Notification, NotificationMessageParameters
from ._params import (
    ActivateNetworkGroupParams,
    ConfigureParams,
    EthInputStreamParams,
    EthOutputStreamParams,
    IntegratedInputStreamParams,
    IntegratedOutputStreamParams,
    MipiCommonParams,
    MipiInputStreamParams,
    MipiIspParams,
    NetworkParameters,
    PcieInputStreamParams,
    PcieOutputStreamParams,
    StreamParameters,
    TransformParams,
    VDeviceParams,
    VStreamParams,
    sockaddr_in,
)
from ._sensors import OPERATION_BYTES, I2CSlaveConfig, unpack_sections, write_operations
from ._structs import (
    DebugNotificationMessage,
    Detection,
    FirmwareUserConfigInformation,
    HailoFormat,
    HailoRectangle,
    HealthInformation,
    HealthMonitoClockChangedNotificationMessage,
    HealthMonitorCpuEccNotificationMessage,
    HealthMonitorDataflowShutdownNotificationMessage,
    HealthMonitorLcuEccErrorNotificationMessage,
    HealthMonitorOvercurrentAlertNotificationMessage,
    HealthMonitorTemperatureAlarmNotificationMessage,
    ImageShape,
    NetworkGroupInfo,
    NmsInfo,
    NmsShape,
    PowerMeasurementData,
    QuantInfo,
    RxErrorNotificationMessage,
    StreamInfo,
    SupportedFeatures,
    TemperatureInfo,
    ThrottlingLevel,
    VStreamInfo,
)
from ._transform import (
    dequantize_output_buffer,
    dequantize_output_buffer_in_place,
    get_dtype,
    get_format_data_bytes,
    is_qp_valid,
    quantize_input_buffer,
)
from ._vdevice import VDevice
from ._vstreams import InferVStreams, InputVStream, InputVStreams, OutputVStream, OutputVStreams

__version__ = "4.23.0"

for _value in list(globals().values()):
    if isinstance(_value, type) and _value.__module__.startswith(f"{__name__}."):
        # Tracebacks, `repr` and pickles then name the place that programs import from.
        _value.__module__ = __name__
