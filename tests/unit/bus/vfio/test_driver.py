"""The whole driver over every way to a function: boot, identify, frames, removal."""

from __future__ import annotations

import threading

import pytest

from openhailo.bus.vfio.endpoint import open_endpoint
from openhailo.driver.control import FirmwareClient
from openhailo.driver.pcie_link import PcieLink
from openhailo.errors import DeviceLost
from openhailo.testing.conformance import load
from openhailo.testing.rig import FunctionRig
from openhailo.twin.firmware.image import build_placeholder_image

IMAGE = build_placeholder_image()
CAPABILITIES = frozenset({"link", "pcie", "programs"})
CHECKS = [one for one in load() if not one.missing(CAPABILITIES)]


def open_function(machine):
    return open_endpoint("", unsafe=True, **machine.options).function


def open_at(machine):
    return open_endpoint("0000:01:00.0", unsafe=True, **machine.options).function


def test_boot_and_identify(any_way, tools):
    with FunctionRig(open_at(any_way), firmware=IMAGE) as rig:
        assert rig.client.identify().architecture == 1
        assert rig.link.info.name == f"pci:{tools.address}"


@pytest.mark.parametrize("one", CHECKS, ids=[one.name for one in CHECKS])
def test_conformance(vfio, one):
    with FunctionRig(open_function(vfio), firmware=IMAGE) as rig:
        rig.capabilities = CAPABILITIES
        one.run(rig)


@pytest.mark.parametrize("way", ["no-IOMMU", "sysfs"])
@pytest.mark.parametrize("one", [one for one in CHECKS if one.subject == "inference"], ids=lambda one: one.name)
def test_frames_without_an_iommu(bare, way, one):
    with FunctionRig(open_at(bare.add(way)), firmware=IMAGE) as rig:
        rig.capabilities = CAPABILITIES
        one.run(rig)


def test_opened_again_the_chip_is_cold(any_way):
    for _ in range(2):
        with PcieLink(open_at(any_way), firmware=IMAGE) as link:
            assert link.info.firmware_version == "4.23.0"


def test_memory_goes_back_after_dma_stopped_and_before_the_device(vfio):
    with PcieLink(open_function(vfio), firmware=IMAGE) as link:
        link.alloc_buffer(5000, 0)
        del vfio.kernel.log[:]
        mastering = []
        unmap = vfio.kernel.iommu.unmap
        vfio.kernel.iommu.unmap = lambda *a: (mastering.append(vfio.kernel.chip.config_read(4, 2) & 4), unmap(*a))[1]
    log = vfio.kernel.log
    device = next(line for line in log if line in ("close device", "close vfio0"))
    assert mastering and not any(mastering)
    assert log.index(next(line for line in log if "unmap" in line)) < log.index(device)
    assert log[-1] in ("close vfio", "close iommu")
    assert {"unmap 0", "unmap 2", "unmap 4"} <= set(log[: log.index(device)])


# --- removal and errors of the bus ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "words"), [(4, "wants it back"), (3, "cannot be corrected")])
def test_what_the_kernel_announces_ends_in_a_lost_device(vfio, index, words):
    link = PcieLink(open_function(vfio), firmware=IMAGE)
    vfio.kernel.signal(index)
    with pytest.raises(DeviceLost, match=words):
        FirmwareClient(link).identify()
    with pytest.raises(DeviceLost, match=words):
        FirmwareClient(link).identify()
    link.close()


def test_a_thread_that_waits_hears_of_the_removal(vfio):
    function = open_function(vfio)
    raised = []

    def wait():
        with pytest.raises(DeviceLost) as caught:
            while True:
                function.irq.wait(30)
        raised.append(caught.value)

    thread = threading.Thread(target=wait)
    thread.start()
    assert not function.lost
    vfio.kernel.signal(4)
    thread.join(20)
    assert len(raised) == 1 and "wants it back" in raised[0].detail
    assert function.lost
    function.close()


def test_an_idle_owner_can_look_for_it(vfio):
    function = open_function(vfio)
    assert not function.lost
    vfio.kernel.signal(4)
    assert function.lost
    with pytest.raises(DeviceLost):
        function.irq.wait(0)
    function.close()


def test_a_kernel_without_these_announcements_is_fine(vfio):
    vfio.kernel.irqs = {1: 1}
    with PcieLink(open_function(vfio), firmware=IMAGE):
        assert vfio.kernel.eventfds.keys() == {1}


def test_a_card_that_left_its_bus_is_lost_and_closes(vfio):
    link = PcieLink(open_function(vfio), firmware=IMAGE)
    vfio.kernel.chip.faults.link_down = True
    with pytest.raises(DeviceLost):
        FirmwareClient(link).identify()
    link.close()
    link.close()


def test_everything_fails_while_closing(vfio):
    """The kernel took the device away: every request fails, and all descriptors are closed all the same."""
    link = PcieLink(open_function(vfio), firmware=IMAGE)
    for request in (0x3B6E, 0x3B69, "pread", "pwrite"):
        vfio.kernel.fail[request] = 19
    link.close()


# --- the function by itself ----------------------------------------------------------------------------------------


def test_reset_keeps_messages_and_mastering(vfio):
    function = open_function(vfio)
    function.irq.enable()
    function.config.write(4, 2, 6)
    function.reset()
    assert function.config.read(4, 2) == 6
    assert vfio.kernel.chip.config_read(0xE2, 2) & 1
    function.close()


def test_messages_wake_and_count_once(vfio):
    function = open_function(vfio)
    function.irq.enable()
    assert not function.irq.wait(0)
    vfio.kernel.signal(1)
    vfio.kernel.signal(1)
    assert function.irq.wait(20)
    assert not function.irq.wait(0)
    function.irq.wake()
    assert not function.irq.wait(20)
    function.irq.disable()
    function.irq.disable()
    function.close()
    function.close()
    function.irq.wake()


def test_windows_are_made_once_and_decoding_is_switched_on_for_them(vfio):
    function = open_function(vfio)
    assert not function.config.read(4, 2) & 2
    window = function.window(0)
    assert function.window(0) is window
    assert window.read32(0x98) == 0x28641E60
    for bar in (1, 6, 7, 9, -1):
        with pytest.raises(DeviceLost, match="no BAR"):
            function.window(bar)
    function.close()
    with pytest.raises(ValueError):
        window.read32(0)


def test_bars_that_cannot_be_mapped_are_read_and_written(vfio):
    vfio.kernel.mappable = False
    with PcieLink(open_function(vfio), firmware=IMAGE) as link:
        assert link.info.firmware_version == "4.23.0"
        assert not [line for line in vfio.kernel.log if line.startswith("map ")]


def test_requests_that_pass_caches_by_are_forbidden(any_way):
    """Device control: bit 11 lets a device decide by itself that caches do not matter."""
    chip = any_way.kernel.chip
    seen = []
    write = chip.config_write
    chip.config_write = lambda at, width, value: (seen.append((at, value)), write(at, width, value))
    control = chip.config_read(0x88, 2)
    open_at(any_way).close()
    wanted = (0x88, control & ~0x800)
    assert (wanted in seen) == bool(control & 0x800)
    assert control & 0x800, "the virtual card has it switched on, as cards do"
