"""Which way is taken, and what is said when it cannot be."""

from __future__ import annotations

import errno

import pytest

import openhailo
from openhailo.bus.sysfs_function import SysfsFunction
from openhailo.bus.vfio import container, endpoint
from openhailo.bus.vfio.endpoint import open_endpoint
from openhailo.errors import AccessDenied, DeviceBusy, DeviceError, DeviceLost, DeviceNotFound, InputError
from openhailo.twin.firmware.image import build_placeholder_image


def open_way(machine, target="", **options):
    return open_endpoint(target, **machine.options, **options).function


# --- choosing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["group", "iommufd"])
def test_the_better_way_is_taken(bare, way):
    function = open_way(bare.add(way))
    assert function.way == way
    function.close()


def test_the_other_way_can_be_asked_for(bare):
    function = open_way(bare.add("iommufd"), interface="group")
    assert function.way == "group"
    function.close()


@pytest.mark.parametrize("gone", ["iommu", "vfio/devices/vfio0"])
def test_without_its_nodes_iommufd_is_not_taken(bare, gone):
    bare.add("iommufd").kernel.nodes.discard(bare.dev / gone)
    function = open_way(bare)
    assert function.way == "group"
    function.close()


def test_iommufd_that_is_not_there_cannot_be_asked_for(bare):
    with pytest.raises(DeviceNotFound, match="iommufd"):
        open_way(bare.add("group"), interface="iommufd")
    with pytest.raises(InputError, match="interface"):
        open_way(bare, interface="best")


def test_the_first_function_that_is_bound_is_taken(bare, tools):
    tools.add_function(bare.root, "0000:00:05.0", driver="hailo", group=3)
    bare.add("group")
    function = open_way(bare)
    assert function.name == f"pci:{tools.address}"
    function.close()


def test_through_the_front_door(vfio, tools):
    with openhailo.open(f"pci:{tools.address}", firmware=build_placeholder_image(), **vfio.options) as device:
        assert device.identify().architecture == 1


def test_firmware_that_is_installed_is_loaded(vfio, tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "FIRMWARE", tmp_path / "hailo8_fw.bin")
    opened = open_endpoint("", **vfio.options)
    assert opened.firmware is None
    opened.function.close()
    (tmp_path / "hailo8_fw.bin").write_bytes(b"image")
    opened = open_endpoint("", **vfio.options)
    assert opened.firmware == b"image"
    opened.function.close()
    opened = open_endpoint("", firmware=b"mine", **vfio.options)
    assert opened.firmware == b"mine"
    opened.function.close()


# --- names that lead nowhere -----------------------------------------------------------------------------------------


def test_an_empty_bus(bare):
    with pytest.raises(DeviceNotFound, match="no Hailo-8 is on the PCI bus"):
        open_way(bare)
    with pytest.raises(DeviceNotFound, match=r"0000:01:00\.0"):
        open_way(bare, "0000:01:00.0")
    with pytest.raises(DeviceNotFound, match="an address is like"):
        open_way(bare, "../../etc")


def test_none_is_bound(bare, tools):
    tools.add_function(bare.root, driver="hailo")
    with pytest.raises(DeviceNotFound, match=r"openhailo bind vfio 0000:01:00\.0 --apply"):
        open_way(bare)
    with pytest.raises(DeviceBusy, match=r"'hailo' has it; `openhailo bind vfio 0000:01:00.0 --apply`"):
        open_way(bare, tools.address)


def test_another_card_is_left_alone(bare, tools):
    (tools.add_function(bare.root) / "device").write_text("0x1234\n")
    with pytest.raises(DeviceNotFound, match="1e60:1234 is there"):
        open_way(bare, tools.address)


def test_unbound_with_and_without_an_iommu(bare, tools):
    folder = tools.add_function(bare.root, driver="")
    with pytest.raises(AccessDenied, match="bind vfio"):
        open_way(bare, tools.address)
    (folder / "iommu_group").unlink()
    with pytest.raises(AccessDenied, match=r"all memory of this machine.*unsafe=True"):
        open_way(bare, tools.address)


