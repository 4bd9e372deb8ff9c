"""Every enumeration of the original (pyhailort-api.md 4). A number is written where counting does not give it."""

from __future__ import annotations

from ._bound_enum import BoundEnum


class AveragingFactor(
    BoundEnum,
    table="""
    AVERAGE_1 AVERAGE_4 AVERAGE_16 AVERAGE_64 AVERAGE_128 AVERAGE_256 AVERAGE_512 AVERAGE_1024
    """,
):
    """Measurements that are averaged into one value."""

    __slots__ = ()


class BootSource(BoundEnum, table="INVALID PCIE FLASH"):
    """Where the firmware came from."""

    __slots__ = ()


class CpuId(BoundEnum, table="CPU0 CPU1"):
    """The two processors of the chip."""

    __slots__ = ()


class DeviceArchitecture(
    BoundEnum,
    table="""
    HAILO8_A0 HAILO8 HAILO8L HAILO15H HAILO15L HAILO15M HAILO10H
    """,
):
    """Kinds of chips."""

    __slots__ = ()


class DvmTypes(
    BoundEnum,
    table="""
    AUTO=0x7fffffff VDD_CORE=0 VDD_IO MIPI_AVDD MIPI_AVDD_H USB_AVDD_IO VDD_TOP USB_AVDD_IO_HV AVDD_H
    SDIO_VDD_IO OVERCURRENT_PROTECTION
    """,
):
    """Rails on which power is measured."""

    __slots__ = ()


class Endianness(BoundEnum, table="BIG_ENDIAN LITTLE_ENDIAN"):
    """Byte order of a register on a board bus."""

    __slots__ = ()


class FormatFlags(BoundEnum, table="NONE TRANSPOSED=2"):
    """What else is special about a format."""

    __slots__ = ()


class FormatOrder(
    BoundEnum,
    table="""
    AUTO NHWC NHCW FCR F8CR NHW NC BAYER_RGB 12_BIT_BAYER_RGB RGB888=10 NCHW YUY2 NV12 YYUV=15 NV21=14 YYVU=16
    RGB4 I420 YYYYUV HAILO_NMS_WITH_BYTE_MASK HAILO_NMS_ON_CHIP HAILO_NMS_BY_CLASS HAILO_NMS_BY_SCORE
    """,
):
    """Order of the elements of a frame."""

    __slots__ = ()


class FormatType(BoundEnum, table="AUTO UINT8 UINT16 FLOAT32"):
    """Type of the elements of a frame."""

    __slots__ = ()


class FwLoggerInterface(BoundEnum, table="PCIE=1 UART"):
    """Ways out for the firmware log."""

    __slots__ = ()


class FwLoggerLevel(BoundEnum, table="TRACE DEBUG INFO WARN ERROR FATAL"):
    """Levels of the firmware log."""

    __slots__ = ()


class IspLightFrequency(BoundEnum, table="LIGHT_FREQ_60_HZ LIGHT_FREQ_50_HZ"):
    """Mains frequency (cameras only)."""

    __slots__ = ()


class LatencyMeasurementFlags(BoundEnum, table="NONE CLEAR_AFTER_GET=2 MEASURE=1"):
    """How latency is measured."""

    __slots__ = ()


class MeasurementBufferIndex(
    BoundEnum,
    table="""
    MEASUREMENT_BUFFER_INDEX_0 MEASUREMENT_BUFFER_INDEX_1 MEASUREMENT_BUFFER_INDEX_2 MEASUREMENT_BUFFER_INDEX_3
    """,
):
    """Slots of the periodic power measurement."""

    __slots__ = ()


class MipiClockSelection(
    BoundEnum,
    table="""
    SELECTION_80_TO_100_MBPS SELECTION_100_TO_120_MBPS SELECTION_120_TO_160_MBPS SELECTION_160_TO_200_MBPS
    SELECTION_200_TO_240_MBPS SELECTION_240_TO_280_MBPS SELECTION_280_TO_320_MBPS SELECTION_320_TO_360_MBPS
    SELECTION_360_TO_400_MBPS SELECTION_400_TO_480_MBPS SELECTION_480_TO_560_MBPS SELECTION_560_TO_640_MBPS
    SELECTION_640_TO_720_MBPS SELECTION_720_TO_800_MBPS SELECTION_800_TO_880_MBPS SELECTION_880_TO_1040_MBPS
    SELECTION_1040_TO_1200_MBPS SELECTION_1200_TO_1350_MBPS SELECTION_1350_TO_1500_MBPS
    SELECTION_1500_TO_1750_MBPS SELECTION_1750_TO_2000_MBPS SELECTION_2000_TO_2250_MBPS
    SELECTION_2250_TO_2500_MBPS SELECTION_AUTOMATIC=63
    """,
):
    """Clock ranges (cameras only)."""

    __slots__ = ()


