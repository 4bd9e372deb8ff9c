"""The typed client: requests byte for byte, results, refusals, retries, chunks."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driver_fakes import FakeChip, answer
from hypothesis import given
from hypothesis import strategies as st

from openhailo.driver.control import FirmwareClient
from openhailo.driver.link import LinkInfo
from openhailo.driver.messages import build_request, parse_response
from openhailo.driver.pcie_link import PcieLink
from openhailo.driver.results import swapped_by_value
from openhailo.errors import (
    ControlFailed,
    DeviceTimeout,
    InputError,
    MalformedReply,
    OpenHailoError,
    ProtocolError,
    SequenceMismatch,
)
from openhailo.spec.chip import CHIP


class ScriptedLink:
    """A link of which only `control` matters: each request is answered by the next script entry, or the last."""

    info = LinkInfo("pcie", "scripted")

    def __init__(self, *script: Any) -> None:
        self.script, self.requests = list(script), []

    def control(self, request: bytes, cpu: int, timeout_s: float = 1.0) -> bytes:
        self.requests.append((request, cpu, timeout_s))
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step(request) if callable(step) else step


def client(*script: Any) -> tuple[FirmwareClient, ScriptedLink]:
    link = ScriptedLink(*script)
    return FirmwareClient(link), link  # type: ignore[arg-type]


def ok(*parameters: bytes) -> Callable[[bytes], bytes]:
    return lambda request: answer(request, *parameters)


TIMEOUT = DeviceTimeout(what="answer", budget_s=1.0, elapsed_s=1.0)

#: (call, opcode, cpu, parameter count, request parameters) from control-protocol.md 5.
REQUESTS: list[tuple[Callable[[FirmwareClient], object], int, int, int, str]] = [
    (lambda c: c.reset(), 7, 0, 1, "00000004 00000001"),
    (lambda c: c.change_status(1, 0, 5, 3), 37, 1, 4, "00000001 01 00000001 00 00000002 0500 00000002 0300"),
    (lambda c: c.reset_applications(), 37, 1, 4, "00000001 00 00000001 ff 00000002 0000 00000002 0000"),
    (lambda c: c.clear_configured_apps(), 71, 1, 0, ""),
    (lambda c: c.set_context_info(2, b"\xaa\xbb"), 33, 1, 4, "00000001 01 00000001 01 00000001 02 00000002 aabb"),
    (lambda c: c.set_application_header(bytes(range(32))), 32, 1, 1, "00000020" + bytes(range(32)).hex()),
    (lambda c: c.set_throttling(active=True), 63, 0, 1, "00000001 01"),
    (lambda c: c.set_overcurrent_protection(active=False), 66, 0, 1, "00000001 00"),
    (lambda c: c.set_sleep_state(1), 73, 0, 1, "00000001 01"),
    (lambda c: c.set_clock(200_000_000), 61, 0, 1, "00000004 0bebc200"),
    (lambda c: c.set_logger(2, 3), 55, 0, 2, "00000001 02 00000001 03"),
    (lambda c: c.enable_watchdog(0, enable=True), 38, 0, 1, "00000001 01"),
    (lambda c: c.enable_watchdog(1, enable=True), 69, 1, 1, "00000001 01"),
    (lambda c: c.config_watchdog(1, 256, 1), 70, 1, 2, "00000004 00000100 00000001 01"),
    (lambda c: c.config_watchdog(0, 256, 1), 39, 0, 2, "00000004 00000100 00000001 01"),
    (lambda c: c.start_power_measurement(5, 4), 12, 0, 3, "00000004 00000001 00000002 0005 00000002 0004"),
    (lambda c: c.stop_power_measurement(), 13, 0, 0, ""),
    (lambda c: c.write_memory(0x1000, b"abc"), 1, 0, 2, "00000004 00001000 00000003 616263"),
    (lambda c: c.erase_user_config(), 20, 0, 0, ""),
    (lambda c: c.write_user_config(b"\x01"), 21, 0, 2, "00000004 00000000 00000001 01"),
    (lambda c: c.write_board_config(b"\x01"), 48, 0, 2, "00000004 00000000 00000001 01"),
    (lambda c: c.load_and_start_sensor(3), 29, 0, 1, "00000004 00000003"),
    (lambda c: c.reset_sensor(3), 30, 0, 1, "00000004 00000003"),
    (lambda c: c.set_sensor_i2c_bus(1, 2), 65, 0, 2, "00000004 00000001 00000004 00000002"),
    (
        lambda c: c.set_generic_i2c_slave(
            slave_address=0x1A, register_address_size=2, bus_index=1, should_hold_bus=0, endianness=1
        ),
        28, 0, 5, "00000002 001a 00000001 02 00000001 01 00000001 00 00000001 01",
    ),
    (
        lambda c: c.i2c_write(
            0x55, b"\x99", endianness=0, slave_address=0x40, register_address_size=1, bus_index=0, should_hold_bus=0
        ),
        22, 0, 7, "00000001 00 00000002 0040 00000001 01 00000001 00 00000001 00 00000004 00000055 00000001 99",
    ),
    (lambda c: c.set_timestamps(7, enable=True), 59, 1, 2, "00000002 0007 00000001 01"),
    (
        lambda c: c.set_breakpoint(9, application_index=1, batch_index=2, break_at_any_context_index=1),
        52, 1, 3, "00000004 09000000 00000001 00 0000000b 00 01 00 0200 01 0000 00 0000",
    ),
    (lambda c: c.continue_breakpoint(0), 52, 1, 3, "00000004 00000000 00000001 01 0000000b" + "00" * 11),
    (lambda c: c.clear_breakpoint(0), 52, 1, 3, "00000004 00000000 00000001 02 0000000b" + "00" * 11),
    (lambda c: c.set_dataflow_interrupt(1, 2, 3), 41, 1, 3, "00000001 01 00000001 02 00000001 03"),
    (lambda c: c.signal_cache_updated(), 79, 1, 0, ""),
    (lambda c: c.set_idle_time_measurement(enable=True), 34, 0, 1, "00000001 01"),
    (
        lambda c: c.config_latency_measurement(
            enable=True, start_buffer=1, stop_buffer=2, input_stream=3, output_stream=4
        ),
        24, 0, 5, "00000001 01 00000004 00000001 00000004 00000002 00000004 00000003 00000004 00000004",
    ),
    (lambda c: c.enable_debugging(is_rma=True), 50, 0, 1, "00000001 01"),
    (lambda c: c.set_notification_host(0, 0x0A000001, 5000), 43, 0, 3, "00000001 00 00000004 0a000001 00000002 1388"),
    (lambda c: c.send_host_info_notification(1), 44, 0, 1, "00000001 01"),
    (lambda c: c.open_stream(1, is_input=True), 4, 0, 2, "00000001 01 00000001 01"),
    (lambda c: c.close_stream(is_input=False), 5, 0, 2, "00000001 ff 00000001 00"),
    (lambda c: c.reset_phy(), 6, 0, 1, "00000004 00000000"),
    (lambda c: c.config_core_top(0, 1), 8, 0, 2, "00000004 00000000 00000001 01"),
    (lambda c: c.set_pause_frames(enable=True), 58, 0, 1, "00000001 01"),
    (
        lambda c: c.run_memory_test(
            is_top_test=1, top_bypass_bitmap=2, cluster_index=3, cluster_bypass_bitmap_0=4, cluster_bypass_bitmap_1=5
        ),
        60, 0, 5, "00000001 01 00000004 00000002 00000001 03 00000004 00000004 00000004 00000005",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "opcode", "cpu", "count", "parameters"), REQUESTS, ids=lambda v: str(v)[:6])
def test_request_bytes(
    call: Callable[[FirmwareClient], object], opcode: int, cpu: int, count: int, parameters: str
) -> None:
    firmware, link = client(ok())
    call(firmware)
    expected = struct.pack(">5I", 2, 0, 0, opcode, count) + bytes.fromhex(parameters)
    assert link.requests == [(expected, cpu, 1.0)]


def be32(*values: int) -> list[bytes]:
    return [struct.pack(">I", value) for value in values]


def le32(*values: int) -> list[bytes]:
    return [struct.pack("<I", value) for value in values]


def f32(*values: float) -> list[bytes]:
    return [struct.pack("<f", value) for value in values]


def identity_parameters(revision: int = 0) -> list[bytes]:
    return [
        *be32(2), struct.pack("<3I", 4, 23, revision), *be32(0), b"Hailo-8".ljust(32, b" "), *be32(1),
        b"SN".ljust(16, b"\0"), b"PN".ljust(16, b"\0"), b"A PRODUCT".ljust(42, b"\0"),
    ]  # fmt: skip


def test_identify() -> None:
    identity = client(ok(*identity_parameters()))[0].identify()
    assert (str(identity.version), identity.version.is_core, identity.architecture) == ("4.23.0", False, 1)
    assert (identity.board_name, identity.serial_number, identity.part_number) == ("Hailo-8", "SN", "PN")
    assert identity.product_name == "A PRODUCT"


def test_revision_word_is_a_bit_field() -> None:
    version = client(ok(struct.pack("<3I", 4, 20, 0x68000001)))[0].core_identify()
    assert str(version) == "4.20.1"
    assert version.is_core and version.is_development and version.extended_context_switch
    assert not version.is_second_stage


def test_device_information() -> None:
    info = client(
        ok(*be32(400_000_000), bytes([0, 0, 0, 0x0C, 0, 0, 0, 0]), *be32(1), b"\x03", bytes(32), b"\1\2\3\4\5\6",
           b"LOT#LOT#" + struct.pack("<I", 77), bytes(24), *be32(0xF))
    )[0].device_information()  # fmt: skip
    assert info.clock_hz == 400_000_000 and info.features == {"pcie", "current_monitoring"}
    assert (info.boot_source, info.lcs, info.lot_id, info.die_wafer_info) == (1, 3, b"LOT#LOT#", 77)
    assert info.partial_clusters_layout_bitmap == 15


def test_hw_consts() -> None:
    blob = struct.pack("<IHHHIBI", 8, 16383, 16384, 16376, 16384, 1, 2048)
    consts = client(ok(blob))[0].hw_consts()
    assert (consts.fifo_word_granularity_bytes, consts.max_periph_buffers_per_frame) == (8, 16383)
    assert (consts.max_periph_bytes_per_buffer, consts.max_acceptable_bytes_per_buffer) == (16384, 16376)
    assert (consts.outbound_data_stream_size, consts.should_optimize_credits) == (16384, 1)
    assert consts.default_initial_credit_size == 2048


def test_temperature_mixes_byte_orders() -> None:
    temperature = client(ok(struct.pack("<ff", 41.5, 42.25) + struct.pack(">H", 300)))[0].chip_temperature()
    assert (temperature.ts0_c, temperature.ts1_c, temperature.sample_count) == (41.5, 42.25, 300)


def test_power() -> None:
    firmware, link = client(ok(*f32(2.5), *le32(9, 2)))
    sample = firmware.power_measurement()
    assert (sample.value, sample.dvm, sample.measurement_type) == (2.5, 9, 2)
    assert link.requests[0][0][20:].hex() == "000000047fffffff000000047fffffff"
    assert client(ok(*le32(9, 2)))[0].set_power_measurement(1) == (9, 2)
    statistics = client(ok(*be32(12), *f32(1, 3, 2, 0.5)))[0].get_power_measurement(0, clear=True)
    assert (statistics.samples, statistics.minimum, statistics.maximum) == (12, 1.0, 3.0)
    assert (statistics.average, statistics.average_time_ms) == (2.0, 0.5)


def test_health_and_the_swapped_threshold() -> None:
    wire = float(int.from_bytes((8).to_bytes(4, "little"), "big"))  # control-protocol.md 3.1: for 8 A
    levels = b"".join(struct.pack("<ffI", 100 + i, 95 + i, 200_000_000 - i) for i in range(4))
    celsius = [struct.pack(">i", value) for value in (104, 99, 120, -116)]
    health = client(
        ok(b"\1", b"\0", *f32(wire), b"\1", b"\0", b"\2", b"\xff", levels, *celsius, *be32(300_000_000, 200_000_000))
    )[0].health()
    assert health.red_overcurrent_threshold == 8.0
    assert health.temperature_throttling_level == -1 and health.temperature_zone == 2
    assert [level.clock_hz for level in health.throttling_levels] == [200_000_000 - i for i in range(4)]
    assert (health.orange_threshold_c, health.red_hysteresis_c) == (104, -116)
    assert health.requested_temperature_clock_hz == 200_000_000


@pytest.mark.parametrize("wire", [math.nan, math.inf, -1.0, 2.0**32])
def test_impossible_thresholds_are_not_a_number(wire: float) -> None:
    assert math.isnan(swapped_by_value(wire))


def test_small_answers() -> None:
    assert client(ok(b"\1"))[0].throttling() is True
    assert client(ok(b"\0"))[0].overcurrent_protection() is False
    assert client(ok(*be32(5)))[0].previous_system_state(0) == 5
    assert client(ok(*be32(6)))[0].previous_system_state(1) == 6
    assert client(ok(struct.pack(">Q", 1 << 40)))[0].idle_time_ns() == 1 << 40
    assert client(ok(*be32(1234)))[0].latency_ns() == 1234
    assert client(ok(b"\2"))[0].breakpoint_status(0) == 2
    assert client(ok(b"\7"))[0].config_stream(1, is_input=True, communication_type=2, parameters=b"\0\0") == 7
    with pytest.raises(MalformedReply):
        client(ok(b"\x09"))[0].breakpoint_status(0)


def test_stream_parameters_by_layout() -> None:
    firmware, link = client(ok(b"\0"))
    layout = next(name for name, s in CHIP.communication_params.items() if s.size == 2)
    firmware.config_stream(1, is_input=True, communication_type=2, parameters={"pcie_channel_index": 3}, layout=layout)
    assert link.requests[0][0].endswith(b"\0\0\0\2\3\0")
    with pytest.raises(InputError):
        firmware.config_stream(1, is_input=True, communication_type=2, parameters={}, layout="carrier pigeon")
    with pytest.raises(InputError):
        firmware.config_stream(1, is_input=True, communication_type=2, parameters={"wings": 2}, layout=layout)


def test_hw_infer() -> None:
    firmware, link = client(ok(b"\1" + struct.pack("<I", 999)))
    result = firmware.start_hw_infer(0, [(2, 128), (16, 64)], dynamic_batch_size=1, batch_count=10)
    assert (result.done, result.cycles) == (True, 999)
    raw = link.requests[0][0][20:]
    assert len(raw) == 416 and raw[26:34] == bytes([2, 0, 128, 0, 16, 0, 64, 0]) and raw[26 + 384] == 2
    assert firmware.stop_hw_infer().cycles == 999


def test_main_header() -> None:
    one = struct.pack("<H", 3) + bytes(30)
    headers = client(ok(b"\1" + one + bytes(31 * 32)))[0].main_header()
    assert len(headers) == 1 and headers[0]["dynamic_contexts_count"] == 3
    with pytest.raises(MalformedReply):
        client(ok(b"\x21" + bytes(1024)))[0].main_header()


def test_sensor_sections() -> None:
    record = struct.pack("<IIHBBHHHH", 1, 30, 2, 0, 1, 1080, 1920, 30, 4) + b"imx".ljust(100, b"\0")
    sections = client(ok(record + bytes(7 * 120)))[0].sensor_sections()
    assert len(sections) == 8
    assert (sections[0].name, sections[0].height, sections[0].width, sections[0].fps) == ("imx", 1080, 1920, 30)


# --- chunks ------------------------------------------------------------------------------------------------------


def test_context_chunks_split_at_1461() -> None:
    firmware, link = client(ok())
    actions = bytes(i & 0xFF for i in range(1461 * 2 + 5))
    firmware.set_context_info(3, actions)
    flags = [(request[24], request[29], request[34]) for request, _, _ in link.requests]
    assert flags == [(1, 0, 3), (0, 0, 3), (0, 1, 3)]
    assert b"".join(request[39:] for request, _, _ in link.requests) == actions
    assert max(len(request) for request, _, _ in link.requests) == 1500


def memory(request: bytes) -> bytes:
    address, count = struct.unpack(">I4xI", request[24:36])
    return answer(request, bytes((address + i) & 0xFF for i in range(count)))


def test_memory_is_read_and_written_in_pieces() -> None:
    firmware, link = client(memory)
    assert firmware.read_memory(7, 2500) == bytes((7 + i) & 0xFF for i in range(2500))
    assert [struct.unpack(">I4xI", r[24:36]) for r, _, _ in link.requests] == [(7, 1024), (1031, 1024), (2055, 452)]
    firmware, link = client(ok())
    firmware.write_memory(0, bytes(1025))
    assert [len(r) for r, _, _ in link.requests] == [20 + 8 + 4 + 1024, 20 + 8 + 4 + 1]
    with pytest.raises(InputError):
        firmware.read_memory(0, -1)


def test_short_pieces_are_malformed() -> None:
    with pytest.raises(MalformedReply):
        client(ok(b"x"))[0].read_memory(0, 10)
    with pytest.raises(MalformedReply):
        client(ok(b"x"))[0].read_sensor_config(0, 10)
    with pytest.raises(MalformedReply):
        client(ok(b"x"))[0].i2c_read(0, 4, endianness=0, slave_address=1, register_address_size=1, bus_index=0,
                                     should_hold_bus=0)  # fmt: skip


def test_user_config() -> None:
    firmware, link = client(ok(*be32(0, 3, 1500)), memory)
    assert len(firmware.read_user_config()) == 1500
    assert len(link.requests) == 3
    for size in (0, 0xFFFFFFFF):
        with pytest.raises(MalformedReply):
            client(ok(*be32(0, 0, size)))[0].read_user_config()


def test_board_config_is_500_bytes() -> None:
    assert len(client(memory)[0].read_board_config()) == 500


def test_sensor_config_is_stored_in_pieces() -> None:
    firmware, link = client(ok())
    firmware.store_sensor_config(2, bytes(1500), name="cam", shape=(1080, 1920, 30))
    firsts = [struct.unpack(">I", r[32:36])[0] for r, _, _ in link.requests]
    starts = [struct.unpack(">I", r[40:44])[0] for r, _, _ in link.requests]
    assert (firsts, starts) == ([1, 0], [0, 1024])
    assert link.requests[0][0][90:93] == b"cam"


def test_updates() -> None:
    import hashlib

    firmware, link = client(ok())
    firmware.update_firmware(bytes(2000))
    assert [struct.unpack(">I", r[12:16])[0] for r, _, _ in link.requests] == [14, 15, 15, 16, 17]
    assert hashlib.md5(bytes(2000)).digest() in link.requests[3][0]
    firmware, link = client(ok())
    firmware.update_second_stage(bytes(10))
    assert [struct.unpack(">I", r[12:16])[0] for r, _, _ in link.requests] == [56, 57]


def test_action_list_download_follows_the_offset() -> None:
    def part(request: bytes) -> bytes:
        offset = struct.unpack(">H", request[-2:])[0]
        end = b"\1" if offset else b"\0"
        return answer(request, *be32(0x1000), end, *be32(4, 5), b"abc" if not offset else b"de")

    firmware, link = client(part)
    download = firmware.download_action_list(0, 2, 1)
    assert download.data == b"abcde" and (download.batch_counter, download.idle_time) == (4, 5)
    assert link.requests[1][0][20:].hex() == "0000000400000000" + "0000000102" + "000000020100" + "000000020003"


@pytest.mark.parametrize(
    "parameters",
    [
        [*be32(0), b"\1", *be32(0, 0), b"x"],
        [*be32(1), b"\1", *be32(0, 0), b""],
        [*be32(1), b"\0", *be32(0, 0), bytes(1400)],
    ],
)
def test_action_lists_without_base_content_or_end(parameters: list[bytes]) -> None:
    with pytest.raises(MalformedReply):
        client(ok(*parameters))[0].download_action_list(0, 2, 1)


def test_an_action_list_in_single_bytes_is_given_up() -> None:
    firmware, link = client(ok(*be32(1), b"\0", *be32(0, 0), b"x"))
    with pytest.raises(MalformedReply, match="no end after 1024 bytes"):
        firmware.download_action_list(0, 2, 1)
    assert len(link.requests) == 1024


# --- what can go wrong --------------------------------------------------------------------------------------------


def test_refusal_names_both_words() -> None:
    with pytest.raises(ControlFailed) as caught:
        client(lambda request: answer(request, status=(0x4003003B, 0x401A0004)))[0].examine_user_config()
    assert caught.value.opcode == 18
    assert caught.value.major_name == "CONTROL_PROTOCOL_STATUS_USER_CONFIG_EXAMINE_FAILED"
    assert caught.value.minor_name == "FIRMWARE_CONFIGS_STATUS_USER_CONFIG_NOT_LOADED"


def test_a_bare_refusal_of_24_bytes_is_enough() -> None:
    with pytest.raises(ControlFailed, match="unknown status"):
        client(lambda request: answer(request, status=(7, 0))[:24])[0].identify()


def test_minor_alone_is_no_failure() -> None:
    client(lambda request: answer(request, status=(0, 5)))[0].clear_configured_apps()


@pytest.mark.parametrize("length", [24, 28])
def test_empty_answers_may_leave_the_count_out(length: int) -> None:
    client(lambda request: answer(request)[:length])[0].clear_configured_apps()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (lambda r: answer(r)[:23], "23 bytes"),
        (lambda r: answer(r, version=3), "version 3"),
        (lambda r: answer(r, flags=0), "not marked"),
        (lambda r: answer(r, opcode=1), "opcode 1"),
        (lambda r: answer(r)[:26], "count should be"),
        (lambda r: answer(r)[:24] + be32(0xFFFFFFFF)[0], "4294967295 parameters"),
        (lambda r: answer(r)[:24] + be32(1)[0], "ends before parameter 0"),
        (lambda r: answer(r)[:24] + be32(1, )[0] + be32(9)[0] + b"x", "leaves the message"),
        (lambda r: answer(r, b"\1") + b"x", "follow"),
        (answer, "0 parameters, 1 expected"),
        (lambda r: answer(r, b"\1", b"\1"), "2 parameters, 1 expected"),
        (lambda r: answer(r, b"\1\1"), "is_active has 2 bytes, 1 expected"),
    ],
)  # fmt: skip
def test_broken_answers_are_named(reply: Callable[[bytes], bytes], words: str) -> None:
    with pytest.raises(MalformedReply, match=words):
        client(reply)[0].throttling()


@pytest.mark.parametrize("error", [TIMEOUT, MalformedReply(what="x", detail="y"), SequenceMismatch(expected=0, seen=1)])
def test_reading_controls_are_sent_once_more(error: Exception) -> None:
    firmware, link = client(error, ok(b"\1"))
    assert firmware.throttling() is True
    assert len(link.requests) == 2


def test_changing_controls_are_not_repeated() -> None:
    firmware, link = client(TIMEOUT, ok())
    with pytest.raises(DeviceTimeout):
        firmware.write_memory(0, b"x")
    assert len(link.requests) == 1


def test_two_timeouts_are_a_timeout() -> None:
    firmware, link = client(TIMEOUT)
    with pytest.raises(DeviceTimeout):
        firmware.identify()
    assert len(link.requests) == 2


def test_sequence_is_zero_until_an_answer_is_missing() -> None:
    firmware, link = client(ok(b"\1"), TIMEOUT, ok(b"\1"))
    for _ in range(3):
        firmware.throttling()
    sequences = [struct.unpack(">I", request[8:12])[0] for request, _, _ in link.requests]
    assert sequences[:2] == [0, 0]
    assert sequences[2] > 0 and sequences[3] == sequences[2] + 1


def test_a_late_answer_is_told_apart_on_the_wire(chip: FakeChip, link: PcieLink) -> None:
    """The first identify gets no answer in time; its late answer must not be taken for the second's."""
    firmware = FirmwareClient(link)
    stale = []

    def script(cpu: int, request: bytes) -> bytes | None:
        if not stale:
            stale.append(request)
            return None
        chip.put_response(answer(stale[0], b"\0"))
        chip.due.append(lambda: chip.put_response(answer(request, b"\1")))
        return None

    chip.on_control = script
    assert firmware.throttling() is True


