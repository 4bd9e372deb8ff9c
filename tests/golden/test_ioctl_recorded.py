"""The arguments of our requests, byte for byte against what the official library sent to the 4.23.0 driver."""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.link import DmaDirection

pytestmark = pytest.mark.facts

Facts = Any
Checked = Callable[[int, int], None]
NETWORKS = [
    "arcface_mobilefacenet_h8_v2",
    "mnist_cnn_28x28_h8_dfc3.27_v0",
    "mnist_cnn_32x32_h8_dfc3.27_v0",
    "skillcheck_mobilenet_v2_224_h8_v2",
]


class Recorded:
    """A device file that answers as the driver did; ``seen`` is the argument of the last request."""

    name = "/dev/hailo0"
    page_size = 4096

    def __init__(self, numbers: dict[str, str]) -> None:
        self._names = {int(number, 16): name for name, number in numbers.items()}
        self.seen: dict[str, bytes] = {}
        self.out, self.returned = b"", 0
        self._end = threading.Event()

    def ioctl(self, request: int, argument: bytearray) -> int:
        name = self._names[request]
        if name in ("VDMA_INTERRUPTS_WAIT", "READ_NOTIFICATION"):
            assert self._end.wait(20)
            raise OSError(125 if name == "READ_NOTIFICATION" else 19, "the recording is over")
        if name == "QUERY_DRIVER_INFO":
            argument[:] = struct.pack("<III", 4, 23, 0)
        elif name == "QUERY_DEVICE_PROPERTIES":
            argument[:] = struct.pack("<HIIIQB", 4096, 0, 0, 0, 1, 1)
        elif name in ("VDMA_DISABLE_CHANNELS", "DISABLE_NOTIFICATION"):
            self._end.set()
        self.seen[name] = bytes(argument)
        if self.out:
            argument[: len(self.out)] = self.out
        return self.returned

    def mmap(self, length: int, offset: int) -> memoryview:
        return memoryview(mmap.mmap(-1, length))

    def is_alive(self) -> bool:
        return True

    def close(self) -> None:
        self._end.set()


class Player:
    """Makes the same requests through the link, in the recorded order."""

    def __init__(self, link: KernelLink, file: Recorded) -> None:
        self.link, self.file = link, file
        self.lists: dict[int, Any] = {}
        self.buffers: dict[int, tuple[int, Any]] = {}

    def play(self, name: str, f: dict[str, Any]) -> None:
        getattr(self, name.lower())(f)

    def desc_list_create(self, f: dict[str, Any]) -> None:
        made = self.link.create_descriptor_list(f["desc_count"], f["desc_page_size"], circular=bool(f["is_circular"]))
        assert (made.handle, made.dma_address) == (f["desc_handle"], int(f["dma_address"], 16))
        self.lists[made.handle] = made

    def desc_list_release(self, f: dict[str, Any]) -> None:
        self.lists.pop(f["desc_handle"]).close()

    def desc_list_program(self, f: dict[str, Any]) -> None:
        used = self.link.program(
            self.lists[f["desc_handle"]],
            self.buffers[f["buffer_handle"]][1],
            size_bytes=f["buffer_size"],
            offset=f["buffer_offset"],
            starting_desc=f["starting_desc"],
            bind=bool(f["should_bind"]),
            last_domain=f["last_interrupts_domain"],
            channel=f["channel_index"],
            batch_size=f["batch_size"],
        )
        assert used == self.file.returned

    def vdma_buffer_map(self, f: dict[str, Any]) -> None:
        buffer = self.link.alloc_buffer(f["size"], DmaDirection(f["data_direction"]))
        self.buffers[f["mapped_handle"]] = (int(f["user_address"], 16), buffer)

    def vdma_buffer_unmap(self, f: dict[str, Any]) -> None:
        self.buffers.pop(f["mapped_handle"])[1].close()

    def vdma_buffer_sync(self, f: dict[str, Any]) -> None:
        self.link.sync_buffer(self.buffers[f["handle"]][1], f["offset"], f["count"], bool(f["sync_type"]))

    def vdma_enable_channels(self, f: dict[str, Any]) -> None:
        self.link.enable_channels(int(f["channels_bitmap_per_engine"][0], 16))

    def vdma_disable_channels(self, f: dict[str, Any]) -> None:
        self.link.disable_channels(int(f["channels_bitmap_per_engine"][0], 16))

    def vdma_launch_transfer(self, f: dict[str, Any]) -> None:
        used = self.link.launch(
            f["channel_index"],
            self.lists[f["desc_handle"]],
            f["starting_desc"],
            [self._range(int(b["addr_or_fd"], 16), b["size"]) for b in f["buffers"][: f["buffers_count"]]],
            bind=bool(f["should_bind"]),
            first_domain=f["first_interrupts_domain"],
            last_domain=f["last_interrupts_domain"],
        )
        assert used == self.file.returned

    def _range(self, address: int, size: int) -> tuple[Any, int, int]:
        for base, buffer in self.buffers.values():
            if base <= address and address + size <= base + buffer.size_bytes:
                return buffer, address - base, size
        raise AssertionError(f"0x{address:X} was never mapped")


