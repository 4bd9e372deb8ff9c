"""Budgets and limits that both ends of the link keep (driver.md 2.4, 3, 6.4; context-switch.md 22)."""

from __future__ import annotations

from dataclasses import dataclass

BOOT_TIMEOUT_S = 5.0  # driver.md 2.4
SOFT_RESET_TIMEOUT_S = 5.0  # driver.md 2.4
BOOT_STATUS_POLLS = 10  # driver.md 2.4, one millisecond apart
SHUTDOWN_TIMEOUT_S = 0.005  # driver.md 3
CONTROL_TIMEOUT_S = 1.0  # control-protocol.md 1
FRAME_TIMEOUT_S = 10.0  # runtime-behaviour.md

MAX_APPLICATIONS = 32  # context-switch.md 22
MAX_CONTEXTS = 1024  # context-switch.md 22
MAX_NETWORKS = 8  # context-switch.md 22
MAX_CONFIG_CHANNELS = 4  # context-switch.md 22
MAX_BATCH_SIZE = 63  # context-switch.md 22
MAX_CHUNK_BYTES = 1461  # context-switch.md 3


@dataclass(frozen=True)
class Limits:
    """Those of them that driver and twin go by, as one value for `openhailo.spec.chip.ChipSpec`."""

    boot_timeout_s: float = BOOT_TIMEOUT_S
    soft_reset_timeout_s: float = SOFT_RESET_TIMEOUT_S
    boot_status_polls: int = BOOT_STATUS_POLLS
    shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S
    control_timeout_s: float = CONTROL_TIMEOUT_S
    max_applications: int = MAX_APPLICATIONS
    max_contexts: int = MAX_CONTEXTS
    max_networks: int = MAX_NETWORKS
    max_config_channels: int = MAX_CONFIG_CHANNELS
    max_batch_size: int = MAX_BATCH_SIZE
