"""Several devices as one: which ones are taken, and sharing inside a process."""

from __future__ import annotations

import pytest

import openhailo
from openhailo.errors import DeviceBusy, DeviceNotFound, InputError, StateError
from openhailo.runtime import open_virtual
from openhailo.runtime.open import Candidate
from openhailo.runtime.vdevice import VirtualDevice


def test_as_many_virtual_chips_as_are_wanted():
    with openhailo.open_virtual_device(count=3) as vdevice:
        assert vdevice.device_ids == ["twin:", "twin: #2", "twin: #3"]
    with openhailo.open_virtual_device(["twin:hailo8l", "twin:"]) as vdevice:
        assert vdevice.device_ids == ["twin:hailo8l", "twin:"]
        assert "twin:hailo8l" in repr(vdevice)
    assert "closed" in repr(vdevice)


@pytest.mark.parametrize("arguments", [{"count": 0}, {"names": []}])
def test_no_device_is_not_enough(arguments):
    with pytest.raises(InputError, match="one device or more"):
        openhailo.open_virtual_device(**arguments)


def test_devices_that_somebody_uses_are_passed_over(monkeypatch):
    class Board:
        def __init__(self, name):
            self.name, self.closed = name, False

        def close(self):
            self.closed = True

    opened = []

    def open_device(name, **options):
        if name == "pci:1":
            raise DeviceBusy(name=name, detail="somebody has it")
        opened.append(Board(name))
        return opened[-1]

    names = [f"pci:{index}" for index in range(4)]
    monkeypatch.setattr(open_virtual, "default_name", lambda: "pci:0")
    monkeypatch.setattr(open_virtual, "list_devices", lambda: [*map(Candidate, names), Candidate("twin:")])
    monkeypatch.setattr(open_virtual, "open_device", open_device)
    monkeypatch.setattr(open_virtual, "VirtualDevice", lambda devices, options: devices)
    assert [board.name for board in open_virtual.open_virtual_device(count=3)] == ["pci:0", "pci:2", "pci:3"]
    opened.clear()
    with pytest.raises(DeviceNotFound, match="4 devices were asked for, 3 of"):
        open_virtual.open_virtual_device(count=4)
    assert [board.closed for board in opened] == [True] * 3


def test_members_of_a_group_share_one():
    first = openhailo.open_virtual_device(group_id="ours")
    second = openhailo.open_virtual_device(group_id="ours")
    assert first is second
    with pytest.raises(StateError, match="other devices"):
        openhailo.open_virtual_device(group_id="ours", count=2)
    with openhailo.open_virtual_device(group_id="theirs") as other:
        assert other is not first
    first.close()
    assert first.devices[0].identify() is not None
    second.close()
    with openhailo.open_virtual_device(group_id="ours", count=2) as third:
        assert third is not first and len(third.devices) == 2


def test_a_device_belongs_to_a_virtual_device_once():
    with openhailo.open("twin:") as device:
        with pytest.raises(InputError, match="each of them once"):
            VirtualDevice([device, device])
        with VirtualDevice([device], owns_devices=False):
            pass
        assert device.sensors() is not None
