"""Plain values: formats, shapes, quantisation, streams, measurements (pyhailort-api.md 12, 16, 17).

Frozen ones are those whose attributes the original does not let programs change. They compare by identity, as there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ._enums import FormatFlags, FormatOrder, FormatType, OvercurrentAlertState, StreamDirection, TemperatureZone
from ._errors import HailoRTCustomException

Shape = tuple[int, ...]

#: Orders of boxes.
NMS_ORDERS = frozenset(
    {
        FormatOrder.HAILO_NMS_WITH_BYTE_MASK,
        FormatOrder.HAILO_NMS_ON_CHIP,
        FormatOrder.HAILO_NMS_BY_CLASS,
        FormatOrder.HAILO_NMS_BY_SCORE,
    }
)
#: y_min, x_min, y_max, x_max, score.
BBOX_PARAMS = 5


@dataclass(eq=False)
class HailoFormat:
    """Element type, element order and flags."""

    type: FormatType = field(default_factory=lambda: FormatType(0))
    order: FormatOrder = field(default_factory=lambda: FormatOrder(0))
    flags: FormatFlags = field(default_factory=lambda: FormatFlags(0))

    def equals(self, other: HailoFormat) -> bool:
        """Whether all three are the same."""
        return (self.type, self.order, self.flags) == (other.type, other.order, other.flags)


@dataclass(eq=False)
class QuantInfo:
    """Real number = (integer - qp_zp) * qp_scale; all zero means "none"."""

    qp_zp: float = 0.0
    qp_scale: float = 0.0
    limvals_min: float = 0.0
    limvals_max: float = 0.0


@dataclass(eq=False)
class ImageShape:
    """Rows, columns, channels."""

    height: int = 0
    width: int = 0
    features: int = 0


@dataclass(frozen=True, eq=False)
class NmsShape:
    """How many boxes an output can hold."""

    number_of_classes: int = 0
    max_bboxes_per_class: int = 0
    max_accumulated_mask_size: int = 0


@dataclass(eq=False)
class NmsInfo:
    """Boxes of a stream of the chip."""

    number_of_classes: int = 0
    max_bboxes_per_class: int = 0
    bbox_size: int = 0
    chunks_per_frame: int = 0


@dataclass(frozen=True, eq=False)
class NetworkGroupInfo:
    """A network group of a file."""

    name: str
    is_multi_context: bool


@dataclass(frozen=True, eq=False, repr=False)
class VStreamInfo:
    """An input or output as programs feed or read it."""

    name: str
    network_name: str
    direction: StreamDirection
    format: HailoFormat
    quant_info: QuantInfo
    _image: Shape
    _nms: NmsShape | None = None

    @property
    def shape(self) -> Shape:
        """(C,), (H, W), (H, W, C), or (classes, 5, boxes per class). Boxes by score have none."""
        return shape_by_order(self.format.order, self._image, self._nms)

    @property
    def nms_shape(self) -> NmsShape:
        """How many boxes there can be."""
        if self._nms is None:
            raise HailoRTCustomException("nms_shape is available only on nms order vstreams")
        return self._nms

    def __repr__(self) -> str:
        return f'VStreamInfo("{self.name}")'


@dataclass(frozen=True, eq=False, repr=False)
class StreamInfo:
    """A channel of the device."""

    name: str
    direction: StreamDirection
    format: HailoFormat
    quant_info: QuantInfo
    sys_index: int
    data_bytes: int
    _image: Shape
    _frame_bytes: int
    _nms: NmsShape | None = None

    @property
    def shape(self) -> Shape:
        """What travels: rows, columns, channels with padding; (bytes of a frame,) for boxes."""
        return (self._frame_bytes,) if self._nms is not None else self._image

    @property
    def nms_shape(self) -> Shape:
        """(classes, 5, boxes per class), for boxes only."""
        if self._nms is None:
            raise HailoRTCustomException("nms_shape is available only on nms order streams")
        return boxes_shape(self._nms)

    def __repr__(self) -> str:
        return f'StreamInfo("{self.name}")'

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("cannot pickle 'StreamInfo' object")


def boxes_shape(nms: NmsShape) -> Shape:
    """Return (classes, 5, boxes per class)."""
    return (nms.number_of_classes, BBOX_PARAMS, nms.max_bboxes_per_class)


def shape_by_order(order: FormatOrder, image: Shape, nms: NmsShape | None) -> Shape:
    """Return the shape that the order has (pyhailort-api.md 12)."""
    if order in (FormatOrder.HAILO_NMS_BY_SCORE, FormatOrder.HAILO_NMS_WITH_BYTE_MASK):
        raise HailoRTCustomException(f"Format order {order.name} has no shape")
    if nms is not None:
        return boxes_shape(nms)
    if order == FormatOrder.NC:
        return image[2:]
    return image[:2] if order == FormatOrder.NHW else image


# --- boxes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Detection:
    """A box: corners as fractions of the image, score, class."""

    y_min: float
    x_min: float
    y_max: float
    x_max: float
    score: float
    class_id: int


@dataclass(frozen=True, eq=False)
class HailoRectangle:
    """Corners as fractions of the image."""

    y_min: float
    x_min: float
    y_max: float
    x_max: float


# --- measurements -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PowerMeasurementData:
    """A periodic power measurement so far; the unit is that of the quantity."""

    average_value: float
    average_time_value_milliseconds: float
    min_value: float
    max_value: float
    total_number_of_samples: int

    def equals(self, other: PowerMeasurementData) -> bool:
        """Whether all values are the same."""
        return self.__dict__ == other.__dict__


@dataclass(frozen=True, eq=False)
class TemperatureInfo:
    """Two sensors, in degrees Celsius, averaged over ``sample_count`` samples."""

    ts0_temperature: float
    ts1_temperature: float
    sample_count: int

    def equals(self, other: TemperatureInfo) -> bool:
        """Whether all values are the same."""
        return self.__dict__ == other.__dict__


@dataclass(frozen=True, eq=False)
class ThrottlingLevel:
    """A temperature from which the core's clock (Hz) is lowered."""

    temperature_threshold: float
    hysteresis_temperature_threshold: float
    throttling_nn_clock_freq: int


