"""Status words of the firmware and their names (facts: control-protocol.md 13, fw.status.json).

A word is component (bits 31:28, 4 = firmware), module (bits 23:16) and value (bits 15:0, from 1). Zero is success.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from openhailo.spec.layout import Field, Reg

from .drivers import DRIVERS
from .protocol import PROTOCOL
from .services import SERVICES


class FirmwareModule(IntEnum):
    """Module index of a status word (FIRMWARE_STATUS__modules_t)."""

    GENERAL = 0
    DATAFLOW = 1
    ETHERNET_SERVICE = 2
    CONTROL = 3
    POWER_MEASUREMENT = 4
    MIPI = 5
    USER_CONFIG = 6
    I2C = 7
    LWIP = 8
    PARALLEL_CAMERA = 9
    QSPI = 10
    PCIE_SERVICE = 11
    FIRMWARE_UPDATE = 12
    SENSOR_CONFIG = 13
    DEBUG = 14
    MAILBOX = 15
    SEMAPHORE = 16
    INTER_CPU_CONTROL = 17
    INTER_CPU_EVENT_MANAGER = 18
    CONTEXT_SWITCH_TASK = 19
    D2H_EVENT_MANAGER = 20
    WD = 21
    HEALTH_MONITOR = 22
    PVT_DRIVER = 23
    ISP = 24
    BOARD_CONFIG = 25
    FIRMWARE_CONFIGS = 26
    GPIO = 27
    OVERCURRENT_PROTECTION = 28
    POWER = 29
    SECURE_DEBUG = 30
    POWER_STATE = 31
    SOC = 32
    SECOND_STAGE_UPDATE = 33
    DATAFLOW_COMMON = 34
    RESET_HANDLER = 35
    TEMPERATURE_PROTECTION = 36
    DDR_BUFFER = 37
    PL320 = 38
    PROCESS_MONITOR = 39
    MBIST = 40
    NN_CONFIG_SERVICE = 41
    CONFIG_MANAGER_WRAPPER = 42
    CSM_CONFIG_MANAGER = 43
    PCIE_CONFIG_MANAGER = 44
    VDMA_SERVICE = 45
    MEMORY_LOGGER = 46
    UART_LOGGER = 47
    DRAM_DMA_SERVICE = 48
    NN_CORE_SERVICE = 49
    DATA_STREAM_MANAGER_WRAPPER = 50
    BURST_CREDITS_TASK = 51
    TASK_SYNC_EVENTS = 52
    NMS_MANAGER = 53
    CLUSTER_MANAGER = 54
    HW_INFER_MANAGER = 55
    INFINITE_CONTEXT_LOADER = 56


STATUS_WORD = Reg(
    "status_word",
    0x0,
    fields=(Field("value", 0, 16), Field("module", 16, 8), Field("component", 28, 4)),
    source="control-protocol.md 13",
)
FIRMWARE_COMPONENT = 4
SUCCESS = 0

#: Status word -> name.
STATUS_NAMES: Mapping[int, str] = {SUCCESS: "HAILO_STATUS_SUCCESS"} | {
    STATUS_WORD.pack(component=FIRMWARE_COMPONENT, module=FirmwareModule[module], value=value): name
    for module, names in {**DRIVERS, **PROTOCOL, **SERVICES}.items()
    for value, name in enumerate(names.split(), start=1)
}
#: Name -> status word.
Status: Mapping[str, int] = {name: word for word, name in STATUS_NAMES.items()}
