"""A network as the bytes of an ``snn`` program: shared parameters in a table, state in as few bytes as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openhailo.burst import NO_LIMIT, Network, Neurons, Synapses
from openhailo.compiler.allocate import program_limit
from openhailo.errors import BufferTooLarge, InputError
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.snn import SnnMode, SnnPrecision

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
_PARAMETERS: Final = (
    "threshold", "threshold_limit", "leak", "excitability", "refractory_period", "consecutive_limit", "snooze", "area",
    "valid", "charge_accumulation",
)  # fmt: skip
_WIDTHS: Final[dict[int, np.dtype[Any]]] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}


@dataclass(frozen=True)
class Footprint:
    """Where a network's bytes go.

    Attributes:
        neuron_bytes: state and parameters of one neuron on the chip.
        state_bytes: what must be on the chip: neurons, parameter tables, a bit each for having fired.
        memory_bytes: what the chip has.
        resident_rows: sources whose synapses stay on the chip.
        resident_bytes: bytes of those rows.
        streamed_bytes: bytes of all other rows; each is fetched from host memory when its source fires.
        classes: different sets of parameters.
    """

    neuron_bytes: int
    state_bytes: int
    memory_bytes: int
    resident_rows: int
    resident_bytes: int
    streamed_bytes: int
    classes: int


@dataclass(frozen=True)
class Packed:
    """A network in classes: parameters once per class, the class of each neuron, and what the state takes."""

    table: dict[str, Array]
    classes: Array
    countdown_bytes: int
    count_bytes: int
    potential_bytes: int
    footprint: Footprint


def pack_classes(neurons: Neurons) -> tuple[dict[str, Array], npt.NDArray[np.uint32]]:
    """Return the different sets of parameters, one array each, and the number of its set for every neuron."""
    classes = np.zeros(len(neurons), np.uint32)
    for name in _PARAMETERS:
        codes, levels = _codes(np.asarray(getattr(neurons, name)))
        if levels > 1:
            combined = classes.astype(np.uint64) * np.uint64(levels) + codes
            classes = _dense(combined)
    # The first neuron of each class stands for it.
    first = np.full(int(classes.max()) + 1, len(neurons), np.int64)
    np.minimum.at(first, classes, np.arange(len(neurons)))
    return {name: np.asarray(getattr(neurons, name))[first] for name in _PARAMETERS}, classes


def _codes(values: Array) -> tuple[npt.NDArray[np.uint64], int]:
    """Number the different bit patterns of ``values``; most columns have one, which costs a comparison."""
    raw = values.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[values.itemsize])
    if (raw == raw[0]).all():
        return np.zeros(0, np.uint64), 1
    if raw.itemsize < 4:
        return raw.astype(np.uint64), 1 << 8 * raw.itemsize
    distinct, codes = np.unique(raw, return_inverse=True)
    return codes.astype(np.uint64), len(distinct)


def _dense(combined: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """Renumber without gaps: through a table where numbers are small, else by sorting."""
    highest = int(combined.max())
    if highest >= 1 << 24:
        return np.unique(combined, return_inverse=True)[1].astype(np.uint32)
    present = np.zeros(highest + 1, np.bool_)
    present[combined] = True
    numbers: npt.NDArray[np.uint32] = (np.cumsum(present) - 1).astype(np.uint32)
    return numbers[combined]


def _width(highest: int) -> int:
    return 0 if highest == 0 else 1 if highest < 1 << 8 else 2 if highest < 1 << 16 else 4


def pack_state(network: Network, spec: ChipSpec = CHIP, owned: Mask | None = None) -> Packed:
    """Decide how the neurons are packed and which rows of synapses stay on the chip; with ``owned`` only those count.

    Raises:
        BufferTooLarge: the neurons do not fit; it says how many of their kind would.
        InputError: no neurons.
    """
    neurons = network.neurons
    if not len(neurons):
        raise InputError(what="network", detail="it has no neurons")
    table, classes = pack_classes(neurons)
    limited = (table["consecutive_limit"] != 0) & (table["consecutive_limit"] != NO_LIMIT)
    rest = table["refractory_period"].astype(np.int64) + np.where(limited, table["snooze"], 0)
    countdown_bytes = _width(max(int(neurons.refractory_countdown.max()), min(int(rest.max()), 65535)))
    count_bytes = 0
    if limited.any():
        highest = int(table["consecutive_limit"][limited].max())
        count_bytes = _width(max(highest, int(neurons.consecutive_count[limited[classes]].max())))
    class_bytes = max(1, _width(len(table["leak"]) - 1))
    potential_bytes = neurons.potential.itemsize
    neuron_bytes = class_bytes + potential_bytes + countdown_bytes + count_bytes
    footprint = _footprint(network, neuron_bytes, len(table["leak"]), spec, owned)
    narrow = classes.astype(_WIDTHS[class_bytes])
    return Packed(table, narrow, countdown_bytes, count_bytes, potential_bytes, footprint)


def _footprint(network: Network, neuron_bytes: int, classes: int, spec: ChipSpec, owned: Mask | None) -> Footprint:
    rules, count = spec.snn, len(network.neurons)
    areas = len({*network.areas.psp_uniform, *network.areas.mp_driven})
    tables = classes * spec.snn_class.size + areas * spec.snn_area.size
    kept, bits = (count, 1) if owned is None else (int(np.count_nonzero(owned)), 2)
    state = kept * neuron_bytes + bits * -(-count // 8) + tables
    if state > rules.memory_bytes:
        fits = max(0, (rules.memory_bytes - tables) * 8 // (8 * neuron_bytes + 1))
        hint = f"{fits} neurons of {neuron_bytes} bytes fit beside {classes} sets of parameters; split the network"
        raise BufferTooLarge(what="neurons", need=state, have=rules.memory_bytes, hint=hint)
    starts = network.synapses.row_start.astype(np.int64)
    ends = np.arange(count + 1, dtype=np.int64) * rules.row_bytes + starts * rules.synapse_bytes
    rows = int(np.searchsorted(ends, rules.memory_bytes - state, side="right")) - 1
    return Footprint(
        neuron_bytes, state, rules.memory_bytes, rows, int(ends[rows]), int(ends[-1] - ends[rows]), classes
    )


def build_payload(network: Network, mode: str = "npu", spec: ChipSpec = CHIP, owned: Mask | None = None) -> bytes:
    """Return the payload of the ``snn`` program that executes ``network`` (openhailo.spec.snn), or a part of it.

    ``owned`` (bool per neuron) are the neurons of the part.

    Raises:
        BufferTooLarge: the neurons do not fit into the chip, or the program is longer than one can be.
        InputError: an unknown mode, or no neurons.
    """
    try:
        number = SnnMode[mode.upper()]
    except KeyError:
        raise InputError(what="mode", detail=f"{mode!r} is unknown; use 'npu' or 'embedded'") from None
    if owned is not None:
        network = _reaching(network, owned)
    packed = pack_state(network, spec, owned)
    _check_length(network, packed, spec)
    payload = bytearray(_head(network, number, packed, spec, is_part=owned is not None))
    payload.extend(bytes(-len(payload) % spec.snn.alignment))
    for column in _columns(network, packed, spec, owned):
        payload += np.ascontiguousarray(column).view(np.uint8).data
        payload.extend(bytes(-len(payload) % spec.snn.alignment))
    return bytes(payload)


def _check_length(network: Network, packed: Packed, spec: ChipSpec) -> None:
    have = program_limit(spec)
    neurons, synapses = len(network.neurons), len(network.synapses)
    need = neurons * (packed.footprint.neuron_bytes + 4) + synapses * spec.snn.synapse_bytes + 65536
    if need > have:
        fits = max(0, (have - 65536 - neurons * (packed.footprint.neuron_bytes + 4)) // spec.snn.synapse_bytes)
        hint = f"{fits} synapses can be loaded beside {neurons} neurons; split the network"
        raise BufferTooLarge(what="synapses", need=need, have=have, hint=hint)


def _reaching(network: Network, owned: Mask) -> Network:
    """Leave out synapses that end elsewhere, unless their number counts (feagi.md 4: divided contributions)."""
    synapses, count = network.synapses, len(network.neurons)
    if network.areas.any_flag or not len(synapses):
        return network
    keep = np.append(owned, False)[np.minimum(synapses.target, count)]
    starts = np.zeros(count + 1, synapses.row_start.dtype)
    running = np.concatenate([[0], np.cumsum(keep)])
    starts[:] = running[synapses.row_start]
    parts = (synapses.target, synapses.weight, synapses.psp, synapses.kind)
    target, weight, psp, kind = (part[keep] for part in parts)
    valid = None if synapses.valid is None else synapses.valid[keep]
    return replace(network, synapses=Synapses(starts, target, weight, psp, kind, valid))


def _head(network: Network, mode: SnnMode, packed: Packed, spec: ChipSpec, *, is_part: bool) -> bytes:
    neurons = network.neurons
    areas = sorted({*network.areas.psp_uniform, *network.areas.mp_driven})
    header = spec.snn_header.pack(
        version=spec.snn.version,
        mode=mode,
        precision=SnnPrecision[neurons.precision.upper()],
        class_bytes=packed.classes.itemsize,
        potential_bytes=packed.potential_bytes,
        countdown_bytes=packed.countdown_bytes,
        count_bytes=packed.count_bytes,
        neurons=len(neurons),
        synapses=len(network.synapses),
        area_count=len(areas),
        class_count=packed.footprint.classes,
        resident_rows=packed.footprint.resident_rows,
        fatigue=int(network.fatigue),
        power_amount=network.power_amount,
        is_part=int(is_part),
    )
    flags = network.areas
    rows = (
        spec.snn_area.pack(
            area=area, psp_uniform=_flag(flags.psp_uniform, area, spec), mp_driven=_flag(flags.mp_driven, area, spec)
        )
        for area in areas
    )
    return b"".join((header, *rows, *_class_rows(packed, spec)))


def _flag(flags: Any, area: int, spec: ChipSpec) -> int:
    if area not in flags:
        return 0
    return spec.snn.flag_set | (spec.snn.flag_true if flags[area] else 0)


def _class_rows(packed: Packed, spec: ChipSpec) -> Iterator[bytes]:
    """The parameter table, filled column by column: it may have as many rows as there are neurons."""
    struct, count = spec.snn_class, packed.footprint.classes
    rows = np.zeros((count, struct.size), np.uint8)
    for name, values in packed.table.items():
        cells = np.ascontiguousarray(values).view(np.uint8).reshape(count, -1)
        rows[:, struct[name].offset : struct[name].offset + cells.shape[1]] = cells
    yield rows.tobytes()


def _columns(network: Network, packed: Packed, spec: ChipSpec, owned: Mask | None) -> Iterator[Array]:
    neurons, synapses, rules = network.neurons, network.synapses, spec.snn
    yield packed.classes
    yield neurons.potential
    for width, values in (
        (packed.countdown_bytes, neurons.refractory_countdown),
        (packed.count_bytes, neurons.consecutive_count),
    ):
        if width:
            highest = (1 << 8 * width) - 1
            yield np.minimum(values, highest).astype(_WIDTHS[width])
    if owned is not None:
        yield np.packbits(owned, bitorder="little")
    yield synapses.row_start.astype("<u4", copy=False)
    yield synapses.target
    yield synapses.weight
    yield synapses.psp
    kind = (synapses.kind != 0).astype(np.uint8) * np.uint8(rules.inhibits)
    if synapses.valid is not None:
        kind |= np.where(synapses.valid, 0, rules.is_void).astype(np.uint8)
    yield kind
