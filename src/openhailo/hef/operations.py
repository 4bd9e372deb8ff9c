"""Operations of a context: a trigger to wait for, then actions (hef.md 5; context-switch.md 11).

Field names are those of the schema. Every trigger and action carries the compiler's ``unique_id``, which nothing reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .enums import Connection, WriteDataKind


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """The compiler's number of a trigger or an action."""

    unique_id: int = 0


# --- triggers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TriggerNone(Numbered):
    """Wait for nothing."""


@dataclass(frozen=True)
class TriggerLcu(Numbered):
    """Wait for the interrupt of one layer controller unit."""

    cluster_index: int = 0
    lcu_index: int = 0


@dataclass(frozen=True)
class TriggerAllDataWasSent(Numbered):
    """Wait until the output layer whose stream is ``shmifo_index`` was sent to the host."""

    shmifo_index: int = 0


@dataclass(frozen=True)
class TriggerAllDataWasReceived(Numbered):
    """Wait for input data; the vendor's library does not implement it."""

    shmifo_index: int = 0


@dataclass(frozen=True)
class TriggerNms(Numbered):
    """Wait for the non-maximum suppression unit."""

    aggregator_index: int = 0
    pred_cluster_ob_index: int = 0
    pred_cluster_ob_cluster_index: int = 0
    pred_cluster_ob_interface: int = 0
    succ_prepost_ob_index: int = 0
    succ_prepost_ob_interface: int = 0


@dataclass(frozen=True)
class TriggerDmaIdle(Numbered):
    """Wait until the channel of the output layer whose stream is ``shmifo_index`` is idle."""

    shmifo_index: int = 0


Trigger = (
    TriggerNone | TriggerLcu | TriggerAllDataWasSent | TriggerAllDataWasReceived | TriggerNms | TriggerDmaIdle
)  # one class per alternative of ProtoHEFTrigger


# --- actions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WriteData(Numbered):
    """Write bytes to an address; the vendor's library does not implement it."""

    address: int = 0
    data: bytes = b""


@dataclass(frozen=True)
class WriteCcw(Numbered):
    """Send configuration bytes through a config channel.

    Header version 0 keeps them in the protobuf part, 1 to 3 in a section of their own: then ``offset`` is where
    they lie from the section's base (hef.md 14). ``offset`` None lets the writer choose the place.
    """

    data: memoryview | bytes = b""
    cfg_channel_index: int = 0
    offset: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class WriteCompressedData(Numbered):
    """Write compressed bytes; the vendor's library does not implement it."""

    address: int = 0
    data: bytes = b""


@dataclass(frozen=True)
class InitialL3:
    """Where the L3 memory of a sequencer starts."""

    initial_l3_index: int = 0
    initial_l3_offset: int = 0
    includes_initial_l3_info: bool = False


@dataclass(frozen=True)
class EnableSequencer(Numbered):
    """Start a cluster's sequencer. ``initial_l3_info`` replaces the packed ``initial_l3_legacy`` where it says so."""

    cluster_index: int = 0
    initial_l3_legacy: int = 0
    initial_l3_info: InitialL3 | None = field(default=None, metadata={"of": InitialL3})
    active_apu_bitmap: int = 0
    active_sc_bitmap: int = 0
    active_l2_bitmap: int = 0
    active_ia_bitmap: int = 0
    l2_write_0: int = 0
    l2_write_1: int = 0
    l2_write_2: int = 0
    l2_write_3: int = 0


@dataclass(frozen=True)
class WaitForSequencer(Numbered):
    """Wait for a cluster's sequencer."""

    cluster_index: int = 0


@dataclass(frozen=True)
class DisableLcu(Numbered):
    """Stop a layer controller unit."""

    lcu_index: int = 0
    cluster_index: int = 0
    lcu_enable_address: int = 0


@dataclass(frozen=True)
class EnableLcu(Numbered):
    """Start a layer controller unit."""

    lcu_index: int = 0
    cluster_index: int = 0
    lcu_kernel_done_address: int = 0
    lcu_kernel_done_count: int = 0
    lcu_enable_address: int = 0
    network_index: int = 0


@dataclass(frozen=True)
class NoAction(Numbered):
    """Do nothing."""


@dataclass(frozen=True)
class AllowInputDataflow(Numbered):
    """Let the input layer whose stream is ``sys_index`` flow."""

    sys_index: int = 0
    connection_type: Connection = field(default=Connection.BOUNDARY, metadata={"of": Connection})


@dataclass(frozen=True)
class WaitForModuleConfigDone(Numbered):
    """Wait until a module is configured."""

    index: int = 0


@dataclass(frozen=True)
class DebugSleep(Numbered):
    """Sleep, for debugging."""

    duration_in_usec: int = 0


@dataclass(frozen=True)
class DebugHalt(Numbered):
    """Stop, for debugging."""


@dataclass(frozen=True)
class EnableNms(Numbered):
    """Start a non-maximum suppression unit; ``division_factor`` 0 means 1."""

    nms_unit_index: int = 0
    network_index: int = 0
    number_of_classes: int = 0
    burst_size: int = 0
    division_factor: int = 0


@dataclass(frozen=True)
class WriteDataByType(Numbered):
    """Write a constant of up to 4 bytes, or the batch size, to an address that is a multiple of 4."""

    address: int = 0
    data_type: WriteDataKind = field(default=WriteDataKind.DATA_FROM_ACTION, metadata={"of": WriteDataKind})
    data: bytes = b""
    mask: int = 0
    network_index: int = 0
    shift: int = 0


@dataclass(frozen=True)
class SwitchLcuBatch(Numbered):
    """Tell a layer controller unit the batch size."""

    lcu_index: int = 0
    cluster_index: int = 0
    network_index: int = 0


Action = (
    WriteData
    | WriteCcw
    | WriteCompressedData
    | EnableSequencer
    | WaitForSequencer
    | DisableLcu
    | EnableLcu
    | NoAction
    | AllowInputDataflow
    | WaitForModuleConfigDone
    | DebugSleep
    | DebugHalt
    | EnableNms
    | WriteDataByType
    | SwitchLcuBatch
)  # one class per alternative of ProtoHEFAction; both CCW alternatives are `WriteCcw`


@dataclass(frozen=True)
class Operation:
    """Wait for ``trigger``, then run ``actions`` in order."""

    trigger: Trigger = TriggerNone()
    actions: tuple[Action, ...] = ()
