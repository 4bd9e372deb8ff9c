"""The vendor library's recorded requests, given to the virtual 4.23.0 driver: the same answers (traces/README.md 3)."""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import struct
from collections import Counter

import numpy as np
import pytest

from openhailo.twin.clock import SteppedClock
from openhailo.twin.core import PatternReference
from openhailo.twin.facade import Twin
from openhailo.twin.firmware import FirmwareConfig
from openhailo.twin.ports.devfile import VirtualKernelDriver

pytestmark = pytest.mark.facts

MNIST = "mnist_cnn_28x28_h8_dfc3.27_v0"
RAW = ("run_c8", "run_c8_batch4", "infer_u8_f32")  # these hold the bytes of every structure
GROUPS = (MNIST, "mnist_cnn_32x32_h8_dfc3.27_v0", "arcface_mobilefacenet_h8_v2", "skillcheck_mobilenet_v2_224_h8_v2")
OTHERS = (
    "run_c2_driver_allocation",
    "run_c2_page128",
    "run_c2_page16384",
    "run_c2_page256",
    "infer_u8_u8_unaligned_buffers",
    "infer_u8_u8_driver_allocation",
    "two_models_scheduler_switch",
    "run_measure_latency",
    "fail_change_status",
    "fail_set_context_info_sram_full",
)
LIST_AT = 39  # of an action list in a SET_CONTEXT_INFO request
FORMATS = {  # what `f` is packed with where the bytes were not recorded; offsets: driver.md 7.4, releases C and D
    "VDMA_BUFFER_MAP": "<QQIIQQ",
    "VDMA_BUFFER_UNMAP": "<Q",
    "VDMA_BUFFER_SYNC": "<QIQQ",
    "DESC_LIST_CREATE": "<QH?QQ",
    "DESC_LIST_RELEASE": "<Q",
    "DESC_LIST_PROGRAM": "<QQQIQBI?I?I",
    "VDMA_ENABLE_CHANNELS": "<III?",
    "VDMA_DISABLE_CHANNELS": "<III",
    "VDMA_LOW_MEMORY_BUFFER_ALLOC": "<QQ",
    "VDMA_LOW_MEMORY_BUFFER_FREE": "<Q",
    "MARK_AS_IN_USE": "<?",
}


def number(value):
    return int(value, 16) if isinstance(value, str) else int(value)


class Scenario:
    """A trace, and what to ignore in it."""

    def __init__(self, shared_dir, group, name):
        folder = shared_dir / "traces" / group
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        self.meta, self.records = lines[0], lines[1:]
        masks = json.loads((shared_dir / "traces/masks.json").read_text())
        self.masks, self.orders = masks["ioctl"], masks["ioctl_array_fields"]
        self.requests = {name: int(text, 16) for name, text in masks["ioctl_request_numbers"].items()}
        self.lists = json.loads((folder / "action_lists.json").read_text())
        self.controls = {r["c"]: r for r in self.records if r["k"] == "control"}
        self.list_ids = {}
        latest = None
        for record in self.records:
            if record["k"] == "action_list":
                latest = record["id"]
            elif record["k"] == "control" and record["op"] == 33:
                self.list_ids[record["c"]] = latest

    def answers(self):
        found = {}
        for record in self.controls.values():
            found.setdefault(record["op"], []).append(bytes.fromhex(record["rsp"]))
        return found

    def parameters(self):
        given = self.meta.get("driver_parameters") or {}
        given = given if isinstance(given, dict) else dict(pair.split("=") for pair in str(given).split())
        return {
            "force_desc_page_size": int(given.get("force_desc_page_size", 0)),
            "allocation_mode": int(int(given.get("force_allocation_from_driver", 0)) == 2),
        }


