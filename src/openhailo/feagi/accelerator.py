"""What a neural accelerator offers, by FEAGI's names, and one that is just this computer's engine (feagi.md 2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from openhailo.burst import Engine, Network, Neurons, Synapses
from openhailo.errors import (
    AcceleratorError,
    BufferTooLarge,
    DeviceBusy,
    DeviceNotFound,
    DeviceTimeout,
    DmaMapError,
    InferenceFailed,
    InputError,
    InvalidParameter,
    NotInitialized,
)

from .formats import Buffer, build_neurons, check_capacity, parse_neurons, parse_synapses

NoDeviceFound, DmaError, Timeout = DeviceNotFound, DmaMapError, DeviceTimeout
"""FEAGI's names of errors that openhailo has already."""

__all__ = [
    "Accelerator",
    "AcceleratorCapabilities",
    "AcceleratorError",
    "BufferTooLarge",
    "DeviceBusy",
    "DmaError",
    "EngineAccelerator",
    "InferenceFailed",
    "InvalidParameter",
    "NeuralAccelerator",
    "NoDeviceFound",
    "NotInitialized",
    "Timeout",
]

INT8, FP16, FP32 = 1, 2, 4
"""Bits of `AcceleratorCapabilities.supported_precisions` (feagi.md 2)."""

Ids = npt.NDArray[np.uint32]
Inputs = tuple[npt.ArrayLike, npt.ArrayLike]
_NOBODY: Final = np.zeros(0, np.uint32)


@dataclass(frozen=True)
class AcceleratorCapabilities:
    """What an accelerator can hold and do.

    ``max_neurons`` and ``max_synapses`` are what fits at best; an upload says exactly. ``supported_precisions`` are
    bits (INT8 1, FP16 2, FP32 4). Bandwidth in bytes a second, power in milliwatts; 0 where nobody knows.
    """

    max_neurons: int
    max_synapses: int
    supported_precisions: int
    memory_bandwidth_bytes_per_sec: int
    power_consumption_mw: int


@runtime_checkable
class NeuralAccelerator(Protocol):
    """FEAGI's accelerator interface; every method that needs a network raises `NotInitialized` without one."""

    @property
    def name(self) -> str:
        """What it is."""
        ...

    @property
    def performance_ops_per_sec(self) -> int:
        """Operations a second, 0 when that is not known."""
        ...

    @property
    def capabilities(self) -> AcceleratorCapabilities:
        """What it can hold and do."""
        ...

    def is_available(self) -> bool:
        """Whether it can be used here and now."""
        ...

    def init_device(self, index: int = 0) -> None:
        """Open the ``index``-th device. Raises `NoDeviceFound`, `DeviceBusy`."""
        ...

    def upload_neurons(self, data: Buffer) -> None:
        """Take neurons, 15 bytes each. Raises `BufferTooLarge`, `InvalidParameter`."""
        ...

    def upload_synapses(self, data: Buffer) -> None:
        """Take a synapse block (`openhailo.feagi.formats`). Raises `BufferTooLarge`, `InvalidParameter`."""
        ...

    def process_burst(self) -> int:
        """Run one burst; return how many neurons fired. Raises `InferenceFailed`, `Timeout`."""
        ...

    def download_neurons(self, buffer: bytearray | memoryview) -> int:
        """Write the neurons as they are now into ``buffer``, 15 bytes each; return the number of bytes."""
        ...

    def reset(self) -> None:
        """Go back to what was uploaded."""
        ...


