"""Every opcode answers; compared with literal bytes of recorded runs where a configuration can say the same."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import pytest

from openhailo.errors import InputError
from openhailo.twin.firmware import FirmwareConfig, build_placeholder_image

#: What the recorded device said (traces: device/identify_extended, device_api_calls).
RECORDED = FirmwareConfig(
    board_name="Hailo-8",
    serial_number="SIM0000000000001",
    part_number="SIM-PART",
    product_name="SIMULATED HAILO-8",
    partial_clusters_layout_bitmap=0,
)
ANSWERED = set(range(80)) - {45, 49, 75, 76, 77, 78}


def test_every_opcode_has_a_handler(host: Any) -> None:
    spec = host.twin.chip.spec
    names = {control.name for control in spec.controls.values() if not control.obsolete}
    assert set(host.twin.firmware.handlers) == names
    assert {opcode for opcode, control in spec.controls.items() if not control.obsolete} == ANSWERED


def test_identify(make_host: Any) -> None:
    host = make_host(RECORDED)
    expected = (
        "0000000200000001000000000000000000000000000000000000000800000004000000020000000c0400000017000000000000000000"
        "000400000000000000204861696c6f2d380000000000000000000000000000000000000000000000000000000004000000010000001053"
        "494d303030303030303030303030310000001053494d2d5041525400000000000000000000002a53494d554c41544544204841494c4f2d"
        "3800000000000000000000000000000000000000000000000000"
    )
    assert host.ask(0).hex() == expected


def test_identify_hailo8l_and_version(make_host: Any) -> None:
    host = make_host(arch="hailo8l", firmware_version=(4, 20, 0))
    values = host.ok(0)
    assert values[1] == struct.pack("<3I", 4, 20, 0)
    assert values[4] == bytes.fromhex("00000002")
    assert host.ok(42) == [struct.pack("<3I", 4, 20, 0x08000000)]


def test_unsupported_choices_are_refused() -> None:
    with pytest.raises(InputError, match=r"4\.17\.0"):
        FirmwareConfig(version=(4, 24, 0))
    with pytest.raises(InputError, match="hailo15"):
        FirmwareConfig(arch="hailo15")


def test_core_identify(host: Any) -> None:
    assert host.ask(42).hex() == (
        "000000020000000100000000000000" + "2a" + "00000000" * 2 + "000000010000000c040000001700000000000008"
    )


def test_device_information(make_host: Any) -> None:
    host = make_host(RECORDED)
    assert host.ask(51).hex() == (
        "000000020000000100000000000000330000000000000000000000090000000417d78400000000080000000c00000000000000040000"
        "0001000000010300000020000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f000000060200000000010000"
        "000c4c4f54303030303101020304000000180000000000000000000000000000000000000000000000000000000400000000"
    )


def test_hw_consts(make_host: Any) -> None:
    recorded = make_host(hw_consts={"outbound_data_stream_size": 16384})
    assert recorded.ask(72).hex() == (
        "000000020000000100000000000000480000000000000000000000010000001308000000ff3f0040f83f004000000100080000"
    )
    other = make_host(hw_consts={"should_optimize_credits": 0})
    assert other.ok(72)[0].hex() == "08000000ff3f0040f83f008000000000080000"


def test_memory(host: Any) -> None:
    address = struct.pack(">I", 0x60002000)
    host.ok(1, address, bytes(range(12)))
    assert host.ok(2, address, struct.pack(">I", 12)) == [bytes(range(12))]
    assert host.status(2, address, struct.pack(">I", 1025)) == 0x4003004E
    assert host.status(2, b"\xff\xff\xff\xf0", struct.pack(">I", 4)) == 0x40030098
    assert host.status(1, b"\xff\xff\xff\xf0", b"abcd") == 0x40030098


def test_temperature(host: Any) -> None:
    host.twin.sensors.set_temperature(42.5, 43.25)
    (info,) = host.ok(46)
    assert info[:8].hex() == "00002a4200002d42"
    assert struct.unpack(">H", info[8:])[0] >= 1


def test_power(host: Any) -> None:
    auto = b"\x7f\xff\xff\xff"
    host.twin.sensors.set_power(2.5)
    assert [v.hex() for v in host.ok(9, auto, auto)] == ["00002040", "09000000", "02000000"]
    host.ok(13)
    assert [v.hex() for v in host.ok(10, bytes(4), auto, struct.pack(">I", 2))] == ["09000000", "02000000"]
    host.ok(12, struct.pack(">I", 1), b"\0\0", b"\0\0")
    assert host.status(12, struct.pack(">I", 1), b"\0\0", b"\0\0") == 0x40030030
    host.twin.chip.clock.advance_to(host.twin.chip.clock.now_ns() + 140_000 * 10)
    count, low, high, mean, _ = host.ok(11, bytes(4), b"\x01")
    assert struct.unpack(">I", count) == (10,)
    assert low.hex() == high.hex() == mean.hex() == "00002040"
    host.ok(13)
    assert host.ok(11, bytes(4), b"\0")[0] == bytes(4)
    assert host.status(11, struct.pack(">I", 4), b"\0") == 0x40030033
    assert host.status(9, struct.pack(">I", 0x7FFFFFFE), auto) == 0x40030081
    assert host.status(9, struct.pack(">I", 12), auto) == 0x40030032
    assert host.status(12, bytes(4), b"\0\x09", b"\0\0") == 0x40030030


def test_power_without_a_sensor(make_host: Any) -> None:
    host = make_host(FirmwareConfig(supported_features=0x4))
    assert host.status(9, b"\x7f\xff\xff\xff", b"\x7f\xff\xff\xff") == 0x400300B4


def test_user_config(host: Any) -> None:
    recorded = bytes.fromhex("0ba4f61f000000000100000001000600040000000084d717")
    assert host.ask(18)[16:24] == bytes.fromhex("4003003b401a0004")
    host.ok(21, bytes(4), recorded)
    assert [v.hex() for v in host.ok(18)] == ["00000000", "00000001", "00000018"]
    assert host.ok(19, bytes(4), struct.pack(">I", 24)) == [recorded]
    assert host.status(19, bytes(4), struct.pack(">I", 25)) == 0x401A0006
    host.twin.firmware.soft_reset()
    assert host.ok(18)[2] == struct.pack(">I", 24)
    host.ok(20)
    assert host.status(18) == 0x4003003B
    host.ok(21, bytes(4), recorded[:-1])
    assert host.status(18) == 0x4003003B


def test_board_config(host: Any) -> None:
    assert host.ok(47, bytes(4), struct.pack(">I", 500)) == [bytes(500)]
    host.ok(48, struct.pack(">I", 490), b"0123456789")
    assert host.ok(47, bytes(4), struct.pack(">I", 500))[0][490:] == b"0123456789"
    assert host.status(48, struct.pack(">I", 491), b"0123456789") == 0x401A0005


def test_firmware_update(host: Any) -> None:
    image = build_placeholder_image((4, 21, 0), app_code_bytes=2000)
    digest = hashlib.md5(image, usedforsecurity=False).digest()
    size = struct.pack(">I", len(image))
    assert host.ask(15, bytes(4), b"x")[16:24] == bytes.fromhex("40030036400c0004")
    assert host.ask(17)[16:24] == bytes.fromhex("4003003a400c0004")
    host.ok(14)
    for at in range(0, len(image), 1024):
        host.ok(15, struct.pack(">I", at), image[at : at + 1024])
    assert host.ask(17)[16:24] == bytes.fromhex("4003003a400c0005")
    assert host.ask(16, bytes(16), size)[16:24] == bytes.fromhex("40030037400c0007")
    host.ok(16, digest, size)
    host.ok(17)
    assert host.ask(7, struct.pack(">I", 2)) is None
    assert host.ok(0)[1] == struct.pack("<3I", 4, 21, 0)
    assert host.ok(42)[0] == struct.pack("<3I", 4, 21, 0x08000000)


def test_second_stage(host: Any) -> None:
    blob = bytes(range(256)) * 5
    for at in range(0, len(blob), 1024):
        host.ok(56, struct.pack(">I", at), blob[at : at + 1024])
    size = struct.pack(">I", len(blob))
    assert host.ask(57, bytes(16), size)[16:24] == bytes.fromhex("400300a240210003")
    host.ok(57, hashlib.md5(blob, usedforsecurity=False).digest(), size)
    assert host.status(56, struct.pack(">I", 0x20000), b"x") == 0x400300A1


def test_i2c(host: Any) -> None:
    slave = (b"\0", b"\0\x42", b"\x02", b"\x01", b"\x01", bytes.fromhex("00001234"))
    host.ok(22, *slave, bytes(range(8)))
    assert host.ok(23, *slave, struct.pack(">I", 8)) == [bytes(range(8))]
    assert host.ask(23, *slave[:3], b"\x04", *slave[4:], struct.pack(">I", 8))[16:24].hex() == "4003003e4007000c"
    assert host.status(23, b"\x02", *slave[1:], struct.pack(">I", 8)) == 0x400300B8


def test_sensor_sections(host: Any) -> None:
    (info,) = host.ok(31)
    assert len(info) == 960
    assert host.status(29, bytes(4)) == 0x400D000C
    store = [0, 1, 0, 4, 1, 30]
    host.ok(
        26, *(struct.pack(">I", v) for v in store), b"\0\x64", b"\0\xc8", b"\0\x1e", b"cam".ljust(100, b"\0"), b"z" * 30
    )
    (info,) = host.ok(31)
    assert info[:4] == struct.pack("<I", 1)
    assert info[12:18] == struct.pack("<3H", 100, 200, 30)
    assert info[20:23] == b"cam"
    assert host.ok(27, bytes(4), bytes(4), struct.pack(">I", 30)) == [b"z" * 30]
    host.ok(29, bytes(4))
    host.ok(30, bytes(4))
    host.ok(65, bytes(4), struct.pack(">I", 1))
    host.ok(28, b"\0\x36", b"\x02", b"\x01", b"\0", b"\0")
    assert host.status(65, bytes(4), struct.pack(">I", 9)) == 0x400D000F


def test_health(host: Any) -> None:
    values = host.ok(62)
    assert len(values) == 14
    # control-protocol.md 3.1: float32(bswap32(uint32(5000))); 5000 = 0x1388 -> 0x88130000
    assert values[2] == struct.pack("<f", float(0x88130000))
    assert values[6] == b"\xff"
    assert [struct.unpack(">i", v)[0] for v in values[8:12]] == [104, 99, 120, 116]
    assert len(values[7]) == 48


def test_temperature_zones_and_throttling(host: Any) -> None:
    host.twin.sensors.set_temperature(105.0)
    host.ok(46)
    assert [struct.unpack_from("<I", note, 16)[0] for note in host.notes] == [2, 10]
    assert struct.unpack_from("<4xIIf", host.notes[0], 24) == (1, 0, 105.0)
    assert struct.unpack_from("<2I", host.notes[1], 28) == (400_000_000, 350_000_000)
    host.twin.sensors.set_temperature(100.0)  # between hysteresis (99) and threshold (104): still orange
    host.ok(46)
    assert len(host.notes) == 2
    host.twin.sensors.set_temperature(98.0)
    host.ok(46)
    assert [struct.unpack_from("<I", note, 16)[0] for note in host.notes[2:]] == [2, 10]
    assert host.ok(51)[0] == struct.pack(">I", 400_000_000)


def test_red_zone_refuses_and_then_closes_streams(host: Any) -> None:
    host.twin.sensors.set_temperature(121.0)
    host.ok(46)
    host.configure([(3, bytes.fromhex("1effffffff")), (1, bytes.fromhex("15ffffffff"))])
    assert host.enable() == 0x4013005A
    host.twin.sensors.set_temperature(50.0)
    assert host.enable() == 0
    host.twin.sensors.set_temperature(121.0)
    host.ok(46)
    host.twin.chip.clock.advance_to(host.twin.chip.clock.now_ns() + 2_000_000_000)
    host.ok(46)
    assert struct.unpack_from("<I", host.notes[-1], 16) == (3,)
    assert host.twin.firmware.machine.is_idle


def test_overcurrent(host: Any) -> None:
    host.twin.sensors.set_power(20.0)
    host.ok(46)
    assert host.notes[-1][16:20] == bytes.fromhex("04000000")
    assert host.notes[-1][20:] == bytes.fromhex("04000000090000000100000000409c4500")
    assert host.ok(67) == [b"\x01"]
    host.ok(66, b"\0")
    assert host.ok(67) == [b"\0"]
    assert host.ok(62)[1] == b"\0"


def test_throttling_state(host: Any) -> None:
    assert host.ok(64) == [b"\x01"]
    host.ok(63, b"\0")
    assert host.ok(64) == [b"\0"]
    host.twin.sensors.set_temperature(110.0)
    host.ok(46)
    assert host.twin.sensors.nn_core_clock_hz == 400_000_000


def test_clock(host: Any) -> None:
    host.ok(61, struct.pack(">I", 200_000_000))
    assert host.ok(51)[0] == struct.pack(">I", 200_000_000)
    assert host.notes[0].hex()[32:] == "0a00000002000000080000000084d71700c2eb0b"
    assert host.status(61, struct.pack(">I", 123)) == 0x40170009


@pytest.mark.parametrize(("enable", "config"), [(38, 39), (69, 70)])
def test_watchdogs(host: Any, enable: int, config: int) -> None:
    host.ok(config, struct.pack(">I", 1000), b"\x01")
    host.ok(enable, b"\x01")
    assert host.ask(enable, b"\x01")[16:24] == bytes.fromhex("4003007040150003")
    assert host.ask(config, struct.pack(">I", 1000), b"\0")[16:24] == bytes.fromhex("4003007240150002")
    host.ok(enable, b"\0")
    assert host.ask(enable, b"\0")[16:24] == bytes.fromhex("4003007040150004")
    assert host.status(config, bytes(4), b"\0") == 0x40030072


def test_small_system_controls(host: Any) -> None:
    assert host.ok(40) == [bytes(4)]
    assert host.ok(68) == [bytes(4)]
    host.ok(73, b"\0")
    assert host.status(73, b"\x02") == 0x400300C8
    assert host.status(35) == 0x40030067
    host.ok(34, b"\x01")
    assert host.status(34, b"\x01") == 0x40030066
    assert len(host.ok(35)[0]) == 8
    host.ok(50, b"\x01")
    host.ok(41, b"\0", b"\0", b"\0")
    bist = (b"\x01", bytes.fromhex("0007fffd"), b"\0", bytes(4), bytes(4))
    host.ok(60, *bist)
    assert host.status(60, b"\0", bytes(4), b"\x08", bytes(4), bytes(4)) == 0x40280001


def test_logger(host: Any) -> None:
    lines: list[tuple[int, bytes]] = []
    host.twin.firmware.parts.log._write = lambda cpu, data: lines.append((cpu, data))
    host.ok(55, b"\x01", b"\x01")
    host.ok(46)
    assert lines[-1][0] == 0
    assert lines[-1][1].endswith(b"app DEBUG: GET_CHIP_TEMPERATURE\n")
    host.ok(72)
    assert lines[-1][0] == 1
    host.ok(55, b"\x03", b"\x01")
    before = len(lines)
    host.ok(46)
    assert len(lines) == before
    host.ask(0xFF)
    assert b"WARN" in lines[-1][1]
    host.ok(55, b"\0", b"\x02")
    before = len(lines)
    host.ask(0xFF)
    assert len(lines) == before
    assert host.status(55, b"\x06", b"\x01") == 0x400300AA
    assert host.status(55, b"\x01", b"\x04") == 0x400300AB


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 58])
def test_ethernet_only(host: Any, opcode: int) -> None:
    widths = {3: (1, 1, 4, 1, 1, 17, 35), 4: (1, 1), 5: (1, 1), 6: (4,), 58: (1,)}[opcode]
    assert host.status(opcode, *(bytes(w) for w in widths)) == 0x400300B4


def test_host_info(host: Any) -> None:
    assert host.status(43, b"\0", bytes(4), bytes(2)) == 0x400300B4
    assert host.status(43, b"\x02", bytes(4), bytes(2)) == 0x40030079
    host.ok(43, b"\x01", bytes(4), bytes(2))
    host.ok(44, b"\0")
    recorded = "000000000100000000000000000000000100000005000000140000000100000001000000010000000000000000000000"
    assert host.notes[0].hex()[32:] == recorded[32:]


@pytest.mark.parametrize(("kind", "answered"), [(1, True), (2, False), (3, False)])
def test_reset(host: Any, kind: int, answered: bool) -> None:
    host.configure([(3, bytes.fromhex("1effffffff")), (1, bytes.fromhex("15ffffffff"))])
    host.enable()
    answer = host.ask(7, struct.pack(">I", kind))
    assert (answer is not None) is answered
    assert host.twin.firmware.machine.is_idle
    assert host.status(0) == 0
    assert host.status(7, struct.pack(">I", 0)) == 0x40030022


def test_preloaded_configurations(host: Any) -> None:
    from openhailo.twin.board import LoadedImage

    blob = bytes.fromhex("0ba4f61f000000000100000001000600040000000084d717").ljust(0x500, b"\0")
    image = LoadedImage((4, 19, 0), b"", (4, 19, 0), b"", board_config=b"board", firmware_config=blob)
    host.twin.firmware.boot(image)
    assert host.ok(18)[2] == struct.pack(">I", 24)
    assert host.ok(47, bytes(4), struct.pack(">I", 5)) == [b"board"]
    assert host.ok(0)[1] == struct.pack("<3I", 4, 19, 0)
