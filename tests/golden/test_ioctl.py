"""The kernel driver's ioctl interface of nine releases against driver-abi.json and the tables of driver.md 7."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openhailo.spec import ioctl
from openhailo.spec.ioctl import RELEASES, Direction, Release
from openhailo.spec.layout import SCALARS, Struct

Facts = Any
Checked = Callable[[int, int], None]
NINE = ["4.17.0", "4.17.1", "4.18.0", "4.19.0", "4.20.0", "4.20.1", "4.21.0", "4.22.0", "4.23.0"]
LETTERS = {"NONE": Direction.NONE, "W": Direction.FROM_DRIVER, "R": Direction.TO_DRIVER, "RW": Direction.BOTH}
#: Kind in the JSON -> type in a declaration.
KINDS = {"u8": "u8", "u16": "le16", "u32": "le32", "u64": "le64", "i32": "lei32", "size": "le64", "uptr": "le64"}
KINDS |= {"ptr": "le64", "bool": "u8"}


def structs_of(release: Release) -> dict[str, Struct]:
    """Every structure that requests of ``release`` mention, nested ones included."""
    found: dict[str, Struct] = {}

    def add(struct: Struct) -> None:
        found[struct.name] = struct
        for member in struct.members:
            if isinstance(member.type, Struct):
                add(member.type)

    for request in release.ioctls.values():
        add(request.struct)
    found.pop("nothing", None)
    return found


def expected_structs(abi: Any, version: str) -> Iterator[tuple[str, Any, Any]]:
    """Name, layout and kinds of every structure of a release; the notification header is spec.fw_access's."""
    for name, releases in abi["structs"].items():
        if version in releases and name != "hailo_d2h_buffer_details_t":
            kinds = abi["struct_field_types"].get(name, {}).get(version, {})
            yield name.removeprefix("hailo_"), releases[version], kinds


@pytest.fixture(scope="module")
def abi(facts: Facts) -> Any:
    return facts.json("driver-abi.json")


@pytest.mark.facts
def test_releases_and_families(abi: Any, checked: Checked) -> None:
    assert list(RELEASES) == abi["versions"] == NINE
    assert {name: release.family for name, release in RELEASES.items()} == abi["abi_family_of"]
    assert [probe.number for probe in ioctl.VERSION_PROBES] == [probe["request"] for probe in abi["version_probe"]]
    checked(20, 20)


@pytest.mark.facts
@pytest.mark.parametrize("version", NINE)
def test_every_request_number(abi: Any, version: str, checked: Checked) -> None:
    release = RELEASES[version]
    rows = {name.removeprefix("HAILO_"): row[version] for name, row in abi["ioctls"].items() if version in row}
    assert release.ioctls.keys() == rows.keys()
    for name, row in rows.items():
        request = release[name]
        assert request.number == row["number"], name
        assert (request.type, request.nr, request.struct.size) == (row["type"], row["nr"], row["size"]), name
        assert request.direction is LETTERS[row["linux_dir"]], name
        assert request.implemented == (row["pcie_driver"] == "yes"), name
        wanted = row["struct"].removeprefix("hailo_") if row["struct"] else "nothing"
        assert request.struct.name == wanted, name
    checked(7 * len(rows), 7 * 25)


@pytest.mark.facts
@pytest.mark.parametrize("version", NINE)
def test_every_struct(abi: Any, version: str, checked: Checked) -> None:
    ours, compared = structs_of(RELEASES[version]), 0
    wanted = {name: (layout, kinds) for name, layout, kinds in expected_structs(abi, version)}
    assert ours.keys() == wanted.keys()
    for name, (layout, kinds) in wanted.items():
        struct = ours[name]
        assert struct.size == layout["size"], name
        assert [[m.name, m.offset, m.size_bytes] for m in struct.members] == layout["fields"], name
        compared += 1 + 3 * len(layout["fields"]) + check_kinds(struct, kinds)
    checked(compared, 390)


def check_kinds(struct: Struct, kinds: dict[str, str]) -> int:
    """Compare the kind of every member that the JSON knows."""
    for name, kind in kinds.items():
        member = struct[name]
        base, _, count = kind.removeprefix("struct:hailo_").partition("[")
        length = int(count.rstrip("]")) if count else 1
        if isinstance(member.type, Struct):
            assert (member.type.name, member.count) == (base, length), (struct.name, name)
        elif member.type == "bytes":
            assert (base, length) == ("u8", member.size), (struct.name, name)
        else:
            declared = "le32" if base.startswith("enum:") else KINDS[base]
            assert (member.type, member.count) == (declared, length), (struct.name, name)
            assert member.type in SCALARS
    return len(kinds)


