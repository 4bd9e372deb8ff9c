"""What goes over a link, as JSON Lines beside the register accesses of `openhailo.bus.trace`.

* ``"control"``: ``name``, ``opcode``, ``cpu``, ``request`` and ``response`` (hex), ``status`` ("ok", the names of the
  status words, or the error);
* ``"list"``: a descriptor list was made; ``address``, ``count``, ``page_size``, ``circular``;
* ``"program"``: descriptors were filled; ``address`` (list), ``channel``, ``first``, ``count``, ``size``, ``bind``;
* ``"channels"``: ``op`` ("enable", "disable"), ``bitmap``;
* ``"launch"``: one transfer; ``channel``, ``first`` (descriptor), ``size``;
* ``"completed"``: ``channel``, ``count``, ``error``;
* ``"notification"``: ``payload`` (hex).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openhailo.bus.trace import TraceWriter
from openhailo.driver.link import BufferRange, ChannelEvent, DescriptorList
from openhailo.errors import OpenHailoError
from openhailo.spec.chip import CHIP, ChipSpec


class TracingLink:
    """A `openhailo.driver.link.ChipLink` that records what it passes on to ``inner``, which it owns from now on."""

    def __init__(self, inner: Any, writer: TraceWriter, spec: ChipSpec = CHIP) -> None:
        self._inner, self._record, self._spec = inner, writer.record, spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def control(self, request: bytes, cpu: int, timeout_s: float = 1.0) -> bytes:
        """Exchange one control message."""
        opcode = self._spec.request_header.unpack(request)["opcode"]
        known = self._spec.controls.get(opcode)
        fields = {"name": known.name if known else "?", "opcode": opcode, "cpu": cpu, "request": request.hex()}
        try:
            response: bytes = self._inner.control(request, cpu, timeout_s)
        except OpenHailoError as error:
            self._record("control", **fields, response="", status=type(error).__name__)
            raise
        self._record("control", **fields, response=response.hex(), status=self._status(response))
        return response

    def _status(self, response: bytes) -> str:
        header = self._spec.response_header
        if len(response) < header.size:
            return "too short"
        words = header.unpack(response)
        if not words["major_status"]:
            return "ok"
        codes = (words["major_status"], words["minor_status"])
        return ", ".join(self._spec.status_names.get(code, f"0x{code:08X}") for code in codes)

    def create_descriptor_list(self, count: int, page_size: int, *, circular: bool) -> Any:
        """Create a descriptor list."""
        made = self._inner.create_descriptor_list(count, page_size, circular=circular)
        self._record("list", address=made.dma_address, count=count, page_size=page_size, circular=circular)
        return made

    def program(self, dlist: DescriptorList, buffer: Any, **how: Any) -> int:
        """Fill descriptors."""
        used: int = self._inner.program(dlist, buffer, **how)
        self._record(
            "program",
            address=dlist.dma_address,
            channel=how["channel"],
            first=how.get("starting_desc", 0),
            count=used,
            size=how["size_bytes"],
            bind=how.get("bind", True),
        )
        return used

    def enable_channels(self, bitmap: int) -> None:
        """Claim channels."""
        self._inner.enable_channels(bitmap)
        self._record("channels", op="enable", bitmap=bitmap)

    def disable_channels(self, bitmap: int) -> None:
        """Release channels."""
        self._inner.disable_channels(bitmap)
        self._record("channels", op="disable", bitmap=bitmap)

    def launch(
        self, channel: int, dlist: DescriptorList, starting_desc: int, buffers: Sequence[BufferRange], **how: Any
    ) -> int:
        """Start one transfer."""
        return self.launch_many(channel, dlist, starting_desc, [buffers], **how)

    def launch_many(
        self,
        channel: int,
        dlist: DescriptorList,
        starting_desc: int,
        transfers: Sequence[Sequence[BufferRange]],
        **how: Any,
    ) -> int:
        """Start several transfers; each is a record of its own."""
        at = starting_desc
        for buffers in transfers:
            self._record("launch", channel=channel, first=at, size=sum(size for _, _, size in buffers))
            at = (at + sum(-(-size // dlist.page_size) for _, _, size in buffers)) % dlist.count
        used: int = self._inner.launch_many(channel, dlist, starting_desc, transfers, **how)
        return used

    def wait_channels(self, bitmap: int, timeout_s: float) -> list[ChannelEvent]:
        """Wait for completions."""
        events: list[ChannelEvent] = self._inner.wait_channels(bitmap, timeout_s)
        for channel, completed, error in events:
            self._record("completed", channel=channel, count=completed, error=error.name)
        return events

    def read_notification(self, timeout_s: float) -> bytes | None:
        """Return the oldest notification."""
        payload: bytes | None = self._inner.read_notification(timeout_s)
        if payload is not None:
            self._record("notification", payload=payload.hex())
        return payload
