"""The ``snn`` program kind: a spiking network that lives in the core; a frame is one burst, or several.

What the core cannot hold stays in the host's memory: the twin keeps those rows of synapses in this process, and counts
how many of them the core would have fetched.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openhailo.burst import BurstResult, Engine
from openhailo.errors import BadProgram, InputError
from openhailo.spec.snn import SnnCommand, SnnEncoding, SnnStatus

from .kernel import StreamPort
from .program import Program
from .snn_payload import parse_network

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

Bytes = npt.NDArray[np.uint8]
#: A frame of requests or answers may have so many bytes; larger ones only cost time.
MAX_FRAME_BYTES = 16 << 20
_STEPS = frozenset({SnnCommand.FIRED, SnnCommand.PROPAGATE, SnnCommand.UPDATE, SnnCommand.POTENTIALS})


Answer = tuple[int, int, int]


class _Refused(Exception):
    """A request that makes no sense."""

    def __init__(self, status: SnnStatus) -> None:
        self.status = status
        super().__init__(status.name)


class SnnKernel:
    """Runs an ``snn`` program. Its state begins with the program and ends with it; kernels are not shared."""

    is_stable = True

    def __init__(self, program: Program, spec: ChipSpec) -> None:
        """Load the network. Raises `BadProgram`, naming what does not add up."""
        self._spec = spec
        source = next((record for record in program.io if record.is_input), None)
        target = next((record for record in program.io if not record.is_input), None)
        if len(program.io) != 2 or source is None or target is None:
            raise BadProgram(detail="an snn program has one input and one output")
        self._check_frames(source.transfer_bytes, target.transfer_bytes)
        loaded = parse_network(program.payload, spec)
        self._resident, self._is_part = loaded.resident_rows, loaded.owned is not None
        self._neurons = len(loaded.network.neurons)
        self._stored = loaded.network.neurons.potential.dtype
        try:
            self._engine = Engine(loaded.network, mode=loaded.mode, owned=loaded.owned)
        except InputError as error:
            raise BadProgram(detail=str(error)) from error
        self.inputs: tuple[StreamPort, ...] = (StreamPort(source.stream_index, source.transfer_bytes),)
        self.outputs: tuple[StreamPort, ...] = (StreamPort(target.stream_index, target.transfer_bytes),)
        self.max_batch = 1
        self._in, self._out = np.zeros(source.transfer_bytes, np.uint8), np.zeros(target.transfer_bytes, np.uint8)
        # The members in the order in which they follow each other on the wire.
        self._request_names = [member.name for member in spec.snn_request.members]
        self._unpack_request = spec.snn_request.compiled.unpack_from
        self._reply_order = itemgetter(*(member.name for member in spec.snn_reply.members))
        self._pack_reply = spec.snn_reply.compiled.pack
        self._burst_order = itemgetter(*(member.name for member in spec.snn_burst.members))
        self._pack_burst = spec.snn_burst.compiled.pack
        self._bitmap_bytes = -(-self._neurons // 64) * 8
        self._state: npt.NDArray[np.uint8] | None = None
        self._staged: list[tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]] = []
        self._staged_count = 0
        self._burst = 0
        self._fired: list[tuple[npt.NDArray[np.uint32], npt.NDArray[Any]]] = []
        self._potentials: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._is_open = False

    def _check_frames(self, request_bytes: int, reply_bytes: int) -> None:
        least_in, least_out = self._spec.snn_request.size, self._spec.snn_reply.size
        if not least_in <= request_bytes <= MAX_FRAME_BYTES or not least_out <= reply_bytes <= MAX_FRAME_BYTES:
            raise BadProgram(detail=f"frames of {request_bytes} and {reply_bytes} bytes for a spiking network")
        if request_bytes % 8 or reply_bytes % 8:
            raise BadProgram(detail="frames of a spiking network are multiples of 8 bytes")

    def input_view(self, port: int, frames: int) -> memoryview:
        """Writable bytes of the request."""
        return self._in[: frames * len(self._in)].data

    def output_view(self, port: int, frames: int) -> memoryview:
        """Bytes of the answer."""
        return self._out[: frames * len(self._out)].data

    def compute(self, frames: int) -> None:
        """Do what the request in the input view asks for; a request that makes no sense changes nothing."""
        raw = dict(zip(self._request_names, self._unpack_request(self._in.data), strict=True))
        try:
            status, (bursts, size, fired) = SnnStatus.DONE, self._execute(raw)
        except _Refused as refusal:
            status, bursts, size, fired = refusal.status, 0, 0, 0
        values = {
            "status": status,
            "command": raw["command"],
            "burst": self._burst,
            "bursts": bursts,
            "size": size,
            "fired": fired,
            "resident_rows": self._resident,
        }
        head = self._pack_reply(*self._reply_order(values))
        self._out[: len(head)] = np.frombuffer(head, np.uint8)

    def _execute(self, raw: dict[str, Any]) -> Answer:
        """Return the bursts that ran, the bytes of data and the neurons that fired. Raises `_Refused`."""
        if any(raw["reserved"]):
            raise _Refused(SnnStatus.BAD_COMMAND)
        command = raw["command"]
        if self._is_part and command in _STEPS:
            return self._step(raw)
        if self._is_part and command in (SnnCommand.RUN, SnnCommand.STAGE):
            raise _Refused(SnnStatus.BAD_COMMAND)
        if command in (SnnCommand.RUN, SnnCommand.STAGE):
            return self._take(raw)
        if command == SnnCommand.READ:
            return self._read(raw["offset"], raw["size"])
        if command == SnnCommand.RESET:
            self._engine.reset()
            self._staged, self._staged_count, self._burst = [], 0, 0
            self._state, self._fired, self._is_open = None, [], False
            return 0, 0, 0
        raise _Refused(SnnStatus.BAD_COMMAND)

    # --- bursts -----------------------------------------------------------------------------------------------------

    def _take(self, raw: dict[str, Any]) -> Answer:
        bursts, sets, count = raw["bursts"], raw["sets"], raw["count"]
        is_run = raw["command"] == SnnCommand.RUN
        at = self._spec.snn_request.size
        if not self._fits(bursts, sets, count, is_run=is_run):
            raise _Refused(SnnStatus.BAD_SIZE)
        lengths = self._in[at : at + 4 * sets].view("<u4")
        ids = self._in[at + 4 * sets : at + 4 * (sets + count)].view("<u4")
        values = self._in[at + 4 * (sets + count) : at + 4 * sets + 8 * count].view("<f4")
        if int(lengths.sum(dtype=np.uint64)) != count:
            raise _Refused(SnnStatus.BAD_SIZE)
        if count and int(ids.max()) >= self._neurons:
            raise _Refused(SnnStatus.BAD_NEURON)
        if not np.isfinite(values).all():
            raise _Refused(SnnStatus.BAD_VALUE)
        if not is_run:
            if count:
                self._staged.append((ids.copy(), values.copy()))
                self._staged_count += count
            return 0, 0, 0
        return self._run(bursts, self._inputs(lengths, ids, values))

    def _fits(self, bursts: int, sets: int, count: int, *, is_run: bool) -> bool:
        """Tell whether a request is within its frame, its answer within the other, and what is kept within reason."""
        if self._spec.snn_request.size + 4 * sets + 8 * count > len(self._in):
            return False
        if not is_run:
            return sets == 1 and bursts == 0 and self._staged_count + count <= 4 * self._neurons + 1024
        room = len(self._out) - self._spec.snn_reply.size
        return bursts >= 1 and sets <= bursts and bursts * (self._spec.snn_burst.size + self._bitmap_bytes) <= room

    def _inputs(
        self, lengths: npt.NDArray[np.uint32], ids: npt.NDArray[np.uint32], values: npt.NDArray[np.float32]
    ) -> list[tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]] | None]:
        """Return the inputs of each burst; what was staged comes in front of the first."""
        if len(lengths) == 1 and not self._staged:
            return [(ids, values)]
        given: list[tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]] | None] = []
        at = 0
        for length in lengths.tolist():
            given.append((ids[at : at + length], values[at : at + length]))
            at += length
        if self._staged:
            parts = [*self._staged, *(part for part in given[:1] if part is not None)]
            first = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
            given[:1] = [first]
            self._staged, self._staged_count = [], 0
        return given

    def _run(self, bursts: int, inputs: list[tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]] | None]) -> Answer:
        at = self._spec.snn_reply.size
        self._state = None
        if bursts == 1:
            result = self._engine.step(inputs[0] if inputs else None)
            self._burst = result.burst
            end = self._write(at, result.burst, result.fired, result.candidates, result)
            return 1, end - at, len(result.fired)
        run = self._engine.run(bursts, inputs)
        end = at
        for index, candidates in enumerate(run.candidates.tolist()):
            end = self._write(end, run.first_burst + index, run[index], candidates, None)
        self._burst += bursts
        return bursts, end - at, len(run.fired)

    def _write(
        self, at: int, burst: int, fired: npt.NDArray[np.uint32], candidates: int, result: BurstResult | None
    ) -> int:
        """Write one burst at ``at``; return where the next one begins."""
        count, body = len(fired), at + self._spec.snn_burst.size
        as_ids = 4 * count <= self._bitmap_bytes
        # Sources ascend, so those whose rows are in host memory are the last ones.
        streamed = count - int(np.searchsorted(fired, self._resident)) if self._resident < self._neurons else 0
        values = {
            "burst": burst,
            "fired": count,
            "encoding": SnnEncoding.IDS if as_ids else SnnEncoding.BITMAP,
            "candidates": candidates,
            "streamed_rows": streamed,
            "refractory": 0 if result is None else result.refractory,
            "synaptic": 0 if result is None else min(result.synaptic_injections, 0xFFFFFFFF),
        }
        head = self._pack_burst(*self._burst_order(values))
        self._out[at:body] = np.frombuffer(head, np.uint8)
        if as_ids:
            self._out[body : body + 4 * count].view("<u4")[:] = fired
            return body + -(-count // 2) * 8
        bits = np.zeros(self._bitmap_bytes * 8, np.uint8)
        bits[fired] = 1
        self._out[body : body + self._bitmap_bytes] = np.packbits(bits, bitorder="little")
        return body + self._bitmap_bytes

    # --- a part of a network ----------------------------------------------------------------------------------------

    def _step(self, raw: dict[str, Any]) -> Answer:
        command = raw["command"]
        if command == SnnCommand.POTENTIALS:
            return self._give(self._potentials, raw["offset"], raw["size"])
        if self._is_open != (command == SnnCommand.UPDATE):
            raise _Refused(SnnStatus.BAD_ORDER)
        if command == SnnCommand.UPDATE:
            return self._update(raw["offset"])
        at, count = self._spec.snn_request.size, raw["count"]
        if at + 8 * count > len(self._in) or raw["sets"] or raw["bursts"]:
            raise _Refused(SnnStatus.BAD_SIZE)
        ids = self._in[at : at + 4 * count].view("<u4")
        values = self._in[at + 4 * count : at + 8 * count]
        if count and int(ids.max()) >= self._neurons:
            raise _Refused(SnnStatus.BAD_NEURON)
        if command == SnnCommand.FIRED:
            return self._hear(raw["offset"], ids.copy(), values.copy())
        if not np.isfinite(values.view("<f4")).all():
            raise _Refused(SnnStatus.BAD_VALUE)
        return self._propagate(ids, values.view("<f4"))

    def _hear(self, offset: int, ids: npt.NDArray[np.uint32], raw: Bytes) -> Answer:
        """Add to the list of what fired in the whole network."""
        known = [] if offset == 0 else self._fired
        if offset != sum(len(part) for part, _ in known):
            raise _Refused(SnnStatus.BAD_ORDER)
        last = int(known[-1][0][-1]) if known and len(known[-1][0]) else -1
        if len(ids) and (int(ids[0]) <= last or (ids[1:] <= ids[:-1]).any()):
            raise _Refused(SnnStatus.BAD_NEURON)
        if self._stored.kind == "f":
            potentials: npt.NDArray[Any] = raw.view("<f4")
        else:
            codes = raw.view("<i4")
            potentials = codes.astype(np.int8)
            if not np.array_equal(potentials, codes):
                raise _Refused(SnnStatus.BAD_VALUE)
        self._fired = [*known, (ids, potentials)]
        return 0, 0, 0

    def _propagate(self, ids: npt.NDArray[np.uint32], values: npt.NDArray[np.float32]) -> Answer:
        fired = np.concatenate([part for part, _ in self._fired] or [np.zeros(0, np.uint32)])
        potentials = np.concatenate([part for _, part in self._fired] or [np.zeros(0, self._stored)])
        self._engine.set_fired(fired, potentials)
        self._fired, self._state, self._is_open = [], None, True
        candidates = self._engine.propagate((ids, values))
        at, size = self._spec.snn_reply.size, self._spec.snn_burst.size
        head = self._spec.snn_burst.pack(burst=self._burst + 1, candidates=candidates)
        self._out[at : at + size] = np.frombuffer(head, np.uint8)
        return 0, size, 0

    def _update(self, candidates: int) -> Answer:
        result = self._engine.update(candidates)
        self._burst, self._is_open = result.burst, False
        kind = "<f4" if self._stored.kind == "f" else "<i4"
        self._potentials = result.potentials.astype(kind).view(np.uint8)
        at = self._spec.snn_reply.size
        end = self._write(at, result.burst, result.fired, result.candidates, result)
        return 1, end - at, len(result.fired)

    # --- state ------------------------------------------------------------------------------------------------------

    def _read(self, offset: int, size: int) -> Answer:
        if self._state is None:
            state = self._engine.state
            parts = (state.potential, state.refractory_countdown, state.consecutive_count)
            self._state = np.concatenate([np.ascontiguousarray(part).view(np.uint8) for part in parts])
        answer = self._give(self._state, offset, size)
        if offset + size == len(self._state):
            self._state = None
        return answer

    def _give(self, data: Bytes, offset: int, size: int) -> Answer:
        """Answer with a piece of ``data``."""
        at, piece = self._spec.snn_reply.size, data[offset : offset + size]
        if size > len(self._out) - at or len(piece) != size:
            raise _Refused(SnnStatus.BAD_SIZE)
        self._out[at : at + size] = piece
        return 0, size, 0
