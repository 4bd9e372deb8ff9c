"""The engine: takes a network, steps it burst by burst, and hides which core computes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from openhailo.burst import native
from openhailo.burst._columns import column, length_of
from openhailo.burst.core import (
    BATCH_CANDIDATES,
    LAZY_RESET_NEURONS,
    BurstResult,
    Core,
    Ids,
    RunResult,
    Settings,
    State,
)
from openhailo.burst.network import Network
from openhailo.burst.neurons import Neurons
from openhailo.burst.plain import PlainCore
from openhailo.errors import InputError, StateError

MODES = ("npu", "embedded")
"""``npu``: what a FEAGI server executes (modes B and C); ``embedded``: the dense burst of small devices (mode A)."""

BACKEND_VARIABLE = "OPENHAILO_BURST"
"""Environment variable that names the core to use."""

Inputs = tuple[npt.ArrayLike, npt.ArrayLike]


class Engine:
    """Executes a network, one burst at a time or many.

    The network is copied into the core's own form: it may be dropped afterwards.

    Args:
        network: what to execute.
        mode: "npu" or "embedded" (feagi.md 1).
        threads: threads of the native core; results do not depend on it.
        backend: "native" or "numpy"; None takes the fastest there is, or what OPENHAILO_BURST says.
        owned: bool per neuron; the others are left to other engines of the same network (a partition). Their spikes
            come in by :meth:`set_fired`.
        batch_candidates: candidates from which the npu updates in batches.
        lazy_reset_neurons: neurons from which charges that do not accumulate are only taken from those that fired.

    Raises:
        InputError: an unknown mode or backend, or a mask that does not fit.
    """

    def __init__(
        self,
        network: Network,
        mode: str = "npu",
        threads: int = 1,
        backend: str | None = None,
        *,
        owned: npt.ArrayLike | None = None,
        batch_candidates: int = BATCH_CANDIDATES,
        lazy_reset_neurons: int = LAZY_RESET_NEURONS,
    ) -> None:
        if mode not in MODES:
            raise InputError(what="mode", detail=f"{mode!r} is unknown; use one of {', '.join(MODES)}")
        if not 1 <= threads <= 64:
            raise InputError(what="threads", detail=f"{threads}; 1..64 are possible")
        self._neurons, count = _Kept.of(network.neurons), len(network.neurons)
        self._stored = network.neurons.potential.dtype
        self._count = count
        mask = None if owned is None else column("owned", owned, np.bool_, count)
        settings = Settings(mode, threads, batch_candidates, lazy_reset_neurons)
        self.mode, self.threads = mode, threads
        self.backend, self._core = build_core(network, settings, mask, backend)
        self._initial = _Kept.of(self._core.state())
        self._begun = False

    def __len__(self) -> int:
        return self._count

    def step(self, inputs: Inputs | None = None) -> BurstResult:
        """One burst. ``inputs``: ids (u32) and values (f32); zeros, NaN, infinities and unknown ids are skipped."""
        checked = self._filtered(inputs)
        self._require_between_bursts("a burst")
        return self._core.step(*checked)

    def propagate(self, inputs: Inputs | None = None) -> int:
        """First half of a burst; return the number of candidates. :meth:`update` must follow."""
        checked = self._filtered(inputs)
        self._require_between_bursts("a burst")
        candidates = self._core.propagate(*checked)
        self._begun = True
        return candidates

    def update(self, candidates: int) -> BurstResult:
        """Second half of a burst. ``candidates``: the number in the whole network, over all its parts."""
        if not self._begun:
            raise StateError(what="update", state="no burst has begun", hint="call propagate first")
        if not 0 <= candidates < 2**63:
            raise InputError(what="candidates", detail=f"{candidates} is no number of neurons")
        self._begun = False
        return self._core.update(candidates)

    def _require_between_bursts(self, what: str) -> None:
        if self._begun:
            raise StateError(what=what, state="a burst has begun", hint="call update first")

    def run(self, count: int, inputs: Sequence[Inputs | None] | None = None) -> RunResult:
        """``count`` bursts; ``inputs`` has one entry per burst, or fewer: the rest gets none.

        Raises:
            InputError: a negative count or more inputs than bursts.
        """
        given = list(inputs or ())
        if count < 0 or len(given) > count:
            raise InputError(what="inputs", detail=f"{len(given)} for {count} bursts")
        self._require_between_bursts("a run")
        parts = [self._filtered(entry) for entry in given]
        offsets = np.zeros(count + 1, np.int64)
        offsets[1 : len(parts) + 1] = [len(ids) for ids, _ in parts]
        empty = self._filtered(None)
        ids = np.concatenate([part[0] for part in [*parts, empty]])
        values = np.concatenate([part[1] for part in [*parts, empty]])
        return self._core.run(count, np.cumsum(offsets), ids, values)

    @property
    def neurons(self) -> Neurons:
        """The neurons as they are now (a copy)."""
        state = self._core.state()
        present = {name: getattr(state, name) for name in ("potential", "refractory_countdown", "consecutive_count")}
        return Neurons(**{**self._neurons.columns(), **present})

    @property
    def state(self) -> State:
        """Everything that changes from burst to burst (a copy)."""
        return self._core.state()

    def restore(self, state: State) -> None:
        """Go on from ``state``, which an engine of the same network gave.

        Raises:
            InputError: arrays that do not fit the network, or ids that are none or not ascending.
        """
        stored, count = self._stored, len(self)
        fired, potentials = self._checked_fired(state.fired, state.potentials)
        if state.burst < 0:
            raise InputError(what="burst", detail=f"{state.burst} is negative")
        checked = State(
            potential=column("potential", state.potential, stored, count),
            refractory_countdown=column("refractory_countdown", state.refractory_countdown, np.uint16, count),
            consecutive_count=column("consecutive_count", state.consecutive_count, np.uint16, count),
            fired=fired,
            potentials=potentials,
            burst=state.burst,
        )
        self._core.restore(checked)
        self._begun = False

    def set_fired(self, fired: npt.ArrayLike, potentials: npt.ArrayLike) -> None:
        """Take these as what fired in the burst before, in the whole network; the next burst propagates them.

        ``fired``: ids (u32) ascending; ``potentials``: stored values at the moment of firing.

        Raises:
            InputError: ids that are none or not ascending, or arrays that do not fit.
        """
        self._require_between_bursts("set_fired")
        self._core.set_fired(*self._checked_fired(fired, potentials))

    def _checked_fired(self, fired: npt.ArrayLike, potentials: npt.ArrayLike) -> tuple[Ids, npt.NDArray[Any]]:
        ids = column("fired", fired, np.uint32, length_of("fired", fired))
        if ids.size and (int(ids.max()) >= len(self) or (ids[1:] <= ids[:-1]).any()):
            raise InputError(what="fired", detail=f"ids must ascend and be below {len(self)}")
        return ids, column("potentials", potentials, self._stored, len(ids))

    def reset(self) -> None:
        """Back to the uploaded state, before the first burst."""
        self._core.restore(State(**self._initial.columns()))
        self._begun = False

    def _filtered(self, inputs: Inputs | None) -> tuple[Ids, npt.NDArray[np.float32]]:
        """Inputs that count (feagi.md 11: zero and non-finite potentials are skipped)."""
        if inputs is None:
            return np.zeros(0, np.uint32), np.zeros(0, np.float32)
        count = length_of("input ids", inputs[0])
        ids = column("input ids", inputs[0], np.uint32, count)
        values = column("input values", inputs[1], np.float32, count)
        keep = (values != 0) & np.isfinite(values) & (ids < len(self))
        return (ids, values) if keep.all() else (ids[keep], values[keep])


@dataclass(frozen=True)
class _Kept:
    """The fields of a record for later; of an array whose elements are all equal, only one."""

    values: dict[str, Any]
    lengths: dict[str, int]

    @classmethod
    def of(cls, record: Neurons | State) -> _Kept:
        values, lengths = {}, {}
        for item in fields(record):
            value = getattr(record, item.name)
            if isinstance(value, np.ndarray):
                lengths[item.name] = len(value)
                bits = value.view(f"u{value.itemsize}")
                alike = len(value) > 0 and bool((bits == bits[0]).all())
                value = value[:1].copy() if alike else value.copy()
            values[item.name] = value
        return cls(values, lengths)

    def columns(self) -> dict[str, Any]:
        """The fields as they were."""
        whole = {name: np.resize(self.values[name], length) for name, length in self.lengths.items()}
        return {**self.values, **whole}


def available_backends() -> tuple[str, ...]:
    """Names of the cores that can be used here, fastest first."""
    return ("native", "numpy") if native.load_module() is not None else ("numpy",)


def build_core(
    network: Network, settings: Settings, owned: npt.NDArray[np.bool_] | None, backend: str | None
) -> tuple[str, Core]:
    """The core called ``backend`` (None: OPENHAILO_BURST, else the fastest) with ``network`` in it, and its name.

    Raises:
        InputError: a core that is unknown or not installed.
    """
    present = available_backends()
    name = backend or os.environ.get(BACKEND_VARIABLE) or present[0]
    if name not in present:
        raise InputError(what="backend", detail=f"{name!r} is not here; there is {', '.join(present)}")
    core = native.NativeCore if name == "native" else PlainCore
    return name, core(network, settings, owned)
