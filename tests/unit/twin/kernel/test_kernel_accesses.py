"""Register accesses of the virtual driver against those of the real driver 4.23.0 (traces: `*.bars.txt`)."""

from __future__ import annotations

import hashlib
import struct

import pytest

from openhailo.twin.clock import SteppedClock
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver

pytestmark = pytest.mark.facts

IMAGE = (
    struct.pack("<6I", 0x1DD89DE0, 0, 4, 23, 0, 256)
    + bytes(range(256))
    + struct.pack("<2I", 16, 16)
    + b"K" * 16
    + b"C" * 16
    + struct.pack("<6I", 0x1DD89DE0, 0, 4, 23, 0, 256)
    + b"\xc0" * 256
)


def recorded(path):
    """Return (is_write, bar, offset, width) and the value of each access."""
    rows = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            _order, _time, access, offset, width, value = line.split()
            rows.append(((access[0] == "W", int(access[1]), int(offset, 16), int(width)), int(value, 16)))
    return rows


class Watched:
    def __init__(self, **options):
        self.twin = Twin(clock=SteppedClock())
        self.seen = []
        self.twin.observe(self.note)
        self.driver = VirtualKernelDriver(self.twin, firmware_files={"hailo/hailo8_fw.bin": IMAGE}, **options)

    def note(self, event):
        if event.kind in ("read", "write"):
            f = event.fields
            self.seen.append(((event.kind == "write", f["bar"], f["offset"], f["width"]), f["value"]))

    def take(self):
        seen, self.seen = self.seen, []
        return seen


def shape(rows):
    return [row for row, _value in rows]


def written(rows, *, skip=()):
    return [row for row in rows if row[0][0] and row[0][2] not in skip]


def test_cold_probe(shared_dir):
    expected = recorded(shared_dir / "traces/device/driver_load.bars.txt")
    seen = Watched().take()
    assert shape(seen) == shape(expected)
    certificates = {0x48 + 4 * n for n in range(4)} | {0x390 + 4 * n for n in range(4)}
    headers = {0x3C + 4 * n for n in range(3)} | {0x0C, 0x10}  # the recorded image's version and sizes are its own
    ignored = certificates | headers
    assert written(seen, skip=ignored) == written(expected, skip=ignored)


def test_reload_while_firmware_runs(shared_dir):
    expected = recorded(shared_dir / "traces/device/driver_reload_firmware_running.bars.txt")
    first = Watched()
    first.driver.close()
    first.take()
    first.driver = VirtualKernelDriver(first.twin, firmware_files={"hailo/hailo8_fw.bin": IMAGE})
    seen = shape(first.take())
    assert seen[:-2] == shape(expected)[:-2]
    assert sorted(seen[-2:]) == sorted(shape(expected)[-2:])  # two processors took turns in the recording


def test_one_control(shared_dir):
    """Open, identify, close: what the recording has between the first access and the end of the first control."""
    expected = shape(recorded(shared_dir / "traces/device/identify.bars.txt"))
    watched = Watched()
    watched.take()
    file = watched.driver.open()
    file.ioctl(0x40176701, bytearray(23))
    control = bytearray(1528)
    payload = bytes.fromhex("0000000200000000000000000000000000000000")
    struct.pack_into("<16sI20s", control, 0, hashlib.md5(payload).digest(), len(payload), payload)
    struct.pack_into("<II", control, 1520, 1000, 0)
    file.ioctl(0xC5F86E00, control)
    seen = shape(watched.take())
    assert seen == expected[: len(seen)]
    assert len(seen) > 80


@pytest.mark.parametrize(
    ("release", "widths"),
    [
        ("4.17.0", {(0, 2), (0, 4), (4, 4)}),
        ("4.18.0", {(0, 2), (0, 4), (4, 4)}),
        ("4.19.0", {(0, 4), (4, 4)}),
        ("4.23.0", {(0, 4), (4, 4)}),
    ],
)
def test_widths_of_a_probe(release, widths):
    seen = Watched(release=release).take()
    assert {(row[1], row[3]) for row in shape(seen)} == widths


@pytest.mark.parametrize(
    ("release", "mask", "first"),
    [
        ("4.17.1", 0x0E000000, 0x18C),
        ("4.18.0", 0x1E000000, 0x18C),
        ("4.19.0", 0x3E000000, 0x18C),
        ("4.20.1", 0xFF000000, 0x18C),
        ("4.21.0", 0xFF00FFFF, 0x188),
    ],
)
def test_interrupt_mask_of_a_probe(release, mask, first):
    writes = [(row[2], value) for row, value in Watched(release=release).take() if row[0]]
    order = {0x18C: [0x18C, 0x500, 0x400, 0x188], 0x188: [0x188, 0x18C, 0x500, 0x400]}[first]
    assert [offset for offset, _ in writes[:4]] == order
    assert dict(writes[:4]) == {0x188: mask, 0x18C: 0xFFFFFFFF, 0x500: 0xFFFFFFFF, 0x400: 0xFFFFFFFF}
    assert writes[-1] == (0x188, 0)


@pytest.mark.parametrize(
    ("release", "order"),
    [
        ("4.17.0", (0x60001000, 0x60001500, 0xE0030, 0x60000, 0xE0048, 0xE0390, 0xC0000, 0xA0000, 0xE0980)),
        ("4.18.0", (0x60001000, 0x60001500, 0xE0030, 0x60000, 0xE0048, 0xE0390, 0xC0000, 0xA0000, 0xE0980)),
        ("4.19.0", (0xE0030, 0x60000, 0xE0048, 0xE0390, 0xC0000, 0xA0000, 0x60001000, 0x60001500, 0xE0980)),
        ("4.23.0", (0xE0030, 0x60000, 0xE0048, 0xE0390, 0xC0000, 0xA0000, 0x60001000, 0x60001500, 0xE0980)),
    ],
)
def test_order_of_the_blocks(release, order):
    twin = Twin(clock=SteppedClock())
    places = []

    def note(event):
        fields = event.fields
        if event.kind != "write":
            return
        if (fields["bar"], fields["offset"]) == (0, 0x708):
            note.window = fields["value"]
        elif fields["bar"] == 4 and fields["offset"] != 0x1684:
            places.append(note.window + fields["offset"])

    twin.observe(note)
    files = {
        "hailo/hailo8_fw.bin": IMAGE,
        "hailo/hailo8_board_cfg.bin": b"B" * 8,
        "hailo/hailo8_fw_cfg.bin": b"F" * 8,
    }
    VirtualKernelDriver(twin, release, firmware_files=files)
    starts = [place for place in places if place in order]
    assert tuple(starts) == order
