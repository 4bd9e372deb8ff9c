"""Power, configuration, updates, I2C and sensors, through the typed client (control-protocol.md 5, 7, 10)."""

from __future__ import annotations

import hashlib
import struct
from functools import partial

from openhailo.driver.results import PowerSample, PowerStatistics, SensorSection, UserConfigInfo
from openhailo.errors import ControlFailed
from openhailo.testing.check import check, expect, expect_error
from openhailo.testing.rig import Rig

from .boot import USER_CONFIG, image_file
from .controls_device import received
from .raw.exchange import unhex
from .raw.host import message

_AUTO = 0x7FFFFFFF


@check("controls", needs=("sensors", "state"), about=["POWER_MEASUREMENT"])
def power_samples(rig: Rig) -> None:
    """Power in W, current in mA, voltage in mV; AUTO is over-current protection and power (control-protocol.md 7.4)."""
    client = rig.client
    rig.sensors.set_power(3.3)
    expect("AUTO", _rounded(client.power_measurement()), PowerSample(3.3, 9, 2))
    received(rig, "POWER_MEASUREMENT", {"dvm": _AUTO, "measurement_type": _AUTO})
    expect("current", _rounded(client.power_measurement(0, 3)), PowerSample(1000.0, 0, 3))
    expect("voltage", _rounded(client.power_measurement(7, 1)), PowerSample(3300.0, 7, 1))
    error = expect_error("another voltage", ControlFailed, partial(client.power_measurement, 10, 2))
    expect("status words", (error.major, error.minor), (0x40030032, 0x4004000C))


def _rounded(sample: PowerSample) -> PowerSample:
    return PowerSample(round(sample.value, 3), sample.dvm, sample.measurement_type)


@check(
    "controls",
    needs=("sensors", "state", "clock"),
    about=[
        "SET_POWER_MEASUREMENT",
        "GET_POWER_MEASUREMENT",
        "START_POWER_MEASUREMENT",
        "STOP_POWER_MEASUREMENT",
    ],
)
def power_statistics(rig: Rig) -> None:
    """A slot is set, started, read, cleared and stopped."""
    client = rig.client
    expect("slot", client.set_power_measurement(2, 5, 2), (5, 2))
    received(rig, "SET_POWER_MEASUREMENT", {"index": 2, "dvm": 5, "measurement_type": 2})
    client.start_power_measurement(3, 2, 0x01020304)
    received(
        rig,
        "START_POWER_MEASUREMENT",
        {"delay_milliseconds": 0x01020304, "averaging_factor": 3, "sampling_period": 2},
    )
    rig.sensors.set_power(4.5)
    rig.advance(1.0)
    seen = client.get_power_measurement(2, clear=True)
    received(rig, "GET_POWER_MEASUREMENT", {"index": 2, "should_clear": 1})
    expect("statistics", seen, PowerStatistics(47, 2.5, 4.5, 3.5, seen.average_time_ms))
    expect("milliseconds of a sample", round(seen.average_time_ms, 3), 21.248)
    expect("after clearing", client.get_power_measurement(2).samples, 0)
    client.stop_power_measurement()
    rig.advance(1.0)
    expect("after stopping", client.get_power_measurement(2).samples, 0)


@check("controls", needs=("state",), about=["READ_USER_CONFIG", "WRITE_USER_CONFIG", "EXAMINE_USER_CONFIG"])
def user_configuration(rig: Rig) -> None:
    """Written, examined, read back, erased (control-protocol.md 10)."""
    client = rig.client
    names = b"".join(unhex("0100 0000 20000000") + bytes([number] * 32) for number in range(30))
    blob = USER_CONFIG[:8] + b"\x1f\0\0\0" + USER_CONFIG[12:] + names
    client.write_user_config(blob)
    received(rig, "WRITE_USER_CONFIG", {"address": 1024, "data": blob[1024:]})
    expect("header", client.examine_user_config(), UserConfigInfo(0, 31, len(blob)))
    expect("user configuration", client.read_user_config(), blob)
    received(rig, "READ_USER_CONFIG", {"address": 1024, "data_count": len(blob) - 1024})
    client.erase_user_config()
    error = expect_error("an erased configuration", ControlFailed, client.examine_user_config)
    expect("status words", (error.major, error.minor), (0x4003003B, 0x401A0004))


@check("controls", needs=("state",), about=["EXAMINE_USER_CONFIG", "user_config", "user_config_header"])
def foreign_user_configuration(rig: Rig) -> None:
    """Another magic is no configuration, another version and entries that do not fit are refused."""
    client = rig.client
    cases = (
        ("another magic", b"\x0c" + USER_CONFIG[1:], 0x401A0004),
        ("another version", USER_CONFIG[:4] + b"\1" + USER_CONFIG[5:], 0x40060005),
        ("an entry too many", USER_CONFIG[:8] + b"\2" + USER_CONFIG[9:], None),
        ("an entry too long", USER_CONFIG[:16] + b"\5" + USER_CONFIG[17:], None),
    )
    for what, blob, minor in cases:
        client.erase_user_config()
        client.write_user_config(blob)
        error = expect_error(what, ControlFailed, client.examine_user_config)
        expect(f"major status of {what}", error.major, 0x4003003B)
        expect(f"module of {what}", error.minor >> 16, 0x4006 if minor is None else minor >> 16)
    client.write_user_config(USER_CONFIG)
    expect("the good one", client.examine_user_config(), UserConfigInfo(0, 1, 24))