class Accelerator:
    """What all our accelerators share: uploads put together, inputs kept for the next burst, what fired last.

    A subclass says what it can do, loads a network (`_load`), and runs bursts (`_run`).
    """

    name = "accelerator"
    performance_ops_per_sec = 0

    def __init__(self, mode: str = "npu") -> None:
        self.mode = mode
        self._neurons: Neurons | None = None
        self._synapses: Synapses | None = None
        self._network: Network | None = None
        self._loaded = False
        self._batch: list[Inputs | None] = []
        self._fired: list[Ids] = []
        self._busy_s = 0.0
        self._watched_s = time.perf_counter()
        self._executor: ThreadPoolExecutor | None = None

    # --- what subclasses do -----------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> AcceleratorCapabilities:
        """What it can hold and do."""
        raise TypeError("an accelerator says what it can do")

    def _require_device(self, what: str) -> None:
        """Raise `NotInitialized` when there is no device."""

    def _load(self, network: Network) -> None:
        raise TypeError("an accelerator loads networks")

    def _run(self, bursts: int, inputs: Sequence[Inputs | None]) -> list[Ids]:
        raise TypeError("an accelerator runs bursts")

    def _state(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        raise TypeError("an accelerator knows its state")

    def _rewind(self) -> None:
        raise TypeError("an accelerator goes back")

    # --- uploads ----------------------------------------------------------------------------------------------------

    def upload_neurons(self, data: Buffer) -> None:
        """Take neurons as records of 15 bytes; the synapses stay. Raises `BufferTooLarge`, `InvalidParameter`."""
        self._require_device("uploading neurons")
        check_capacity("neurons", len(data), self.capabilities.max_neurons, 15)
        self._neurons = parse_neurons(data)
        self._forget()

    upload_neurons_once = upload_neurons

    def upload_synapses(self, data: Buffer) -> None:
        """Take a block of synapses; the neurons stay. Raises `BufferTooLarge`, `InvalidParameter`."""
        self._require_device("uploading synapses")
        try:
            self._synapses = parse_synapses(data)
        except InputError as error:
            raise InvalidParameter(what="synapses", detail=str(error)) from error
        have = self.capabilities.max_synapses
        if len(self._synapses) > have:
            need, self._synapses = len(self._synapses), None
            raise BufferTooLarge(what="synapses", need=need * 7, have=have * 7, hint=f"{have} synapses fit")
        self._forget()

    def upload_network(self, network: Network) -> None:
        """Take a whole network, with everything that the records have no room for, and load it.

        Raises:
            BufferTooLarge: it does not fit.
        """
        self._require_device("uploading a network")
        self._forget()
        self._neurons, self._synapses, self._network = network.neurons, network.synapses, network
        self._ensure_loaded("uploading a network")

    def _forget(self) -> None:
        self._network, self._loaded, self._batch, self._fired = None, False, [], []

    def _ensure_loaded(self, what: str) -> Network:
        """Load what was uploaded, if that has not happened. Raises `NotInitialized`, `BufferTooLarge`."""
        self._require_device(what)
        if self._network is None:
            if self._neurons is None or not len(self._neurons):
                raise NotInitialized(what=what, hint="call upload_neurons first")
            synapses = self._synapses or Synapses.from_edges(len(self._neurons), _NOBODY, _NOBODY)
            try:
                self._network = Network(self._neurons, synapses)
            except InputError as error:
                raise InvalidParameter(what="synapses", detail=str(error)) from error
        if not self._loaded:
            self._load(self._network)
            self._loaded = True
        return self._network

    # --- bursts -----------------------------------------------------------------------------------------------------

    def upload_input_deltas(self, ids: npt.ArrayLike, values: npt.ArrayLike) -> None:
        """Add potentials ``values`` to neurons ``ids`` in the next burst. Raises `InvalidParameter`."""
        count = self._ensure_loaded("uploading inputs")
        checked = _checked(ids, values, len(count.neurons))
        if self._batch and self._batch[0] is not None:
            first = self._batch[0]
            checked = (np.concatenate([first[0], checked[0]]), np.concatenate([first[1], checked[1]]))
        self._batch[:1] = [checked]

    def upload_input_batch(self, batch: Sequence[Inputs | None]) -> None:
        """Set the inputs of the next bursts, one entry each. Raises `InvalidParameter`."""
        count = len(self._ensure_loaded("uploading inputs").neurons)
        self._batch = [None if entry is None else _checked(*entry, count) for entry in batch]

    def process_burst(self) -> int:
        """Run one burst; return how many neurons fired."""
        return int(self.process_burst_batch(1)[0])

    def process_burst_batch(self, count: int) -> npt.NDArray[np.int64]:
        """Run ``count`` bursts; return how many neurons fired in each. Raises `InferenceFailed`, `InvalidParameter`."""
        if not 0 < count < 1 << 31:
            raise InvalidParameter(what="bursts", detail=f"{count}; at least one is needed")
        self._ensure_loaded("processing a burst")
        given, self._batch = self._batch[:count], self._batch[count:]
        started = time.perf_counter()
        self._fired = self._run(count, given)
        self._busy_s += time.perf_counter() - started
        return np.fromiter((len(fired) for fired in self._fired), np.int64, count)

    def process_burst_async(self) -> Future[int]:
        """Run one burst in the background; the future gives how many neurons fired.

        Inputs of the next burst may be uploaded meanwhile. Bursts are executed in the order of the calls.
        """
        self._ensure_loaded("processing a burst")
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="openhailo burst")
        given, self._batch = self._batch[:1], self._batch[1:]

        def burst() -> int:
            started = time.perf_counter()
            self._fired = self._run(1, given)
            self._busy_s += time.perf_counter() - started
            return len(self._fired[0])

        return self._executor.submit(burst)

    def download_fired_neurons(self) -> Ids:
        """Return the ids of the neurons that fired in the last burst, ascending."""
        return self._fired[-1] if self._fired else _NOBODY

    def download_fired_batch(self) -> list[Ids]:
        """Return the same for every burst of the last call."""
        return list(self._fired)

    # --- state ------------------------------------------------------------------------------------------------------

    @property
    def neurons(self) -> Neurons:
        """The neurons as they are now."""
        network = self._ensure_loaded("downloading neurons")
        potential, countdown, count = self._state()
        return replace(network.neurons, potential=potential, refractory_countdown=countdown, consecutive_count=count)

    def download_neurons(self, buffer: bytearray | memoryview) -> int:
        """Write the neurons into ``buffer``, 15 bytes each; return how many bytes. Raises `BufferTooLarge`."""
        data = build_neurons(self.neurons)
        if len(data) > len(buffer):
            hint = f"a buffer of {len(data)} bytes is needed"
            raise BufferTooLarge(what="neuron records", need=len(data), have=len(buffer), hint=hint)
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def reset(self) -> None:
        """Go back to what was uploaded, before the first burst."""
        if self._loaded:
            self._rewind()
        self._batch, self._fired = [], []

    def utilization(self) -> float:
        """Return the part of the time since the last call that went into bursts, 0 to 1 (measured)."""
        now = time.perf_counter()
        busy, self._busy_s = self._busy_s, 0.0
        elapsed, self._watched_s = now - self._watched_s, now
        return min(1.0, busy / elapsed) if elapsed > 0 else 0.0

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()
        self._forget()


