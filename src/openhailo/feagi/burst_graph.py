"""The graph behind an exported burst: each step of feagi.md 5, 6 and 8 as operators on whole areas, in int32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from openhailo.burst.codes import encode, leak_table

from .structured import Projection, Sheet, Structured

Array = npt.NDArray[Any]
LEVELS, STATE, NEXT = "levels", "state", "next"
"""Names of the graph's inputs and of its output."""
OPSET, IR_VERSION = 17, 9
CODE_OFFSET: Final = 128
"""Potentials travel as their code plus this."""
_LOWEST_SUM, _HIGHEST_SUM = -101, 50
"""Whole sums beyond these have the codes of these (feagi.md 3: the range is -100..50)."""


def state_fields(structured: Structured) -> int:
    """Bytes of state per neuron: fired, potential, countdown, and firings in a row where an area counts them."""
    return 4 if any(sheet.consecutive_limit for sheet in structured.areas) else 3


class _Writer:
    """Collects nodes and constants; every value is int32 unless its name says otherwise."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, *inputs: str | int | Array, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return the name of its output, or a list of names."""
        names = [f"{kind.lower()}_{len(self.nodes)}" + (f"_{index}" if outputs > 1 else "") for index in range(outputs)]
        operands = [item if isinstance(item, str) else self.constant(item) for item in inputs]
        self.nodes.append(helper.make_node(kind, operands, names, name=names[0], **attributes))
        return names if outputs > 1 else names[0]

    def constant(self, value: int | Array) -> str:
        """Add a constant once; whole numbers become int32 scalars."""
        array = np.array(value, np.int32) if isinstance(value, int) else np.ascontiguousarray(value)
        name = f"int_{value}" if isinstance(value, int) else f"constant_{len(self.constants)}"
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def cast(self, value: str, kind: int) -> str:
        """Add a change of type."""
        return str(self.op("Cast", value, to=kind))

    def split(self, value: str, sizes: list[int]) -> list[str]:
        """Add a split of the second axis."""
        if len(sizes) == 1:
            return [value]
        return list(self.op("Split", value, np.array(sizes, np.int64), outputs=len(sizes), axis=1))

    def join(self, values: list[str]) -> str:
        """Add a concatenation along the second axis."""
        return values[0] if len(values) == 1 else str(self.op("Concat", *values, axis=1))

    def choose(self, condition: str, yes: str | int, no: str | int) -> str:
        """Add ``condition ? yes : no``."""
        return str(self.op("Where", condition, yes, no))


@dataclass
class _Cells:
    """Names of one area's values: (1, count) each. ``count`` is None where firings in a row do not matter."""

    fired: str
    potential: str
    countdown: str
    count: str | None


def build_graph(
    structured: Structured, mode: str, input_step: int, batch_candidates: int, *, float_ends: bool
) -> onnx.ModelProto:
    """The graph, with uint8 ends, or with ends and convolutions in float."""
    writer = _Writer()
    levels, state = (writer.cast(name, TensorProto.UINT8) if float_ends else name for name in (LEVELS, STATE))
    before = _open_state(writer, structured, state)
    received = _receive(writer, structured, before, levels, input_step, float_ends)
    batch = None
    if mode == "npu" and structured.count >= batch_candidates:
        batch = _is_batch(writer, [touch for _, touch in received], batch_candidates)
    after = []
    for sheet, cells, (total, touch) in zip(structured.areas, before, received, strict=True):
        if mode == "embedded":
            after.append(_dense(writer, sheet, cells, total, touch))
        else:
            after.append(_npu(writer, sheet, cells, total, touch, batch))
    ends = TensorProto.FLOAT if float_ends else TensorProto.UINT8
    writer.nodes.append(helper.make_node("Cast", [_close_state(writer, structured, after)], [NEXT], name=NEXT, to=ends))
    size = state_fields(structured) * structured.count
    sizes = {LEVELS: structured.input_count, STATE: size, NEXT: size}
    values = [helper.make_tensor_value_info(name, ends, [1, width]) for name, width in sizes.items()]
    note = f"One burst, mode {mode}; a level of input is {input_step} units of potential."
    constants = list(writer.constants.values())
    graph = helper.make_graph(writer.nodes, "burst_step", values[:2], values[2:], constants, doc_string=note)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _is_batch(writer: _Writer, touches: list[str], batch_candidates: int) -> str:
    """Whether there are so many candidates that mode C applies: bool (1, 1)."""
    number = writer.cast(writer.join(touches), TensorProto.INT32)
    total = writer.op("ReduceSum", number, np.array([1], np.int64), keepdims=1)
    return str(writer.op("GreaterOrEqual", total, batch_candidates))


def _open_state(writer: _Writer, structured: Structured, state: str) -> list[_Cells]:
    sizes = [sheet.count for sheet in structured.areas]
    rows = [writer.split(row, sizes) for row in writer.split(state, [structured.count] * state_fields(structured))]
    cells = []
    for index, sheet in enumerate(structured.areas):
        code, countdown = (writer.cast(rows[field][index], TensorProto.INT32) for field in (1, 2))
        count = writer.cast(rows[3][index], TensorProto.INT32) if sheet.consecutive_limit else None
        cells.append(_Cells(rows[0][index], writer.op("Sub", code, CODE_OFFSET), countdown, count))
    return cells


