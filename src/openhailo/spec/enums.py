"""Small enumerations of the firmware protocol (facts: control-protocol.md 12, context-switch.md 5, fw.enums.json).

Counting members ("..._COUNT") of the wire definitions are left out: they are limits, not values.
"""

from __future__ import annotations

from enum import IntEnum


class Cpu(IntEnum):
    """Which processor a control is for: the doorbell bit and the mailbox owner (CPU_ID_t)."""

    APP = 0
    CORE = 1
    UNKNOWN = 2


class ProtocolVersion(IntEnum):
    """Value of the header's version word (CONTROL_PROTOCOL__protocol_version_t)."""

    INITIAL = 0
    V1 = 1
    V2 = 2


class Ack(IntEnum):
    """Bit 0 of the header's flags (CONTROL_PROTOCOL__ACK_VALUES_t)."""

    UNSET = 0
    SET = 1


class MessageType(IntEnum):
    """Direction of a message (CONTROL_PROTOCOL__message_type_t)."""

    REQUEST = 0
    RESPONSE = 1


class Dvm(IntEnum):
    """Where power is measured (CONTROL_PROTOCOL__dvm_options_t)."""

    VDD_CORE = 0
    VDD_IO = 1
    MIPI_AVDD = 2
    MIPI_AVDD_H = 3
    USB_AVDD_IO = 4
    VDD_TOP = 5
    USB_AVDD_IO_HV = 6
    AVDD_H = 7
    SDIO_VDD_IO = 8
    OVERCURRENT_PROTECTION = 9
    EVB_TOTAL_POWER = 0x7FFFFFFE
    AUTO = 0x7FFFFFFF


class PowerMeasurementType(IntEnum):
    """What is measured: power in W, current in mA, voltages in mV (CONTROL_PROTOCOL__power_measurement_types_t)."""

    SHUNT_VOLTAGE = 0
    BUS_VOLTAGE = 1
    POWER = 2
    CURRENT = 3
    AUTO = 0x7FFFFFFF


class SamplingPeriod(IntEnum):
    """Time between two conversions of the power sensor (CONTROL_PROTOCOL__sampling_period_t)."""

    PERIOD_140US = 0
    PERIOD_204US = 1
    PERIOD_332US = 2
    PERIOD_588US = 3
    PERIOD_1100US = 4
    PERIOD_2116US = 5
    PERIOD_4156US = 6
    PERIOD_8244US = 7


class AveragingFactor(IntEnum):
    """Conversions averaged into one power sample (CONTROL_PROTOCOL__averaging_factor_t)."""

    FACTOR_1 = 0
    FACTOR_4 = 1
    FACTOR_16 = 2
    FACTOR_64 = 3
    FACTOR_128 = 4
    FACTOR_256 = 5
    FACTOR_512 = 6
    FACTOR_1024 = 7


class PhyOperation(IntEnum):
    """Operation of opcode 6 (CONTROL_PROTOCOL__phy_operation_t)."""

    RESET = 0


class DeviceArchitecture(IntEnum):
    """What IDENTIFY says the chip is (CONTROL_PROTOCOL__device_architecture_t)."""

    HAILO8_A0 = 0
    HAILO8 = 1
    HAILO8L = 2
    HAILO15H = 3
    PLUTO = 4
    MARS = 5


class MipiDeskew(IntEnum):
    """MIPI deskew choice of opcode 3 (CONTROL_PROTOCOL__mipi_deskew_enable_t)."""

    FORCE_DISABLE = 0
    FORCE_ENABLE = 1
    DEFAULT = 2


class LogInterface(IntEnum):
    """Bit values of opcode 55's interface mask (CONTROL_PROTOCOL_interface_t)."""

    PCIE = 1
    UART = 2


class PcieDataflowType(IntEnum):
    """PCIe dataflow of opcode 3 (CONTROL_PROTOCOL__pcie_dataflow_type_t)."""

    CONTINUOUS = 0
    BURST = 2


class PowerMode(IntEnum):
    """Power mode of opcode 3 (CONTROL_PROTOCOL__power_mode_t)."""

    PERFORMANCE = 0
    ULTRA_PERFORMANCE = 1


class CoreTopConfig(IntEnum):
    """What opcode 8 configures (CONTROL_PROTOCOL__config_core_top_type_t)."""

    AHB_TO_AXI = 0


class WatchdogMode(IntEnum):
    """Watchdog kind of opcodes 39 and 70 (CONTROL_PROTOCOL__WATCHDOG_MODE_t)."""

    HW_SW = 0
    HW_ONLY = 1


class HostBufferType(IntEnum):
    """How host memory of a channel is described (CONTROL_PROTOCOL__HOST_BUFFER_TYPE_t)."""

    EXTERNAL_DESC = 0
    CCB = 1
    HOST_MANAGED_EXTERNAL_DESC = 2


