"""Descriptor lists that live in the driver (driver.md 6.4, 6.5, 7.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from openhailo.driver.descriptors import DescriptorFormat
from openhailo.errors import InputError

from .calls import Calls
from .memory import KernelBuffer, map_handle

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec


class KernelDescriptorList:
    """A list (`openhailo.driver.link.DescriptorList`), known to the driver by ``handle``."""

    def __init__(
        self,
        calls: Calls,
        spec: ChipSpec,
        count: int,
        page_size: int,
        *,
        circular: bool,
        max_page_size: int,
        on_close: Callable[[KernelDescriptorList], None],
    ) -> None:
        """Create it. Raises `InputError`, `DmaMapError`."""
        _check_geometry(spec, count, page_size, circular, max_page_size)
        self._calls, self._on_close = calls, on_close
        self.count, self.page_size, self.circular, self.closed = count, page_size, circular, False
        self._descriptor_bytes = spec.vdma.descriptor_size_bytes
        self._format = DescriptorFormat(spec)
        made = calls.call("DESC_LIST_CREATE", desc_count=count, desc_page_size=page_size, is_circular=int(circular))
        self.handle, self.dma_address = made["desc_handle"], made["dma_address"]
        self._dwords: memoryview | None = None

    def close(self) -> None:
        """Free it; its channel must be disabled. Idempotent."""
        if not self.closed:
            self.closed = True
            self._on_close(self)

    def release(self) -> None:
        """Have the driver free the list; nothing may use it."""
        self._dwords = None
        self._calls.call("DESC_LIST_RELEASE", desc_handle=self.handle)

    def program(
        self,
        buffer: KernelBuffer,
        *,
        size_bytes: int,
        offset: int,
        starting_desc: int,
        bind: bool,
        last_domain: int,
        channel: int,
        batch_size: int,
    ) -> int:
        """Describe ``batch_size`` consecutive transfers; return how many descriptors that took (driver.md 6.5)."""
        self._check(buffer, size_bytes, offset, starting_desc, last_domain, batch_size)
        used = self.descriptors_of(size_bytes)
        behaviour = self._calls.release.behaviour
        fields = {"desc_handle": self.handle, "channel_index": channel, "buffer_handle": buffer.handle}
        fields["buffer_size"] = size_bytes
        if behaviour.program_has_batch:
            # A batch of 0 would silently do nothing (driver.md 8.1 row 21).
            fields |= {"buffer_offset": offset, "starting_desc": starting_desc, "should_bind": int(bind)}
            made = self._calls.call(
                behaviour.program_ioctl, **fields, last_interrupts_domain=last_domain, batch_size=batch_size
            )
            return int(made["returned"])
        total = 0
        for index in range(batch_size):
            start = (starting_desc + total) % self.count
            at = {"buffer_offset": offset + index * used * self.page_size, "starting_desc": start}
            domain = last_domain if index == batch_size - 1 else 0
            total += self._program_one(fields | at, bind, domain, size_bytes)
        return total

    def _program_one(self, fields: dict[str, int], bind: bool, domain: int, size_bytes: int) -> int:
        behaviour = self._calls.release.behaviour
        if behaviour.program_sets_interrupts:
            made = self._calls.call(
                behaviour.program_ioctl, **fields, should_bind=int(bind), last_interrupts_domain=domain
            )
            return int(made["returned"])
        used = self.descriptors_of(size_bytes)
        if bind:
            used = int(self._calls.call(behaviour.program_ioctl, **fields)["returned"])
        if domain or not bind:
            self._write_last(fields["starting_desc"] + used - 1, size_bytes, domain)
        return used

    def _write_last(self, index: int, size_bytes: int, domain: int) -> None:
        """Set size and interrupt bits of a descriptor ourselves: 4.17 only binds, and lets user space map the list."""
        if self._dwords is None:
            view = map_handle(self._calls, self.handle, self.count * self._descriptor_bytes)
            self._dwords = view.cast("I")
        at = index % self.count * (self._descriptor_bytes // 4) + self._format.size_control
        self._dwords[at] = self._format.word(size_bytes % self.page_size or self.page_size, domain)

    def descriptors_of(self, size_bytes: int) -> int:
        """Descriptors of a transfer that starts on a page."""
        return -(-size_bytes // self.page_size)

    def check_range(self, buffer: KernelBuffer, offset: int, size_bytes: int) -> None:
        """Refuse what the driver would refuse: some releases move the channel before they look (8.1 row 14)."""
        if not isinstance(buffer, KernelBuffer):
            raise InputError(what="buffer", detail="it belongs to another kind of link")
        if buffer.closed or self.closed:
            raise InputError(what="transfer", detail="its buffer or descriptor list is closed already")
        if offset < 0 or size_bytes < 1 or offset + size_bytes > buffer.size_bytes:
            raise InputError(
                what="transfer", detail=f"{size_bytes} bytes at {offset} leave a buffer of {buffer.size_bytes} bytes"
            )
        if offset % self.page_size:
            raise InputError(what="transfer", detail=f"offset {offset} is not a multiple of the page {self.page_size}")

    def _check(self, buffer: KernelBuffer, size: int, offset: int, start: int, domain: int, batch: int) -> None:
        if not 0 <= start < self.count:
            raise InputError(what="descriptor list", detail=f"no descriptor {start}, it has {self.count}")
        if not 0 <= domain < len(self._format.domain_bits):
            raise InputError(what="interrupt domain", detail=f"{domain} is not 0 none, 1 device, 2 host, 3 both")
        if batch < 1:
            raise InputError(what="batch size", detail=f"{batch} transfers cannot be programmed; use 1 or more")
        used = self.descriptors_of(size)
        self.check_range(buffer, offset, size)
        self.check_range(buffer, offset + (batch - 1) * used * self.page_size, size)
        room = self.count if self.circular else self.count - start
        if used * batch > room:
            raise InputError(what="descriptor list", detail=f"{used * batch} descriptors needed, {room} there")


def _check_geometry(spec: ChipSpec, count: int, page_size: int, circular: bool, max_page_size: int) -> None:
    """The driver takes counts and pages of 0 and divides by them later (driver.md 8.1 row 11)."""
    rules = spec.vdma
    if not 1 <= count <= rules.max_descriptors or (circular and count & (count - 1)):
        kind = "a power of two" if circular else "1"
        raise InputError(
            what="descriptor list", detail=f"{count} descriptors; needed is {kind} up to {rules.max_descriptors}"
        )
    if not rules.min_page_size <= page_size <= max_page_size or page_size & (page_size - 1):
        raise InputError(
            what="descriptor page",
            detail=f"{page_size} bytes; needed is a power of two in {rules.min_page_size}..{max_page_size}",
        )
