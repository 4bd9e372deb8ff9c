"""Records of neurons and synapses as bytes, both ways, whole arrays at a time. Everything is little endian.

A neuron record has 15 bytes (feagi.md 2): potential i8, threshold i8, leak f32, refractory period u16, refractory
countdown u16, excitability f32, valid u8. It has no id: the position is the id. The order of bytes is not in FEAGI's
notes; every other binary format of FEAGI is little endian.

A synapse block, version 1 (our own: FEAGI only says 7 bytes a synapse)::

    0   8  magic "OHSYNAPS"
    8   2  version, 1
    10  2  zero
    12  4  number of neurons
    16  8  number of synapses
    24  .  synapses of each neuron, u32, one after the other
    ..  .  synapses, 7 bytes each, grouped by source: target u32, weight u8, psp u8, kind u8

Kind 0 excites and 1 inhibits; bit 7 marks a synapse that is not valid.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openhailo.burst import Neurons, Synapses
from openhailo.burst.codes import encode
from openhailo.errors import BufferTooLarge, InvalidParameter

Buffer = bytes | bytearray | memoryview

NEURON: Final = np.dtype(
    [
        ("potential", "<i1"),
        ("threshold", "<i1"),
        ("leak", "<f4"),
        ("refractory_period", "<u2"),
        ("refractory_countdown", "<u2"),
        ("excitability", "<f4"),
        ("valid", "<u1"),
    ]
)
SYNAPSE: Final = np.dtype([("target", "<u4"), ("weight", "<u1"), ("psp", "<u1"), ("kind", "<u1")])
NEURON_BYTES, SYNAPSE_BYTES = NEURON.itemsize, SYNAPSE.itemsize
HEADER: Final = struct.Struct("<8sHHIQ")
MAGIC, VERSION = b"OHSYNAPS", 1
INVALID: Final = 0x80


def build_neurons(neurons: Neurons) -> bytes:
    """Return the records of ``neurons``; fp32 potentials and thresholds are rounded to codes."""
    records = np.zeros(len(neurons), NEURON)
    is_code = neurons.precision == "int8"
    for name in ("potential", "threshold"):
        values = getattr(neurons, name)
        records[name] = values if is_code else encode(values)
    for name in ("leak", "refractory_period", "refractory_countdown", "excitability", "valid"):
        records[name] = getattr(neurons, name)
    return records.tobytes()


def parse_neurons(data: Buffer) -> Neurons:
    """Return the neurons of records; what a record does not have is as in a fresh array.

    Raises:
        InvalidParameter: not whole records, or a record that makes no sense.
    """
    if len(data) % NEURON_BYTES:
        raise InvalidParameter(what="neurons", detail=f"{len(data)} bytes are not records of {NEURON_BYTES}")
    records = np.frombuffer(data, NEURON)
    if (records["valid"] > 1).any():
        raise InvalidParameter(what="neurons", detail="a flag that is neither 0 nor 1")
    if not (np.isfinite(records["leak"]).all() and np.isfinite(records["excitability"]).all()):
        raise InvalidParameter(what="neurons", detail="a leak or an excitability that is not finite")
    neurons = Neurons.create(
        len(records),
        leak=np.ascontiguousarray(records["leak"]),
        refractory_period=np.ascontiguousarray(records["refractory_period"]),
        excitability=np.ascontiguousarray(records["excitability"]),
        valid=records["valid"].astype(np.bool_),
    )
    neurons.potential = np.ascontiguousarray(records["potential"])
    neurons.threshold = np.ascontiguousarray(records["threshold"])
    neurons.refractory_countdown = np.ascontiguousarray(records["refractory_countdown"])
    return neurons


def build_synapses(synapses: Synapses) -> bytes:
    """Return ``synapses`` as a block. Raises `InvalidParameter`: a kind above 127."""
    if len(synapses) and int(synapses.kind.max()) >= INVALID:
        raise InvalidParameter(what="synapses", detail=f"kind {int(synapses.kind.max())}; 0 to 127 can be written")
    records = np.zeros(len(synapses), SYNAPSE)
    for name in ("target", "weight", "psp", "kind"):
        records[name] = getattr(synapses, name)
    if synapses.valid is not None:
        records["kind"] |= np.where(synapses.valid, 0, INVALID).astype(np.uint8)
    head = HEADER.pack(MAGIC, VERSION, 0, synapses.rows, len(synapses))
    return b"".join((head, np.diff(synapses.row_start).astype("<u4").data, records.data))


def parse_synapses(data: Buffer) -> Synapses:
    """Return the synapses of a block. Raises `InvalidParameter`, naming what does not add up."""
    if len(data) < HEADER.size:
        raise InvalidParameter(what="synapses", detail=f"{len(data)} bytes, a block begins with {HEADER.size}")
    magic, version, zero, rows, count = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION or zero:
        raise InvalidParameter(what="synapses", detail=f"not a block of version {VERSION}")
    need = HEADER.size + 4 * rows + SYNAPSE_BYTES * count
    if need != len(data):
        raise InvalidParameter(what="synapses", detail=f"{len(data)} bytes, the header says {need}")
    lengths = np.frombuffer(data, "<u4", rows, HEADER.size) if rows else np.zeros(0, np.uint32)
    starts = np.zeros(rows + 1, np.uint64)
    np.cumsum(lengths, dtype=np.uint64, out=starts[1:])
    if int(starts[-1]) != count:
        raise InvalidParameter(what="synapses", detail=f"rows of {int(starts[-1])}, the header says {count}")
    records: npt.NDArray[Any] = np.frombuffer(data, SYNAPSE, count, HEADER.size + 4 * rows) if count else _none()
    kind = np.ascontiguousarray(records["kind"])
    marked = kind >= INVALID
    return Synapses(
        starts,
        np.ascontiguousarray(records["target"]),
        np.ascontiguousarray(records["weight"]),
        np.ascontiguousarray(records["psp"]),
        kind & np.uint8(INVALID - 1),
        ~marked if marked.any() else None,
    )


def _none() -> npt.NDArray[Any]:
    return np.zeros(0, SYNAPSE)


def check_capacity(what: str, size_bytes: int, limit: int, record_bytes: int) -> None:
    """Refuse more than ``limit`` records. Raises `BufferTooLarge`."""
    have = limit * record_bytes
    if size_bytes > have:
        raise BufferTooLarge(what=what, need=size_bytes, have=have, hint=f"{limit} {what} fit")