class ContextSwitchState(IntEnum):
    """State commanded by opcode 37 (CONTROL_PROTOCOL__CONTEXT_SWITCH_STATUS_t)."""

    RESET = 0
    ENABLED = 1
    PAUSED = 2


class BootSource(IntEnum):
    """Where firmware came from (CONTROL_PROTOCOL__boot_source_t)."""

    INVALID = 0
    PCIE = 1
    FLASH = 2


class BreakpointControl(IntEnum):
    """Command of opcode 52 (CONTROL_PROTOCOL__context_switch_breakpoint_control_t)."""

    SET = 0
    CONTINUE = 1
    CLEAR = 2


class BreakpointStatus(IntEnum):
    """Answer of opcode 53 (CONTROL_PROTOCOL__context_switch_debug_sys_status_t)."""

    CLEARED = 0
    WAITING_FOR_BREAKPOINT = 1
    REACHED_BREAKPOINT = 2


class BistTopBlock(IntEnum):
    """Memory blocks that opcode 60 tests (CONTROL_PROTOCOL__bist_top_mem_block_t)."""

    CRYPTO_1 = 0
    L4_0_2 = 1
    L4_1_3 = 2
    L4_2_4 = 3
    L4_3_5 = 4
    SAGE1_CPU_6 = 5
    SAGE1_CPU_FAST_BUS_7 = 6
    SAGE1_DEBUG_8 = 7
    SAGE1_ETH_9 = 8
    SAGE1_FLASH_10 = 9
    SAGE1_H264_11 = 10
    SAGE1_ISP_12 = 11
    SAGE1_MIPI_RX_13 = 12
    SAGE1_MIPI_TX_14 = 13
    SAGE1_PCIE_15 = 14
    SAGE1_SDIO_16 = 15
    SAGE1_SOFTMAX_17 = 16
    SAGE1_USB_18 = 17
    SAGE1_19 = 18
    SUB_SERVER0_20 = 19
    SUB_SERVER1_21 = 20
    SUB_SERVER2_22 = 21
    SUB_SERVER3_23 = 22
    SUB_SERVER4_24 = 23
    SUB_SERVER5_25 = 24
    SUB_SERVER6_26 = 25
    SUB_SERVER7_27 = 26


class SleepState(IntEnum):
    """State of opcode 73 (CONTROL_PROTOCOL__sleep_state_t)."""

    SLEEPING = 0
    AWAKE = 1


class HwInferState(IntEnum):
    """Command of opcode 74 (CONTROL_PROTOCOL__hw_infer_state_t)."""

    START = 0
    STOP = 1


class BoundaryChannelMode(IntEnum):
    """Channel mode of opcode 74 (CONTROL_PROTOCOL__boundary_channel_mode_t)."""

    DESC = 0
    CCB = 1


class CommunicationType(IntEnum):
    """Carrier of a stream, opcode 3 (CONTROL_PROTOCOL__communication_type_t)."""

    UDP = 0
    MIPI = 1
    PCIE = 2
    INTER_CPU = 3


class ResetType(IntEnum):
    """What opcode 7 resets; the soft ones are never answered (CONTROL_PROTOCOL__reset_type_t)."""

    CHIP = 0
    NN_CORE = 1
    SOFT = 2
    FORCED_SOFT = 3


