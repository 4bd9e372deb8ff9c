"""Several programs of one context, one after the other; what lies between them is moved by the firmware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from openhailo.errors import BadProgram

from .kernel import Kernel


class Place(NamedTuple):
    """A port of a chain: which stage it belongs to, and its number there."""

    stage: int
    port: int


class ChainKernel:
    """Stages in turn. Ports are those of all stages; an output of one may be an input of a later one.

    Such a pair has streams of its own, and its bytes leave the core in between: through a buffer in host memory that
    the firmware fills and empties (DDR channels, context-switch.md 19).
    """

    is_stable = True

    def __init__(self, stages: Sequence[Kernel]) -> None:
        """Join ``stages``. Raises `BadProgram` when two of them have a stream in common."""
        self.stages = tuple(stages)
        self.max_batch = min(stage.max_batch for stage in stages)
        self.input_places = [Place(s, p) for s, stage in enumerate(stages) for p in range(len(stage.inputs))]
        self.output_places = [Place(s, p) for s, stage in enumerate(stages) for p in range(len(stage.outputs))]
        self.inputs = tuple(stages[s].inputs[p] for s, p in self.input_places)
        self.outputs = tuple(stages[s].outputs[p] for s, p in self.output_places)
        for ports in (self.inputs, self.outputs):
            if len({port.stream_index for port in ports}) != len(ports):
                raise BadProgram(detail="two programs of a context have a stream in common")

    def input_view(self, port: int, frames: int) -> memoryview:
        """Writable bytes of input ``port``."""
        place = self.input_places[port]
        return self.stages[place.stage].input_view(place.port, frames)

    def output_view(self, port: int, frames: int) -> memoryview:
        """Bytes of output ``port``."""
        place = self.output_places[port]
        return self.stages[place.stage].output_view(place.port, frames)

    def compute(self, frames: int) -> None:
        """Run the first stage; the firmware runs the others when it has moved what is between them."""
        self.compute_stage(0, frames)

    def compute_stage(self, stage: int, frames: int) -> None:
        """Run one stage. Raises `BadProgram`."""
        self.stages[stage].compute(frames)
