"""The link over the kernel driver, against a scripted driver of each ABI family."""

from __future__ import annotations

import errno
import gc
import struct
from typing import Any

import numpy as np
import pytest

from openhailo.driver.kernel.calls import find_release, read_version
from openhailo.driver.kernel.endpoint import find_node, open_endpoint
from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.kernel.resources import KernelOptions
from openhailo.driver.link import ChipLink, DmaDirection
from openhailo.errors import (
    BootFailed,
    Cancelled,
    DeviceBusy,
    DeviceLost,
    DeviceNotFound,
    DeviceTimeout,
    DmaMapError,
    InputError,
    MalformedReply,
    SequenceMismatch,
    StateError,
    VersionUnsupported,
)

Driver = Any
TO, FROM, BOTH = DmaDirection.TO_DEVICE, DmaDirection.FROM_DEVICE, DmaDirection.BOTH


def request_of(opcode: int = 0, sequence: int = 0) -> bytes:
    return struct.pack(">5I", 2, 0, sequence, opcode, 0)


# --- which release ------------------------------------------------------------------------------------------------


def test_it_is_a_chip_link_that_names_its_driver(link: KernelLink, driver: Driver) -> None:
    assert isinstance(link, ChipLink)
    assert (link.info.kind, link.info.name) == ("kernel", "/dev/hailo7")
    assert link.info.driver_version == driver.release
    names = [name for name, _ in driver.log]
    assert names[:3] == ["INFO", "PROPERTIES", "MARK"]


@pytest.mark.parametrize("version", [(4, 24, 0), (4, 18, 1), (4, 19, 7)])
def test_an_unknown_release_is_refused_unless_allowed(make: Any, version: tuple[int, int, int]) -> None:
    file = make("4.23.0", version)
    with pytest.raises(VersionUnsupported, match="allow_unknown_driver"):
        KernelLink(file)
    assert file.closed == 1
    nearest = {(4, 24, 0): "4.23.0", (4, 18, 1): "4.18.0", (4, 19, 7): "4.19.0"}[version]
    assert find_release(version, allow_unknown=True).name == nearest


def test_an_unknown_release_can_be_tried(make: Any) -> None:
    with KernelLink(make("4.23.0", (4, 24, 0)), options=KernelOptions(allow_unknown_driver=True)) as link:
        assert link.info.driver_version == "4.24.0"


def test_a_driver_for_other_chips_names_the_right_one(make: Any) -> None:
    with pytest.raises(VersionUnsupported, match=r"install hailo_pci 4\.23\.0") as caught:
        KernelLink(make("4.23.0", (5, 0, 0)), options=KernelOptions(allow_unknown_driver=True))
    assert "5.0.0" in str(caught.value)


def test_older_drivers_than_the_first_are_refused_always() -> None:
    with pytest.raises(VersionUnsupported) as caught:
        find_release((4, 16, 2), allow_unknown=True)
    assert "allow_unknown" not in str(caught.value)


def test_a_node_that_knows_neither_probe(make: Any) -> None:
    file = make()
    file.failures = {}
    file._names = {}
    with pytest.raises(VersionUnsupported, match="hailo_pci"):
        read_version(file)


@pytest.mark.parametrize(("reported", "page"), [(16384, 4096), (32768, 4096), (4096, 4096), (256, 256), (128, 128)])
def test_pages_never_exceed_what_the_hardware_takes(make: Any, reported: int, page: int) -> None:
    """A Raspberry Pi 5 has 16 KiB pages and reports them."""
    file = make()
    file.reported_page = reported
    with KernelLink(file) as link:
        assert link.info.desc_max_page_size == page
        with pytest.raises(InputError, match="page"):
            link.create_descriptor_list(8, page * 2, circular=True)


def test_a_board_with_an_owner_is_busy(make: Any) -> None:
    file = make()
    file.owner = 1
    with pytest.raises(DeviceBusy, match="another process"):
        KernelLink(file)
    assert file.closed == 1
    with KernelLink(make(), options=KernelOptions(exclusive=False)) as link:
        assert link.is_firmware_loaded()


# --- controls -----------------------------------------------------------------------------------------------------


def test_a_control_is_one_structure(link: KernelLink, driver: Driver) -> None:
    driver.answer = lambda request: request + b"\0\0\0\0answer"
    assert link.control(request_of(3), 1, 0.25) == request_of(3) + b"\0\0\0\0answer"
    sent = driver.calls("CONTROL")[-1]
    assert len(sent) == 1528
    assert sent[16:40] == struct.pack("<I", 20) + request_of(3)
    assert not any(sent[40:1520])
    assert struct.unpack_from("<II", sent, 1520) == (250, 1)
    link.control(request_of(), 0, 0.0)
    assert struct.unpack_from("<II", driver.calls("CONTROL")[-1], 1520) == (1, 0)
    assert link.statistics().controls == 2