def test_only_one_word_follows_an_address(bare, tools):
    with pytest.raises(InputError, match="trusted-host"):
        open_way(bare, f"{tools.address},fast")


# --- without an IOMMU ------------------------------------------------------------------------------------------------


def test_vfio_without_an_iommu_is_opt_in(bare):
    bare.add("no-IOMMU")
    with pytest.raises(AccessDenied, match="all memory of this machine"):
        open_way(bare)
    function = open_way(bare, ",trusted-host")
    assert function.way == "no-IOMMU"
    function.close()


def test_sysfs_is_opt_in(bare, tools):
    bare.add("sysfs")
    with pytest.raises(AccessDenied):
        open_way(bare, tools.address)
    function = open_way(bare, f"{tools.address},trusted-host")
    assert isinstance(function, SysfsFunction)
    function.close()


def test_vfio_that_does_not_allow_it(bare):
    bare.add("no-IOMMU").kernel.extensions = {1, 3}
    with pytest.raises(DeviceError, match="enable_unsafe_noiommu_mode=1"):
        open_way(bare, unsafe=True)


def test_only_root_may_do_without(bare):
    bare.add("no-IOMMU").kernel.fail[0x3B66] = errno.EPERM
    with pytest.raises(AccessDenied, match="only root"):
        open_way(bare, unsafe=True)


# --- nodes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", ["vfio/vfio", "vfio/4"])
@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EACCES, AccessDenied, "udev rule"),
        (errno.EBUSY, DeviceBusy, "another process"),
        (errno.ENODEV, DeviceLost, "nothing is behind"),
        (errno.ENOENT, DeviceNotFound, "modprobe vfio-pci"),
        (errno.EMFILE, DeviceError, "kernel log"),
    ],
)
def test_group_nodes_that_cannot_be_opened(bare, node, number, kind, words):
    bare.add("group").kernel.fail[bare.dev / node] = number
    with pytest.raises(kind, match=words):
        open_way(bare)


@pytest.mark.parametrize("node", ["iommu", "vfio/devices/vfio0"])
def test_iommufd_nodes_that_are_taken(bare, node):
    bare.add("iommufd").kernel.fail[bare.dev / node] = errno.EBUSY
    with pytest.raises(DeviceBusy):
        open_way(bare)


@pytest.mark.parametrize("node", ["iommu", "vfio/devices/vfio0"])
def test_the_older_way_is_taken_where_only_that_is_open(bare, node):
    bare.add("iommufd").kernel.fail[bare.dev / node] = errno.EACCES
    with pytest.raises(AccessDenied, match="udev rule"):
        open_way(bare, interface="iommufd")
    function = open_way(bare)
    assert function.way == "group"
    function.close()


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT])
def test_where_neither_is_open_the_newer_one_is_to_be_fixed(bare, number):
    bare.add("iommufd").kernel.fail[bare.dev / "iommu"] = errno.EACCES
    bare.kernel.fail[bare.dev / "vfio/vfio"] = number
    with pytest.raises(AccessDenied, match="iommu denied"):
        open_way(bare)


# --- groups ----------------------------------------------------------------------------------------------------------


def test_a_group_that_is_not_viable_names_the_others(bare, tools):
    tools.add_function(bare.root, "0000:01:00.1", driver="snd_hda_intel")
    tools.add_function(bare.root, "0000:00:01.0", driver="pcieport")
    bare.add("group").kernel.group_flags = 0
    with pytest.raises(DeviceBusy, match=r"group 4: 0000:01:00.1 \(snd_hda_intel\); unbind"):
        open_way(bare)


def test_a_group_that_is_in_another_container(bare):
    bare.add("group").kernel.group_flags = 3
    with pytest.raises(DeviceBusy, match="another container"):
        open_way(bare)


