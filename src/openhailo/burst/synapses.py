"""Synapses grouped by source neuron (compressed sparse rows), one array per property."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from openhailo.burst._columns import column, length_of
from openhailo.errors import InputError

EXCITATORY, INHIBITORY = 0, 1
"""Kinds of synapse; any other than 0 inhibits (feagi.md 4)."""


@dataclass(eq=False)
class Synapses:
    """Rows of synapses: those of source ``i`` are ``row_start[i]:row_start[i + 1]``, in the order they count in.

    ``row_start`` is u32 (u64 from 2**32 synapses up) with one element more than there are neurons; ``target`` u32;
    ``weight``, ``psp`` and ``kind`` u8; ``valid`` bool or None when all are. A target that is no neuron takes nothing,
    but counts as outgoing (feagi.md 4).
    """

    row_start: npt.NDArray[Any]
    target: npt.NDArray[np.uint32]
    weight: npt.NDArray[np.uint8]
    psp: npt.NDArray[np.uint8]
    kind: npt.NDArray[np.uint8]
    valid: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        count, rows = length_of("target", self.target), length_of("row_start", self.row_start)
        self.target = column("target", self.target, np.uint32, count)
        self.weight = column("weight", self.weight, np.uint8, count)
        self.psp = column("psp", self.psp, np.uint8, count)
        self.kind = column("kind", self.kind, np.uint8, count)
        if self.valid is not None:
            self.valid = column("valid", self.valid, np.bool_, count)
        self.row_start = column("row_start", self.row_start, _row_dtype(count), rows)
        if rows < 1 or self.row_start[0] != 0 or self.row_start[-1] != count:
            raise InputError(what="row_start", detail=f"must begin with 0 and end with the {count} synapses")
        if (self.row_start[1:] < self.row_start[:-1]).any():
            raise InputError(what="row_start", detail="falls somewhere; rows must follow each other")

    @classmethod
    def from_edges(
        cls,
        count: int,
        source: npt.ArrayLike,
        target: npt.ArrayLike,
        weight: npt.ArrayLike = 1,
        psp: npt.ArrayLike = 1,
        kind: npt.ArrayLike = EXCITATORY,
        valid: npt.ArrayLike | None = None,
    ) -> Self:
        """Group a list of edges by source for ``count`` neurons; edges of one source keep their order.

        ``source`` and ``target`` have one element per edge; the rest too, or one value for all.

        Raises:
            InputError: arrays that do not fit, or a source that is no neuron.
        """
        edges = length_of("source", source)
        origin = column("source", source, np.uint32, edges)
        if edges and int(origin.max()) >= count:
            raise InputError(what="source", detail=f"neuron {int(origin.max())} of {count}")
        columns = {
            "target": column("target", target, np.uint32, edges),
            "weight": column("weight", weight, np.uint8, edges),
            "psp": column("psp", psp, np.uint8, edges),
            "kind": column("kind", kind, np.uint8, edges),
        }
        flags = None if valid is None else column("valid", valid, np.bool_, edges)
        if (origin[1:] < origin[:-1]).any():
            order = np.argsort(origin, kind="stable")
            columns = {name: values[order] for name, values in columns.items()}
            flags = None if flags is None else flags[order]
        return cls(row_start=_row_starts(origin, count), valid=flags, **columns)

    def __len__(self) -> int:
        return int(self.target.shape[0])

    @property
    def rows(self) -> int:
        """Number of source neurons."""
        return int(self.row_start.shape[0]) - 1

    def sources(self) -> npt.NDArray[np.uint32]:
        """The source of each synapse."""
        return np.repeat(np.arange(self.rows, dtype=np.uint32), np.diff(self.row_start))


def _row_dtype(count: int) -> type[np.unsignedinteger[Any]]:
    return np.uint32 if count < 2**32 else np.uint64


def _row_starts(origin: npt.NDArray[np.uint32], count: int) -> npt.NDArray[Any]:
    starts = np.zeros(count + 1, _row_dtype(origin.size))
    starts[1:] = np.cumsum(np.bincount(origin, minlength=count))
    return starts
