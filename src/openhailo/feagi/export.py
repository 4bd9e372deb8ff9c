"""A structured network as an ONNX graph of one burst, in integers: state in, state out. Needs the extra ``compiler``.

For chips whose core runs graphs of tensors and no spiking networks, and for any ONNX tool. One run is one burst::

    step = export_step(structured, input_step=4)
    state = step.initial_state()
    state = session.run(["next"], {"levels": levels, "state": state})[0]
    fired = step.fired(state)

Everything is integer arithmetic with tables for FEAGI's one-byte potentials, so that the bits are those of
`openhailo.burst.Engine` on `Structured.to_network`, in both modes and on both sides of the 10,000 candidates.
What a graph of tensors cannot express, or not exactly, a `Structured` cannot have: divided or potential-driven PSP,
random excitability, core areas, single neurons that differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from openhailo.burst import MODES, State
from openhailo.burst.core import BATCH_CANDIDATES
from openhailo.errors import InputError

from .burst_graph import CODE_OFFSET, LEVELS, NEXT, STATE, build_graph, state_fields
from .structured import Structured

if TYPE_CHECKING:
    from openhailo.compiler import CompiledModel

__all__ = ["LEVELS", "NEXT", "STATE", "StepModel", "export_step"]

CALIBRATION_FRAMES: Final = 8
"""With fewer the compiler warns; the first two say everything."""
_EXACT: Final = 1 << 24
"""Up to here f32 holds every whole number, so that the order of a sum does not matter."""


@dataclass(frozen=True)
class StepModel:
    """One burst as a graph.

    ``levels`` (1, inputs) uint8: what the areas that take inputs receive, in multiples of ``input_step``; 0 is nothing.
    ``state`` and ``next`` (1, size) uint8: of all neurons whether they fired, then potential codes plus 128, then
    countdowns, then, where an area has a limit, firings in a row.

    Attributes:
        model: the graph with uint8 ends.
        structured: what it was made of.
        mode: "npu" or "embedded".
        input_step: potential of one level.
        batch_candidates: candidates from which mode npu updates in batches.
    """

    model: onnx.ModelProto = field(repr=False)
    structured: Structured
    mode: str
    input_step: int
    batch_candidates: int = BATCH_CANDIDATES

    @property
    def fields(self) -> int:
        """Bytes of state per neuron."""
        return state_fields(self.structured)

    @cached_property
    def float_model(self) -> onnx.ModelProto:
        """The same with float ends, 0..255, for tools that take nothing else: `openhailo compile` for one."""
        return build_graph(self.structured, self.mode, self.input_step, self.batch_candidates, float_ends=True)

    @property
    def ways(self) -> tuple[str, ...]:
        """Nodes of `float_model` that a quantizer has to leave alone: they compute whole numbers already."""
        return tuple(node.name for node in self.float_model.graph.node if node.op_type in {"Conv", "MatMul"})

    def save(self, path: str | Path) -> None:
        """Write `model` to ``path``. Raises `OSError`."""
        onnx.save(self.model, str(path))

    def save_for_compiler(self, folder: str | Path) -> str:
        """Write ``burst_step.onnx`` (`float_model`) and ``burst_step.npz`` (`calibration`) into ``folder``.

        Returns the command that compiles them. Raises `OSError`.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(self.float_model, str(folder / "burst_step.onnx"))
        frames: dict[str, Any] = self.calibration()
        np.savez(folder / "burst_step.npz", **frames)
        excluded = "".join(f" --exclude {name}" for name in self.ways)
        return f"openhailo compile {folder / 'burst_step.onnx'} --calibration {folder / 'burst_step.npz'}{excluded}"

    def initial_state(self) -> npt.NDArray[np.uint8]:
        """State before the first burst: (1, size) uint8."""
        state = np.zeros((self.fields, self.structured.count), np.uint8)
        state[1] = CODE_OFFSET
        return state.reshape(1, -1)

    def pack(self, state: State) -> npt.NDArray[np.uint8]:
        """State of an engine of the same network as (1, size) uint8.

        Raises:
            InputError: another number of neurons, or countdowns or counts beyond 255.
        """
        packed = np.zeros((self.fields, self.structured.count), np.uint8)
        if state.potential.shape != packed[0].shape or state.potential.dtype != np.int8:
            raise InputError(what="state", detail=f"needs the int8 potentials of {self.structured.count} neurons")
        packed[0, state.fired] = 1
        packed[1] = (state.potential.astype(np.int16) + CODE_OFFSET).astype(np.uint8)
        rows = (state.refractory_countdown, np.where(self._limited, state.consecutive_count, 0))
        for row, values in zip(packed[2:], rows, strict=False):
            if values.max() > 255:
                raise InputError(what="state", detail="countdowns and counts beyond 255 cannot be exported")
            row[:] = values
        return packed.reshape(1, -1)

    def fired(self, state: npt.ArrayLike) -> npt.NDArray[np.uint32]:
        """Ids of the neurons that fired in the burst that gave ``state``, ascending."""
        return np.flatnonzero(self._rows(state)[0]).astype(np.uint32)

    def potentials(self, state: npt.ArrayLike) -> npt.NDArray[np.int8]:
        """Potential codes of all neurons."""
        codes: npt.NDArray[np.int8] = (self._rows(state)[1].astype(np.int16) - CODE_OFFSET).astype(np.int8)
        return codes

    def inputs(self, levels: npt.ArrayLike) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
        """What an engine takes as input for ``levels``: ids and potentials."""
        flat = np.asarray(levels).reshape(-1)
        ids = np.concatenate([self.structured.ids(sheet.name) for sheet in self.structured.areas if sheet.takes_input])
        at = np.flatnonzero(flat)
        return ids[at].astype(np.uint32), flat[at].astype(np.float32) * np.float32(self.input_step)

    def calibration(self) -> dict[str, npt.NDArray[np.float32]]:
        """Frames with which `openhailo compile` keeps every level: both ends of the scale go in and come out."""
        state = np.zeros((CALIBRATION_FRAMES, self.fields, self.structured.count), np.float32)
        # A neuron that rests keeps its potential (embedded), one without input its countdown (npu).
        state[0, 1:3] = 255.0
        levels = np.zeros((CALIBRATION_FRAMES, self.structured.input_count), np.float32)
        levels[1] = 255.0
        return {LEVELS: levels, STATE: state.reshape(CALIBRATION_FRAMES, -1)}

    def compile(self, name: str = "burst_step", arch: str = "hailo8") -> CompiledModel:
        """Compile to a HEF: inputs ``levels`` and ``state``, output ``next``, all with scale 1, bit for bit the graph.

        Raises:
            CompileError: the compiler cannot take it, or it does not fit.
        """
        from openhailo.compiler import compile_model

        options: dict[str, Any] = {"arch": arch, "exclude": self.ways, "equalize": False}
        return compile_model(self.float_model, name=name, calibration=self.calibration(), **options)

    @property
    def _limited(self) -> npt.NDArray[np.bool_]:
        areas = self.structured.areas
        return np.repeat([area.consecutive_limit > 0 for area in areas], [area.count for area in areas])

    def _rows(self, state: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        values = np.asarray(state)
        if values.size != self.fields * self.structured.count:
            raise InputError(what="state", detail=f"{values.size} values, needed {self.fields * self.structured.count}")
        return values.reshape(self.fields, -1).astype(np.uint8)


def export_step(
    structured: Structured, mode: str = "npu", *, input_step: int = 1, batch_candidates: int = BATCH_CANDIDATES
) -> StepModel:
    """Return one burst of ``structured`` as a graph.

    Args:
        structured: areas and projections.
        mode: "npu" or "embedded" (feagi.md 1).
        input_step: potential of one input level, a whole number from 1 up.
        batch_candidates: candidates from which mode npu updates in batches, as the engine's.

    Raises:
        InputError: an unknown mode, a step that is none, no area that takes inputs, or sums that f32 cannot hold.
    """
    if mode not in MODES:
        raise InputError(what="mode", detail=f"{mode!r} is unknown; use one of {', '.join(MODES)}")
    if type(input_step) is not int or input_step < 1:
        raise InputError(what="input_step", detail=f"{input_step!r}; a whole number from 1 up is needed")
    if not structured.input_count:
        raise InputError(what="areas", detail="none takes inputs, so that nothing could ever happen")
    for sheet in structured.areas:
        reach = 255 * input_step * sheet.takes_input
        reach += sum(way.reach() for way in structured.projections if way.target == sheet.name)
        if reach >= _EXACT:
            raise InputError(what=f"area {sheet.name!r}", detail=f"sums up to {reach} are not exact; lower psp or step")
    model = build_graph(structured, mode, input_step, batch_candidates, float_ends=False)
    return StepModel(model, structured, mode, input_step, batch_candidates)