def test_soft_resets_expect_no_answer() -> None:
    firmware, link = client(TIMEOUT)
    firmware.reset(2, timeout_s=0.1)
    firmware.reset(3)
    assert [r[20:].hex() for r, _, _ in link.requests] == ["0000000400000002", "0000000400000003"]
    assert [t for _, _, t in link.requests] == [0.1, 1.0]
    assert {r[8:12] for r, _, _ in link.requests} == {bytes(4)}
    with pytest.raises(MalformedReply):
        client(ok())[0].reset(2)
    with pytest.raises(InputError):
        client(ok())[0].reset(0)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("NO_SUCH", {}),
        ("RESET", {}),
        ("RESET", {"reset_type": 1, "more": 2}),
        ("RESET", {"reset_type": -1}),
        ("RESET", {"reset_type": "one"}),
        ("RESET", {"reset_type": 1 << 32}),
        ("CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER", {"application_header": bytes(31)}),
        ("CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER", {"application_header": {"nonsense": 1}}),
        ("WRITE_MEMORY", {"address": 0, "data": bytes(1025)}),
        ("I2C_WRITE", {"endianness": 0, "slave_address": 0, "register_address_size": 0, "bus_index": 0,
                       "should_hold_bus": 0, "register_address": 0, "data": bytes(1500)}),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_before_anything_is_sent(name: str, values: dict[str, Any]) -> None:
    firmware, link = client(ok())
    with pytest.raises(InputError):
        firmware.call(name, **values)
    assert link.requests == []


