"""FEAGI's connectomes: the JSON that a server hands out, and the binary files of release 2.6 (feagi.md 11)."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openhailo.burst import Network, Neurons, Synapses
from openhailo.burst.codes import decode, encode, precision_of
from openhailo.errors import InputError

from .lz4 import decode_block

VERSION: Final = 1
MAX_BYTES: Final = 1 << 31
MAX_NEURONS: Final = 50_000_000
Array = npt.NDArray[Any]


@dataclass(eq=False)
class Connectome:
    """A snapshot of a running network.

    ``extra`` has what an engine does not need (neuron types, resting potentials, coordinates (n, 3)) and what else was
    there (names of areas, metadata), so that writing gives back what was read.
    """

    network: Network
    burst_count: int = 0
    area_names: dict[int, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


def load_connectome(path: str | Path, precision: str | None = None) -> Connectome:
    """Read a connectome, JSON or binary by its content. Raises `InputError`; `OSError` when there is no such file."""
    data = Path(path).read_bytes()
    return parse_binary(data) if data.startswith(_MAGIC) else parse_json(data, precision)


def save_connectome(connectome: Connectome, path: str | Path) -> None:
    """Write a connectome as JSON."""
    Path(path).write_bytes(build_json(connectome))


# --- JSON -----------------------------------------------------------------------------------------------------------


def parse_json(data: bytes | str, precision: str | None = None) -> Connectome:
    """Read what ``GET /v1/connectome/download`` gives.

    Potentials and thresholds are there as values; ``precision`` says what they were, and None looks whether all of
    them are values of codes. Threshold limits, fire limits, snooze, accumulation and the flags of areas are not part of
    the format: none are set.

    Raises:
        InputError: no connectome, or one that contradicts itself.
    """
    document = _document(data)
    rows, edges = (_mapping(document, name) for name in ("neurons", "synapses"))
    count = _whole(rows, "count", MAX_NEURONS)
    columns = {name: _column(rows, name, count) for name in _NEURON_COLUMNS}
    kind = precision or ("int8" if _are_codes(columns) else "fp32")
    names = {_number(key): str(value) for key, value in _mapping(document, "cortical_area_names").items()}
    network = Network(
        _neurons(columns, count, kind), _synapses(edges, count), power_amount=_real(document, "power_amount")
    )
    extra = {key: value for key, value in document.items() if key not in _KNOWN}
    extra["neurons"] = {name: rows[name] for name in _NEURON_EXTRAS if name in rows}
    extra["capacity"] = [rows.get("capacity", count), edges.get("capacity", len(network.synapses))]
    return Connectome(network, _whole(document, "burst_count", 1 << 64), names, extra)


_NEURON_COLUMNS: Final = {
    "membrane_potentials": np.float32,
    "thresholds": np.float32,
    "leak_coefficients": np.float32,
    "refractory_periods": np.uint16,
    "refractory_countdowns": np.uint16,
    "excitabilities": np.float32,
    "cortical_areas": np.uint32,
    "valid_mask": np.bool_,
}
_NEURON_EXTRAS: Final = ("resting_potentials", "neuron_types", "coordinates")
_SYNAPSE_COLUMNS: Final = {
    "source_neurons": np.uint32,
    "target_neurons": np.uint32,
    "weights": np.uint8,
    "postsynaptic_potentials": np.uint8,
    "types": np.uint8,
    "valid_mask": np.bool_,
}
_KNOWN: Final = {"version", "neurons", "synapses", "cortical_area_names", "burst_count", "power_amount"}


def _document(data: bytes | str) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise InputError(what="connectome", detail=f"{len(data)} bytes; {MAX_BYTES} are the most")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(what="connectome", detail=f"not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise InputError(what="connectome", detail=f"not a connectome of version {VERSION}")
    return document


def _mapping(parent: dict[str, Any], name: str) -> dict[str, Any]:
    found = parent.get(name)
    if not isinstance(found, dict):
        raise InputError(what="connectome", detail=f"{name!r} is missing")
    return found


def _number(key: str) -> int:
    if not key.isdecimal() or len(key) > 10:
        raise InputError(what="connectome", detail=f"area {key!r}")
    return int(key)


def _whole(parent: dict[str, Any], name: str, limit: int) -> int:
    value = parent.get(name)
    if type(value) is not int or not 0 <= value < limit:
        raise InputError(what="connectome", detail=f"{name} is {str(value)[:40]}")
    return value


def _real(parent: dict[str, Any], name: str) -> float:
    value = parent.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(what="connectome", detail=f"{name} is {str(value)[:40]}")
    return float(min(max(value, -3e38), 3e38))


def _column(parent: dict[str, Any], name: str, count: int) -> Array:
    """Return the first ``count`` values, as they are. Raises `InputError`."""
    values = parent.get(name)
    if not isinstance(values, list) or len(values) < count:
        raise InputError(what="connectome", detail=f"{name}: {count} values needed")
    try:
        array = np.array(values[:count]) if count else np.zeros(0)
    except (ValueError, OverflowError) as error:
        raise InputError(what="connectome", detail=f"{name}: {error}") from error
    if array.shape != (count,) or array.dtype.kind not in "biuf":
        raise InputError(what="connectome", detail=f"{name} is not a list of numbers")
    return array


def _are_codes(columns: dict[str, Array]) -> bool:
    """Whether potentials and thresholds are values that codes stand for."""
    with np.errstate(all="ignore"):
        return all(
            bool(np.array_equal(decode(encode(values)), values))
            for name in ("membrane_potentials", "thresholds")
            for values in [columns[name].astype(np.float32)]
        )


def _neurons(columns: dict[str, Array], count: int, precision: str) -> Neurons:
    kind = precision_of(precision)
    if count and int(columns["cortical_areas"].max()) > 0xFFFF:
        raise InputError(what="connectome", detail=f"area {int(columns['cortical_areas'].max())}; 65535 is the last")
    with np.errstate(over="ignore"):
        potential, threshold = (
            np.asarray(kind.encode(columns[name].astype(np.float32)), kind.dtype)
            for name in ("membrane_potentials", "thresholds")
        )
    return Neurons(
        precision=precision,
        potential=potential,
        threshold=threshold,
        threshold_limit=np.full(count, kind.highest, kind.dtype),
        leak=columns["leak_coefficients"],
        refractory_period=columns["refractory_periods"],
        refractory_countdown=columns["refractory_countdowns"],
        excitability=columns["excitabilities"],
        valid=columns["valid_mask"],
        consecutive_limit=np.zeros(count, np.uint16),
        consecutive_count=np.zeros(count, np.uint16),
        snooze=np.zeros(count, np.uint16),
        charge_accumulation=np.ones(count, np.bool_),
        area=columns["cortical_areas"],
    )


def _synapses(edges: dict[str, Any], neurons: int) -> Synapses:
    count = _whole(edges, "count", 1 << 32)
    columns = [_column(edges, name, count) for name in _SYNAPSE_COLUMNS]
    return Synapses.from_edges(neurons, *columns)


def build_json(connectome: Connectome) -> bytes:
    """Return the connectome as FEAGI's JSON."""
    network, extra = connectome.network, dict(connectome.extra)
    neurons, kept = network.neurons, extra.pop("neurons", {})
    count, kind = len(neurons), precision_of(neurons.precision)
    capacity = extra.pop("capacity", [count, len(network.synapses)])
    rows: dict[str, Any] = {
        "capacity": capacity[0],
        "count": count,
        "membrane_potentials": _listed(neurons.potential_value),
        "thresholds": _listed(kind.decode(neurons.threshold)),
        "leak_coefficients": _listed(neurons.leak),
        "refractory_periods": neurons.refractory_period.tolist(),
        "refractory_countdowns": neurons.refractory_countdown.tolist(),
        "excitabilities": _listed(neurons.excitability),
        "cortical_areas": neurons.area.tolist(),
        "valid_mask": neurons.valid.tolist(),
        "resting_potentials": [0.0] * count,
        "neuron_types": [0] * count,
        "coordinates": [0] * (3 * count),
        **kept,
    }
    document = {
        "version": VERSION,
        "neurons": rows,
        "synapses": _edges(network.synapses, capacity[1]),
        "cortical_area_names": {str(number): name for number, name in connectome.area_names.items()},
        "burst_count": connectome.burst_count,
        "power_amount": network.power_amount,
        **extra,
    }
    return json.dumps(document).encode()


