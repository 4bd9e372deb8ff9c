"""The payload of an ``snn`` program and the frames that it takes and gives (our own format; no silicon has it).

Payload: `SNN_HEADER`, ``area_count`` times `SNN_AREA`, ``class_count`` times `SNN_CLASS`, zeros up to a multiple of 8,
then one array after the other, each filled up to a multiple of 8 bytes:

==============  ================================  ======================================================
array           elements                          meaning
==============  ================================  ======================================================
class           neurons x ``class_bytes``         number of the neuron's parameters in the table
potential       neurons x ``potential_bytes``     i8 code, or f32
countdown       neurons x ``countdown_bytes``     bursts of rest that are left
fire count      neurons x ``count_bytes``         firings in a row; counts only where a class has a limit
owned           neurons x 1 bit, lowest first     only in a part of a network: the neurons that the core keeps
row start       (neurons + 1) x u32               first synapse of each source, then the number of synapses
target          synapses x u32
weight          synapses x u8
psp             synapses x u8
kind            synapses x u8                     `SnnRules.inhibits`, `SnnRules.is_void`
==============  ================================  ======================================================

An input frame is an `SNN_REQUEST` and its data: ``sets`` numbers (u32) of inputs per burst, then ``count`` neurons
(u32), then ``count`` potentials (f32). An output frame is an `SNN_REPLY` and its data: for each burst an `SNN_BURST`
and the neurons that fired, as u32 in ascending order or as one bit per neuron (whichever is shorter), filled up to a
multiple of 8; or a piece of the state. Everything is little endian; what is not used is zero on the way in and
undefined on the way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .layout import Struct, sequential


class SnnMode(IntEnum):
    """Which of FEAGI's implementations it is (feagi.md 1)."""

    EMBEDDED = 0
    NPU = 1


class SnnPrecision(IntEnum):
    """Numbers of the potentials (feagi.md 3)."""

    INT8 = 0
    FP32 = 1


class SnnCommand(IntEnum):
    """What a frame asks for.

    RUN executes bursts; STAGE keeps inputs for the next of them; READ returns a piece of the state: potentials,
    countdowns (u16) and fire counts (u16) of all neurons, one array after the other; RESET goes back to the beginning.

    A part of a network takes a burst in steps: FIRED says what fired in the burst before in the whole network
    (``count`` neurons, u32, and their stored potentials, i32 or f32; ``offset`` 0 begins the list, more is added),
    PROPAGATE takes inputs and answers with the number of candidates, UPDATE (``offset``: candidates of all parts) ends
    the burst, POTENTIALS returns a piece of the potentials (i32 or f32) of what fired in it.
    """

    RUN = 1
    STAGE = 2
    READ = 3
    RESET = 4
    FIRED = 5
    PROPAGATE = 6
    UPDATE = 7
    POTENTIALS = 8


class SnnStatus(IntEnum):
    """What became of a request; any but DONE left everything as it was."""

    DONE = 0
    BAD_COMMAND = 1
    BAD_SIZE = 2
    BAD_NEURON = 3
    BAD_VALUE = 4
    BAD_ORDER = 5


class SnnEncoding(IntEnum):
    """How the fired neurons of a burst are written."""

    IDS = 0
    BITMAP = 1


_SOURCE = "this project's own format"

SNN_HEADER: Struct = sequential(
    "snn_header",
    _SOURCE,
    ("version", "le16"),
    ("mode", "u8"),
    ("precision", "u8"),
    ("class_bytes", "u8"),
    ("potential_bytes", "u8"),
    ("countdown_bytes", "u8"),
    ("count_bytes", "u8"),
    ("neurons", "le32"),
    ("synapses", "le32"),
    ("area_count", "le32"),
    ("class_count", "le32"),
    ("resident_rows", "le32"),
    ("fatigue", "le32"),
    ("power_amount", "f32"),
    ("is_part", "le32"),
    ("reserved", "bytes", 24),
)
SNN_AREA: Struct = sequential(
    "snn_area",
    _SOURCE,
    ("area", "le16"),
    ("psp_uniform", "u8"),
    ("mp_driven", "u8"),
)
SNN_CLASS: Struct = sequential(
    "snn_class",
    _SOURCE,
    ("threshold", "bytes", 4),
    ("threshold_limit", "bytes", 4),
    ("leak", "f32"),
    ("excitability", "f32"),
    ("refractory_period", "le16"),
    ("consecutive_limit", "le16"),
    ("snooze", "le16"),
    ("area", "le16"),
    ("valid", "u8"),
    ("charge_accumulation", "u8"),
    ("reserved", "bytes", 6),
)
SNN_REQUEST: Struct = sequential(
    "snn_request",
    _SOURCE,
    ("command", "le32"),
    ("bursts", "le32"),
    ("sets", "le32"),
    ("count", "le32"),
    ("offset", "le32"),
    ("size", "le32"),
    ("reserved", "bytes", 8),
)
SNN_REPLY: Struct = sequential(
    "snn_reply",
    _SOURCE,
    ("status", "le32"),
    ("command", "le32"),
    ("burst", "le64"),
    ("bursts", "le32"),
    ("size", "le32"),
    ("fired", "le32"),
    ("resident_rows", "le32"),
)
SNN_BURST: Struct = sequential(
    "snn_burst",
    _SOURCE,
    ("burst", "le64"),
    ("fired", "le32"),
    ("encoding", "le32"),
    ("candidates", "le32"),
    ("streamed_rows", "le32"),
    ("refractory", "le32"),
    ("synaptic", "le32"),
)


@dataclass(frozen=True)
class SnnRules:
    """Constants of the format, and what the core has room for.

    ``memory_bytes`` is the chip's own memory: neurons (classes, potentials, countdowns, fire counts, the parameter
    table, one bit each for having fired) must fit, in a part of a network those it owns, and a bit each for that. The
    rows of the first ``resident_rows`` sources are kept there as well, ``row_bytes`` each and ``synapse_bytes`` a
    synapse; the core fetches all others from host memory when their source fires. ``flag_set`` says that an area's flag
    was ever set, ``flag_true`` that it is.
    """

    version: int = 1
    alignment: int = 8
    memory_bytes: int = 8 << 20  # feagi.md 2: on-chip memory of the design
    row_bytes: int = 4
    synapse_bytes: int = 7
    flag_set: int = 1
    flag_true: int = 2
    inhibits: int = 1
    is_void: int = 0x80
