"""The payload of an ``snn`` program: read strictly, every size compared with what is there before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openhailo.burst import FIRST_MEMORY_ID, Areas, Network, Neurons, Synapses
from openhailo.errors import BadProgram, InputError
from openhailo.spec.snn import SnnMode, SnnPrecision

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

Array = npt.NDArray[Any]
_MODES = {SnnMode.EMBEDDED: "embedded", SnnMode.NPU: "npu"}
_PRECISIONS = {SnnPrecision.INT8: ("int8", "<i1"), SnnPrecision.FP32: ("fp32", "<f4")}
_WIDTHS = {0: "", 1: "<u1", 2: "<u2", 4: "<u4"}
_FLAGS = 3


@dataclass(frozen=True)
class Loaded:
    """A network, how it is executed, how many rows of synapses the core keeps, and which neurons (None: all)."""

    network: Network
    mode: str
    resident_rows: int
    owned: npt.NDArray[np.bool_] | None


def parse_network(payload: memoryview, spec: ChipSpec) -> Loaded:
    """Return what a payload says. Raises `BadProgram`."""
    if len(payload) < spec.snn_header.size:
        raise BadProgram(detail=f"{len(payload)} bytes, a spiking network's header needs {spec.snn_header.size}")
    header = spec.snn_header.unpack(payload)
    mode, dtype, precision = _check_header(header, spec)
    reader = _Reader(payload, spec.snn_header.size, spec.snn.alignment)
    areas = _areas(reader, header["area_count"], spec)
    table = _classes(reader, header["class_count"], spec, dtype)
    reader.align()
    count = header["neurons"]
    neurons = _neurons(reader, header, table, precision, dtype)
    owned = _owned(reader, count) if header["is_part"] else None
    synapses = _synapses(reader, count, header["synapses"], spec)
    if reader.left:
        raise BadProgram(detail=f"{reader.left} bytes follow the synapses")
    _check_memory(header, synapses, owned, spec)
    try:
        network = Network(neurons, synapses, areas, header["power_amount"], bool(header["fatigue"]))
    except InputError as error:
        raise BadProgram(detail=str(error)) from error
    return Loaded(network, mode, header["resident_rows"], owned)


def _owned(reader: _Reader, count: int) -> npt.NDArray[np.bool_]:
    bits = np.unpackbits(reader.column("owned", "<u1", -(-count // 8)), bitorder="little")
    if bits[count:].any():
        raise BadProgram(detail="bits beyond the last neuron")
    return bits[:count].astype(np.bool_)


def _check_header(header: dict[str, Any], spec: ChipSpec) -> tuple[str, str, str]:
    """Return the mode, the element type of potentials, and the precision's name."""
    if header["version"] != spec.snn.version:
        raise BadProgram(detail=f"spiking network of version {header['version']}, the core knows {spec.snn.version}")
    if header["mode"] not in _MODES or header["precision"] not in _PRECISIONS:
        raise BadProgram(detail=f"mode {header['mode']}, precision {header['precision']}")
    precision, dtype = _PRECISIONS[SnnPrecision(header["precision"])]
    widths = (header["class_bytes"], header["countdown_bytes"], header["count_bytes"])
    allowed = ((1, 2, 4), (0, 1, 2), (0, 1, 2))
    if any(width not in known for width, known in zip(widths, allowed, strict=True)):
        raise BadProgram(detail=f"widths {widths} of class, countdown and fire count")
    if header["potential_bytes"] != np.dtype(dtype).itemsize:
        raise BadProgram(detail=f"potentials of {header['potential_bytes']} bytes with {precision}")
    if not 1 <= header["neurons"] < FIRST_MEMORY_ID or header["resident_rows"] > header["neurons"]:
        raise BadProgram(detail=f"{header['neurons']} neurons, {header['resident_rows']} rows in the core")
    if max(header["fatigue"], header["is_part"]) > 1 or any(header["reserved"]):
        raise BadProgram(detail="reserved bytes of a spiking network are not zero")
    return _MODES[SnnMode(header["mode"])], dtype, precision


class _Reader:
    """Takes arrays off the payload, one behind the other."""

    def __init__(self, payload: memoryview, at: int, alignment: int) -> None:
        self._payload, self._at, self._alignment = payload, at, alignment

    @property
    def left(self) -> int:
        return len(self._payload) - self._at

    def take(self, what: str, dtype: str | np.dtype[Any], count: int) -> Array:
        """Return the next ``count`` elements, a view. Raises `BadProgram` when they are not there."""
        kind = np.dtype(dtype)
        if count * kind.itemsize > self.left:
            raise BadProgram(detail=f"{what}: {count * kind.itemsize} bytes needed, {self.left} there")
        found = np.frombuffer(self._payload, kind, count, self._at) if count else np.zeros(0, kind)
        self._at += count * kind.itemsize
        return found

    def align(self) -> None:
        """Skip zeros up to the alignment."""
        padding = self.take("filling", "<u1", -self._at % self._alignment)
        if padding.any():
            raise BadProgram(detail="filling between arrays of a spiking network is not zero")

    def column(self, what: str, dtype: str, count: int) -> Array:
        """Return an array that is filled up to the alignment."""
        found = self.take(what, dtype, count)
        self.align()
        return found