def masked(data: bytes, masks: list[list[Any]]) -> bytes:
    out = bytearray(data)
    for offset, length, _ in masks:
        out[offset : offset + length] = bytes(len(out[offset : offset + length]))
    return bytes(out)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_argument_of_a_run(facts: Facts, shared_dir: Path, network: str, checked: Checked) -> None:
    """`run HEF -c 8`: lists, mappings, programming, syncs, launches, releases, in order."""
    rules = json.loads((shared_dir / "traces" / "masks.json").read_text())
    masks = {name: rules["ioctl"].get(name, []) for name in rules["ioctl_request_numbers"]}
    # Which of our own pointers stand there is ours to say; handles are the recorded ones, so they are compared.
    pointers = {name: [m for m in rows if "addr" in m[2]] for name, rows in masks.items()}
    file = Recorded(rules["ioctl_request_numbers"])
    compared = 0
    with KernelLink(file) as link:
        player = Player(link, file)
        for record in facts.trace(shared_dir / "traces" / network / "run_c8.jsonl"):
            if record.get("k") != "ioctl" or "in" not in record:
                continue
            name = record["io"]
            file.out, file.returned = bytes.fromhex(record.get("out", "")), record.get("ret", 0)
            player.play(name, record["f"])
            file.out, file.returned = b"", 0
            want = bytes.fromhex(record["in"]).ljust(len(file.seen[name]), b"\0")
            assert masked(file.seen[name], pointers[name]) == masked(want, pointers[name]), record["n"]
            compared += len(want)
        assert not player.lists
        assert not player.buffers
    checked(compared, 8000)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_control_of_a_run(facts: Facts, shared_dir: Path, network: str, checked: Checked) -> None:
    """The structure around each request: digest, length, timeout, processor."""
    rules = json.loads((shared_dir / "traces" / "masks.json").read_text())
    file = Recorded(rules["ioctl_request_numbers"])
    records = list(facts.trace(shared_dir / "traces" / network / "run_c8.jsonl"))
    exchanges = {record["c"]: record for record in records if record["k"] == "control"}
    compared = 0
    with KernelLink(file) as link:
        for record in records:
            if record["k"] != "ioctl" or record["io"] != "FW_CONTROL":
                continue
            exchange = exchanges[record["c"]]
            request, answer = bytes.fromhex(exchange["req"]), bytes.fromhex(exchange["rsp"])
            file.out = hashlib.md5(answer).digest() + struct.pack("<I", len(answer)) + answer
            assert link.control(request, record["cpu_id"], record["timeout_ms"] / 1000) == answer
            file.out = b""
            digest = bytes.fromhex(record["expected_md5"])
            want = digest + struct.pack("<I", record["buffer_len"]) + request.ljust(1500, b"\0")
            want += struct.pack("<II", record["timeout_ms"], record["cpu_id"])
            assert file.seen["FW_CONTROL"] == want
            compared += len(want)
    checked(compared, 26 * 1528)