#: Every setting of the user configuration: category, and bytes of the entries from 0 on (control-protocol.md 10).
SETTINGS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (0, (1, 6, 4, 4, 4, 1)),
    (1, (32, 1, 4, 1, 4, 1, 4, 1, 1, 1, 1, 1, 1, 1, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1)),
    (2, (2,)),
    (3, (2, 2, 4, 1)),
    (4, (1, 1, 4)),
)


def _setting(category: int, entry: int, size_bytes: int) -> bytes:
    """Return a configuration with one entry."""
    return USER_CONFIG[:12] + struct.pack("<HHI", category, entry, size_bytes) + bytes(size_bytes)


@check("controls", needs=("raw", "state"), about=["user_config", "user_config_entry", "entries"])
def every_setting(rig: Rig) -> None:
    """Each entry has its size; unknown categories and entries, and other sizes, are refused with their statuses."""
    host = rig.raw_host()
    cases = [(_setting(c, e, size), 0) for c, sizes in SETTINGS for e, size in enumerate(sizes)]
    cases += [(_setting(c, e, size + 1), 0x40060006) for c, sizes in SETTINGS for e, size in enumerate(sizes)]
    cases += [(_setting(c, len(sizes), 1), 0x40060005) for c, sizes in SETTINGS]
    cases += [(_setting(5, 0, 1), 0x40060004), (_setting(0x100, 0, 1), 0x40060004), (_setting(1, 0x600, 4), 0x40060005)]
    for blob, minor in cases:
        host.control(0, 20)
        host.control(0, 21, bytes(4), blob)
        answer = host.ask(0, message(18)) or b""
        expect(f"minor status of {blob[12:20].hex()}", int.from_bytes(answer[20:24], "big"), minor)


@check("controls", needs=("fresh",), about=["EXAMINE_USER_CONFIG"])
def user_configuration_from_bytes(rig: Rig) -> None:
    """Version, entries and size from their own bytes."""
    answer = unhex(
        "00000002 00000001 00*4 00000012 00*8 00000003 00000004 01020304 00000004 05060708 00000004 090a0b0c"
    )
    with rig.fresh(answers={18: [answer]}) as other:
        expect("header", other.client.examine_user_config(), UserConfigInfo(0x01020304, 0x05060708, 0x090A0B0C))


@check("controls", needs=("state",), about=["READ_BOARD_CONFIG", "WRITE_BOARD_CONFIG", "board_config_bytes"])
def board_configuration(rig: Rig) -> None:
    """500 opaque bytes."""
    blob = bytes((7 * at) % 256 for at in range(500))
    rig.client.write_board_config(blob)
    received(rig, "WRITE_BOARD_CONFIG", {"address": 0, "data": blob})
    expect("board configuration", rig.client.read_board_config(), blob)
    received(rig, "READ_BOARD_CONFIG", {"address": 0, "data_count": 500})


@check(
    "controls",
    needs=("state", "fresh"),
    about=[
        "START_FIRMWARE_UPDATE",
        "WRITE_FIRMWARE_UPDATE",
        "VALIDATE_FIRMWARE_UPDATE",
        "FINISH_FIRMWARE_UPDATE",
        "firmware",
        "image_header",
    ],
)
def firmware_update(rig: Rig) -> None:
    """An image is staged in pieces, checked and kept; after a reset it runs (control-protocol.md 7.5)."""
    image = image_file(app=b"a" * 1500)
    rig.client.update_firmware(image)
    received(rig, "WRITE_FIRMWARE_UPDATE", {"offset": 1024, "data": image[1024:]})
    md5 = hashlib.md5(image, usedforsecurity=False).digest()
    received(rig, "VALIDATE_FIRMWARE_UPDATE", {"expected_md5": md5, "firmware_size": len(image)})
    expect("image in flash", rig.state()["storage"]["image"], image)
    rig.client.reset(2, timeout_s=0.1)
    expect("version after a reset", str(rig.client.identify().version), "4.21.0")
    error = expect_error("no image", ControlFailed, partial(rig.client.update_firmware, b"x" * 100))
    expect("status words", (error.major, error.minor >> 16), (0x40030037, 0x400C))