def test_interrupts_that_are_not_isolated(bare):
    bare.add("group").kernel.fail[0x3B66] = errno.EPERM
    with pytest.raises(AccessDenied, match="allow_unsafe_interrupts=1"):
        open_way(bare)


@pytest.mark.parametrize("request_number", [0x3B76, 0x3B77], ids=hex)
def test_interrupts_that_are_not_isolated_for_iommufd(bare, request_number):
    bare.add("iommufd").kernel.fail[request_number] = errno.EPERM
    with pytest.raises(AccessDenied, match="modprobe iommufd allow_unsafe_interrupts=1"):
        open_way(bare, interface="iommufd")


@pytest.mark.parametrize(
    ("request_number", "number"), [(0x3B76, errno.EINVAL), (0x3B76, errno.EBUSY), (0x3B77, errno.EBUSY)]
)
def test_a_device_that_is_open_already(bare, request_number, number):
    """Its node can be opened again; Linux 6.12 says EINVAL to the bind that follows."""
    bare.add("iommufd").kernel.fail[request_number] = number
    with pytest.raises(DeviceBusy, match="another process"):
        open_way(bare)


def test_an_older_type_of_iommu_does(bare):
    bare.add("group").kernel.extensions = {1, 4}
    open_way(bare).close()


def test_no_type_that_is_known(bare):
    bare.add("group").kernel.extensions = {2}
    with pytest.raises(DeviceError, match="modprobe vfio_iommu_type1"):
        open_way(bare)


def test_an_interface_of_another_version(bare):
    bare.add("group").kernel.version = 1
    with pytest.raises(DeviceError, match="version 1"):
        open_way(bare)


GROUP_REQUESTS = (0x3B64, 0x3B65, 0x3B66, 0x3B67, 0x3B68, 0x3B6A, 0x3B70, 0x3B6B, 0x3B6C, 0x3B6D, 0x3B6E)
IOMMUFD_REQUESTS = (0x3B76, 0x3B77, 0x3B81, 0x3B84, 0x3B6B, 0x3B6C, 0x3B6D, 0x3B6E)


@pytest.mark.parametrize("request_number", GROUP_REQUESTS, ids=hex)
def test_every_request_of_groups_may_fail(bare, request_number):
    bare.add("group").kernel.fail[request_number] = errno.EIO
    with pytest.raises(DeviceError, match="failed"):
        open_way(bare)


@pytest.mark.parametrize("request_number", IOMMUFD_REQUESTS, ids=hex)
def test_every_request_of_iommufd_may_fail(bare, request_number):
    bare.add("iommufd").kernel.fail[request_number] = errno.EIO
    with pytest.raises(DeviceError, match="failed"):
        open_way(bare)


def test_a_device_that_goes_while_it_is_opened(vfio):
    vfio.kernel.fail[0x3B6B] = errno.ENODEV
    with pytest.raises(DeviceLost):
        open_way(vfio)


# --- coherence -------------------------------------------------------------------------------------------------------


def test_without_enforcement_it_depends_on_the_machine(bare):
    """An IOMMU that does not enforce coherence says nothing about the machine: the virtual one of QEMU does not."""
    bare.add("group").kernel.extensions = {1, 3}
    open_way(bare).close()


@pytest.mark.parametrize(
    ("machine", "release", "refused"),
    [
        ("x86_64", "5.10.0-28-amd64", False),
        ("aarch64", "6.1.0-rpi8-rpi-2712", True),
        ("aarch64", "5.15.0", True),
        ("aarch64", "6.2.0", False),
        ("aarch64", "6.12.47+rpt-rpi-2712", False),
        ("aarch64", "10.0", False),
        ("riscv64", "unknown", True),
    ],
)
def test_machines_that_do_not_tell_are_refused(machine, release, refused):
    if not refused:
        container.check_coherence("pci:x", machine, release)
        return
    with pytest.raises(DeviceError, match=r"caches.*kernel driver"):
        container.check_coherence("pci:x", machine, release)