def test_the_digest_is_of_the_request(link: KernelLink, driver: Driver) -> None:
    """Recorded: IDENTIFY has digest 6a3d1c7fe84cfe2f184d69c2376dcc43."""
    link.control(request_of(0), 0)
    assert driver.calls("CONTROL")[-1][:16].hex() == "6a3d1c7fe84cfe2f184d69c2376dcc43"


def test_too_long_a_request_never_reaches_the_driver(link: KernelLink, driver: Driver) -> None:
    with pytest.raises(InputError, match="1501 bytes"):
        link.control(bytes(1501), 0)
    assert not driver.calls("CONTROL")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ETIMEDOUT, DeviceTimeout),
        (errno.ENODEV, BootFailed),
        (errno.EIO, DeviceLost),
        (errno.EINTR, Cancelled),
        (errno.EINVAL, MalformedReply),
    ],
)
def test_errors_of_a_control(link: KernelLink, driver: Driver, number: int, kind: type[Exception]) -> None:
    driver.failures["CONTROL"] = number
    with pytest.raises(kind):
        link.control(request_of(), 0)


def test_a_board_that_is_gone(link: KernelLink, driver: Driver) -> None:
    driver.failures = {"CONTROL": errno.ENODEV, "PROPERTIES": errno.ENODEV}
    with pytest.raises(DeviceLost):
        link.control(request_of(), 0)


def test_an_open_that_a_suspend_ended(link: KernelLink, driver: Driver) -> None:
    driver.failures = {"LIST_CREATE": errno.EINVAL, "INFO": errno.EINVAL}
    with pytest.raises(DeviceLost, match="suspended"):
        link.create_descriptor_list(8, 512, circular=True)


def test_a_late_answer_is_told_by_its_sequence(link: KernelLink, driver: Driver) -> None:
    driver.answer = lambda _: request_of(0, 7)
    with pytest.raises(SequenceMismatch):
        link.control(request_of(0, 8), 0)


def test_a_late_answer_is_told_by_its_opcode_after_a_timeout(link: KernelLink, driver: Driver) -> None:
    driver.failures["CONTROL"] = errno.ETIMEDOUT
    with pytest.raises(DeviceTimeout):
        link.control(request_of(5), 0)
    driver.answer = lambda _: request_of(5)
    with pytest.raises(SequenceMismatch):
        link.control(request_of(6), 0)


