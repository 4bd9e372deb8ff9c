"""Every enumeration against fw.enums.json: the same values in the same order under recognisable names."""

from __future__ import annotations

import re
from enum import IntEnum

import pytest

from openhailo.spec import enums, program
from openhailo.spec.actions import ActionType
from openhailo.spec.opcodes import Opcode
from openhailo.spec.status import FirmwareModule

pytestmark = pytest.mark.facts

ENUMS: dict[str, type[IntEnum]] = {
    "CONTROL_PROTOCOL__OPCODE_t": Opcode,
    "CONTEXT_SWITCH_DEFS__ACTION_TYPE_t": ActionType,
    "FIRMWARE_STATUS__modules_t": FirmwareModule,
    "CPU_ID_t": enums.Cpu,
    "CONTROL_PROTOCOL__protocol_version_t": enums.ProtocolVersion,
    "CONTROL_PROTOCOL__ACK_VALUES_t": enums.Ack,
    "CONTROL_PROTOCOL__message_type_t": enums.MessageType,
    "CONTROL_PROTOCOL__dvm_options_t": enums.Dvm,
    "CONTROL_PROTOCOL__power_measurement_types_t": enums.PowerMeasurementType,
    "CONTROL_PROTOCOL__sampling_period_t": enums.SamplingPeriod,
    "CONTROL_PROTOCOL__averaging_factor_t": enums.AveragingFactor,
    "CONTROL_PROTOCOL__phy_operation_t": enums.PhyOperation,
    "CONTROL_PROTOCOL__device_architecture_t": enums.DeviceArchitecture,
    "CONTROL_PROTOCOL__mipi_deskew_enable_t": enums.MipiDeskew,
    "CONTROL_PROTOCOL_interface_t": enums.LogInterface,
    "CONTROL_PROTOCOL__pcie_dataflow_type_t": enums.PcieDataflowType,
    "CONTROL_PROTOCOL__power_mode_t": enums.PowerMode,
    "CONTROL_PROTOCOL__config_core_top_type_t": enums.CoreTopConfig,
    "CONTROL_PROTOCOL__WATCHDOG_MODE_t": enums.WatchdogMode,
    "WD_SERVICE_wd_mode_t": enums.WatchdogMode,
    "CONTROL_PROTOCOL__HOST_BUFFER_TYPE_t": enums.HostBufferType,
    "CONTROL_PROTOCOL__CONTEXT_SWITCH_STATUS_t": enums.ContextSwitchState,
    "CONTROL_PROTOCOL__boot_source_t": enums.BootSource,
    "CONTROL_PROTOCOL__context_switch_breakpoint_control_t": enums.BreakpointControl,
    "CONTROL_PROTOCOL__context_switch_debug_sys_status_t": enums.BreakpointStatus,
    "CONTROL_PROTOCOL__bist_top_mem_block_t": enums.BistTopBlock,
    "CONTROL_PROTOCOL__sleep_state_t": enums.SleepState,
    "CONTROL_PROTOCOL__hw_infer_state_t": enums.HwInferState,
    "CONTROL_PROTOCOL__boundary_channel_mode_t": enums.BoundaryChannelMode,
    "CONTROL_PROTOCOL__communication_type_t": enums.CommunicationType,
    "CONTROL_PROTOCOL__reset_type_t": enums.ResetType,
    "CONTROL_PROTOCOL__context_switch_context_type_t": enums.ContextType,
    "CONTROL_PROTOCOL__context_switch_context_index_t": enums.ContextIndex,
    "CONTEXT_SWITCH_DEFS__EDGE_LAYER_DIRECTION_t": enums.EdgeLayerDirection,
    "CONTEXT_SWITCH_DEFS__CREDIT_TYPE_t": enums.CreditType,
    "CONTEXT_SWITCH_DEFS__WRITE_ACTION_TYPE_t": enums.WriteDataType,
    "FW_LOGGER_LEVEL_t": enums.LogLevel,
    "i2c_slave_endianness_t": enums.I2cEndianness,
    "SENSOR_CONFIG_OPCODES_t": enums.SensorOperation,
    "SOC__NN_CLOCK_HZ_t": enums.NnClock,
    "SOC__CPU_CLOCK_HZ_t": enums.CpuClock,
    "PCIE_CONFIG_SUPPOPRTED_ASPM_STATES_t": enums.AspmStates,
    "PCIE_CONFIG_SUPPOPRTED_L1_ASPM_SUBSTATES_t": enums.AspmL1Substates,
    "OVERCURRENT_parameters_source_t": enums.OvercurrentSource,
    "OVERCURRENT_conversion_time_us_t": enums.OvercurrentConversionTime,
    "TEMPERATURE_PROTECTION_parameters_source_t": enums.TemperatureSource,
    "D2H_EVENT_PRIORITY_t": enums.EventPriority,
    "D2H_EVENT_COMMUNICATION_TYPE_t": enums.EventTransport,
    "D2H_EVENT_ID_t": enums.EventId,
    "firmware_type_t": enums.FirmwareType,
    "FW_BINARY_TYPE_t": enums.FirmwareBinaryType,
    "firmware_header_version_t": enums.FirmwareHeaderVersion,
}
COUNTING = re.compile(r"COUNT$|NUM_MODES$|NUM_MEM_BLOCKS$|NUMBER_OF_NON_DYNAMIC_CONTEXTS$")


