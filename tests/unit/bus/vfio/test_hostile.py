"""A kernel whose answers make no sense: a typed error, no endless loop, nothing left open."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.bus.vfio.container import Container
from openhailo.bus.vfio.endpoint import open_endpoint
from openhailo.bus.vfio.iommufd import AddressSpace
from openhailo.bus.vfio.requests import DeviceRequests, unpack_array, walk_capabilities
from openhailo.driver.pcie_link import PcieLink
from openhailo.errors import DeviceError, DeviceLost, MalformedReply, OpenHailoError
from openhailo.spec import vfio as spec
from openhailo.twin.firmware.image import build_placeholder_image


def open_way(machine):
    return open_endpoint("", **machine.options).function


def set_words(**places):
    """A change of an answer: ``u32_OFFSET=value``, ``u64_OFFSET=value``."""

    def change(argument):
        for name, value in places.items():
            width, at = name.split("_")
            struct.pack_into("<I" if width == "u32" else "<Q", argument, int(at), value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        {"u64_16": 1 << 62},
        {"u64_16": (1 << 28) + 4},
        {"u64_16": 6},
        {"u64_24": (1 << 63) - 4},
        {"u64_24": (1 << 64) - 1},
        {"u32_4": 0},
        {"u32_4": 1},
        {"u32_0": 0xFFFFFFFF},
        {"u32_0": 1 << 17},
        {"u32_4": 0xF, "u32_12": 30},
        {"u32_4": 0xF, "u32_12": 0xFFFFFFF0},
    ],
    ids=str,
)
def test_regions(vfio, change):
    vfio.kernel.answer[0x3B6C] = set_words(**change)
    with pytest.raises(MalformedReply):
        open_way(vfio)


@pytest.mark.parametrize("size", [0, 32])
def test_configuration_space_must_hold_its_header(vfio, size):
    vfio.kernel.answer[0x3B6C] = set_words(u64_16=size)
    with pytest.raises(MalformedReply, match="configuration space"):
        open_way(vfio)


def test_an_answer_that_keeps_growing(vfio):
    def grow(argument):
        struct.pack_into("<I", argument, 0, len(argument) + 8)

    vfio.kernel.answer[0x3B6C] = grow
    with pytest.raises(MalformedReply, match="wants"):
        open_way(vfio)


def test_a_device_that_is_no_pci_device(vfio):
    vfio.kernel.device_flags = 4
    with pytest.raises(DeviceError, match="no PCI device"):
        open_way(vfio)


def test_a_device_without_messages(vfio):
    vfio.kernel.irqs = {3: 1, 4: 1}
    with pytest.raises(DeviceError, match="no MSI"):
        open_way(vfio)


def test_a_device_that_cannot_be_reset(vfio):
    vfio.kernel.device_flags = 2
    function = open_way(vfio)
    with pytest.raises(DeviceError, match="no way to reset"):
        function.reset()
    function.close()


@pytest.mark.parametrize("ranges", [[], [(8, 4)], [(0, 0xFFFF), (1 << 40, 0)]])
def test_ranges(vfio, ranges):
    vfio.kernel.ranges = ranges
    with pytest.raises(MalformedReply, match="address ranges"):
        open_way(vfio)


def test_many_ranges_are_asked_for_twice(vfio):
    vfio.kernel.ranges = [(n << 24, (n << 24) + 0xFFFFF) for n in range(1, 200)]
    function = open_way(vfio)
    buffer = function.dma.alloc(1 << 19)
    assert buffer.iova == 1 << 24
    function.close()


def test_more_ranges_than_can_be(bare):
    bare.add("iommufd").kernel.answer[0x3B84] = set_words(u32_8=0xFFFFFFFF)
    with pytest.raises(MalformedReply, match="4294967295"):
        open_way(bare)


@pytest.mark.parametrize("alignment", [3, 1 << 31])
def test_alignment_of_addresses(bare, alignment):
    bare.add("iommufd").kernel.iova_alignment = alignment
    with pytest.raises(MalformedReply, match="aligned"):
        open_way(bare)


def test_a_space_of_another_kernel_has_no_capabilities(bare):
    """Kernels before 5.4 say nothing about ranges: the ones that every IOMMU has are used."""

    def forget(argument):
        struct.pack_into("<II", argument, 0, 24, 1)

    bare.add("group").kernel.answer[0x3B70] = forget
    function = open_way(bare)
    buffer = function.dma.alloc(4096)
    assert buffer.iova + 4096 <= 0xFEE00000
    function.close()


@pytest.mark.parametrize("sizes", [1 << 31, 1 << 63])
def test_pages_that_no_iommu_has(bare, sizes):
    bare.add("group").kernel.page_sizes = sizes
    with pytest.raises(MalformedReply, match="page sizes"):
        open_way(bare)


def test_a_capability_list_in_a_circle():
    answer = bytes(8) + struct.pack("<HHI", 5, 1, 8)
    with pytest.raises(MalformedReply, match="more than 64"):
        list(walk_capabilities(answer, 8))


@pytest.mark.parametrize("first", [1, 9, 16, 1 << 31])
def test_a_capability_list_that_leaves_the_answer(first):
    with pytest.raises(MalformedReply):
        list(walk_capabilities(bytes(8), first))


@pytest.mark.parametrize("body", [b"", bytes(7), struct.pack("<II", 1, 0) + bytes(15), b"\xff" * 64])
def test_elements_that_are_not_there(body):
    with pytest.raises(MalformedReply):
        unpack_array(body, spec.IOVA_RANGE)


@pytest.mark.parametrize(
    ("areas", "mapped"),
    [([(0, 0x4000)], True), ([(0, 0x1000), (0x2000, 0x2000)], False), ([], False), ([(0x1000, 0x4000)], False)],
)
def test_a_bar_that_can_be_mapped_in_parts_only_is_not_mapped(vfio, areas, mapped):
    body = struct.pack("<HHIII", 1, 1, 0, len(areas), 0) + b"".join(struct.pack("<QQ", *area) for area in areas)

    def add_sparse(argument):
        index, wanted = struct.unpack_from("<I", argument, 8)[0], 32 + len(body)
        if index == 0:
            struct.pack_into("<III", argument, 0, wanted, 0xF, 0)
            if len(argument) >= wanted:
                struct.pack_into("<I", argument, 12, 32)
                argument[32:wanted] = body

    vfio.kernel.answer[0x3B6C] = add_sparse
    function = open_way(vfio)
    assert function.window(0).read32(0x98) == 0x28641E60
    assert ("map 0" in vfio.kernel.log) == mapped
    function.close()


@pytest.mark.parametrize("where", ["pread", "pwrite"])
@pytest.mark.parametrize(("number", "kind"), [(5, DeviceLost), (19, DeviceLost), (22, DeviceError)])
def test_configuration_space_that_fails(vfio, where, number, kind):
    vfio.kernel.fail[where] = number
    with pytest.raises(kind):
        PcieLink(open_way(vfio), firmware=build_placeholder_image())


def test_reads_and_writes_that_come_back_short(vfio):
    function = open_way(vfio)
    vfio.kernel.short_io = True
    with pytest.raises(DeviceLost, match="0 of 2 bytes were read"):
        function.config.read(0, 2)
    with pytest.raises(DeviceLost, match="0 of 4 bytes were written"):
        function.config.write(4, 4, 0)
    vfio.kernel.short_io = False
    function.close()


def test_a_bar_that_cannot_be_mapped(vfio):
    vfio.kernel.fail["mmap"] = 22
    with pytest.raises(DeviceError, match="BAR 0 cannot be mapped"):
        PcieLink(open_way(vfio), firmware=build_placeholder_image())


@pytest.mark.parametrize("request_number", range(0x3B64, 0x3B88), ids=hex)
@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\x01"], ids=["zeros", "ones", "0x01"])
def test_answers_full_of_one_byte(vfio, request_number, fill):
    """Whatever the request: a typed error or a device that works, and everything is given back."""

    def damage(argument):
        if isinstance(argument, bytearray):
            argument[:] = fill * len(argument)

    vfio.kernel.answer[request_number] = damage
    try:
        link = PcieLink(open_way(vfio), firmware=build_placeholder_image())
    except OpenHailoError:
        return
    link.alloc_buffer(100000, 0)
    link.close()


# --- random answers --------------------------------------------------------------------------------------------------


class Babbler:
    """Answers every request with the next of ``answers``, as much of it as there is room for."""

    def __init__(self, answers):
        self.answers, self.asked = list(answers), 0

    def open(self, path):
        return 3

    def close(self, fd):
        pass

    def ioctl(self, fd, request, argument=0):
        self.asked += 1
        assert self.asked < 50, "it does not stop asking"
        if isinstance(argument, bytearray) and self.answers:
            answer = self.answers.pop(0)[: len(argument)]
            argument[: len(answer)] = answer
        return 0


ANSWERS = st.lists(st.binary(max_size=200) | st.just(b"\xff" * 64), max_size=4)
#: An answer that says so many bytes would be needed, and goes on at random.
GROWING = st.tuples(st.integers(24, 400), st.binary(min_size=4, max_size=400)).map(
    lambda pair: struct.pack("<I", pair[0]) + pair[1]
)


def survives(action):
    with suppress(OpenHailoError):
        action()


@given(st.integers(0, 8), st.lists(GROWING, min_size=2, max_size=2) | ANSWERS)
def test_random_regions(index, answers):
    device = DeviceRequests(Babbler([struct.pack("<IIII", 16, 3, 9, 5)]), 3, "pci:x")
    device.kernel.answers[:] = answers
    survives(lambda: device.region(index))


@given(st.lists(GROWING, min_size=2, max_size=2) | ANSWERS)
def test_random_limits_of_a_container(answers):
    container = Container(Babbler([]), "pci:x", Path("4"), Path("vfio"))
    container._kernel.answers[:] = answers
    survives(container.read_limits)
    assert all(start <= last for start, last in container.ranges)
    assert container.page_bytes >= 4096 and container.page_bytes & (container.page_bytes - 1) == 0


@given(ANSWERS)
def test_random_limits_of_an_address_space(answers):
    space = AddressSpace(Babbler([]), "pci:x", Path("iommu"))
    space._kernel.answers[:] = answers
    survives(lambda: space.attach(4))


@given(ANSWERS, st.integers(0, 6))
def test_random_answers_about_interrupts(answers, index):
    device = DeviceRequests(Babbler([struct.pack("<IIII", 16, 3, 9, 5)]), 3, "pci:x")
    device.kernel.answers[:] = answers
    assert device.irq_count(index) >= 0