class LogLevel(IntEnum):
    """Level of opcode 55 (FW_LOGGER_LEVEL_t)."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4
    FATAL = 5


class I2cEndianness(IntEnum):
    """Byte order of an I2C register address (i2c_slave_endianness_t)."""

    BIG_ENDIAN = 0
    LITTLE_ENDIAN = 1


class SensorOperation(IntEnum):
    """Operation of a sensor configuration record (SENSOR_CONFIG_OPCODES_t)."""

    WR = 0
    RD = 1
    RMW = 2
    DELAY = 3


class NnClock(IntEnum):
    """Legal clocks of the neural core, Hz (SOC__NN_CLOCK_HZ_t)."""

    MHZ_400 = 400000000
    MHZ_375 = 375000000
    MHZ_350 = 350000000
    MHZ_325 = 325000000
    MHZ_300 = 300000000
    MHZ_275 = 275000000
    MHZ_250 = 250000000
    MHZ_225 = 225000000
    MHZ_200 = 200000000
    MHZ_100 = 100000000
    MHZ_25 = 25000000


class CpuClock(IntEnum):
    """CPU clocks, Hz (SOC__CPU_CLOCK_HZ_t)."""

    MHZ_200 = 200000000
    MHZ_187 = 187500000
    MHZ_175 = 175000000
    MHZ_162 = 162500000
    MHZ_150 = 150000000
    MHZ_137 = 137500000
    MHZ_125 = 125000000
    MHZ_112 = 112500000
    MHZ_100 = 100000000
    MHZ_50 = 50000000
    MHZ_12 = 12500000


class AspmStates(IntEnum):
    """User-config value: ASPM states (PCIE_CONFIG_SUPPOPRTED_ASPM_STATES_t)."""

    DISABLED = 0
    L1_ONLY = 1
    L0S_L1 = 2


class AspmL1Substates(IntEnum):
    """User-config value: ASPM L1 substates (PCIE_CONFIG_SUPPOPRTED_L1_ASPM_SUBSTATES_t)."""

    DISABLED = 0
    L11_ONLY = 1
    L11_L12 = 2


class OvercurrentSource(IntEnum):
    """User-config value: where over-current limits come from (OVERCURRENT_parameters_source_t)."""

    FW_VALUES = 0
    USER_CONFIG_VALUES = 1
    BOARD_CONFIG_VALUES = 2
    OVERCURRENT_DISABLED = 3


class OvercurrentConversionTime(IntEnum):
    """User-config value: over-current conversion time, microseconds (OVERCURRENT_conversion_time_us_t)."""

    PERIOD_140US = 140
    PERIOD_204US = 204
    PERIOD_332US = 332
    PERIOD_588US = 588
    PERIOD_1100US = 1100
    PERIOD_2116US = 2116
    PERIOD_4156US = 4156
    PERIOD_8244US = 8244


class TemperatureSource(IntEnum):
    """User-config value: where temperature limits come from (TEMPERATURE_PROTECTION_parameters_source_t)."""

    FW_VALUES = 0
    USER_CONFIG_VALUES = 1


class EventPriority(IntEnum):
    """Priority word of a notification (D2H_EVENT_PRIORITY_t)."""

    INFO = 0
    CRITICAL = 1


class EventTransport(IntEnum):
    """Transport of notifications, opcode 43 (D2H_EVENT_COMMUNICATION_TYPE_t)."""

    UDP = 0
    VDMA = 1


class EventId(IntEnum):
    """Notification number (D2H_EVENT_ID_t)."""

    ETHERNET_SERVICE_RX_ERROR = 0
    D2H_HOST_INFO = 1
    HEALTH_MONITOR_TEMPERATURE_ALARM = 2
    HEALTH_MONITOR_CLOSED_STREAMS = 3
    HEALTH_MONITOR_OVERCURRENT_PROTECTION_ALERT = 4
    HEALTH_MONITOR_LCU_ECC_CORRECTABLE = 5
    HEALTH_MONITOR_LCU_ECC_UNCORRECTABLE = 6
    HEALTH_MONITOR_CPU_ECC_ERROR = 7
    HEALTH_MONITOR_CPU_ECC_FATAL = 8
    CONTEXT_SWITCH_BREAKPOINT_REACHED = 9
    HEALTH_MONITOR_CLOCK_CHANGED = 10
    HW_INFER_MANAGER_INFER_DONE = 11
    CONTEXT_SWITCH_RUN_TIME_ERROR = 12
    START_UPDATE_CACHE_OFFSET = 13


class ContextType(IntEnum):
    """Kind of a context, opcodes 33 and 36 (CONTROL_PROTOCOL__context_switch_context_type_t)."""

    PRELIMINARY = 0
    DYNAMIC = 1
    BATCH_SWITCHING = 2
    ACTIVATION = 3


class ContextIndex(IntEnum):
    """Flat numbering of contexts (CONTROL_PROTOCOL__context_switch_context_index_t)."""

    ACTIVATION = 0
    BATCH_SWITCHING = 1
    PRELIMINARY = 2
    FIRST_DYNAMIC = 3


class EdgeLayerDirection(IntEnum):
    """Direction of an edge layer in an action (CONTEXT_SWITCH_DEFS__EDGE_LAYER_DIRECTION_t)."""

    UNINITIALIZED = 0
    HOST_TO_DEVICE = 1
    DEVICE_TO_HOST = 2


class CreditType(IntEnum):
    """Unit of a credit (CONTEXT_SWITCH_DEFS__CREDIT_TYPE_t)."""

    UNINITIALIZED = 0
    BYTES = 1
    DESCRIPTORS = 2


class WriteDataType(IntEnum):
    """Data kind of action 35 (CONTEXT_SWITCH_DEFS__WRITE_ACTION_TYPE_t)."""

    GENERAL = 0
    WRITE_BATCH = 1


class FirmwareType(IntEnum):
    """Firmware family (firmware_type_t)."""

    HAILO8 = 0
    HAILO15 = 1
    HAILO15L = 2
    MARS = 3


class FirmwareBinaryType(IntEnum):
    """Part of a firmware image (FW_BINARY_TYPE_t)."""

    INVALID = 0
    APP_FIRMWARE = 1
    CORE_FIRMWARE = 2
    SECOND_STAGE_BOOT = 3


class FirmwareHeaderVersion(IntEnum):
    """Version word of a firmware header (firmware_header_version_t)."""

    INITIAL = 0