@dataclass(frozen=True, eq=False)
class HealthInformation:
    """State of the protections; temperatures in degrees Celsius, currents in mA, clocks in Hz."""

    overcurrent_protection_active: bool
    current_overcurrent_zone: int
    red_overcurrent_threshold: float
    overcurrent_throttling_active: bool
    temperature_throttling_active: bool
    current_temperature_zone: int
    current_temperature_throttling_level: int
    temperature_throttling_levels: list[ThrottlingLevel]
    orange_temperature_threshold: int
    orange_hysteresis_temperature_threshold: int
    red_temperature_threshold: int
    red_hysteresis_temperature_threshold: int
    requested_overcurrent_clock_freq: int
    requested_temperature_clock_freq: int


# --- identity ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SupportedFeatures:
    """What the board has."""

    ethernet: bool
    mipi: bool
    pcie: bool
    current_monitoring: bool
    mdio: bool


@dataclass(frozen=True, eq=False)
class FirmwareUserConfigInformation:
    """What lies in the user configuration."""

    version: int
    entry_count: int
    total_size: int


# --- notifications ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RxErrorNotificationMessage:
    """An Ethernet receive error."""

    error: int
    queue_number: int
    rx_errors_count: int


@dataclass(frozen=True, eq=False)
class DebugNotificationMessage:
    """Who the firmware thinks its host is."""

    connection_status: int
    connection_type: int
    vdma_is_active: int
    host_port: int
    host_ip_addr: int


@dataclass(frozen=True, eq=False)
class HealthMonitorTemperatureAlarmNotificationMessage:
    """A temperature zone was entered or left."""

    temperature_zone: TemperatureZone
    alarm_ts_id: int
    ts0_temperature: float
    ts1_temperature: float


@dataclass(frozen=True, eq=False)
class HealthMonitorDataflowShutdownNotificationMessage:
    """The chip was so hot that it closed its streams."""

    ts0_temperature: float
    ts1_temperature: float


@dataclass(frozen=True, eq=False)
class HealthMonitorOvercurrentAlertNotificationMessage:
    """The over-current protection acted; the threshold in mA."""

    overcurrent_zone: OvercurrentAlertState
    exceeded_alert_threshold: float
    is_last_overcurrent_violation_reached: bool


@dataclass(frozen=True, eq=False)
class HealthMonitorLcuEccErrorNotificationMessage:
    """Memory errors in clusters, as a bitmap."""

    cluster_error: int


@dataclass(frozen=True, eq=False)
class HealthMonitorCpuEccNotificationMessage:
    """Memory errors of a processor, as a bitmap."""

    memory_bitmap: int


@dataclass(frozen=True, eq=False)
class HealthMonitoClockChangedNotificationMessage:
    """The core's clock changed, in Hz. The name is the original's."""

    previous_clock: int
    current_clock: int
