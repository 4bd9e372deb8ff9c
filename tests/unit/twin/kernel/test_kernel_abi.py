"""The twin's own reading of the ABI against `driver-abi.json`: every request, size and offset of nine releases."""

from __future__ import annotations

import json

import pytest

from openhailo.twin.ports.kernel.abi import build_abi
from openhailo.twin.ports.kernel.releases import VERSIONS, parse_release

pytestmark = pytest.mark.facts

#: One name for what was renamed in 4.18 (driver.md 7.6).
RENAMED = {
    "DESC_LIST_BIND_VDMA_BUFFER": "DESC_LIST_PROGRAM",
    "VDMA_INTERRUPTS_ENABLE": "VDMA_ENABLE_CHANNELS",
    "VDMA_INTERRUPTS_DISABLE": "VDMA_DISABLE_CHANNELS",
}
#: Members that are declared element by element, and structures that are one handle.
SPLIT = {"channels_bitmap_per_engine": "engine0", "mapped_handle": "handle", "buffer_handle": "handle"}
SPLIT["desc_handle"] = "handle"


@pytest.fixture(scope="module")
def facts(shared_dir):
    """The machine-readable ABI."""
    return json.loads((shared_dir / "facts/driver-abi.json").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_requests(facts, version):
    text = ".".join(map(str, version))
    rows = {name: row[text] for name, row in facts["ioctls"].items() if text in row}
    implemented = {row["number"]: name for name, row in rows.items() if row["pcie_driver"] == "yes"}
    calls = build_abi(version).calls
    assert {RENAMED.get(name[6:], name[6:]) for name in implemented.values()} == {c.name for c in calls.values()}
    for number, name in implemented.items():
        call = calls[number]
        assert call.name == RENAMED.get(name[6:], name[6:])
        assert (call.layout.size if call.layout else 0) == rows[name]["size"] == number >> 16 & 0x3FFF


@pytest.mark.parametrize("version", VERSIONS)
def test_offsets(facts, version):
    text = ".".join(map(str, version))
    abi, checked = build_abi(version), 0
    for row in facts["ioctls"].values():
        call = abi.calls.get(row[text]["number"]) if text in row else None
        if call is None or call.layout is None:
            continue
        fields = facts["structs"][row[text]["struct"]][text]["fields"]
        for name, offset, _size in fields:
            member = name if name in call.layout.names else SPLIT[name]
            assert call.layout.offset(member) == offset, (text, call.name, name)
            checked += 1
    assert checked > 70


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "name", ["vdma_interrupts_channel_data", "vdma_transfer_buffer", "channel_interrupt_timestamp"]
)
def test_elements_of_arrays(facts, version, name):
    text = ".".join(map(str, version))
    layout, expected = build_abi(version).structs[name], facts["structs"][f"hailo_{name}"][text]
    assert layout.size == expected["size"]
    assert [[n, layout.offset(n)] for n in layout.names] == [field[:2] for field in expected["fields"]]


def test_families(facts):
    for text, family in facts["abi_family_of"].items():
        assert parse_release(text).family == family


@pytest.mark.parametrize("text", ["4.16.0", "4.24.0", "5.0.0", "4.23", "new"])
def test_other_releases(text):
    with pytest.raises(ValueError, match=r"4\.\d+"):
        parse_release(text)
