"""What a client did to a served device, as JSON Lines that `openhailo trace` prints.

Records are those of `openhailo.bus.trace` (``r``, ``w``, ``cr``, ``cw``; registers have their ``name``), and:

* ``"dma"``: ``op`` ("map", "unmap"), ``iova``, ``size``, ``file`` (whether a descriptor came with the range);
* ``"vectors"``: ``armed``, how many message vectors the client listens to now;
* ``"msi"``: ``sent``; False while messages are switched off;
* ``"control"``: ``name``, ``opcode``, ``cpu``, ``request`` (hex), ``status`` ("asked"; the answer is a ``"response"``);
* every other event of the chip by its own name (`openhailo.twin.observe`), bytes in hexadecimal;
* ``"summary"`` last: ``counts``, how many there were of each.

Without a journal nothing of this costs anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import IO, Any

from openhailo.bus.trace import TraceWriter, register_name
from openhailo.twin.observe import ChipEvent

from .device import ServedDevice

#: Chip event -> record of `openhailo.bus.trace`.
_ACCESSES = {"read": "r", "write": "w", "config_read": "cr", "config_write": "cw"}


class Journal:
    """Records what happens to ``device``; several devices may share a ``writer``, so each names itself."""

    def __init__(self, device: ServedDevice, stream: IO[str] | TraceWriter) -> None:
        self._writer = stream if isinstance(stream, TraceWriter) else TraceWriter(stream)
        self._device, self._spec = device, device.chip.spec
        #: How many there were, by kind; accesses by kind and BAR ("r0", "w2"), DMA by what happened ("map").
        self.counts: Counter[str] = Counter()
        self._names: dict[tuple[int, int], str] = {}
        self._stop = device.chip.observe(self._event)
        device.memory.watch = self._dma
        device.vectors.watch = self._vectors

    def _event(self, event: ChipEvent) -> None:
        kind, fields = event.kind, event.fields
        if kind in ("read", "write"):
            bar, offset = fields["bar"], fields["offset"]
            word = _ACCESSES[kind]
            self._record(f"{word}{bar}", word, bar=bar, at=offset, v=fields["value"], name=self._name(bar, offset))
        elif kind in _ACCESSES:
            self._record(
                _ACCESSES[kind], _ACCESSES[kind], at=fields["offset"], width=fields["width"], v=fields["value"]
            )
        elif kind == "message":
            self._record("msi" if fields["sent"] else "msi lost", "msi", sent=fields["sent"])
        elif kind == "control":
            self._record(kind, kind, **self._control(**fields))
        else:
            self._record(kind, kind, **_plain(fields))

    def _control(self, request: bytes, **fields: Any) -> dict[str, Any]:
        header = self._spec.request_header
        opcode = header.unpack(request)["opcode"] if len(request) >= header.size else -1
        known = self._spec.controls.get(opcode)
        name = known.name if known else "?"
        return {"name": name, "opcode": opcode, **_plain(fields), "request": request.hex(), "status": "asked"}

    def _name(self, bar: int, offset: int) -> str:
        key = bar, offset
        if key not in self._names:
            self._names[key] = register_name(bar, offset, self._spec)
        return self._names[key]

    def _dma(self, op: str, address: int, size_bytes: int, with_file: bool) -> None:
        self._record(op, "dma", op=op, iova=address, size=size_bytes, file=with_file)

    def _vectors(self, armed: int) -> None:
        self._record("vectors", "vectors", armed=armed)

    def _record(self, counted_as: str, kind: str, /, **fields: Any) -> None:
        self.counts[counted_as] += 1
        self._writer.record(kind, device=self._device.name, **fields)

    def close(self) -> None:
        """Write the summary and stop. Idempotent."""
        if self._device.memory.watch is None:
            return
        self._stop()
        self._device.memory.watch = None
        self._device.vectors.watch = None
        self._writer.record("summary", device=self._device.name, counts=dict(sorted(self.counts.items())))


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in fields.items()}


def _value(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_value(entry) for entry in value]
    return value if isinstance(value, int | float | str | None) else str(value)
