"""Channels of the kernel driver: launches, completions, what stays mapped; a scripted driver of each family."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.link import ChannelError, DmaDirection
from openhailo.errors import (
    DeviceBusy,
    DeviceError,
    DeviceLost,
    InputError,
    QueueFull,
    StateError,
)

Driver = Any
TO, FROM = DmaDirection.TO_DEVICE, DmaDirection.FROM_DEVICE


def ring(link: KernelLink, channel: int = 2, count: int = 8, size: int = 4096) -> tuple[Any, Any]:
    """An enabled channel with a list of 512-byte pages and a buffer."""
    dlist = link.create_descriptor_list(count, 512, circular=True)
    buffer = link.alloc_buffer(size, TO if channel < 16 else FROM)
    link.enable_channels(1 << channel)
    return dlist, buffer


# --- channels -----------------------------------------------------------------------------------------------------


def test_enabling_and_disabling(link: KernelLink, driver: Driver) -> None:
    link.enable_channels(0x10004)
    assert driver.calls("ENABLE") == [struct.pack("<IIIB", 0x10004, 0, 0, 0)]
    with pytest.raises(DeviceBusy):
        link.enable_channels(4)
    link.disable_channels(0xFFFFFFFF)
    link.disable_channels(0x10004)
    assert driver.calls("DISABLE") == [struct.pack("<III", 0x10004, 0, 0)]
    driver.failures["ENABLE"] = errno.EINVAL
    with pytest.raises(DeviceBusy, match="owner"):
        link.enable_channels(1)
    with pytest.raises(InputError):
        link.enable_channels(1 << 32)


def test_a_launch_per_family(link: KernelLink, driver: Driver) -> None:
    dlist, buffer = ring(link)
    assert link.launch(2, dlist, 0, [(buffer, 512, 784)], first_domain=1) == 2
    assert link.launch(2, dlist, 2, [(buffer, 0, 512)], bind=False) == 1
    address = np.frombuffer(buffer.view, np.uint8).ctypes.data
    head = struct.pack("<BBQIBB", 0, 2, dlist.handle, 0, 1, 1)
    if driver.family in "CD":
        want = head + struct.pack("<IQI", 0, address + 512, 784) + bytes(112) + struct.pack("<IIB", 1, 2, 0)
    else:
        want = (
            head
            + struct.pack("<QII", buffer.handle, 512, 784)
            + bytes(16)
            + struct.pack("<IIBI", 1, 2, driver.family == "A", 0)
        )
        want += bytes(4) if driver.family == "B" else b""
    first, second = driver.calls("LAUNCH")
    assert first == want
    assert second[10:16] == struct.pack("<IBB", 2, 0, 1)
    assert second[152 if driver.family in "CD" else 56] == 0


def test_completions_are_counted_per_family(link: KernelLink, driver: Driver, entries: Callable[..., bytes]) -> None:
    dlist, buffer = ring(link)
    link.launch_many(2, dlist, 0, [((buffer, 0, 784),), ((buffer, 1024, 784),), ((buffer, 2048, 784),)])
    # 4.17 tells where the hardware stands: after the second transfer of two descriptors each.
    driver.interrupt(entries(driver.family, 2, 4 if driver.family == "A" else 2))
    assert link.wait_channels(4, 10) == [(2, 2, ChannelError.NONE)]
    assert link.progress() == {2: (1, 2)}
    link.launch(2, dlist, 6, [(buffer, 0, 784)])
    driver.interrupt(entries(driver.family, 2, 0 if driver.family == "A" else 2))
    assert link.wait_channels(4, 10) == [(2, 2, ChannelError.NONE)]
    assert link.wait_channels(4, 0) == []
    totals = link.statistics()
    assert (totals.transfers_to_device, totals.descriptors_to_device) == (4, 8)


def test_a_spurious_wake_up_counts_nothing(link: KernelLink, driver: Driver, entries: Callable[..., bytes]) -> None:
    dlist, buffer = ring(link)
    link.launch(2, dlist, 0, [(buffer, 0, 784)])
    driver.interrupt()
    driver.interrupt(entries(driver.family, 2, 0))
    driver.interrupt(entries(driver.family, 2, 1 if driver.family == "A" else 0))
    driver.interrupt(entries(driver.family, 2, 2 if driver.family == "A" else 1))
    assert link.wait_channels(4, 10) == [(2, 1, ChannelError.NONE)]


@pytest.mark.parametrize(("state", "error"), [({"active": False}, ChannelError.INACTIVE), ({"error": 5}, 2)])
def test_a_channel_that_stops(
    link: KernelLink, driver: Driver, entries: Callable[..., bytes], state: dict[str, Any], error: int
) -> None:
    dlist, buffer = ring(link)
    link.launch(2, dlist, 0, [(buffer, 0, 784)])
    driver.interrupt(entries(driver.family, 2, 0, **state))
    assert link.wait_channels(4, 10) == [(2, 0, error)]
    with pytest.raises(StateError, match="activate"):
        link.launch(2, dlist, 2, [(buffer, 0, 784)])
    link.disable_channels(4)
    link.enable_channels(4)
    assert link.launch(2, dlist, 0, [(buffer, 0, 784)]) == 2


def test_the_ring_has_room_for_one_descriptor_less(link: KernelLink, driver: Driver) -> None:
    dlist, buffer = ring(link)
    with pytest.raises(QueueFull):
        link.launch_many(2, dlist, 0, [((buffer, 0, 2048),), ((buffer, 0, 2048),)])
    assert not driver.calls("LAUNCH")
    assert link.launch(2, dlist, 0, [(buffer, 0, 3584)]) == 7
    with pytest.raises(QueueFull):
        link.launch(2, dlist, 7, [(buffer, 0, 512)])


def test_at_most_127_transfers_are_in_flight(link: KernelLink) -> None:
    dlist, buffer = ring(link, count=256)
    frame = ((buffer, 0, 512),)
    assert link.launch_many(2, dlist, 0, (frame,) * 127) == 127
    with pytest.raises(QueueFull):
        link.launch(2, dlist, 127, frame)


def test_wrong_launches_never_reach_the_driver(link: KernelLink, driver: Driver) -> None:
    """Since 4.18 the channel moves although the request fails."""
    dlist, buffer = ring(link)
    output = link.alloc_buffer(4096, FROM)
    few = 2 if driver.family in "AB" else 8
    wrong: list[tuple[int, list[Any]]] = [
        (0, [(buffer, 100, 512)]),
        (0, [(buffer, 0, 5000)]),
        (0, [(buffer, 4096, 1)]),
        (0, [(output, 0, 512)]),
        (0, []),
        (0, [(buffer, 0, 64)] * (few + 1)),
        (1, [(buffer, 0, 512)]),
    ]
    for start, ranges in wrong:
        with pytest.raises(InputError):
            link.launch(2, dlist, start, ranges)
    with pytest.raises(StateError, match="disabled"):
        link.launch(3, dlist, 0, [(buffer, 0, 512)])
    other = link.create_descriptor_list(6, 512, circular=False)
    link.enable_channels(8)
    with pytest.raises(InputError, match="power of two"):
        link.launch(3, other, 0, [(buffer, 0, 512)])
    assert not driver.calls("LAUNCH")


def test_a_refused_launch_ends_the_channel_where_it_moved(link: KernelLink, driver: Driver) -> None:
    dlist, buffer = ring(link)
    driver.failures["LAUNCH"] = errno.EFAULT
    with pytest.raises(DeviceError):
        link.launch(2, dlist, 0, [(buffer, 0, 512)])
    if driver.family == "A":
        assert link.launch(2, dlist, 0, [(buffer, 0, 512)]) == 1
    else:
        with pytest.raises(StateError, match="unknown position"):
            link.launch(2, dlist, 0, [(buffer, 0, 512)])


def test_a_launch_on_a_stopped_channel_can_be_repeated(link: KernelLink, driver: Driver) -> None:
    dlist, buffer = ring(link)
    driver.failures["LAUNCH"] = errno.EBUSY if driver.family == "A" else errno.ECONNRESET
    with pytest.raises(StateError, match="stopped"):
        link.launch(2, dlist, 0, [(buffer, 0, 512)])
    assert link.launch(2, dlist, 0, [(buffer, 0, 512)]) == 1


def test_memory_in_flight_is_unmapped_later(link: KernelLink, driver: Driver) -> None:
    """The driver's transfers hold no reference: unmapping under them is a use after free in the kernel."""
    dlist, buffer = ring(link)
    link.launch(2, dlist, 0, [(buffer, 0, 512)])
    buffer.close()
    dlist.close()
    assert not driver.calls("UNMAP")
    assert not driver.calls("LIST_RELEASE")
    link.disable_channels(4)
    assert driver.calls("UNMAP") == [struct.pack("<Q", buffer.handle)]
    assert driver.calls("LIST_RELEASE") == [struct.pack("<Q", dlist.handle)]