class MipiDataTypeRx(
    BoundEnum,
    table="""
    RGB_444=32 RGB_555 RGB_565 RGB_666 RGB_888 RAW_6=40 RAW_7 RAW_8 RAW_10 RAW_12 RAW_14
    """,
):
    """Pixel types (cameras only)."""

    __slots__ = ()


class MipiIspImageInOrder(BoundEnum, table="B_FIRST GB_FIRST GR_FIRST R_FIRST"):
    """Colour order of a sensor (cameras only)."""

    __slots__ = ()


class MipiIspImageOutDataType(BoundEnum, table="RGB_888=36 YUV_422=30"):
    """Results of the image signal processor (cameras only)."""

    __slots__ = ()


class MipiPixelsPerClock(BoundEnum, table="PIXELS_PER_CLOCK_1 PIXELS_PER_CLOCK_2 PIXELS_PER_CLOCK_4"):
    """Width of the camera interface (cameras only)."""

    __slots__ = ()


class NotificationId(
    BoundEnum,
    table="""
    ETHERNET_RX_ERROR HEALTH_MONITOR_TEMPERATURE_ALARM HEALTH_MONITOR_DATAFLOW_SHUTDOWN
    HEALTH_MONITOR_OVERCURRENT_ALARM HEALTH_MONITOR_LCU_ECC_CORRECTABLE_ERROR
    HEALTH_MONITOR_LCU_ECC_UNCORRECTABLE_ERROR HEALTH_MONITOR_CPU_ECC_ERROR HEALTH_MONITOR_CPU_ECC_FATAL DEBUG
    CONTEXT_SWITCH_BREAKPOINT_REACHED HEALTH_MONITOR_CLOCK_CHANGED_EVENT
    """,
):
    """What the firmware tells on its own."""

    __slots__ = ()


class OvercurrentAlertState(BoundEnum, table="OVERCURRENT_ZONE_GREEN OVERCURRENT_ZONE_RED"):
    """Zones of the over-current protection."""

    __slots__ = ()


class PipelineElemStatsFlags(BoundEnum, table="NONE MEASURE_FPS MEASURE_LATENCY MEASURE_QUEUE_SIZE=4"):
    """What an element of a pipeline measures."""

    __slots__ = ()


class PowerMeasurementTypes(
    BoundEnum,
    table="""
    AUTO=0x7fffffff SHUNT_VOLTAGE=0 BUS_VOLTAGE POWER CURRENT
    """,
):
    """Quantities of a power measurement: mV, mV, W, mA."""

    __slots__ = ()


class PowerMode(BoundEnum, table="ULTRA_PERFORMANCE=1 PERFORMANCE=0"):
    """How buffers are sized."""

    __slots__ = ()


class ResetDeviceMode(BoundEnum, table="CHIP NN_CORE SOFT FORCED_SOFT"):
    """How much is reset."""

    __slots__ = ()


class SamplingPeriod(
    BoundEnum,
    table="""
    PERIOD_140us PERIOD_204us PERIOD_332us PERIOD_588us PERIOD_1100us PERIOD_2116us PERIOD_4156us PERIOD_8244us
    """,
):
    """Time between two conversions of the power sensor."""

    __slots__ = ()


class SchedulingAlgorithm(BoundEnum, table="NONE ROUND_ROBIN"):
    """Who chooses the network that runs."""

    __slots__ = ()


class SensorConfigTypes(
    BoundEnum,
    table="""
    SENSOR_GENERIC ONSEMI_AR0220AT SENSOR_RASPICAM ONSEMI_AS0149AT HAILO8_ISP=0x80000000
    """,
):
    """Kinds of camera sensors."""

    __slots__ = ()


class SleepState(BoundEnum, table="SLEEP_STATE_SLEEPING SLEEP_STATE_AWAKE"):
    """Whether the core sleeps."""

    __slots__ = ()


class StreamDirection(BoundEnum, table="H2D D2H"):
    """Host to device, or device to host."""

    __slots__ = ()


class StreamInterface(BoundEnum, table="PCIe INTEGRATED=3 ETH=1 MIPI"):
    """The bus that frames take."""

    __slots__ = ()


class TemperatureZone(
    BoundEnum,
    table="""
    TEMPERATURE_ZONE_GREEN TEMPERATURE_ZONE_ORANGE TEMPERATURE_ZONE_RED
    """,
):
    """Zones of the temperature protection."""

    __slots__ = ()


class TransformMode(BoundEnum, table="NO_TRANSFORM TRANSFORM_COPY"):
    """Whether frames are transformed."""

    __slots__ = ()


class VStreamStatsFlags(BoundEnum, table="NONE MEASURE_FPS MEASURE_LATENCY"):
    """What a vstream measures."""

    __slots__ = ()


class WatchdogMode(BoundEnum, table="WATCHDOG_MODE_HW_SW WATCHDOG_MODE_HW_ONLY"):
    """What a watchdog checks."""

    __slots__ = ()