class Replay:
    """The virtual driver under a recorded client, whose pointers are moved to memory of this process."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.twin = Twin(
            clock=SteppedClock(),
            firmware_version=(4, 23, 0),
            hw_consts=scenario.meta.get("hw_consts") or None,
            options={"firmware": FirmwareConfig(scripted_responses=scenario.answers())},
        )
        self.driver = VirtualKernelDriver(self.twin, "4.23.0", **scenario.parameters())
        self.twin.firmware.core.bind_reference(PatternReference())
        self.memory, self.mappings, self.spots, self.dma = [], {}, {}, {}
        self.compared, self.completed, self.recorded, self.results = Counter(), Counter(), Counter(), {}
        self.outputs = []

    def run(self):
        for record in self.scenario.records:
            step = getattr(self, f"on_{record['k']}", None)
            if step is not None:
                step(record)
        return self

    def on_open(self, _record):
        self.file = self.driver.open()

    def on_close(self, _record):
        self.file.close()

    def on_mmap(self, record):
        view = self.file.mmap(record["length"], record["offset"])
        self.memory.append(view)
        self.spots[record["offset"]] = np.frombuffer(view, np.uint8).ctypes.data

    def on_ioctl(self, record):
        name = record["io"]
        if record.get("phase") == "enter":
            self.bitmap = number(record.get("channels_bitmap_per_engine", ["0"])[0]) or getattr(self, "bitmap", 0)
        elif name == "FW_CONTROL":
            self.control(record)
        elif name == "VDMA_INTERRUPTS_WAIT":
            self.wait(record)
        else:
            self.plain(record)

    # --- requests without waiting ---------------------------------------------------------------------------------

    def plain(self, record):
        name = record["io"]
        recorded = self.argument(record, "in")
        argument = bytearray(recorded)
        if name == "VDMA_BUFFER_MAP":
            self.place(argument)
        elif name == "VDMA_LAUNCH_TRANSFER":
            self.relocate(argument)
        elif name == "VDMA_DISABLE_CHANNELS":
            self.look_at_outputs()
        result, code = self.call(name, argument)
        assert (result, code) == (record.get("ret", 0), record.get("errno", 0)), record
        if name == "DESC_LIST_CREATE" and not code:
            self.dma[number(record["f"]["dma_address"])] = struct.unpack_from("<Q", argument, 19)[0]
        expected = self.argument(record, "out")
        masked = [(at, size) for at, size, _what in self.scenario.masks.get(name, []) if not self.is_handle(name, at)]
        assert blank(argument, masked) == blank(expected, masked), record
        self.compared[name] += 1

    @staticmethod
    def is_handle(name, at):
        """Handles are masked for other drivers; this one has to count them as the recorded one did."""
        return (name, at) in {("DESC_LIST_CREATE", 11), ("VDMA_BUFFER_MAP", 32), ("VDMA_LOW_MEMORY_BUFFER_ALLOC", 8)}

    def call(self, name, argument):
        try:
            return self.file.ioctl(self.scenario.requests[name], argument), 0
        except OSError as error:
            return -1, error.errno

    def argument(self, record, side):
        """Return the structure before (`in`) or after (`out`) the call."""
        size = self.scenario.requests[record["io"]] >> 16 & 0x3FFF
        if "f" not in record or "in" in record or "out" in record:
            text = record.get(side, record.get("in", "") if side == "out" else "")
            return bytes.fromhex(text).ljust(size, b"\0")
        data = self.pack(record)
        assert len(data) == size
        return data

    def pack(self, record):
        name, fields = record["io"], record["f"]
        values = fields if isinstance(fields, list) else list(fields.values())
        if name == "VDMA_LAUNCH_TRANSFER":
            order = self.scenario.orders[name]
            values = dict(zip(order, values, strict=True)) if isinstance(fields, list) else fields
            return self.pack_launch(values)
        if name == "QUERY_DEVICE_PROPERTIES":
            return struct.pack("<HIIIQ?", *map(number, values))
        flat = [n for value in values for n in (value if isinstance(value, list) else [value])]
        return struct.pack(FORMATS[name], *map(number, flat))

    @staticmethod
    def pack_launch(values):
        buffers = b"".join(struct.pack("<IQI", *map(number, row)) for row in values["buffers"])
        head = ("engine_index", "channel_index", "desc_handle", "starting_desc", "should_bind", "buffers_count")
        tail = ("first_interrupts_domain", "last_interrupts_domain", "is_debug")
        return struct.pack(
            "<BBQI?B128sII?", *(number(values[n]) for n in head), buffers, *(number(values[n]) for n in tail)
        )

    # --- memory ---------------------------------------------------------------------------------------------------

    def place(self, argument):
        """Give the recorded buffer memory of its own, at the same offset in a page."""
        address, size, direction, _kind, allocated = struct.unpack_from("<QQIIQ", argument)
        inside = address % 4096
        if allocated in self.spots:
            base = self.spots[allocated]
        else:
            memory = mmap.mmap(-1, -(-(inside + size) // 4096) * 4096)
            self.memory.append(memory)
            self.driver.user.own(memory)
            base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.mappings = {
            a: m for a, m in self.mappings.items() if a + m[1] <= address or address + size <= a
        }  # what was mapped there before is gone
        self.mappings[address] = (base + inside, size, direction)
        struct.pack_into("<Q", argument, 0, base + inside)

    def relocate(self, argument):
        for n in range(argument[15]):
            at = 16 + 16 * n + 4
            (address,) = struct.unpack_from("<Q", argument, at)
            start, (mine, _size, _direction) = next((a, m) for a, m in self.mappings.items() if a <= address < a + m[1])
            struct.pack_into("<Q", argument, at, address - start + mine)

    def look_at_outputs(self):
        self.outputs = [
            bytes((ctypes.c_ubyte * size).from_address(address))
            for address, size, direction in self.mappings.values()
            if direction == 2
        ]

    # --- requests that wait ---------------------------------------------------------------------------------------

    def control(self, record):
        sent = self.scenario.controls[record["c"]]
        request = bytearray.fromhex(sent["req"])
        for at, size, _what in self.masked_addresses(record["c"]):
            recorded = int.from_bytes(request[at : at + size], "little")
            request[at : at + size] = self.dma[recorded].to_bytes(size, "little")
        argument = bytearray(1528)
        struct.pack_into("<16sI", argument, 0, hashlib.md5(request).digest(), len(request))
        argument[20 : 20 + len(request)] = request
        struct.pack_into("<II", argument, 1520, record["timeout_ms"], record["cpu_id"])
        result, code = self.call("FW_CONTROL", argument)
        assert (result, code) == (record.get("ret", 0), record.get("errno", 0)), record
        if not code:
            answer = bytes.fromhex(sent["rsp"])
            assert argument[20 : 20 + len(answer)] == answer
            assert struct.unpack_from("<16sI", argument) == (hashlib.md5(answer).digest(), len(answer))
        self.compared["FW_CONTROL"] += 1

    def masked_addresses(self, index):
        entry = self.scenario.lists.get(self.scenario.list_ids.get(index, ""), {"mask": []})
        return [(LIST_AT + at, size, what) for at, size, what in entry["mask"]]

    def wait(self, record):
        """Completions are grouped by timing: only their sums are compared, and that nothing hangs."""
        for _engine, channel, count in record["irq_data"]:
            self.recorded[channel] += count
        self.twin.run_until_idle()
        if not self.driver.channels.is_due(self.bitmap):
            assert record["irq_data"]  # an earlier wait had it all
            return
        argument = bytearray(301)
        struct.pack_into("<I", argument, 0, self.bitmap)
        assert self.call("VDMA_INTERRUPTS_WAIT", argument) == (0, 0)
        rows = [tuple(argument[13 + 3 * n : 16 + 3 * n]) for n in range(argument[12])]
        for engine, channel, count in rows:
            assert engine == 0
            assert count < 0xFE
            self.completed[channel] += count
        self.compared["VDMA_INTERRUPTS_WAIT"] += 1


def blank(data, masks):
    data = bytearray(data)
    for at, size in masks:
        data[at : at + size] = bytes(size)
    return data


def check(replay):
    assert replay.completed == replay.recorded
    assert replay.driver.owner is None
    assert len(replay.twin.dma) == 0, "everything was given back"
    return replay


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("group", GROUPS)
def test_recorded_bytes(shared_dir, group, name):
    replay = check(Replay(Scenario(shared_dir, group, name)).run())
    assert replay.compared["VDMA_LAUNCH_TRANSFER"] > 1
    assert replay.compared["FW_CONTROL"] > 10


@pytest.mark.parametrize("name", OTHERS)
def test_recorded_fields(shared_dir, name):
    replay = check(Replay(Scenario(shared_dir, MNIST, name)).run())
    assert sum(replay.compared.values()) >= 10


def test_frames_arrive_where_the_client_has_its_buffers(shared_dir):
    replay = Replay(Scenario(shared_dir, MNIST, "run_c8")).run()
    (output,) = replay.outputs
    pixels = np.frombuffer(output, np.uint8).reshape(-1, 256)[:8]
    expected = (7 * np.arange(256) + np.arange(8)[:, None]) % 256
    np.testing.assert_array_equal(pixels, expected)


def test_properties_carry_the_forced_page_size(shared_dir):
    replay = Replay(Scenario(shared_dir, MNIST, "run_c2_page256")).run()
    assert replay.compared["QUERY_DEVICE_PROPERTIES"] == 1
    assert replay.driver.desc_max_page_size == 256