@given(st.sampled_from(sorted(CHIP.controls)), st.binary(max_size=200))
def test_any_response_is_values_or_a_typed_error(opcode: int, tail: bytes) -> None:
    control = CHIP.controls[opcode]
    for data in (tail, struct.pack(">6I", 2, 1, 0, opcode, 0, 0) + tail):
        try:
            values = parse_response(CHIP, control, data)
        except ProtocolError:
            continue
        assert values.keys() == {param.name for param in control.response}


@given(st.data())
def test_flipped_bytes_of_a_real_answer(data: st.DataObject) -> None:
    control = CHIP.controls[0]
    raw = bytearray(answer(build_request(CHIP, control, {}), *identity_parameters()))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(OpenHailoError):
        client(bytes(raw))[0].identify()


# --- the vendor library's own requests -----------------------------------------------------------------------------


@pytest.mark.facts
def test_requests_of_the_vendor_library_are_rebuilt_byte_for_byte(shared_dir: Path) -> None:
    """Take every recorded request apart by the tables and build it again with our builder."""
    built = set()
    for trace in sorted((shared_dir / "traces").glob("*/*.jsonl")):
        for line in trace.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["k"] != "control":
                continue
            request = bytes.fromhex(record["req"])
            control = CHIP.controls[record["op"]]
            assert record["cpu"] in (control.cpu, ["app", "core"][control.cpu])
            assert build_request(CHIP, control, split(request, control)) == request
            built.add(record["op"])
    assert len(built) > 20


def split(request: bytes, control: Any) -> dict[str, Any]:
    values, at = {}, 20
    for param in control.request:
        length = int.from_bytes(request[at : at + 4], "big")
        raw = request[at + 4 : at + 4 + length]
        at += 4 + length
        if isinstance(param.type, str) and param.type != "bytes":
            order = "big" if param.type.startswith("be") else "little"
            values[param.name] = int.from_bytes(raw, order)  # type: ignore[arg-type]
        else:
            values[param.name] = raw
    return values


@pytest.mark.facts
def test_recorded_answers_are_parsed(shared_dir: Path) -> None:
    parsed = 0
    for trace in sorted((shared_dir / "traces" / "device").glob("*.jsonl")):
        for line in trace.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["k"] == "control" and record["rsp"]:
                try:
                    parse_response(CHIP, CHIP.controls[record["op"]], bytes.fromhex(record["rsp"]))
                except ControlFailed as refused:
                    assert refused.major
                parsed += 1
    assert parsed > 50