ENUMS = {
    "hailo_dma_data_direction": (ioctl.DmaDirection, {"BIDIRECTIONAL": "BOTH"}),
    "hailo_dma_buffer_type": (ioctl.BufferType, {"USER_PTR_BUFFER": "USER_POINTER", "DMABUF_BUFFER": "DMABUF"}),
    "hailo_allocation_mode": (ioctl.AllocationMode, {"USERSPACE": "USER_SPACE"}),
    "hailo_cpu_id": (ioctl.CpuId, {"CPU0": "APP", "CPU1": "CORE"}),
    "hailo_vdma_buffer_sync_type": (ioctl.SyncType, {}),
    "hailo_vdma_interrupts_domain": (ioctl.InterruptsDomain, {}),
}


@pytest.mark.facts
@pytest.mark.parametrize("name", ENUMS)
def test_enumerations(abi: Any, name: str, checked: Checked) -> None:
    ours, renamed = ENUMS[name]
    compared = 0
    for members in abi["enums"][name].values():
        for full, value in members.items():
            if full.endswith("MAX_ENUM"):
                continue
            short = re.sub(r"^HAILO_(DMA|ALLOCATION_MODE|CPU_ID|SYNC|VDMA_INTERRUPTS_DOMAIN)_", "", full)
            assert ours[renamed.get(short, short)] == value, full
            compared += 1
    checked(compared, 14)


@pytest.mark.facts
def test_constants(abi: Any, checked: Checked) -> None:
    constants, rules = abi["constants"], ioctl.IoctlRules()
    for version, release in RELEASES.items():
        assert constants["MAX_VDMA_CHANNELS_PER_ENGINE"][version] == rules.channels
        assert constants["MAX_VDMA_ENGINES"][version] == rules.engines
        assert constants["HAILO_VDMA_MAX_ONGOING_TRANSFERS"][version] - 1 == rules.max_transfers_in_flight
        assert constants["CHANNEL_IRQ_TIMESTAMPS_SIZE"][version] == rules.timestamps
        assert constants["MAX_CONTROL_LENGTH"][version] == rules.max_control_bytes
        assert constants["MAX_NOTIFICATION_LENGTH"][version] == rules.max_notification_bytes
        assert constants["MAX_FW_LOG_BUFFER_LENGTH"][version] == rules.max_log_read_bytes
        held = constants["HAILO_MAX_BUFFERS_PER_SINGLE_TRANSFER"][version]
        assert (
            held == release.behaviour.max_buffers_per_launch == release["VDMA_LAUNCH_TRANSFER"].struct["buffers"].count
        )
        assert rules.channels * rules.engines == rules.interrupt_entries
        assert ("MEMORY_TRANSFER" in release.ioctls) == release.behaviour.has_memory_transfer
    checked(10 * len(RELEASES), 90)


@pytest.mark.facts
def test_table_of_numbers_in_the_page(facts: Facts, checked: Checked) -> None:
    """driver.md 7.2 names every number, or "=" for the one before, or "-"."""
    compared = 0
    for row in facts.rows(facts.section("driver.md", "7.2 Request numbers")):
        if len(row) != 12 or row[0].startswith(("ioctl", "---")):
            continue
        before = ""
        for version, cell in zip(NINE, row[3:], strict=True):
            before = before if cell == "=" else cell
            request = RELEASES[version].ioctls.get(row[0])
            assert (f"{request.number:08X}" if request else "-") == before, (row[0], version)
            compared += 1
    checked(compared, 9 * 33)


@pytest.mark.facts
def test_table_of_sizes_in_the_page(facts: Facts, checked: Checked) -> None:
    """driver.md 7.3 gives the size of every structure per release."""
    compared = 0
    sizes = {version: structs_of(release) for version, release in RELEASES.items()}
    for row in facts.rows(facts.section("driver.md", "7.3 Struct sizes")):
        if len(row) != 10 or row[0].startswith(("struct", "---", "d2h_buffer")):
            continue
        before = ""
        for version, cell in zip(NINE, row[1:], strict=True):
            before = before if cell == "=" else cell
            struct = sizes[version].get(row[0])
            assert (str(struct.size) if struct else "-") == before, (row[0], version)
            compared += 1
    checked(compared, 9 * 34)