def words(name: str) -> set[str]:
    """The words of a name, with the spellings that we change on purpose put right."""
    name = name.upper().replace("MEASUEMENT", "MEASUREMENT")
    name = re.sub(r"(\d+)MHZ", r"MHZ_\1", name)
    return set(re.sub(r"^V(\d)$", r"\1", name).split("_"))


def test_values_and_names(facts, checked):
    table = facts.json("fw.enums.json")
    assert set(ENUMS) == set(table)
    compared = 0
    for wire_name, ours in ENUMS.items():
        expected = {name: value for name, value in table[wire_name].items() if not COUNTING.search(name)}
        assert [member.value for member in ours] == list(expected.values()), wire_name
        for member, name in zip(ours, expected, strict=True):
            assert words(member.name) <= words(name), (wire_name, member.name, name)
        compared += 2 * len(expected)
    checked(compared, 700)


def test_format_orders(facts, checked):
    table = facts.json("hailort.api.enums.json")["hailo_format_order_t"]
    expected = {name: value for name, value in table.items() if not name.endswith("MAX_ENUM")}
    assert [member.value for member in program.FormatOrder] == list(expected.values())
    for member, name in zip(program.FormatOrder, expected, strict=True):
        assert words(member.name) <= words(name)
    checked(2 * len(expected), 48)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        (enums.ResetType.NN_CORE, 1),
        (enums.ResetType.SOFT, 2),
        (enums.ResetType.FORCED_SOFT, 3),
        (enums.ContextType.PRELIMINARY, 0),
        (enums.ContextType.DYNAMIC, 1),
        (enums.ContextType.BATCH_SWITCHING, 2),
        (enums.ContextType.ACTIVATION, 3),
        (enums.EdgeLayerDirection.HOST_TO_DEVICE, 1),
        (enums.EdgeLayerDirection.DEVICE_TO_HOST, 2),
        (enums.CreditType.BYTES, 1),
        (enums.CreditType.DESCRIPTORS, 2),
        (enums.ContextSwitchState.RESET, 0),
        (enums.ContextSwitchState.ENABLED, 1),
        (enums.Dvm.OVERCURRENT_PROTECTION, 9),
        (enums.Dvm.AUTO, 0x7FFFFFFF),
        (enums.PowerMeasurementType.POWER, 2),
        (enums.DeviceArchitecture.HAILO8, 1),
        (enums.DeviceArchitecture.HAILO8L, 2),
        (enums.Cpu.APP, 0),
        (enums.Cpu.CORE, 1),
        (Opcode.CHANGE_CONTEXT_SWITCH_STATUS, 37),
        (Opcode.GET_HW_CONSTS, 72),
        (ActionType.REPEATED_ACTION, 24),
    ],
)
def test_values_that_the_pages_state_in_words(member, value):
    assert member == value