def _listed(values: npt.NDArray[np.float32]) -> list[float]:
    found: list[float] = values.astype(np.float64).tolist()
    return found


def _edges(synapses: Synapses, capacity: int) -> dict[str, Any]:
    sources = synapses.sources()
    valid = np.ones(len(synapses), np.bool_) if synapses.valid is None else synapses.valid
    arrays = (sources, synapses.target, synapses.weight, synapses.psp, synapses.kind, valid)
    starts = synapses.row_start.tolist()
    index = {str(n): list(range(starts[n], starts[n + 1])) for n in np.unique(sources).tolist()}
    columns = {name: values.tolist() for name, values in zip(_SYNAPSE_COLUMNS, arrays, strict=True)}
    return {"capacity": capacity, "count": len(synapses), **columns, "source_index": index}


# --- binary ---------------------------------------------------------------------------------------------------------

_MAGIC: Final = b"FEAGI"
_BINARY_VERSION: Final = 3
_HEAD: Final = struct.Struct("<5sIBQI")
# GUESS: widths of neuron types (i32) and areas (u32) are not in the facts; each array says its own length, and a wrong
# width would make the next length nonsense, which is refused.
_BINARY_COLUMNS: Final = (
    ("membrane_potentials", "<f4"),
    ("thresholds", "<f4"),
    ("leak_coefficients", "<f4"),
    ("resting_potentials", "<f4"),
    ("neuron_types", "<i4"),
    ("refractory_periods", "<u2"),
    ("refractory_countdowns", "<u2"),
    ("excitabilities", "<f4"),
    ("cortical_areas", "<u4"),
    ("coordinates", "<u4"),
    ("valid_mask", "<u1"),
)


