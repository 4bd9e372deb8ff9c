"""Configuration against the recorded stack of the vendor: every control byte, list geometry and config stream.

The recorded addresses are handed out by the link, so requests are compared without masks.
"""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import pytest

from openhailo import hef
from openhailo.driver.link import LinkInfo
from openhailo.runtime.device import Device

pytestmark = pytest.mark.facts

HEFS = [
    "mnist_cnn_28x28_h8_dfc3.27_v0",
    "mnist_cnn_32x32_h8_dfc3.27_v0",
    "arcface_mobilefacenet_h8_v2",
    "skillcheck_mobilenet_v2_224_h8_v2",
]
#: Scenario -> (options of `Device.load`, what else differs).
SCENARIOS = {
    "run_c8": {},
    "run_c8_batch4": {"batch_size": 4},
    "run_c2_ultra_performance": {"performance": False},
    "run_c2_hwconsts_b": {},
    "run_c2_hwconsts_c": {},
    "run_c2_page128": {},
    "run_c2_page256": {},
}
CASES = [(name, scenario) for name in HEFS for scenario in SCENARIOS]


class ReplayLink:
    """Answers controls as recorded, checks what is asked of it against the record."""

    def __init__(self, records):
        ioctls = [r for r in records if r["k"] == "ioctl"]
        first = next(r for r in ioctls if r["io"] == "QUERY_DEVICE_PROPERTIES")
        self.info = LinkInfo("pcie", "replay", desc_max_page_size=first["f"]["desc_max_page_size"])
        controls = [r for r in records if r["k"] == "control"]
        configured = max(i for i, r in enumerate(controls) if r["op"] == 33) + 1
        # What follows the configuration of hailortcli belongs to its own loop; only state changes are ours.
        self.controls = controls[:configured] + [r for r in controls[configured:] if r["op"] in (37, 71)]
        self.lists = [r["f"] for r in ioctls if r["io"] == "DESC_LIST_CREATE"]
        self.syncs = [r["f"] for r in ioctls if r["io"] == "VDMA_BUFFER_SYNC"]
        self.programs = [_named(r["f"]) for r in ioctls if r["io"] == "DESC_LIST_PROGRAM"]
        self.list_handles = {}
        self.made = []
        self.fetched = {}

    def control(self, request, cpu, timeout_s=1.0):
        expected = self.controls.pop(0)
        assert request.hex() == expected["req"], expected["name"]
        assert cpu == expected["cpu"]
        return bytes.fromhex(expected["rsp"])

    def create_descriptor_list(self, count, page_size, *, circular):
        want = self.lists.pop(0)
        assert (count, page_size, int(circular)) == (want["desc_count"], want["desc_page_size"], want["is_circular"])
        made = SimpleNamespace(
            dma_address=int(want["dma_address"], 16), count=count, page_size=page_size, handle=want["desc_handle"]
        )
        made.close = lambda: None
        return made

    def alloc_buffer(self, size_bytes, direction):
        return SimpleNamespace(view=memoryview(bytearray(size_bytes)), size_bytes=size_bytes, close=lambda: None)

    def sync_buffer(self, buffer, offset, size_bytes, to_device):
        want = self.syncs.pop(0)
        _, kind, at, count = want.values() if isinstance(want, dict) else want
        assert (int(to_device), offset, size_bytes) == (kind, at, count)

    def program(self, dlist, buffer, *, size_bytes, offset=0, starting_desc=0, bind=True, last_domain=0, **more):
        want = self.programs.pop(0)
        got = {
            "buffer_size": size_bytes,
            "buffer_offset": offset,
            "desc_handle": dlist.handle,
            "channel_index": more["channel"],
            "starting_desc": starting_desc,
            "should_bind": int(bind),
            "last_interrupts_domain": last_domain,
        }
        assert got == {key: want[key] for key in got}
        if not bind:
            at = starting_desc * dlist.page_size
            self.fetched.setdefault(more["channel"], bytearray()).extend(buffer.view[at : at + size_bytes])
        return -(-size_bytes // dlist.page_size)

    def enable_channels(self, bitmap):
        self.bitmap = bitmap

    def disable_channels(self, bitmap):
        assert bitmap == self.bitmap

    def launch_many(self, channel, dlist, starting_desc, transfers, **more):
        return sum(-(-ranges[0][2] // dlist.page_size) for ranges in transfers)

    def wake(self):
        pass

    def close(self):
        pass


def _named(fields):
    if isinstance(fields, dict):
        return fields
    names = (
        "buffer_handle buffer_size buffer_offset batch_size desc_handle channel_index starting_desc should_bind "
        "last_interrupts_domain is_debug stride"
    )
    return dict(zip(names.split(), fields, strict=True))


def load_records(shared_dir, name, scenario):
    path = shared_dir / "traces" / name / f"{scenario}.jsonl"
    if not path.is_file():
        pytest.skip(f"{scenario} was not recorded for {name}")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_configuration_is_what_the_vendor_sends(shared_dir, name, scenario):
    records = load_records(shared_dir, name, scenario)
    link = ReplayLink(records)
    device = Device(link)
    # The vendor's virtual device looks at the device before the device itself does.
    device.identify()
    device.information()
    network = device.load(shared_dir / "hefs" / f"{name}.hef", repeat_queries=True, **SCENARIOS[scenario])
    assert [r["op"] for r in link.controls] == [37, 37, 37, 71]
    assert link.lists == []
    assert link.syncs == []

    device.activate(network)
    enable = next(r for r in records if r["k"] == "ioctl" and r["io"] == "VDMA_ENABLE_CHANNELS")
    assert link.bitmap == int(enable["f"]["channels_bitmap_per_engine"][0], 16)
    device.deactivate()
    assert [r["op"] for r in link.controls] == [37, 71]

    for record in records:
        if record["k"] == "config_dma":
            data = link.fetched[record["channel"]]
            assert len(data) == record["length"], record
            assert hashlib.sha256(data).hexdigest() == record["sha256"]
    device.close()
    assert link.controls == []


def test_scenarios_are_there(shared_dir):
    found = [case for case in CASES if (shared_dir / "traces" / case[0] / f"{case[1]}.jsonl").is_file()]
    assert len(found) >= 20


def test_a_hailo8l_is_refused_a_hailo8_file(shared_dir):
    from openhailo.errors import UnsupportedHef
    from openhailo.runtime.describe import describe
    from openhailo.spec.enums import DeviceArchitecture

    file = hef.read((shared_dir / "hefs" / f"{HEFS[0]}.hef").read_bytes())
    assert describe(file, None, DeviceArchitecture.HAILO8, 0).name == "MNIST_CNN"
    with pytest.raises(UnsupportedHef, match="HAILO8L"):
        describe(file, None, DeviceArchitecture.HAILO8L, 0)
