"""A part of a network on a chip: its neurons live there, spikes of the others come in from outside."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openhailo.burst import BurstResult, Network, State
from openhailo.errors import InferenceFailed
from openhailo.runtime.device import Device
from openhailo.spec.chip import CHIP
from openhailo.spec.snn import SnnCommand

from .accelerator import Ids
from .hailo8 import NAME, Hailo8Accelerator, arch_of
from .packing import Mask
from .program import build_snn_hef, frame_sizes

Inputs = tuple[npt.ArrayLike, npt.ArrayLike]
_REQUEST, _REPLY, _BURST = CHIP.snn_request, CHIP.snn_reply, CHIP.snn_burst


class Part(Protocol):
    """Something that executes some neurons of a network, burst by burst: an engine, or a chip."""

    def propagate(self, inputs: Inputs | None = None) -> int:
        """Begin a burst; return the number of candidates among the part's neurons."""
        ...

    def update(self, candidates: int) -> BurstResult:
        """End the burst; ``candidates`` are those of all parts."""
        ...

    def set_fired(self, fired: npt.ArrayLike, potentials: npt.ArrayLike) -> None:
        """Say what fired in the whole network, ids ascending, and with which stored potentials."""
        ...

    def reset(self) -> None:
        """Go back to the beginning."""
        ...

    @property
    def state(self) -> State:
        """The state of the part's neurons, among those of all."""
        ...


class ChipPart(Hailo8Accelerator):
    """A chip with a part of a network: the neurons ``owned``. The other neurons take no memory on the chip."""

    def __init__(
        self,
        network: Network,
        owned: npt.ArrayLike,
        device: str | Device | None = None,
        mode: str = "npu",
        *,
        index: int = 0,
        **options: Any,
    ) -> None:
        """Open the device and load the part. Raises `BufferTooLarge` and what `init_device` raises."""
        super().__init__(device, mode, **options)
        self._owned: Mask = np.asarray(owned, np.bool_)
        self._driven = any(network.areas.mp_driven.values())
        self._stored = network.neurons.potential.dtype
        self._kind = "<f4" if self._stored.kind == "f" else "<i4"
        self._others: tuple[Ids, npt.NDArray[Any]] = (np.zeros(0, np.uint32), np.zeros(0, self._stored))
        self.init_device(index)
        try:
            self.upload_network(network)
        except BaseException:
            self.close()
            raise

    def _load(self, network: Network) -> None:
        assert self._device is not None, "uploads need a device"
        self._unload()
        self._sizes = frame_sizes(len(network.neurons))
        content = build_snn_hef(network, self.mode, name=NAME, arch=arch_of(self._device), owned=self._owned)
        self._chip = self._device.load(content)
        self._burst = 0
        self._frames = np.zeros((1, self._sizes.request_bytes), np.uint8)

    def set_fired(self, fired: npt.ArrayLike, potentials: npt.ArrayLike) -> None:
        """Say what fired in the whole network; it travels with the next burst's inputs."""
        self._others = (np.asarray(fired, np.uint32), np.asarray(potentials, self._stored))

    def propagate(self, inputs: Inputs | None = None) -> int:
        """Begin a burst; return the number of candidates. Raises `InferenceFailed`."""
        self._ensure_loaded("processing a burst")
        ids, values = self._mine(inputs)
        room = (self._sizes.request_bytes - _REQUEST.size) // 8
        if len(ids) > room:
            raise InferenceFailed(detail=f"{len(ids)} inputs for one burst", hint=f"{room} have room in a request")
        fired, potentials = self._others
        potentials = potentials.astype(self._kind).view(np.uint8)
        pieces = list(range(0, max(len(fired), 1), room))
        self._reserve(len(pieces) + 1)
        for frame, at in zip(self._frames, pieces, strict=False):
            _put(frame, SnnCommand.FIRED, at, fired[at : at + room], potentials[4 * at : 4 * (at + room)])
        _put(self._frames[len(pieces)], SnnCommand.PROPAGATE, 0, ids, values.view(np.uint8))
        answers = self._ask(len(pieces) + 1)
        for answer in answers[:-1]:
            self._check(answer, SnnCommand.FIRED, 0)
        self._check(answers[-1], SnnCommand.PROPAGATE, 0)
        return int(_BURST.compiled.unpack_from(answers[-1].data, _REPLY.size)[3])

    def _mine(self, inputs: Inputs | None) -> tuple[Ids, npt.NDArray[np.float32]]:
        """Return the inputs for the part's own neurons that count (feagi.md 11)."""
        if inputs is None:
            return np.zeros(0, np.uint32), np.zeros(0, np.float32)
        ids, values = np.asarray(inputs[0], np.uint32), np.asarray(inputs[1], np.float32)
        keep = (ids < len(self._owned)) & (values != 0) & np.isfinite(values)
        keep &= self._owned[np.minimum(ids, len(self._owned) - 1)]
        return ids[keep], values[keep]

    def update(self, candidates: int) -> BurstResult:
        """End the burst. Raises `InferenceFailed`."""
        _put(self._frames[0], SnnCommand.UPDATE, candidates, np.zeros(0, np.uint32), np.zeros(0, np.uint8))
        answer = self._ask(1)[0]
        fired: list[Ids] = []
        self._fired = fired
        self._read(answer, 1, fired, SnnCommand.UPDATE)
        _, _, _, mine, self.streamed_rows, refractory, synaptic = _BURST.compiled.unpack_from(answer.data, _REPLY.size)
        potentials = self._read_potentials(len(fired[0])) if self._driven else np.zeros(len(fired[0]), self._stored)
        return BurstResult(fired[0], potentials, self._burst, mine, 0, synaptic, refractory)

    def _read_potentials(self, count: int) -> npt.NDArray[Any]:
        data, room = np.zeros(4 * count, np.uint8), self._sizes.reply_bytes - _REPLY.size
        for at in range(0, len(data), room):
            size = min(room, len(data) - at)
            answer = self._request(SnnCommand.POTENTIALS, offset=at, size=size)
            data[at : at + size] = answer[_REPLY.size : _REPLY.size + size]
        return data.view(self._kind).astype(self._stored)

    def reset(self) -> None:
        """Go back to the beginning."""
        super().reset()
        self._others = (self._others[0][:0], self._others[1][:0])

    @property
    def state(self) -> State:
        """The state of the part's neurons, among those of all."""
        return State(*self._state(), *self._others, self._burst)


def _put(frame: npt.NDArray[np.uint8], command: SnnCommand, offset: int, ids: Ids, values: npt.NDArray[Any]) -> None:
    """Write a request with neurons and 4 bytes for each into ``frame``."""
    at, size = _REQUEST.size, 4 * len(ids)
    frame[:at] = np.frombuffer(_REQUEST.compiled.pack(command, 0, 0, len(ids), offset, 0, bytes(8)), np.uint8)
    frame[at : at + size].view("<u4")[:] = ids
    frame[at + size : at + 2 * size] = values
