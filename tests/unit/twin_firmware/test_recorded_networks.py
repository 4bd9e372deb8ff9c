"""The vendor library's own requests for real HEF files, as recorded, configure and run on the twin's firmware."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from openhailo.twin.core import PRELIMINARY, PatternReference

pytestmark = pytest.mark.facts
NETWORKS = (
    "arcface_mobilefacenet_h8_v2",
    "mnist_cnn_28x28_h8_dfc3.27_v0",
    "mnist_cnn_32x32_h8_dfc3.27_v0",
    "skillcheck_mobilenet_v2_224_h8_v2",
)


def records(path: Path, *kinds: str) -> list[dict[str, Any]]:
    with path.open() as lines:
        return [r for r in map(json.loads, lines) if r["k"] in kinds]


class Recording:
    """One `run_c8` with the recorded list addresses replaced by lists of this host."""

    def __init__(self, host: Any, folder: Path) -> None:
        self.host, path = host, folder / "run_c8.jsonl"
        self.masks = {i: v["mask"] for i, v in json.loads((folder / "action_lists.json").read_text()).items()}
        self.controls = [bytes.fromhex(r["req"]) for r in records(path, "control") if r["op"] in (32, 33)]
        self.lists = records(path, "action_list")
        self.config = records(path, "config_dma")
        self.opened = {r["channel"]: r["fields"] for r in records(path, "channel_open")}
        self.addresses: dict[int, int] = {}
        self.rings: dict[int, tuple[Any, Any, int]] = {}
        self.heads: dict[int, int] = {}

    def make_lists(self) -> None:
        for channel, fields in self.opened.items():
            info = fields["host_buffer_info"]
            self.host.list(info["total_desc_count"], info["desc_page_size"])
            self.rings[channel] = (*self.host.last, info["total_desc_count"])
            self.addresses[info["dma_address"]] = self.host.last[0].iova
        for fetch in self.config:
            info = fetch["host_buffer_info"]
            sizes = [size for count, size, *_ in fetch["desc_runs"] for _ in range(count)]
            sizes += [info["desc_page_size"]] * (info["total_desc_count"] - len(sizes))
            data = bytes.fromhex(fetch["first64"]) + bytes(fetch["length"])
            self.addresses[info["dma_address"]] = self.host.list(len(sizes), info["desc_page_size"], data, sizes)

    def configure(self) -> None:
        lists = iter(self.lists)
        for request in self.controls:
            message = bytearray(request)
            if request[15] == 33:
                entry = next(lists)
                places = [at for at, length, _ in self.masks[entry["id"]] if length == 8]
                for at, recorded in zip(places, entry["dma_addresses"], strict=True):
                    struct.pack_into("<Q", message, 39 + at, self.addresses[int(recorded, 16)])
            answer = self.host.raw(bytes(message), 1)
            assert answer[16:20] == bytes(4), answer.hex()

    def launch(self, channel: int, size: int, data: bytes | None = None) -> Any:
        """One transfer of ``size`` bytes in a buffer of its own, in descriptors of the list's page size."""
        ring, _, count = self.rings[channel]
        page = self.opened[channel]["host_buffer_info"]["desc_page_size"]
        buffer = self.host.function.dma.alloc(size)
        if data is not None:
            buffer.view[:] = data
        head = self.heads.get(channel, 0)
        used = -(-size // page)
        for n in range(used):
            here = min(page, size - n * page)
            self.host.describe(ring, (head + n) % count, here, buffer.iova + n * page, 0x2E if n == used - 1 else 2)
        self.heads[channel] = (head + used) % count
        self.host.available(channel, used, count)
        return buffer


@pytest.mark.parametrize("network", NETWORKS)
def test_recorded_network(host: Any, shared_dir: Path, network: str) -> None:
    recording = Recording(host, shared_dir / "traces" / network)
    recording.make_lists()
    recording.configure()
    host.twin.firmware.core.bind_reference(PatternReference())
    assert host.enable() == 0
    sizes = {c: f["host_buffer_info"]["bytes_in_pattern"] for c, f in recording.opened.items()}
    outputs = [c for c in sizes if c >= 16]
    results = {c: [recording.launch(c, sizes[c]) for _ in range(3)] for c in outputs}
    for n in range(3):
        for channel in set(sizes) - set(outputs):
            recording.launch(channel, sizes[channel], bytes([n]) * sizes[channel])
    host.run()
    assert host.notes == []
    for fetch in recording.config:
        assert host.twin.firmware.core.configured_bytes(PRELIMINARY, fetch["config_stream"]) == fetch["length"]
    for channel in outputs:
        for n, buffer in enumerate(results[channel]):
            pattern = bytes((7 * i + n + 31 * (channel - 16)) % 256 for i in range(sizes[channel]))
            assert bytes(buffer.view) == pattern
    host.reset()
    assert all(host.control_of(channel) & 3 == 0 for channel in sizes)


@pytest.mark.parametrize("network", NETWORKS)
def test_recorded_lists_without_a_reference(host: Any, shared_dir: Path, network: str) -> None:
    recording = Recording(host, shared_dir / "traces" / network)
    recording.make_lists()
    recording.configure()
    assert host.enable() == 0
    host.run()
    assert host.notes == []
    for channel, fields in recording.opened.items():
        if channel < 16:
            recording.launch(channel, fields["host_buffer_info"]["bytes_in_pattern"])
    host.run()
    assert [note[16:20] for note in host.notes] == [bytes.fromhex("0c000000")]


def test_recorded_device_requests_are_all_understood(host: Any, shared_dir: Path) -> None:
    """No request of the official tools is malformed for us; what this board lacks is refused by name."""
    refused = {"400300b4", "400d000c", "40130048", "40030070", "40030072", "40030098", "4003003b", "401a0006"}
    seen = 0
    for path in sorted((shared_dir / "traces" / "device").glob("*.jsonl")):
        for record in records(path, "control"):
            answer = host.raw(bytes.fromhex(record["req"]), record["cpu"])
            if answer is None:
                assert record["op"] == 7
                continue
            status = answer[16:20].hex()
            assert status in refused | {"00000000"}, (path.name, record["op"], status)
            if status == "00000000" and record["rsp"]:
                recorded = bytes.fromhex(record["rsp"])
                if record["op"] not in (2, 19, 23, 27):
                    assert len(answer) == len(recorded), (path.name, record["op"])
            seen += 1
    assert seen > 60
