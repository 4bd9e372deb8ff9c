"""Rules about operations and configuration bytes (hef.md 14 and 16; context-switch.md 10, 11, 12)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from openhailo.spec.limits import MAX_CONFIG_CHANNELS

from .contexts import Context
from .enums import Connection
from .findings import Problem, Severity, core_ops, rule
from .model import Hef
from .operations import (
    Action,
    AllowInputDataflow,
    EnableNms,
    Operation,
    TriggerAllDataWasReceived,
    WriteCcw,
    WriteCompressedData,
    WriteData,
    WriteDataByType,
)

MAX_FETCH_DESCRIPTORS = 65535  # per fetch action (context-switch.md 22)
PAGE_BYTES, MAX_PAGE_BYTES = 512, 4096  # of config lists (hef.md 18)
ACTION_DATA_BYTES = 4


def _operations(hef: Hef) -> Iterator[tuple[str, Operation]]:
    for _, core_op, where in core_ops(hef):
        for place, operation in enumerate(core_op.preliminary):
            yield f"{where}.preliminary[{place}]", operation
        for number, context in enumerate(core_op.contexts):
            for place, operation in enumerate(context.operations):
                yield f"{where}.contexts[{number}].operations[{place}]", operation


def _actions(hef: Hef) -> Iterator[tuple[str, Action]]:
    for where, operation in _operations(hef):
        for place, action in enumerate(operation.actions):
            yield f"{where}.actions[{place}]", action


def _contexts(hef: Hef) -> Iterator[tuple[str, Context]]:
    for _, core_op, where in core_ops(hef):
        for number, context in enumerate(core_op.contexts):
            yield f"{where}.contexts[{number}]", context


@rule("unsupported action", "hef.md 14; context-switch.md 11")
def unsupported_action(hef: Hef) -> Iterator[Problem]:
    """The vendor's library does not implement these."""
    for where, operation in _operations(hef):
        if isinstance(operation.trigger, TriggerAllDataWasReceived):
            yield where, "trigger_all_data_was_received is not implemented"
    for where, action in _actions(hef):
        if isinstance(action, WriteData | WriteCompressedData):
            yield where, f"{type(action).__name__} is not implemented"


@rule("input dataflow", "hef.md 16: no allow_input_dataflow group in a context, or two groups")
def input_dataflow(hef: Hef) -> Iterator[Problem]:
    """A context releases its inputs once, all together."""
    for where, context in _contexts(hef):
        actions = [action for operation in context.operations for action in operation.actions]
        groups = [is_input for is_input, _ in groupby(isinstance(a, AllowInputDataflow) for a in actions)].count(True)
        if groups != 1:
            yield where, f"{groups} groups of allow_input_dataflow, needs exactly one"


@rule("input dataflow layer", "hef.md 5: AllowInputDataflow.sys_index")
def input_dataflow_layer(hef: Hef) -> Iterator[Problem]:
    """What is released must be an input of the context."""
    for where, context in _contexts(hef):
        layers = {part.sys_index for layer in context.edge_layers if layer.is_input for part in layer.streams()}
        for index in _released(context):
            if index not in layers:
                yield where, f"allow_input_dataflow names stream {index}, which is no input of the context"


@rule("ddr input dataflow", "hef.md 16: DDR layer named by allow_input_dataflow")
def ddr_input_dataflow(hef: Hef) -> Iterator[Problem]:
    """DDR layers flow by themselves."""
    for where, context in _contexts(hef):
        released = _released(context)
        layers = [layer for layer in context.edge_layers if layer.is_input and layer.connection is Connection.DDR]
        for layer in layers:
            if layer.sys_index in released:
                yield where, f"allow_input_dataflow names DDR layer {layer.name!r}"


def _released(context: Context) -> set[int]:
    actions = (action for operation in context.operations for action in operation.actions)
    return {action.sys_index for action in actions if isinstance(action, AllowInputDataflow)}


@rule("enable nms", "hef.md 16: enable_nms without number_of_classes or burst_size")
def enable_nms(hef: Hef) -> Iterator[Problem]:
    """The unit needs both numbers."""
    for where, action in _actions(hef):
        if isinstance(action, EnableNms) and not (action.number_of_classes and action.burst_size):
            yield where, f"{action.number_of_classes} classes, burst size {action.burst_size}"


@rule("write data by type", "hef.md 5: ActionWriteDataByType")
def write_data_by_type(hef: Hef) -> Iterator[Problem]:
    """One 32-bit register, one shift of a byte."""
    for where, action in _actions(hef):
        if not isinstance(action, WriteDataByType):
            continue
        if action.address % 4:
            yield where, f"address 0x{action.address:X} is not a multiple of 4"
        if len(action.data) > ACTION_DATA_BYTES:
            yield where, f"{len(action.data)} bytes of data, at most {ACTION_DATA_BYTES}"
        if action.shift > 0xFF:
            yield where, f"shift {action.shift}, at most 255"


@rule("config channels", "hef.md 14: channels")
def config_channels(hef: Hef) -> Iterator[Problem]:
    """A context uses config channels 0, 1, ... without a gap, of those that the core op declares."""
    for _, core_op, where in core_ops(hef):
        declared = core_op.cfg_channels_count
        if declared > MAX_CONFIG_CHANNELS:
            yield where, f"{declared} config channels, at most {MAX_CONFIG_CHANNELS}"
        parts: list[tuple[str, Iterable[Operation]]] = [(f"{where}.preliminary", core_op.preliminary)]
        parts += [(f"{where}.contexts[{n}]", context.operations) for n, context in enumerate(core_op.contexts)]
        for path, operations in parts:
            used = {write.cfg_channel_index for group in _ccw_groups(operations) for write in group}
            if used and (max(used) >= declared or len(used) != max(used) + 1):
                yield path, f"uses config channels {sorted(used)} of {declared}; needs 0, 1, ... without a gap"


@rule("ccw group size", "hef.md 18: size of the program")
def ccw_group_size(hef: Hef) -> Iterator[Problem]:
    """One fetch takes so many descriptors of the largest page."""
    limit = MAX_FETCH_DESCRIPTORS * MAX_PAGE_BYTES
    yield from _groups_above(hef, limit, f"more than {limit} bytes, which no fetch can take")


@rule("ccw page size", "hef.md 18: size of the program", severity=Severity.WARNING)
def ccw_page_size(hef: Hef) -> Iterator[Problem]:
    """Above this a reader has to try larger pages."""
    limit = MAX_FETCH_DESCRIPTORS * PAGE_BYTES
    yield from _groups_above(hef, limit, f"more than {limit} bytes: needs pages above {PAGE_BYTES} bytes; split it")


def _groups_above(hef: Hef, limit: int, detail: str) -> Iterator[Problem]:
    for where, operation in _operations(hef):
        for group in _ccw_groups([operation]):
            sizes: dict[int, int] = {}
            for write in group:
                sizes[write.cfg_channel_index] = sizes.get(write.cfg_channel_index, 0) + len(write.data)
            if max(sizes.values()) > limit:
                yield where, f"a group of configuration writes has {detail}"


def _ccw_groups(operations: Iterable[Operation]) -> Iterator[list[WriteCcw]]:
    """Yield runs of consecutive configuration writes; an operation ends a run (hef.md 14)."""
    for operation in operations:
        for is_ccw, run in groupby(operation.actions, key=lambda action: isinstance(action, WriteCcw)):
            if is_ccw:
                yield [action for action in run if isinstance(action, WriteCcw)]
