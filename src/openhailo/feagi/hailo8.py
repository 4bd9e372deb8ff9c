"""The Hailo-8 as FEAGI's accelerator, through the real path: HEF, config channels, frames, driver.

Silicon cannot execute ``snn`` programs; the virtual chip's core can. Everything up to the core is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from openhailo.burst import Network as SpikingNetwork
from openhailo.compiler.allocate import program_limit
from openhailo.errors import DeviceNotFound, InferenceFailed, NotInitialized, OpenHailoError
from openhailo.runtime.device import Device
from openhailo.runtime.network import Network
from openhailo.runtime.open import default_name, list_devices, open_device
from openhailo.spec.chip import CHIP
from openhailo.spec.enums import DeviceArchitecture
from openhailo.spec.snn import SnnCommand, SnnEncoding, SnnStatus

from .accelerator import FP32, INT8, Accelerator, AcceleratorCapabilities, Ids, Inputs
from .packing import Footprint, pack_state
from .program import REPLY, FrameSizes, build_snn_hef, frame_sizes

NAME: Final = "snn"
Bytes = npt.NDArray[np.uint8]
_REQUEST, _REPLY, _BURST = CHIP.snn_request, CHIP.snn_reply, CHIP.snn_burst


class Hailo8Accelerator(Accelerator):
    """A chip with a network on it.

    Args:
        device: a name (``twin:``, ``kernel:/dev/hailo0``), an open `Device`, which stays open, or None for what
            `init_device` finds.
        mode: "npu" or "embedded".
        options: for `openhailo.open`.
    """

    name = "Hailo-8"
    performance_ops_per_sec = 26_000_000_000_000  # feagi.md 2

    def __init__(self, device: str | Device | None = None, mode: str = "npu", **options: Any) -> None:
        super().__init__(mode)
        self._given, self._options = device, options
        self._device: Device | None = None
        self._chip: Network | None = None
        self._sizes = frame_sizes(1)
        self._burst = 0
        self._frames = np.zeros((0, 0), np.uint8)
        #: Rows of synapses that came from host memory in the last call.
        self.streamed_rows = 0

    @property
    def capabilities(self) -> AcceleratorCapabilities:
        """What fits at best: neurons of two bytes and a bit; synapses that the config channels can carry."""
        neurons = CHIP.snn.memory_bytes * 8 // 17
        synapses = program_limit() // CHIP.snn.synapse_bytes
        return AcceleratorCapabilities(neurons, synapses, INT8 | FP32, 1_000_000_000, 2500)  # feagi.md 2

    # --- the device -------------------------------------------------------------------------------------------------

    def is_available(self) -> bool:
        """Whether there is a device to open, or one is open."""
        if self._device is not None or isinstance(self._given, Device):
            return True
        return self._given is not None or bool(list_devices())

    def init_device(self, index: int = 0) -> None:
        """Open the device that was given, else the ``index``-th there is; 0 is what `openhailo.open` would take.

        Raises:
            DeviceNotFound: there are not so many.
            DeviceBusy: somebody else has it.
        """
        self.close()
        if isinstance(self._given, Device):
            self._device = self._given
            return
        self._device = open_device(self._given or self._name_of(index), **self._options)

    @staticmethod
    def _name_of(index: int) -> str:
        if index == 0:
            return default_name()
        names = [device.name for device in list_devices()]
        if not 0 < index < len(names):
            raise DeviceNotFound(name=f"number {index}", hint=f"there are {len(names)}: {', '.join(names)}")
        return names[index]

    def _require_device(self, what: str) -> None:
        if self._device is None:
            raise NotInitialized(what=what)

    def temperature_celsius(self) -> float:
        """Return the chip's temperature as its firmware measures it."""
        self._require_device("measuring the temperature")
        assert self._device is not None, "just asked for"
        return self._device.sensors().temperature_c

    def close(self) -> None:
        """Unload the network and close the device, unless it was given open. Idempotent."""
        super().close()
        self._unload()
        device, self._device = self._device, None
        if device is not None and device is not self._given:
            device.close()

    def __enter__(self) -> Self:
        if self._device is None:
            self.init_device()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _unload(self) -> None:
        chip, self._chip = self._chip, None
        if chip is not None:
            with suppress(OpenHailoError):
                chip.close()

    # --- the network ------------------------------------------------------------------------------------------------

    def footprint(self) -> Footprint:
        """Return where the bytes of the network that was uploaded go."""
        return pack_state(self._ensure_loaded("looking at the memory")).footprint

    def _load(self, network: SpikingNetwork) -> None:
        assert self._device is not None, "uploads need a device"
        self._unload()
        self._sizes = frame_sizes(len(network.neurons))
        self._chip = self._device.load(build_snn_hef(network, self.mode, name=NAME, arch=arch_of(self._device)))
        self._burst = 0
        self._frames = np.zeros((1, self._sizes.request_bytes), np.uint8)

    # --- bursts -----------------------------------------------------------------------------------------------------

    def _run(self, bursts: int, inputs: Sequence[Inputs | None]) -> list[Ids]:
        frames = list(_frames(bursts, inputs, self._sizes, self._stage))
        self._reserve(len(frames))
        for frame, (count, given) in zip(self._frames, frames, strict=False):
            _fill(frame, count, given)
        answers = self._ask(len(frames))
        self.streamed_rows = 0
        fired: list[Ids] = []
        for answer, (count, _) in zip(answers, frames, strict=True):
            self._read(answer, count, fired)
        return fired

    def _reserve(self, frames: int) -> None:
        if len(self._frames) < frames:
            self._frames = np.zeros((frames, self._sizes.request_bytes), np.uint8)

    def _ask(self, count: int) -> Bytes:
        """Send the first ``count`` frames; return the answers, (count, bytes)."""
        assert self._chip is not None, "requests go to what was loaded"
        frames = self._frames[:count].reshape(count, *self._chip.inputs[0].shape)
        answers: Bytes = self._chip(frames, raw=True)[f"{NAME}/{REPLY}"]
        return answers.reshape(count, -1)

    def _request(self, command: SnnCommand, data: bytes = b"", **fields: int) -> Bytes:
        """Send one frame that is no burst; return the answer."""
        head = _REQUEST.pack(command=command, **fields) + data
        self._frames[0, : len(head)] = np.frombuffer(head, np.uint8)
        answer: Bytes = self._ask(1)[0]
        self._check(answer, command, 0)
        return answer

    def _stage(self, ids: Ids, values: npt.NDArray[np.float32]) -> None:
        """Have the chip keep inputs that a burst's own request has no room for."""
        data = np.uint32(len(ids)).tobytes() + ids.tobytes() + values.tobytes()
        self._request(SnnCommand.STAGE, data, sets=1, count=len(ids))

    def _check(self, answer: Bytes, command: SnnCommand, bursts: int) -> int:
        """Return the size of the data. Raises `InferenceFailed`."""
        status, seen, burst, ran, size, _, _ = _REPLY.compiled.unpack_from(answer.data)
        if status != SnnStatus.DONE or seen != command or ran != bursts:
            known = next((each.name for each in SnnStatus if each == status), str(status))
            raise InferenceFailed(detail=f"the chip answers {known} to command {command.name}")
        expected = 0 if command is SnnCommand.RESET else self._burst + bursts
        if burst != expected:
            detail = f"burst {burst} where {expected} was due: another network had the chip, and the state is gone"
            self._loaded = False
            raise InferenceFailed(detail=detail, hint="the next burst starts from what was uploaded")
        self._burst = burst
        return int(size)

    def _read(self, answer: Bytes, bursts: int, fired: list[Ids], command: SnnCommand = SnnCommand.RUN) -> None:
        """Add what fired in each burst of an answer to ``fired``."""
        end = _REPLY.size + self._check(answer, command, bursts)
        at, bitmap = _REPLY.size, self._bitmap_bytes
        for _ in range(bursts):
            _, count, encoding, _, streamed, _, _ = _BURST.compiled.unpack_from(answer.data, at)
            self.streamed_rows += streamed
            at += _BURST.size
            if encoding == SnnEncoding.IDS:
                fired.append(answer[at : at + 4 * count].view("<u4"))
                at += -(-count // 2) * 8
            else:
                bits = np.unpackbits(answer[at : at + bitmap], bitorder="little")
                fired.append(np.flatnonzero(bits).astype(np.uint32))
                at += bitmap
            if at > end or len(fired[-1]) != count:
                raise InferenceFailed(detail="an answer that does not add up")

    @property
    def _bitmap_bytes(self) -> int:
        assert self._network is not None, "answers come from what was loaded"
        return -(-len(self._network.neurons) // 64) * 8

    # --- state ------------------------------------------------------------------------------------------------------

    def _state(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        assert self._network is not None, "only what was loaded has a state"
        count, dtype = len(self._network.neurons), self._network.neurons.potential.dtype
        total = count * (dtype.itemsize + 4)
        state, room = np.zeros(total, np.uint8), self._sizes.reply_bytes - _REPLY.size
        for at in range(0, total, room):
            size = min(room, total - at)
            answer = self._request(SnnCommand.READ, offset=at, size=size)
            state[at : at + size] = answer[_REPLY.size : _REPLY.size + size]
        split = count * dtype.itemsize
        words = state[split:].copy().view("<u2")
        return state[:split].copy().view(dtype), words[:count], words[count:]

    def _rewind(self) -> None:
        self._request(SnnCommand.RESET)
        self._burst = 0


def arch_of(device: Device) -> str:
    """Return the compiler's name of a chip."""
    return "hailo8l" if device.identify().architecture == DeviceArchitecture.HAILO8L else "hailo8"


def _frames(bursts: int, inputs: Sequence[Inputs | None], sizes: FrameSizes, stage: Any) -> Any:
    """Cut ``bursts`` into requests: yields (bursts, inputs of each). What is too much for a request is staged first."""
    done = 0
    while done < bursts:
        if done >= len(inputs):
            count = min(sizes.bursts, bursts - done)
            yield count, ()
            done += count
            continue
        taken: list[Any] = []
        room = sizes.deltas
        while done + len(taken) < len(inputs) and len(taken) < sizes.bursts:
            entry: Any = inputs[done + len(taken)] or _NOTHING
            if len(entry[0]) > room:
                if taken:
                    break
                # Only the first burst of a call can be helped: what is staged belongs to the next one to run.
                if done:
                    raise InferenceFailed(
                        detail=f"{len(entry[0])} inputs for one burst of a batch; {sizes.deltas} have room",
                        hint="run bursts with so many inputs one by one",
                    )
                entry = _staged(entry, room, stage)
            taken.append(entry)
            room -= len(entry[0])
        yield len(taken), tuple(taken)
        done += len(taken)


_NOTHING = (np.zeros(0, np.uint32), np.zeros(0, np.float32))


def _staged(entry: Any, room: int, stage: Any) -> Any:
    """Stage all but the last ``room`` inputs, in order; return the rest."""
    ids, values = entry
    at = 0
    while len(ids) - at > room:
        end = min(at + room, len(ids) - room) if len(ids) - at < 2 * room else at + room
        stage(ids[at:end], values[at:end])
        at = end
    return ids[at:], values[at:]


def _fill(frame: Bytes, bursts: int, inputs: Sequence[Any]) -> None:
    """Write a request for ``bursts`` bursts into ``frame``."""
    sets, count, at = len(inputs), sum(len(ids) for ids, _ in inputs), _REQUEST.size
    head = _REQUEST.compiled.pack(SnnCommand.RUN, bursts, sets, count, 0, 0, bytes(8))
    frame[:at] = np.frombuffer(head, np.uint8)
    frame[at : at + 4 * sets].view("<u4")[:] = [len(ids) for ids, _ in inputs]
    where = at + 4 * sets
    for ids, values in inputs:
        size = 4 * len(ids)
        frame[where : where + size].view("<u4")[:] = ids
        frame[where + 4 * count : where + 4 * count + size].view("<f4")[:] = values
        where += size