def _close_state(writer: _Writer, structured: Structured, cells: list[_Cells]) -> str:
    rows = [
        writer.join([cell.fired for cell in cells]),
        writer.op("Add", writer.join([cell.potential for cell in cells]), CODE_OFFSET),
        writer.join([cell.countdown for cell in cells]),
    ]
    if state_fields(structured) == 4:
        rows.append(writer.join([cell.count or writer.op("Mul", cell.fired, 0) for cell in cells]))
    return writer.join(rows)


def _receive(
    writer: _Writer, structured: Structured, before: list[_Cells], levels: str, input_step: int, float_ways: bool
) -> list[tuple[str, str]]:
    """Return the sum that each area receives, and whether each neuron received anything (bool)."""
    taking = [sheet for sheet in structured.areas if sheet.takes_input]
    given = dict(zip((sheet.name for sheet in taking), writer.split(levels, [s.count for s in taking]), strict=True))
    fired = {sheet.name: cells.fired for sheet, cells in zip(structured.areas, before, strict=True)}
    received = []
    for sheet in structured.areas:
        sums, touches = [], []
        if sheet.name in given:
            level = writer.cast(given[sheet.name], TensorProto.INT32)
            sums.append(writer.op("Mul", level, input_step))
            touches.append(writer.op("Greater", level, 0))
        for way in structured.projections:
            if way.target == sheet.name:
                total, touch = _propagate(writer, structured, way, fired[way.source], float_ways)
                sums.append(total)
                touches.append(touch)
        if not sums:
            sums.append(writer.op("Mul", writer.cast(fired[sheet.name], TensorProto.INT32), 0))
            touches.append(writer.op("Greater", sums[0], 0))
        received.append((_fold(writer, "Add", sums), _fold(writer, "Or", touches)))
    return received


def _fold(writer: _Writer, kind: str, values: list[str]) -> str:
    total = values[0]
    for value in values[1:]:
        total = writer.op(kind, total, value)
    return total


def _propagate(
    writer: _Writer, structured: Structured, way: Projection, fired: str, float_way: bool
) -> tuple[str, str]:
    """One operator for both: what synapses bring, and, with weights of 1, how many of them bring something."""
    source, target = structured.area(way.source), structured.area(way.target)
    mask = way.mask.astype(np.int8)
    weights = np.concatenate([way.kernel * mask, mask])
    if way.is_dense:
        both = _multiply(writer, fired, weights.T, float_way)
        brought, number = writer.split(both, [target.count] * 2)
    else:
        field = writer.op("Reshape", fired, np.array([0, *source.shape], np.int64))
        brought, number = writer.split(_slide(writer, field, way, weights, float_way), [target.shape[0]] * 2)
        flat = np.array([0, target.count], np.int64)
        brought, number = writer.op("Reshape", brought, flat), writer.op("Reshape", number, flat)
    return writer.op("Mul", brought, way.psp), writer.op("Greater", number, 0)


def _multiply(writer: _Writer, fired: str, weights: Array, float_way: bool) -> str:
    if not float_way:
        return str(writer.op("MatMulInteger", fired, weights))
    product = writer.op("MatMul", writer.cast(fired, TensorProto.FLOAT), weights.astype(np.float32))
    return writer.cast(product, TensorProto.INT32)


def _slide(writer: _Writer, fired: str, way: Projection, weights: Array, float_way: bool) -> str:
    options: dict[str, Any] = {"pads": [*way.pads, *way.pads], "strides": [way.stride] * 2}
    if not float_way:
        return str(writer.op("ConvInteger", fired, weights, **options))
    slid = writer.op("Conv", writer.cast(fired, TensorProto.FLOAT), weights.astype(np.float32), **options)
    return writer.cast(slid, TensorProto.INT32)


def _encode(writer: _Writer, total: str) -> str:
    """Codes of whole sums, by table."""
    table = encode(np.arange(_LOWEST_SUM, _HIGHEST_SUM + 1)).astype(np.int32)
    held = writer.op("Clip", total, _LOWEST_SUM, _HIGHEST_SUM)
    return str(writer.op("Gather", table, writer.op("Sub", held, _LOWEST_SUM)))


def _leak(writer: _Writer, sheet: Sheet, potential: str) -> str:
    table = leak_table(sheet.leak).astype(np.int32)
    return str(writer.op("Gather", table, writer.op("Add", potential, CODE_OFFSET)))


def _add(writer: _Writer, potential: str, code: str) -> str:
    """Saturating addition of codes."""
    return str(writer.op("Clip", writer.op("Add", potential, code), -127, 127))


def _threshold(sheet: Sheet) -> int:
    return int(encode(sheet.threshold))


