"""The application header, opcode 32 (context-switch.md 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ApplicationFeatures:
    """What extensions of the file turn on for a network group."""

    preliminary_run_asap: bool = False
    batch_register_config: bool = False
    can_fast_batch_switch: bool = True


def header_fields(
    *,
    contexts: int,
    networks: int,
    batch_size: int,
    csm_buffer_size: int,
    config_channels: Sequence[int],
    features: ApplicationFeatures,
) -> dict[str, object]:
    """Return the members of the header; the vendor never fills the boundary bitmap (context-switch.md 21.1).

    ``batch_size`` 0 (default) is sent as 1.
    """
    return {
        "dynamic_contexts_count": contexts,
        "preliminary_run_asap": int(features.preliminary_run_asap),
        "batch_register_config": int(features.batch_register_config),
        "can_fast_batch_switch": int(features.can_fast_batch_switch),
        "networks_count": networks,
        "csm_buffer_size": csm_buffer_size,
        "batch_size": max(batch_size, 1),
        "boundary_channels_bitmap": (0, 0, 0),
        "config_channels_count": len(config_channels),
        "config_channel_info": tuple(config_channels),
    }
