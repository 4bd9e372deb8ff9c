"""The compiled core (distribution ``openhailo-native``) behind the protocol of :mod:`openhailo.burst.core`."""

from __future__ import annotations

import os
from dataclasses import fields
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from openhailo.burst.core import BurstResult, Ids, RunResult, Settings, State
from openhailo.burst.network import Network, wire
from openhailo.errors import InputError

KERNEL_VARIABLE = "OPENHAILO_BURST_KERNEL"
"""Environment variable that names an instruction set ("avx512", "avx2", "baseline") instead of the best one."""


def load_module() -> Any | None:
    """The extension module, or None where it is not installed."""
    try:
        return import_module("openhailo_native")
    except ImportError:
        return None


class NativeCore:
    """A network executed by compiled code; every index is checked when the network is taken in."""

    def __init__(self, network: Network, settings: Settings, owned: npt.NDArray[np.bool_] | None = None) -> None:
        module, neurons = load_module(), network.neurons
        if module is None:
            raise InputError(what="backend", detail="openhailo-native is not installed; run `pip install ./native`")
        kernel = os.environ.get(KERNEL_VARIABLE, "")
        if kernel and kernel not in module.kernels():
            raise InputError(what=KERNEL_VARIABLE, detail=f"{kernel!r}; here run {', '.join(module.kernels())}")
        powered = network.powered() if settings.mode == "npu" else np.zeros(0, np.uint32)
        cells = {item.name: getattr(neurons, item.name) for item in fields(neurons) if item.name != "precision"}
        cells["active"] = neurons.valid if owned is None else neurons.valid & owned
        self._engine = module.Engine(
            cells,
            vars(wire(network, settings.mode, owned)),
            is_int8=neurons.precision == "int8",
            embedded=settings.mode == "embedded",
            threads=settings.threads,
            batch_candidates=settings.batch_candidates,
            lazy_reset_neurons=settings.lazy_reset_neurons,
            powered=powered if owned is None else powered[owned[powered]],
            power=float(np.float32(network.power_amount)),
            kernel=kernel,
        )
        self._owned = owned

    @property
    def kernel(self) -> str:
        """Instruction set in use."""
        return str(self._engine.kernel)

    def propagate(self, ids: Ids, values: npt.NDArray[np.float32]) -> int:
        """Begin the next burst; return the number of candidates."""
        return int(self._engine.propagate(*self._own(ids, values)))

    def update(self, candidates: int) -> BurstResult:
        """End the burst."""
        (fired, potentials), *counts = self._engine.update(candidates)
        return BurstResult(fired, potentials, *counts)

    def step(self, ids: Ids, values: npt.NDArray[np.float32]) -> BurstResult:
        """A whole burst."""
        (fired, potentials), *counts = self._engine.step(*self._own(ids, values))
        return BurstResult(fired, potentials, *counts)

    def run(self, count: int, offsets: npt.NDArray[np.int64], ids: Ids, values: npt.NDArray[np.float32]) -> RunResult:
        """``count`` bursts without coming back to Python."""
        if self._owned is not None:
            kept = np.concatenate([[0], np.cumsum(self._owned[ids])])
            offsets = kept[offsets].astype(np.int64)
            ids, values = self._own(ids, values)
        first = self._engine.burst + 1
        spans, fired, candidates = self._engine.run(count, offsets, ids, values)
        return RunResult(spans, fired, candidates, first)

    def state(self) -> State:
        """A copy of the present state."""
        potential, countdown, count = self._engine.state()
        fired, potentials = self._engine.fired()
        return State(potential, countdown, count, fired, potentials, self._engine.burst)

    def restore(self, state: State) -> None:
        """Go on from ``state``."""
        columns = (state.potential, state.refractory_countdown, state.consecutive_count)
        self._engine.restore(*columns, state.burst)
        self._engine.set_fired(state.fired, state.potentials)

    def set_fired(self, fired: Ids, potentials: npt.NDArray[Any]) -> None:
        """Take these as what fired in the burst before."""
        self._engine.set_fired(fired, potentials)

    def _own(self, ids: Ids, values: npt.NDArray[np.float32]) -> tuple[Ids, npt.NDArray[np.float32]]:
        if self._owned is None:
            return ids, values
        keep = self._owned[ids]
        return ids[keep], values[keep]
