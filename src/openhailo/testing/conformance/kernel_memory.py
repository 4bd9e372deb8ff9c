"""Memory and descriptor lists of the kernel driver, by request and byte (driver.md 6.3-6.5, 7.1, 7.5, 8.1)."""

from __future__ import annotations

import errno
from functools import partial
from typing import Any

from openhailo.testing.check import check, expect, expect_error, expect_true
from openhailo.testing.rig import Rig

from .kernel_pieces import FACTS, Launched, expect_errno, node_of, virtual
from .raw.lists import frame
from .raw.node import Memory, Node

_NODE, _STATE = ("device_file",), ("device_file", "fresh", "state", "faults", "clock")


def _words(rig: Rig, address: int, count: int) -> list[tuple[int, int, int, int]]:
    """Return descriptors as the device sees them."""
    table = rig.twin.dma.view(address, count * 16, write=False)
    assert table is not None, "the list is registered"
    data = table.tobytes()
    numbers = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
    return [(numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]) for at in range(0, len(numbers), 4)]


# --- mapped buffers -------------------------------------------------------------------------------------------------


@check("kernel_driver", needs=_NODE, about=["VDMA_BUFFER_MAP", "VDMA_BUFFER_UNMAP", "vdma_buffer_map_params"])
def mapping_and_unmapping(rig: Rig) -> None:
    """Handles count up; a handle is good once; directions 0 to 2 exist (driver.md 7.5)."""
    node = node_of(rig)
    memories = [Memory(size) for size in (1, 4096, 5000, 1 << 20)]
    handles = [node.map(memory.address, memory.size_bytes, n % 3) for n, memory in enumerate(memories)]
    expect("handles", handles, [handles[0] + n for n in range(4)])
    for handle in handles:
        node.unmap(handle)
        expect_errno("a second unmap", errno.EINVAL, partial(node.unmap, handle))
    expect_errno("a handle that never was", errno.EINVAL, partial(node.unmap, 12345))
    for direction in (3, 4, 0xFFFFFFFF):
        wrong = partial(node.map, memories[1].address, 4096, direction)
        expect_errno(f"direction {direction}", errno.EINVAL, wrong)
    expect_errno("memory that is not there", errno.EFAULT, partial(node.map, 0x1000, 4096))
    if node.family != "A":
        wrong = partial(node.map, 0xFFFF, 4096, kind=1)
        expect_errno("a dma-buf that is not one", errno.EINVAL, wrong)


@check("kernel_driver", needs=_STATE, about=["VDMA_BUFFER_MAP"])
def unaligned_pointers_begin_at_their_page(rig: Rig) -> None:
    """The driver maps from the start of the page, whatever the pointer (driver.md 8.1 row 7)."""
    node, memory = node_of(rig), Memory(8192)
    end = virtual(rig).driver.user.own(memory.view)
    memory.view[:] = bytes(at * 7 % 256 for at in range(8192))
    dlist, address = node.create(8, 512)
    handle = node.map(memory.address + 100, 4096, 1)
    expect("descriptors", node.program(dlist, handle, 512), 1)
    _, low, high, _ = _words(rig, address, 1)[0]
    seen = rig.twin.dma.view(high << 32 | low, 16, write=False)
    expect("first bytes behind the descriptor", seen is not None and bytes(seen), bytes(memory.view[:16]))
    end()


@check("kernel_driver", needs=_STATE, about=["VDMA_BUFFER_UNMAP", "VDMA_INTERRUPTS_WAIT"])
def unmapping_in_flight_is_a_crash(rig: Rig) -> None:
    """Nothing stops it; completing the transfer uses freed memory (driver.md 8.1 row 10)."""
    from openhailo.twin import TwinViolation

    running = Launched(rig)
    running.output.launch()
    running.input.send(frame(1))
    running.host.rest(0.01)
    running.node.unmap(running.input.buffer.handle)
    expect_error("completing", TwinViolation, running.poll)


@check("kernel_driver", needs=_NODE, about=["VDMA_BUFFER_SYNC", "vdma_buffer_sync_params"])
def syncing(rig: Rig) -> None:
    """Both ways, inside the mapping (driver.md 7.5)."""
    node = node_of(rig)
    memory = node.memory(8192)
    for kind in (0, 1):
        for offset, count in ((0, 8192), (4096, 4096), (1, 1)):
            node.sync(memory.handle, kind, offset, count)
        expect_errno("a range that leaves", errno.EINVAL, partial(node.sync, memory.handle, kind, 4096, 4097))
    expect_errno("a third way", errno.EINVAL, partial(node.sync, memory.handle, 2, 0, 16))
    expect_errno("another handle", errno.EINVAL, partial(node.sync, memory.handle + 1, 0, 0, 16))


