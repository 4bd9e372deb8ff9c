"""HEF operations to steps of an action list (context-switch.md 11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.hef import operations as hef
from openhailo.runtime.configure.actions import CODEC, BuiltAction
from openhailo.runtime.configure.operations import (
    AllowInput,
    ConfigGroup,
    Operations,
    Separator,
    Step,
    WaitOutput,
    split_inputs,
)
from openhailo.spec.actions import PACKED_LCU
from openhailo.spec.actions import ActionType as A

#: Shortest sleep that the firmware is given, in microseconds. GUESS: the facts only say that there is one.
MIN_SLEEP_US = 1


class Translator:
    """Translates the operations of one core op.

    ``multi_network`` (extension 8) makes network indices count; without it they are all zero (context-switch.md 5).
    ``ccw_by_reference``: see `openhailo.runtime.description.NetworkDescription`.
    """

    def __init__(self, *, multi_network: bool, ccw_by_reference: bool = True) -> None:
        self._ccw_by_reference = ccw_by_reference
        self._multi_network = multi_network
        self._triggers: dict[type, Callable[..., Step]] = {
            hef.TriggerNone: lambda _: Separator(),
            hef.TriggerLcu: lambda t: _build(A.LCU_INTERRUPT, packed_lcu_id=_lcu(t)),
            hef.TriggerAllDataWasSent: lambda t: WaitOutput(t.shmifo_index),
            hef.TriggerDmaIdle: lambda t: WaitOutput(t.shmifo_index, idle=True),
            hef.TriggerNms: _wait_for_nms,
        }
        self._actions: dict[type, Callable[..., list[Step]]] = {
            hef.NoAction: lambda _: [],
            hef.DisableLcu: lambda a: [_build(A.DISABLE_LCU, packed_lcu_id=_lcu(a))],
            hef.EnableLcu: self._enable_lcu,
            hef.SwitchLcuBatch: self._switch_lcu_batch,
            hef.EnableSequencer: _enable_sequencer,
            hef.WaitForSequencer: lambda a: [_build(A.SEQUENCER_DONE_INTERRUPT, sequencer_index=a.cluster_index)],
            hef.AllowInputDataflow: lambda a: [AllowInput(a.sys_index)],
            hef.WaitForModuleConfigDone: lambda a: [_build(A.MODULE_CONFIG_DONE_INTERRUPT, module_index=a.index)],
            hef.EnableNms: self._enable_nms,
            hef.WriteDataByType: self._write_data_by_type,
            hef.DebugSleep: lambda a: [_build(A.SLEEP, sleep_time=max(a.duration_in_usec, MIN_SLEEP_US))],
            hef.DebugHalt: lambda _: [_build(A.HALT)],
        }

    def translate(self, operations: Iterable[hef.Operation], where: str, *, required: bool) -> Operations:
        """Translate one context; ``required`` demands input releases. Raises `InvalidHef`, `UnsupportedHef`."""
        steps: list[Step] = []
        for operation in operations:
            trigger = self._triggers.get(type(operation.trigger))
            if trigger is None:
                raise UnsupportedHef(feature=f"trigger {type(operation.trigger).__name__} in {where}")
            steps.append(trigger(operation.trigger))
            steps += self._operation(operation, where)
        return split_inputs(steps, where, required=required)

    def _operation(self, operation: hef.Operation, where: str) -> list[Step]:
        steps: list[Step] = []
        group = ConfigGroup(by_reference=self._ccw_by_reference)
        for action in operation.actions:
            if isinstance(action, hef.WriteCcw):
                group.add(action.cfg_channel_index, action.data)
                continue
            steps += group.take()
            translate = self._actions.get(type(action))
            if translate is None:
                raise UnsupportedHef(feature=f"action {type(action).__name__} in {where}")
            steps += translate(action)
        return steps + group.take()

    def _network(self, index: int) -> int:
        return index if self._multi_network else 0

    def _enable_lcu(self, action: hef.EnableLcu) -> list[Step]:
        rules = CODEC.rules
        network = self._network(action.network_index)
        address, count = action.lcu_kernel_done_address, action.lcu_kernel_done_count
        if (address, count) == (rules.lcu_default_kernel_done_address, rules.lcu_default_kernel_done_count):
            return [_build(A.ENABLE_LCU_DEFAULT, packed_lcu_id=_lcu(action), network_index=network)]
        return [
            _build(
                A.ENABLE_LCU_NON_DEFAULT,
                packed_lcu_id=_lcu(action),
                network_index=network,
                kernel_done_address=address,
                kernel_done_count=count,
            )
        ]

    def _switch_lcu_batch(self, action: hef.SwitchLcuBatch) -> list[Step]:
        network = self._network(action.network_index)
        return [_build(A.SWITCH_LCU_BATCH, packed_lcu_id=_lcu(action), network_index=network, kernel_done_count=0)]

    def _enable_nms(self, action: hef.EnableNms) -> list[Step]:
        if not action.number_of_classes or not action.burst_size:
            raise InvalidHef(rule="enable_nms", where="action", detail="no classes, or a burst size of 0")
        return [
            _build(
                A.ENABLE_NMS,
                nms_unit_index=action.nms_unit_index,
                network_index=self._network(action.network_index),
                number_of_classes=action.number_of_classes,
                burst_size=action.burst_size,
                division_factor=action.division_factor or 1,
            )
        ]

    def _write_data_by_type(self, action: hef.WriteDataByType) -> list[Step]:
        if action.address % 4 or len(action.data) > 4:
            detail = f"{len(action.data)} bytes to address 0x{action.address:X}"
            raise InvalidHef(rule="write_data_by_type", where="action", detail=detail)
        return [
            _build(
                A.WRITE_DATA_BY_TYPE,
                address=action.address,
                data_type=int(action.data_type),
                data=int.from_bytes(action.data, "little"),
                shift=action.shift,
                mask=action.mask,
                network_index=self._network(action.network_index),
            )
        ]


def _build(kind: A, **fields: object) -> BuiltAction:
    return CODEC.build(kind, **fields)


def _lcu(item: hef.TriggerLcu | hef.DisableLcu | hef.EnableLcu | hef.SwitchLcuBatch) -> int:
    try:
        return PACKED_LCU.pack(lcu=item.lcu_index, cluster=item.cluster_index)
    except ValueError as error:
        raise InvalidHef(rule="lcu", where=type(item).__name__, detail=str(error)) from error


def _wait_for_nms(trigger: hef.TriggerNms) -> BuiltAction:
    return _build(
        A.WAIT_FOR_NMS,
        aggregator_index=trigger.aggregator_index,
        pred_cluster_ob_index=trigger.pred_cluster_ob_index,
        pred_cluster_ob_cluster_index=trigger.pred_cluster_ob_cluster_index,
        pred_cluster_ob_interface=trigger.pred_cluster_ob_interface,
        succ_prepost_ob_index=trigger.succ_prepost_ob_index,
        succ_prepost_ob_interface=trigger.succ_prepost_ob_interface,
    )


def _enable_sequencer(action: hef.EnableSequencer) -> list[Step]:
    info = action.initial_l3_info
    if info is not None and info.includes_initial_l3_info:
        cut, offset = info.initial_l3_index, info.initial_l3_offset
    else:
        # The old word: seven bits of cut, then twelve bits of offset in units of eight (context-switch.md 11).
        cut, offset = action.initial_l3_legacy & 0x7F, (action.initial_l3_legacy >> 7 & 0xFFF) << 3
    config = {
        "initial_l3_cut": cut,
        "initial_l3_offset": offset,
        "active_apu": action.active_apu_bitmap,
        "active_ia": action.active_ia_bitmap,
        "active_sc": action.active_sc_bitmap,
        "active_l2": action.active_l2_bitmap,
        "l2_offset_0": action.l2_write_0 | action.l2_write_1 << 32,
        "l2_offset_1": action.l2_write_2 | action.l2_write_3 << 32,
    }
    return [_build(A.TRIGGER_SEQUENCER, cluster_index=action.cluster_index, sequencer_config=config)]