def _dense(writer: _Writer, sheet: Sheet, cells: _Cells, total: str, touch: str) -> _Cells:
    """Mode A (feagi.md 8): every neuron that does not rest is updated."""
    resting = writer.op("Greater", cells.countdown, 0)
    potential = _add(writer, cells.potential, writer.choose(touch, _encode(writer, total), 0))
    reached = writer.op("GreaterOrEqual", potential, _threshold(sheet))
    fires = writer.op("And", reached, writer.op("Not", resting))
    moved = writer.choose(reached, 0, _leak(writer, sheet, potential))
    rested = writer.op("Max", writer.op("Sub", cells.countdown, 1), 0)
    return _Cells(
        fired=writer.cast(fires, TensorProto.INT32),
        potential=writer.choose(resting, cells.potential, moved),
        countdown=writer.choose(fires, sheet.refractory_period, rested),
        count=cells.count,
    )


def _npu(writer: _Writer, sheet: Sheet, cells: _Cells, total: str, touch: str, batch: str | None) -> _Cells:
    """Modes B and C (feagi.md 5 and 6): only what received something; C where ``batch`` (bool) says so."""
    start = cells.potential if sheet.charge_accumulation else writer.op("Mul", cells.potential, 0)
    resting = writer.op("Greater", cells.countdown, 0)
    awake = writer.op("And", touch, writer.op("Not", resting))
    potential = _add(writer, start, _encode(writer, total))
    after = _single(writer, sheet, cells, potential)
    if batch is not None:
        other = _batch(writer, sheet, cells, potential)
        after = [_either(writer, batch, *pair) for pair in zip(other, after, strict=True)]
    fires = writer.op("And", awake, writer.cast(after[0], TensorProto.BOOL))
    rested = writer.op("Sub", cells.countdown, writer.cast(writer.op("And", touch, resting), TensorProto.INT32))
    return _Cells(
        fired=writer.cast(fires, TensorProto.INT32),
        potential=writer.choose(awake, after[1], start),
        countdown=writer.choose(fires, after[2], rested),
        count=_count(writer, sheet, cells, awake, resting, rested, after[3]),
    )


def _either(writer: _Writer, batch: str, other: Any, single: Any) -> Any:
    """``batch ? other : single``, through numbers: ONNX Runtime chooses between no bools."""
    if other == single:
        return single
    return writer.choose(batch, other, single)


def _count(
    writer: _Writer, sheet: Sheet, cells: _Cells, awake: str, resting: str, rested: str, moved: str | None
) -> str | None:
    """Firings in a row; the last burst of rest after the limit forgets them (step 2a)."""
    if cells.count is None or moved is None:
        return None
    ends = writer.op("And", resting, writer.op("Equal", rested, 0))
    forgets = writer.op("And", ends, _exhausted(writer, sheet, cells.count))
    return writer.choose(awake, moved, writer.choose(forgets, 0, cells.count))


def _number(writer: _Writer, condition: str) -> str:
    return writer.cast(condition, TensorProto.INT32)


def _exhausted(writer: _Writer, sheet: Sheet, count: str) -> str:
    return str(writer.op("GreaterOrEqual", count, sheet.consecutive_limit))


def _limit(sheet: Sheet) -> int:
    return int(encode(sheet.threshold_limit)) if sheet.threshold_limit else 127


def _single(writer: _Writer, sheet: Sheet, cells: _Cells, potential: str) -> list[Any]:
    """Mode B: fires, potential, countdown and count of neurons that take part."""
    reached = writer.op("GreaterOrEqual", potential, _threshold(sheet))
    passed = writer.op("And", reached, writer.op("LessOrEqual", potential, _limit(sheet)))
    leaked = _leak(writer, sheet, potential)
    if cells.count is None:
        return [_number(writer, passed), writer.choose(passed, 0, leaked), sheet.refractory_period, None]
    blocked = writer.op("And", passed, _exhausted(writer, sheet, cells.count))
    fires = writer.op("And", passed, writer.op("Not", blocked))
    raised = writer.op("Add", cells.count, 1)
    snooze = sheet.refractory_period + sheet.snooze
    period = writer.choose(_exhausted(writer, sheet, raised), snooze, sheet.refractory_period)
    moved = writer.choose(fires, 0, writer.choose(blocked, potential, leaked))
    return [_number(writer, fires), moved, period, writer.choose(fires, raised, 0)]


def _batch(writer: _Writer, sheet: Sheet, cells: _Cells, potential: str) -> list[Any]:
    """Mode C: the threshold alone resets; then the limits revoke."""
    reached = writer.op("GreaterOrEqual", potential, _threshold(sheet))
    moved = writer.choose(reached, 0, _leak(writer, sheet, potential))
    fires = reached
    if _limit(sheet) < 0:  # compared with the potential after the reset
        fires = writer.op("And", fires, writer.op("Less", potential, -CODE_OFFSET))
    if cells.count is None:
        return [_number(writer, fires), moved, sheet.refractory_period, None]
    fires = writer.op("And", fires, writer.op("Not", _exhausted(writer, sheet, cells.count)))
    return [
        _number(writer, fires),
        moved,
        sheet.refractory_period,
        writer.choose(fires, writer.op("Add", cells.count, 1), 0),
    ]