def test_a_wrong_digest_is_found(link: KernelLink, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(argument: bytearray) -> int:
        argument[0] ^= 1
        return 0

    monkeypatch.setattr(driver, "_control", spoil)
    with pytest.raises(MalformedReply, match="digest"):
        link.control(request_of(), 0)


# --- notifications and logs ---------------------------------------------------------------------------------------


def test_notifications_are_read_by_a_thread(link: KernelLink, driver: Driver) -> None:
    driver.notify(b"first")
    driver.notify(b"second")
    assert link.read_notification(10) == b"first"
    assert link.read_notification(10) == b"second"
    assert link.read_notification(0) is None


def test_closing_ends_the_reader_then_the_open(driver: Driver) -> None:
    link = KernelLink(driver)
    link.close()
    link.close()
    names = [name for name, _ in driver.log]
    assert names[-2:] == ["DISABLE_NOTIFICATION", "CLOSE"]
    assert driver.closed == 1
    with pytest.raises(StateError):
        link.control(request_of(), 0)


def test_logs_come_in_pieces(link: KernelLink, driver: Driver) -> None:
    text = bytes(range(256)) * 5
    driver.answers["READ_LOG"] = text
    assert link.read_log(1) == text
    sizes = [struct.unpack_from("<Q", call, 516)[0] for call in driver.calls("READ_LOG")]
    assert sizes == [512, 512, 512]
    assert struct.unpack_from("<I", driver.calls("READ_LOG")[0])[0] == 1
    driver.answers["READ_LOG"] = text
    assert link.read_log(0, 5) == text[:5]
    with pytest.raises(InputError, match="processor 2"):
        link.read_log(2)


# --- memory -------------------------------------------------------------------------------------------------------


def test_mapping_names_memory_by_address(link: KernelLink, driver: Driver) -> None:
    buffer = link.alloc_buffer(5000, FROM)
    assert bytes(buffer.view) == bytes(5000)
    sent = driver.calls("MAP")[0]
    if driver.family == "A":
        address, size, direction, allocated, _ = struct.unpack("<QQIQQ", sent)
    else:
        address, size, direction, kind, allocated, _ = struct.unpack("<QQIIQQ", sent)
        assert kind == 0
    assert (address % 4096, size, direction, allocated) == (0, 5000, 2, 0xFFFFFFFFFFFFFFFF)
    buffer.close()
    buffer.close()
    assert driver.calls("UNMAP") == [struct.pack("<Q", 1)]


def test_aligned_memory_of_the_caller_is_mapped_as_it_is(link: KernelLink, driver: Driver) -> None:
    room = np.zeros(8192 + 4096, np.uint8)
    start = -room.ctypes.data % 4096
    buffer = link.map_buffer(memoryview(room.data)[start : start + 4096], TO)
    assert struct.unpack_from("<Q", driver.calls("MAP")[0])[0] == room.ctypes.data + start
    assert buffer.bounce is None


@pytest.mark.parametrize("direction", [TO, FROM])
def test_other_memory_travels_through_ours(link: KernelLink, driver: Driver, direction: DmaDirection) -> None:
    """The driver pins from the page border on; a pointer inside a page would be wrong without an error."""
    room = np.arange(8192, dtype=np.uint16).view(np.uint8)
    start = -room.ctypes.data % 4096 + 64
    theirs = memoryview(room.data)[start : start + 2048]
    buffer = link.map_buffer(theirs, direction)
    assert buffer.bounce is not None
    assert struct.unpack_from("<Q", driver.calls("MAP")[0])[0] % 4096 == 0
    if direction is TO:
        theirs[:2] = b"!?"
        link.sync_buffer(buffer, 0, 2, True)
        assert bytes(buffer.bounce[:4]) == b"!?" + bytes(theirs[2:4])
    else:
        buffer.bounce[10:12] = b"ok"
        link.sync_buffer(buffer, 8, 8, False)
        assert bytes(theirs[10:12]) == b"ok"
    kind, at, size = (1, 0, 2) if direction is TO else (0, 8, 8)
    assert driver.calls("SYNC") == [struct.pack("<QIQQ", buffer.handle, kind, at, size)]


def test_read_only_memory_is_copied(link: KernelLink) -> None:
    """Pages are pinned for writing."""
    buffer = link.map_buffer(memoryview(bytes(9000)), TO)
    assert buffer.bounce is not None


def test_memory_of_the_driver(make: Any) -> None:
    file = make()
    file.mode = 1
    with KernelLink(file) as link:
        buffer = link.alloc_buffer(10240, TO)
        assert file.calls("LOW_ALLOC") == [struct.pack("<QQ", 10240, 0)]
        assert file.calls("MMAP") == [struct.pack("<QQ", 10240, 0x1000)]
        address, size, direction, _, allocated, _ = struct.unpack("<QQIIQQ", file.calls("MAP")[0])
        assert (size, direction, allocated) == (10240, 1, 0x1000)
        assert address == np.frombuffer(buffer.view, np.uint8).ctypes.data
        buffer.close()
        assert file.calls("LOW_FREE") == [struct.pack("<Q", 0x1000)]


def test_contiguous_memory(link: KernelLink, driver: Driver) -> None:
    buffer = link.alloc_continuous(5000)
    assert (buffer.dma_address, len(buffer.view)) == (0x7700000, 5000)
    buffer.close()
    assert len(driver.calls("CCB_FREE")) == 1


def test_no_memory(link: KernelLink, driver: Driver) -> None:
    driver.failures["LIST_CREATE"] = errno.ENOBUFS
    with pytest.raises(DmaMapError, match="contiguous"):
        link.create_descriptor_list(8, 512, circular=True)
    driver.failures["MAP"] = errno.ENXIO
    with pytest.raises(DmaMapError):
        link.alloc_buffer(4096, BOTH)
    with pytest.raises(InputError):
        link.alloc_buffer(0, BOTH)


# --- descriptor lists ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "page", "circular"), [(0, 512, False), (6, 512, True), (65537, 512, False)])
def test_lists_that_the_driver_would_take_and_divide_by(
    link: KernelLink, driver: Driver, count: int, page: int, circular: bool
) -> None:
    with pytest.raises(InputError):
        link.create_descriptor_list(count, page, circular=circular)
    with pytest.raises(InputError):
        link.create_descriptor_list(8, 0, circular=True)
    assert not driver.calls("LIST_CREATE")


def test_a_list_is_created_and_released(link: KernelLink, driver: Driver) -> None:
    dlist = link.create_descriptor_list(128, 512, circular=True)
    assert driver.calls("LIST_CREATE") == [bytes.fromhex("8000000000000000000201") + bytes(16)]
    assert dlist.dma_address == dlist.handle << 8
    dlist.close()
    assert driver.calls("LIST_RELEASE") == [struct.pack("<Q", dlist.handle)]


def test_programming_per_family(link: KernelLink, driver: Driver) -> None:
    dlist = link.create_descriptor_list(64, 512, circular=False)
    buffer = link.alloc_buffer(8192, TO)
    used = link.program(dlist, buffer, size_bytes=700, offset=1024, starting_desc=3, last_domain=1, channel=5)
    assert used == 2
    head = struct.pack("<QQQ", buffer.handle, 700, 1024)
    tail = struct.pack("<QBI", dlist.handle, 5, 3)
    want = {
        "A": head + tail,
        "B": head + tail + struct.pack("<BIB", 1, 1, 0),
        "C": head + struct.pack("<I", 1) + tail + struct.pack("<BIBI", 1, 1, 0, 0),
    }
    assert driver.calls("PROGRAM") == [want["C" if driver.family == "D" else driver.family]]
    if driver.family == "A":
        # 4.17 binds without interrupt bits; they are written to the list that user space maps.
        words = np.frombuffer(driver.memory[dlist.handle], np.uint32)
        assert words[4 * 4] == (700 - 512) << 8 | 0x1E


def test_only_sizes_can_be_programmed(link: KernelLink, driver: Driver) -> None:
    dlist = link.create_descriptor_list(64, 512, circular=False)
    buffer = link.alloc_buffer(8192, TO)
    assert link.program(dlist, buffer, size_bytes=512, starting_desc=9, bind=False, last_domain=2, channel=0) == 1
    if driver.family == "A":
        assert not driver.calls("PROGRAM")
        assert np.frombuffer(driver.memory[dlist.handle], np.uint32)[9 * 4] == 512 << 8 | 0x2E
    else:
        assert driver.calls("PROGRAM")[0][41 if driver.family in "CD" else 37] == 0


def test_a_batch(link: KernelLink, driver: Driver) -> None:
    dlist = link.create_descriptor_list(64, 512, circular=True)
    buffer = link.alloc_buffer(8192, TO)
    link.program(dlist, buffer, size_bytes=700, batch_size=3, channel=0)
    calls = driver.calls("PROGRAM")
    if driver.family in "CD":
        assert [struct.unpack_from("<I", call, 24)[0] for call in calls] == [3]
    else:
        offsets = [struct.unpack_from("<Q", call, 16)[0] for call in calls]
        starts = [struct.unpack_from("<I", call, 33)[0] for call in calls]
        assert (offsets, starts) == ([0, 1024, 2048], [0, 2, 4])


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_bytes": 9000},
        {"offset": 100},
        {"size_bytes": 0},
        {"starting_desc": 64},
        {"starting_desc": 60},
        {"batch_size": 0},
        {"batch_size": 5},
        {"last_domain": 4},
        {"channel": 32},
    ],
)
def test_wrong_programming_never_reaches_the_driver(link: KernelLink, driver: Driver, wrong: dict[str, int]) -> None:
    dlist = link.create_descriptor_list(64, 512, circular=False)
    buffer = link.alloc_buffer(8192, TO)
    arguments: dict[str, Any] = {"size_bytes": 2560, "channel": 0} | wrong
    with pytest.raises(InputError):
        link.program(dlist, buffer, **arguments)
    assert not driver.calls("PROGRAM")


def test_a_forgotten_link_gives_everything_back(driver: Driver) -> None:
    link = KernelLink(driver)
    link.enable_channels(4)
    del link
    gc.collect()
    assert driver.closed == 1
    assert len(driver.calls("DISABLE")) == 1


# --- the backend --------------------------------------------------------------------------------------------------


def test_the_backend_opens_a_file(driver: Driver) -> None:
    endpoint = open_endpoint("", file=driver)
    assert endpoint.function is None
    endpoint.link.close()
    with pytest.raises(InputError, match="colour"):
        open_endpoint("", file=driver, colour="red")


def test_nodes_are_found(tmp_path: Any) -> None:
    with pytest.raises(DeviceNotFound, match="modprobe hailo_pci"):
        find_node("", tmp_path)
    (tmp_path / "hailo1").touch()
    (tmp_path / "hailo0").touch()
    assert find_node("", tmp_path) == str(tmp_path / "hailo0")
    assert find_node("3", tmp_path) == str(tmp_path / "hailo3")
    assert find_node("/dev/x", tmp_path) == "/dev/x"