def test_disabling_one_channel_up_to_4_18_loses_the_others(link: KernelLink, driver: Driver) -> None:
    dlist, buffer = ring(link)
    link.enable_channels(0x10000)
    link.launch(2, dlist, 0, [(buffer, 0, 512)])
    link.disable_channels(0x10000)
    if driver.release in ("4.17.1", "4.18.0"):
        assert link.wait_channels(4, 0) == [(2, 0, ChannelError.INACTIVE)]
        with pytest.raises(StateError, match="forgotten"):
            link.launch(2, dlist, 1, [(buffer, 0, 512)])
    else:
        assert link.launch(2, dlist, 1, [(buffer, 0, 512)]) == 1


def test_an_error_of_the_wait_reaches_the_waiting(link: KernelLink, driver: Driver) -> None:
    driver.failures["WAIT"] = errno.ENODEV
    link.enable_channels(4)
    with pytest.raises(DeviceLost):
        link.wait_channels(4, 10)


def test_waiting_ends_in_time_and_when_woken(link: KernelLink) -> None:
    link.enable_channels(4)
    assert link.wait_channels(4, 0.01) == []


def test_timestamps(link: KernelLink, driver: Driver) -> None:
    assert link.read_timestamps(7) == [(1000, 1), (2500, 2)]
    assert driver.calls("READ_TIMESTAMPS")[0][:2] == bytes([0, 7])


def test_everything_is_given_back_in_order(driver: Driver) -> None:
    with KernelLink(driver) as link:
        dlist, buffer = ring(link)
        link.launch(2, dlist, 0, [(buffer, 0, 512)])
    names = [name for name, _ in driver.log]
    tail = names[names.index("DISABLE") :]
    assert [name for name in tail if name not in ("WAIT", "READ_NOTIFICATION")] == [
        "DISABLE",
        "DISABLE_NOTIFICATION",
        "LIST_RELEASE",
        "UNMAP",
        "CLOSE",
    ]