# --- memory of the driver -------------------------------------------------------------------------------------------


@check("kernel_driver", needs=_NODE, about=["VDMA_LOW_MEMORY_BUFFER_ALLOC", "VDMA_LOW_MEMORY_BUFFER_FREE"])
def low_memory(rig: Rig) -> None:
    """Pages that are mapped whole, by their handle, and then for the device with exactly as many (8.1 row 24)."""
    node = node_of(rig)
    handle = node.low_memory(8192)
    view = node.file.mmap(8192, handle)
    view[:] = bytes(8192)
    page = node.file.page_size
    for length in (page * (-(-8192 // page) + 1), 8192 - page if page < 8192 else 2 * page):
        expect_errno(f"a mapping of {length} bytes", errno.EINVAL, partial(node.file.mmap, length, handle))
    address = Memory(16).address
    mapped = node.map(address, 8192, 0, handle=handle)
    expect_errno("other pages", errno.EINVAL, partial(node.map, address, 1 << 20, 0, handle=handle))
    expect_errno("another handle", errno.EINVAL, partial(node.map, address, 8192, 0, handle=handle + 1))
    node.unmap(mapped)
    del view
    node.call("LOW_FREE", handle.to_bytes(8, "little"))
    for wrong in (handle, 0, 77):
        call = partial(node.call, "LOW_FREE", wrong.to_bytes(8, "little"))
        expect_errno(f"freeing handle {wrong}", errno.EINVAL, call)


@check("kernel_driver", needs=_NODE, about=["VDMA_CONTINUOUS_BUFFER_ALLOC", "VDMA_CONTINUOUS_BUFFER_FREE"])
def continuous_memory(rig: Rig) -> None:
    """Bus address, whole pages, mapped up to their size (driver.md 7.1, 7.5)."""
    node = node_of(rig)
    handle, address = node.continuous(5000)
    expect("alignment of the bus address", address % 4096, 0)
    view = node.file.mmap(8192, handle)
    view[:4] = b"data"
    expect("through another mapping", bytes(node.file.mmap(4096, handle)[:4]), b"data")
    expect_errno("a mapping that is too long", errno.EINVAL, partial(node.file.mmap, 1 << 20, handle))
    del view
    node.call("CONTINUOUS_FREE", handle.to_bytes(8, "little"))
    for wrong in (handle, 0):
        call = partial(node.call, "CONTINUOUS_FREE", wrong.to_bytes(8, "little"))
        expect_errno(f"freeing handle {wrong}", errno.EINVAL, call)
    expect_errno("a mapping of what is gone", errno.EINVAL, partial(node.file.mmap, 4096, handle))


@check("kernel_driver", needs=_STATE, about=["no_contiguous_errno"])
def no_contiguous_memory_is_left(rig: Rig) -> None:
    """ENOMEM up to 4.19, ENOBUFS since 4.20 (driver.md 7.5)."""
    with virtual(rig).on_machine(contiguous_limit_bytes=1 << 20) as other:
        node = node_of(other)
        code = FACTS[node.release].contiguous
        node.continuous(1 << 20)
        expect_errno("a buffer", code, partial(node.continuous, (1 << 20) + 1))
        node.create(65536, 64)
        expect_errno("a list", code, partial(node.create, 131072, 64))


@check("kernel_driver", needs=_NODE, about=["list_mmap"])
def offsets_of_mappings(rig: Rig) -> None:
    """A handle is an offset; lists can be mapped in 4.17 only; nothing else is there (driver.md 7.1)."""
    node = node_of(rig)
    dlist, _ = node.create(64, 512)
    if node.family == "A":
        expect("bytes of a list", len(node.file.mmap(1024, dlist)), 1024)
    else:
        expect_errno("a mapping of a list", errno.EINVAL, partial(node.file.mmap, 1024, dlist))
    for offset in (0, 1 << 40):
        expect_errno(f"offset 0x{offset:X}", errno.EINVAL, partial(node.file.mmap, 4096, offset))


@check("kernel_driver", needs=_NODE, about=["handle"])
def handles_belong_to_an_open(rig: Rig) -> None:
    """Lists, buffers and memory of one open are nothing to another (driver.md 7.1)."""
    first, second = node_of(rig), node_of(rig)
    memory = first.memory(4096)
    dlist, _ = first.create(16, 512)
    low, (continuous, _) = first.low_memory(4096), first.continuous(4096)
    expect_true("offsets are whole pages", not (dlist | low | continuous) % first.file.page_size)
    expect("handles of a kind are different", len({dlist, low, continuous}), 3)
    expect_errno("unmapping", errno.EINVAL, partial(second.unmap, memory.handle))
    for name, handle in (("RELEASE", dlist), ("LOW_FREE", low), ("CONTINUOUS_FREE", continuous)):
        call = partial(second.call, name, handle.to_bytes(8, "little"))
        expect_errno(name, errno.EINVAL, call)
    expect_errno("programming", errno.EFAULT, partial(second.program, dlist, memory.handle, 512))
    second.file.close()
    expect("the first goes on", first.program(dlist, memory.handle, 512), 1)


@check("kernel_driver", needs=_STATE, about=["page_size"])
def pages_of_16_kib(rig: Rig) -> None:
    """Handles, low memory and mappings come in the kernel's pages (driver.md 7.1, 8.1 row 12)."""
    with virtual(rig).on_machine(page_size=16384) as other:
        node = node_of(other)
        expect("page", node.file.page_size, 16384)
        handles = [node.low_memory(1), node.continuous(1)[0], node.create(16, 512)[0]]
        expect("handles", handles, [16384, 32768, 49152])
        expect("bytes of a page", len(node.file.mmap(16384, handles[0])), 16384)
        expect_errno("two pages of one", errno.EINVAL, partial(node.file.mmap, 16385, handles[0]))


# --- descriptor lists -----------------------------------------------------------------------------------------------


@check("kernel_driver", needs=_NODE, about=["DESC_LIST_CREATE", "DESC_LIST_RELEASE", "desc_list_create_params"])
def lists_and_their_limits(rig: Rig) -> None:
    """Rings are powers of two, pages too, also page 0; lists begin at 64 KiB (driver.md 6.4, 8.1 row 11)."""
    node = node_of(rig)
    for count, page, circular in ((1, 64, False), (6, 512, False), (65536, 64, True), (4, 32768, True), (4, 0, True)):
        dlist, address = node.create(count, page, circular=circular)
        expect(f"alignment of {count} descriptors", address % 0x10000, 0)
        node.call("RELEASE", dlist.to_bytes(8, "little"))
        call = partial(node.call, "RELEASE", dlist.to_bytes(8, "little"))
        expect_errno("a second release", errno.EINVAL, call)
    for count, page, circular in ((6, 512, True), (65537, 64, True), (4, 96, True), (4, 3, False)):
        expect_errno(f"{count} of {page}", errno.EINVAL, partial(node.create, count, page, circular=circular))


@check("kernel_driver", needs=_STATE, about=["DESC_LIST_CREATE"])
def endless_lists(rig: Rig) -> None:
    """More than 0x80000000 descriptors: refused since 4.19, before there is just no memory (driver.md 6.4)."""
    node = node_of(rig)
    code = errno.ENOMEM if node.release < "4.19" else errno.EINVAL
    expect_errno("too many descriptors", code, partial(node.create, 0x80000001, 64, circular=False))


@check("kernel_driver", needs=_NODE, about=["DESC_LIST_PROGRAM", "DESC_LIST_BIND_VDMA_BUFFER"])
def programming_and_its_errors(rig: Rig) -> None:
    """The result is the number of descriptors; places, ranges, sizes and handles are looked at (driver.md 6.5)."""
    node = node_of(rig)
    place = FACTS[node.release].place
    memory = node.memory(16384)
    ring, line = node.create(16, 512)[0], node.create(16, 512, circular=False)[0]
    for size, descriptors in ((1, 1), (512, 1), (513, 2), (784, 2), (8192, 16)):
        expect(f"descriptors of {size} bytes", node.program(ring, memory.handle, size), descriptors)
    expect("a ring goes round", node.program(ring, memory.handle, 2048, start=14), 4)
    expect_errno("a line does not", errno.ERANGE, partial(node.program, line, memory.handle, 2048, start=14))
    expect_errno("more than a ring", errno.ERANGE, partial(node.program, ring, memory.handle, 8193))
    expect_errno("a place that is not there", place, partial(node.program, ring, memory.handle, 512, start=16))
    expect_errno("an offset within a page", place, partial(node.program, ring, memory.handle, 512, offset=100))
    expect_errno("more than is mapped", errno.EFAULT, partial(node.program, ring, memory.handle, 16385))
    expect_errno("beyond the end", errno.EFAULT, partial(node.program, ring, memory.handle, 1024, offset=15872))
    expect_errno("another buffer", errno.EFAULT, partial(node.program, ring, memory.handle + 1, 512))
    expect_errno("another list", errno.EFAULT, partial(node.program, ring + 77, memory.handle, 512))


def _program(rig: Rig, node: Node, **options: Any) -> list[tuple[int, int, int, int]]:
    memory = node.memory(4096)
    dlist, address = node.create(8, 512)
    expect("descriptors of 784 bytes", node.program(dlist, memory.handle, 784, **options), 2)
    return _words(rig, address, 2)


@check("kernel_driver", needs=_STATE, about=["DESC_LIST_PROGRAM", "last_interrupts_domain", "is_debug", "descriptor"])
def programmed_descriptors(rig: Rig) -> None:
    """The dwords of a 784-byte frame, for each domain; 4.17 sets no interrupts (driver.md 6.3)."""
    node = node_of(rig)
    first, last = _program(rig, node)
    expect("sizes and control", (first[0], last[0]), (0x00020002, 0x00011002))
    expect("pages follow each other", (last[2] << 32 | last[1]) - (first[2] << 32 | first[1]), 512)
    expect("status", (first[3], last[3]), (0, 0))
    if node.family == "A":
        return
    for domain, normal, debug in ((0, 0x02, 0x02), (1, 0x1E, 0x1F), (2, 0x2E, 0x2F), (3, 0x3E, 0x3F)):
        expect(f"domain {domain}", _program(rig, node, last=domain)[1][0], 0x00011000 | normal)
        expect(f"domain {domain}, debug", _program(rig, node, last=domain, debug=True)[1][0], 0x00011000 | debug)


@check("kernel_driver", needs=_STATE, about=["should_bind"])
def programming_without_binding(rig: Rig) -> None:
    """Only the last descriptor is touched: its size and control (driver.md 6.5; since 4.18)."""
    node = node_of(rig)
    if node.family == "A":
        return
    memory = node.memory(8192)
    dlist, address = node.create(16, 512)
    node.program(dlist, memory.handle, 8192)
    before = _words(rig, address, 16)
    expect("descriptors", node.program(dlist, memory.handle, 1000, start=3, bind=False, last=1), 2)
    changed = [n for n, words in enumerate(_words(rig, address, 16)) if words != before[n]]
    expect("changed descriptors", changed, [4])
    expect("the last one", _words(rig, address, 16)[4], (488 << 8 | 0x1E, *before[4][1:]))


@check("kernel_driver", needs=_STATE, about=["batch_size", "stride", "program_has_batch"])
def batches_and_strides(rig: Rig) -> None:
    """Since 4.21: transfers one after the other, the interrupt on the last; shorter descriptors (driver.md 6.5)."""
    node = node_of(rig)
    if node.family in "AB":
        return
    memory = node.memory(8192)
    dlist, address = node.create(16, 512)
    expect("a batch of none", node.program(dlist, memory.handle, 784, batch=0), 0)
    expect("a batch of three", node.program(dlist, memory.handle, 784, batch=3, last=2), 6)
    controls = [words[0] for words in _words(rig, address, 6)]
    expect("controls", controls, [0x00020002, 0x00011002] * 2 + [0x00020002, 0x0001102E])
    places = [words[1] for words in _words(rig, address, 6)]
    expect("offsets", [place - places[0] for place in places], [0, 512, 1024, 1536, 2048, 2560])
    expect("strides", node.program(dlist, memory.handle, 1024, stride=100, last=2), 2)
    expect("sizes", [words[0] for words in _words(rig, address, 2)], [100 << 8 | 0x02, 100 << 8 | 0x2E])
    for size, stride in ((784, 100), (1024, 513)):
        wrong = partial(node.program, dlist, memory.handle, size, stride=stride)
        expect_errno(f"{size} bytes in strides of {stride}", errno.EINVAL, wrong)