def parse_binary(data: bytes, precision: str | None = None) -> Connectome:
    """Read the neurons of a ``.connectome`` file of FEAGI 2.6.

    What follows the arrays of neurons is not known well enough (feagi.md 11), so there are no synapses, and
    ``extra["unread_bytes"]`` says how much was left.

    Raises:
        InputError: no such file, or one that contradicts itself.
    """
    header, body = _unpack_binary(data)
    if len(body) < 20:
        raise InputError(what="connectome", detail=f"{len(body)} bytes of content")
    version, count, _capacity = struct.unpack_from("<IQQ", body)
    if version != VERSION or count >= MAX_NEURONS:
        raise InputError(what="connectome", detail=f"content of version {version} with {count} neurons")
    columns, at = {}, 20
    for name, dtype in _BINARY_COLUMNS:
        columns[name], at = _binary_column(body, at, name, dtype, 3 * count if name == "coordinates" else count)
    if count and int(columns["valid_mask"].max()) > 1:
        raise InputError(what="connectome", detail="a flag that is neither 0 nor 1")
    kind = precision or ("int8" if _are_codes(columns) else "fp32")
    columns["valid_mask"] = columns["valid_mask"].astype(np.bool_)
    network = Network(_neurons(columns, count, kind), Synapses.from_edges(count, [], []))
    extra = {"header": header, "neurons": {name: columns[name].tolist() for name in _NEURON_EXTRAS}}
    return Connectome(network, extra={**extra, "unread_bytes": len(body) - at})


def _unpack_binary(data: bytes) -> tuple[dict[str, Any], bytes]:
    if len(data) < _HEAD.size:
        raise InputError(what="connectome", detail=f"{len(data)} bytes, the header needs {_HEAD.size}")
    magic, version, compression, size, header_bytes = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != _BINARY_VERSION or compression != 1:
        raise InputError(what="connectome", detail=f"version {version}, compression {compression}; 3 and 1 are known")
    start = _HEAD.size + header_bytes + 8  # a checksum of 8 bytes follows, whose algorithm is not known
    # LZ4 cannot shrink more than 255 times.
    if start > len(data) or size > min(MAX_BYTES, 255 * (len(data) - start) + 64):
        raise InputError(what="connectome", detail=f"{len(data)} bytes, the header says otherwise")
    try:
        header = json.loads(data[_HEAD.size : _HEAD.size + header_bytes])
    except (ValueError, RecursionError) as error:
        raise InputError(what="connectome", detail=f"its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise InputError(what="connectome", detail="its header is not an object")
    return header, decode_block(memoryview(data)[start:], size)


def _binary_column(body: bytes, at: int, name: str, dtype: str, count: int) -> tuple[Array, int]:
    """Return an array with its length in front, and where the next one begins."""
    kind = np.dtype(dtype)
    if len(body) - at < 8 or struct.unpack_from("<Q", body, at)[0] != count:
        raise InputError(what="connectome", detail=f"{name}: not {count} values at byte {at}")
    end = at + 8 + count * kind.itemsize
    if end > len(body):
        raise InputError(what="connectome", detail=f"{name}: {end - len(body)} bytes are missing")
    return np.frombuffer(body, kind, count, at + 8) if count else np.zeros(0, kind), end