def _areas(reader: _Reader, count: int, spec: ChipSpec) -> Areas:
    if count > 1 << 16:
        raise BadProgram(detail=f"{count} areas")
    raw = reader.take("areas", f"V{spec.snn_area.size}", count).tobytes()
    uniform: dict[int, bool] = {}
    driven: dict[int, bool] = {}
    for index in range(count):
        area = spec.snn_area.unpack(raw, index * spec.snn_area.size)
        if area["area"] in uniform or area["area"] in driven:
            raise BadProgram(detail=f"area {area['area']} twice")
        for flags, found in ((area["psp_uniform"], uniform), (area["mp_driven"], driven)):
            if flags & ~_FLAGS:
                raise BadProgram(detail=f"flags {flags} of area {area['area']}")
            if flags & spec.snn.flag_set:
                found[area["area"]] = bool(flags & spec.snn.flag_true)
    return Areas(uniform, driven)


def _classes(reader: _Reader, count: int, spec: ChipSpec, dtype: str) -> dict[str, Array]:
    """Return the parameter table, one array per parameter."""
    struct = spec.snn_class
    rows = reader.take("parameter table", f"V{struct.size}", count)
    if not count:
        raise BadProgram(detail="the parameter table is empty")
    table = rows.view(np.uint8).reshape(count, struct.size)
    kinds = {"f32": "<f4", "le16": "<u2", "u8": "<u1", "bytes": "<u1"}
    found: dict[str, Array] = {}
    for member in struct.members:
        kind = dtype if member.name.startswith("threshold") else kinds[str(member.type)]
        cells = np.ascontiguousarray(table[:, member.offset : member.offset + member.size_bytes])
        size = np.dtype(kind).itemsize
        if member.type == "bytes" and cells[:, size if member.name != "reserved" else 0 :].any():
            raise BadProgram(detail=f"parameter table: {member.name} has bytes beyond its value")
        if member.name != "reserved":
            found[member.name] = np.ascontiguousarray(cells[:, :size]).view(kind).reshape(count)
    if max(int(found[name].max()) for name in ("valid", "charge_accumulation")) > 1:
        raise BadProgram(detail="parameter table: a flag that is neither 0 nor 1")
    return found


def _neurons(reader: _Reader, header: dict[str, Any], table: dict[str, Array], precision: str, dtype: str) -> Neurons:
    count = header["neurons"]
    classes = reader.column("class", _WIDTHS[header["class_bytes"]], count)
    if int(classes.max()) >= header["class_count"]:
        raise BadProgram(detail=f"class {int(classes.max())}, the parameter table has {header['class_count']}")
    potential = reader.column("potential", dtype, count)
    state: dict[str, Array] = {
        name: reader.column(name, _WIDTHS[width], count).astype(np.uint16) if width else np.zeros(count, np.uint16)
        for name, width in (
            ("refractory_countdown", header["countdown_bytes"]),
            ("consecutive_count", header["count_bytes"]),
        )
    }
    spread: dict[str, Any] = {name: values[classes] for name, values in table.items()}
    for name in ("valid", "charge_accumulation"):
        spread[name] = spread[name].astype(np.bool_)
    if np.isnan(potential).any():
        raise BadProgram(detail="a potential that is no number")
    spread.update(state)
    try:
        return Neurons(precision=precision, potential=potential, **spread)
    except InputError as error:
        raise BadProgram(detail=str(error)) from error


def _synapses(reader: _Reader, count: int, synapses: int, spec: ChipSpec) -> Synapses:
    starts = reader.column("row start", "<u4", count + 1)
    target = reader.column("target", "<u4", synapses)
    weight, psp, kind = (reader.column(name, "<u1", synapses) for name in ("weight", "psp", "kind"))
    rules = spec.snn
    if synapses and int(kind.max()) > rules.inhibits:
        if (kind & ~np.uint8(rules.inhibits | rules.is_void)).any():
            raise BadProgram(detail="a synapse of an unknown kind")
        valid: Array | None = (kind & rules.is_void) == 0
        kind = kind & rules.inhibits
    else:
        valid = None
    try:
        return Synapses(starts, target, weight, psp, kind, valid)
    except InputError as error:
        raise BadProgram(detail=str(error)) from error


def _check_memory(
    header: dict[str, Any], synapses: Synapses, owned: npt.NDArray[np.bool_] | None, spec: ChipSpec
) -> None:
    """The core holds neurons and the rows that are to stay in it, or the program is refused."""
    rules, count = spec.snn, header["neurons"]
    widths = ("class_bytes", "potential_bytes", "countdown_bytes", "count_bytes")
    kept, bits = (count, 1) if owned is None else (int(np.count_nonzero(owned)), 2)
    need = kept * sum(header[name] for name in widths) + bits * -(-count // 8)
    need += header["class_count"] * spec.snn_class.size + header["area_count"] * spec.snn_area.size
    rows = header["resident_rows"]
    need += rows * rules.row_bytes + int(synapses.row_start[rows]) * rules.synapse_bytes
    if need > rules.memory_bytes:
        raise BadProgram(detail=f"the network takes {need} bytes of the core's memory, it has {rules.memory_bytes}")