#: Written out from driver.md 7.2; needs no facts folder.
LITERALS = {
    "4.17.1": {
        "QUERY_DRIVER_INFO": 0x400C6705,
        "FW_CONTROL": 0xC5F86701,
        "READ_NOTIFICATION": 0x45E46702,
        "DISABLE_NOTIFICATION": 0x00006703,
        "VDMA_INTERRUPTS_WAIT": 0xC30D7602,
        "VDMA_BUFFER_MAP": 0xC0247604,
        "DESC_LIST_BIND_VDMA_BUFFER": 0x80257609,
        "VDMA_LAUNCH_TRANSFER": 0xC03D760F,
    },
    "4.20.1": {
        "QUERY_DRIVER_INFO": 0x400C6702,
        "FW_CONTROL": 0xC5F86E00,
        "READ_NOTIFICATION": 0x45E46E01,
        "DISABLE_NOTIFICATION": 0x00006E02,
        "VDMA_INTERRUPTS_WAIT": 0xC2AD7602,
        "VDMA_BUFFER_MAP": 0xC0287604,
        "DESC_LIST_PROGRAM": 0x802B7609,
        "VDMA_LAUNCH_TRANSFER": 0xC041760F,
        "MEMORY_TRANSFER": 0xD0186700,
    },
    "4.23.0": {
        "QUERY_DEVICE_PROPERTIES": 0x40176701,
        "READ_LOG": 0xC2146E03,
        "VDMA_ENABLE_CHANNELS": 0x800D7600,
        "VDMA_DISABLE_CHANNELS": 0x800C7601,
        "VDMA_INTERRUPTS_WAIT": 0xC12D7602,
        "VDMA_INTERRUPTS_READ_TIMESTAMPS": 0xCA067603,
        "VDMA_BUFFER_UNMAP": 0x80087605,
        "VDMA_BUFFER_SYNC": 0x801C7606,
        "DESC_LIST_CREATE": 0xC01B7607,
        "DESC_LIST_RELEASE": 0x80087608,
        "DESC_LIST_PROGRAM": 0x80337609,
        "VDMA_LOW_MEMORY_BUFFER_ALLOC": 0xC010760A,
        "VDMA_LOW_MEMORY_BUFFER_FREE": 0x8008760B,
        "MARK_AS_IN_USE": 0x4001760C,
        "VDMA_CONTINUOUS_BUFFER_ALLOC": 0xC018760D,
        "VDMA_CONTINUOUS_BUFFER_FREE": 0x8008760E,
        "VDMA_LAUNCH_TRANSFER": 0x8099760F,
    },
}


def test_literal_numbers(checked: Checked) -> None:
    compared = 0
    for version, numbers in LITERALS.items():
        for name, number in numbers.items():
            assert RELEASES[version][name].number == number, (version, name)
            compared += 1
    checked(compared, 34)


def test_behaviour_by_release() -> None:
    """driver.md 4.1, 6.4-6.8, 7.5, 7.6, row by row."""
    held = {version: release.behaviour for version, release in RELEASES.items()}

    def column(name: str) -> list[Any]:
        return [getattr(behaviour, name) for behaviour in held.values()]

    assert column("launch_returns_count") == column("buffers_by_address") == [False] * 6 + [True] * 3
    assert column("program_has_batch") == [False] * 6 + [True] * 3
    assert column("program_sets_interrupts") == [False] * 2 + [True] * 7
    assert column("list_mmap") == [True] * 2 + [False] * 7
    assert column("launch_moves_on_error") == [False] * 2 + [True] * 7
    assert column("inactive_errno") == [0] * 2 + [104] * 7
    assert column("debug_checks_activity") == [True] * 2 + [False] * 7
    assert column("disable_wipes_all") == [True] * 3 + [False] * 6
    assert column("disable_refuses_idle") == [True] * 2 + [False] * 7
    assert column("close_disables_channels") == [False] * 3 + [True] * 6
    assert column("notification_disabled_errno") == [22] * 4 + [125] * 5
    assert column("no_contiguous_errno") == [12] * 4 + [105] * 5
    assert column("boots_without_firmware") == [True] * 3 + [False] * 6
    assert column("max_buffers_per_launch") == [2] * 6 + [8] * 3
    kinds = [ioctl.EntryKind.INDEX] * 2 + [ioctl.EntryKind.COUNT] * 4 + [ioctl.EntryKind.BYTE] * 3
    assert column("entry_kind") == kinds
    assert column("has_memory_transfer") == [True] * 8 + [False]