@check(
    "controls",
    needs=("state",),
    about=["WRITE_SECOND_STAGE_TO_INTERNAL_MEMORY", "COPY_SECOND_STAGE_TO_FLASH"],
)
def second_stage(rig: Rig) -> None:
    """Staged in pieces, then flashed."""
    image = bytes(at % 253 for at in range(2500))
    rig.client.update_second_stage(image)
    received(rig, "WRITE_SECOND_STAGE_TO_INTERNAL_MEMORY", {"offset": 2048, "data": image[2048:]})
    md5 = hashlib.md5(image, usedforsecurity=False).digest()
    received(rig, "COPY_SECOND_STAGE_TO_FLASH", {"expected_md5": md5, "second_stage_size": 2500})
    expect("second stage in flash", rig.state()["storage"]["second_stage"], image)


_SLAVE = {"endianness": 1, "slave_address": 0x0142, "register_address_size": 2, "bus_index": 3, "should_hold_bus": 1}


@check("controls", needs=("state",), about=["I2C_WRITE", "I2C_READ"])
def i2c(rig: Rig) -> None:
    """Registers of a slave keep what was written; another address or bus is another slave."""
    client = rig.client
    client.i2c_write(0x01020304, b"\x11\x12\x13\x14", **_SLAVE)
    received(rig, "I2C_WRITE", {**_SLAVE, "register_address": 0x01020304, "data": b"\x11\x12\x13\x14"})
    expect("registers", client.i2c_read(0x01020305, 2, **_SLAVE), b"\x12\x13")
    received(rig, "I2C_READ", {**_SLAVE, "register_address": 0x01020305, "data_length": 2})
    for other in ({"slave_address": 0x0143}, {"bus_index": 2}):
        expect("another slave", client.i2c_read(0x01020305, 2, **{**_SLAVE, **other}), b"\0\0")


@check(
    "controls",
    needs=("state",),
    about=["SENSOR_STORE_CONFIG", "SENSOR_GET_CONFIG", "SENSOR_GET_SECTIONS_INFO", "sensor_sections"],
)
def sensor_sections(rig: Rig) -> None:
    """A section is stored in pieces, described and dumped; there are eight (control-protocol.md 10)."""
    client = rig.client
    data = bytes((3 * at) % 256 for at in range(1500))
    client.store_sensor_config(7, data, name="camera", sensor_type=2, reset_data_size=30, shape=(1080, 1920, 60))
    expect("dump", client.read_sensor_config(7, 1500), data)
    received(rig, "SENSOR_GET_CONFIG", {"section_index": 7, "offset": 1024, "data_size": 476})
    sections = client.sensor_sections()
    expect("sections", len(sections), 8)
    expect("section 7", sections[7], SensorSection(2, 1500, 30, False, False, 1080, 1920, 60, 0, "camera"))
    client.store_sensor_config(6, b"\1" * 15, name="another")
    expect("section 6", client.sensor_sections()[6], SensorSection(0, 15, 0, False, True, 0, 0, 0, 0, "another"))
    expect("section 0 is free", (sections[0].is_free, sections[0].name), (True, ""))
    store = partial(client.store_sensor_config, 8, data, name="x")
    expect_error("section 8", ControlFailed, store)


@check("controls", needs=("fresh",), about=["SENSOR_GET_SECTIONS_INFO"])
def sensor_section_fields(rig: Rig) -> None:
    """Every member of a section from its own bytes."""
    first = "01020304 05060708 090a 0b 00 0d0e 0f10 1112 1314 " + b"name".hex() + " 00*96"
    answer = unhex(f"00000002 00000001 00*4 0000001f 00*8 00000001 000003c0 {first} 00*840")
    with rig.fresh(answers={31: [answer]}) as other:
        section = other.client.sensor_sections()[0]
        wanted = SensorSection(0x04030201, 0x08070605, 0x0A09, True, False, 0x0E0D, 0x100F, 0x1211, 0x1413, "name")
        expect("section", section, wanted)


@check(
    "controls",
    needs=("state",),
    about=["SENSOR_SET_GENERIC_I2C_SLAVE", "SENSOR_LOAD_AND_START", "SENSOR_RESET", "SENSOR_SET_I2C_BUS_INDEX"],
)
def sensors(rig: Rig) -> None:
    """Slave, bus, start and reset of a sensor."""
    client = rig.client
    slave = {**_SLAVE, "slave_address": 0x0102}
    client.set_generic_i2c_slave(**slave)
    expect("generic slave", rig.state()["sensors"]["generic_slave"], slave)
    client.set_sensor_i2c_bus(0x01020304, 3)
    expect("buses", rig.state()["sensors"]["buses"], {0x01020304: 3})
    client.store_sensor_config(2, b"\1" * 15, name="x")
    client.load_and_start_sensor(2)
    client.reset_sensor(2)
    received(rig, "SENSOR_LOAD_AND_START", {"section_index": 2})
    received(rig, "SENSOR_RESET", {"section_index": 2})
    expect_error("an empty section", ControlFailed, partial(client.load_and_start_sensor, 3))