def _checked(ids: npt.ArrayLike, values: npt.ArrayLike, count: int) -> tuple[Ids, npt.NDArray[np.float32]]:
    """Inputs as arrays. Raises `InvalidParameter`."""
    try:
        where, what = np.asarray(ids), np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidParameter(what="inputs", detail=str(error)) from error
    if where.ndim != 1 or where.shape != what.shape or (where.size and where.dtype.kind not in "iu"):
        raise InvalidParameter(what="inputs", detail=f"ids {where.shape} {where.dtype}, potentials {what.shape}")
    if where.size and not (int(where.min()) >= 0 and int(where.max()) < count):
        raise InvalidParameter(what="inputs", detail=f"neurons {int(where.min())}..{int(where.max())} of {count}")
    if not np.isfinite(what).all():
        raise InvalidParameter(what="inputs", detail="a potential that is not finite")
    return where.astype(np.uint32, copy=False), what


class EngineAccelerator(Accelerator):
    """The burst engine of this computer as an accelerator."""

    name = "CPU"

    def __init__(self, mode: str = "npu", *, threads: int = 1, make: Callable[[Network], Engine] | None = None) -> None:
        super().__init__(mode)
        self._make = make or (lambda network: Engine(network, mode, threads))
        self._engine: Engine | None = None

    @property
    def capabilities(self) -> AcceleratorCapabilities:
        """Bounds of the formats; memory ends sooner."""
        return AcceleratorCapabilities(50_000_000 - 1, (1 << 32) - 1, INT8 | FP32, 0, 0)

    def is_available(self) -> bool:
        """Always."""
        return True

    def init_device(self, index: int = 0) -> None:
        """There is one device. Raises `NoDeviceFound`."""
        if index:
            raise NoDeviceFound(name=f"CPU {index}", hint="there is one, number 0")

    def _load(self, network: Network) -> None:
        self._engine = self._make(network)

    def _run(self, bursts: int, inputs: Sequence[Inputs | None]) -> list[Ids]:
        assert self._engine is not None, "bursts run on what was loaded"
        if bursts == 1:
            return [self._engine.step(inputs[0] if inputs else None).fired]
        result = self._engine.run(bursts, inputs)
        return [result[index] for index in range(bursts)]

    def _state(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        assert self._engine is not None, "only what was loaded has a state"
        state = self._engine.state
        return state.potential, state.refractory_countdown, state.consecutive_count

    def _rewind(self) -> None:
        assert self._engine is not None, "only what was loaded goes back"
        self._engine.reset()
