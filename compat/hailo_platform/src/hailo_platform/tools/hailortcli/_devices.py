"""Commands on devices: identify, resets, power, sensors, logs, configuration."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort import pyhailort as api

from . import _user_config
from ._output import say, status_text, tell_reason, warn

OVERCURRENT_WARNING = (
    "Using the overcurrent protection dvm for power measurement will disable the overcurrent protection.\n"
    "If only taking one measurement, the protection will resume automatically.\n"
    "If doing continuous measurement, to enable overcurrent protection again you have to stop the power measurement "
    "on this dvm."
)
#: Units of what is measured, and names of the switches of a board, in the order in which they are printed.
UNITS = {"SHUNT_VOLTAGE": "mV", "BUS_VOLTAGE": "mV", "POWER": "W", "CURRENT": "mA", "AUTO": "W"}
_FEATURES = (
    ("current_monitoring", "Current Monitoring"),
    ("ethernet", "Ethernet"),
    ("mipi", "MIPI"),
    ("mdio", "MDIO"),
    ("pcie", "PCIE"),
)
_BOARD_NAME_CHARACTERS = 32
Action = Callable[[api.Control, argparse.Namespace], None]


def scan(args: argparse.Namespace) -> int:
    """List boards."""
    if args.interface or args.interface_ip:
        raise bound.HailoRTStatusException("79")
    found = api.Device.scan()
    if not found:
        say("Hailo devices not found")
        return 0
    say("Hailo Devices:")
    for device_id in found:
        say(f"[-] Device: {device_id}")
    return 0


def on_devices(action: Action) -> Callable[[argparse.Namespace], int]:
    """Return a command that does ``action`` on each device that was named, or on all."""

    def command(args: argparse.Namespace) -> int:
        named = [device_id for device_id in (args.device_id or args.bdf or []) if device_id != "*"]
        for device_id in named or api.Device.scan():
            say(f"Executing on device: {device_id}")
            try:
                with api.Device(device_id) as device:
                    action(device.control, args)
            except Exception as error:
                number, text = status_text(error)
                tell_reason(error)
                say(f"Failed to execute on device: {device_id}. status= {text}")
                return number
        return 0

    return command


def identify(control: api.Control, args: argparse.Namespace) -> None:
    """Print who the board is."""
    found = control.identify()
    say("Identifying board")
    say(f"Control Protocol Version: {found.protocol_version}")
    say(f"Firmware Version: {found.firmware_version}")
    say(f"Logger Version: {found.logger_version}")
    say(f"Board Name: {found.board_name.ljust(_BOARD_NAME_CHARACTERS)}")
    say(f"Device Architecture: {found.device_architecture}")
    for label, value in (
        ("Serial Number", found.serial_number),
        ("Part Number", found.part_number),
        ("Product Name", found.product_name),
    ):
        if value:
            say(f"{label}: {value}")
    if args.extended:
        _print_extended(control.get_extended_device_information())
    say("")


def _print_extended(info: api.ExtendedDeviceInformation) -> None:
    sources = {1: "PCIE", 2: "FLASH"}
    say(f"Boot source: {sources.get(int(info.boot_source), 'Unknown')}")
    say(f"Neural Network Core Clock Rate: {info.neural_network_core_clock_rate // 1_000_000}MHz")
    features = [label for name, label in _FEATURES if getattr(info.supported_features, name)]
    if features:
        say(f"Device supported features: {', '.join(features)}")
    # The original ends this line only when there is no life-cycle state.
    say(f"LCS: {info.lcs}", end="" if info.lcs else "\n")
    if any(info.soc_id):
        say(f"SoC ID: {info.soc_id.hex().upper()}")
    if any(info.eth_mac_address):
        say(f"MAC Address: {info.eth_mac_address.hex(':').upper()}")
    if any(info.unit_level_tracking_id):
        say(f"ULT ID: {info.unit_level_tracking_id.hex().upper()}")
    if any(info.soc_pm_values):
        say(f"PM Values: {info.soc_pm_values.hex().upper()}")
    if info.gpio_mask:
        say(f"GPIO Mask: {info.gpio_mask:04X}")


def reset(control: api.Control, args: argparse.Namespace) -> None:
    """Reset a board."""
    kinds = {
        "chip": control.chip_reset,
        "nn_core": control.nn_core_reset,
        "soft": control.soft_reset,
        "forced_soft": control.forced_soft_reset,
    }
    kinds[args.reset_type]()
    say("Board has been reset successfully")


def test_memories(control: api.Control, args: argparse.Namespace) -> None:
    """Test the memories of a chip."""
    control.test_chip_memories()
    say("Memory test has completed successfully")


def measure_power(control: api.Control, args: argparse.Namespace) -> None:
    """Measure once, or for a while."""
    dvm, kind = bound.DvmTypes.__members__[args.dvm], bound.PowerMeasurementTypes.__members__[args.type]
    unit = UNITS[args.type]
    warn(OVERCURRENT_WARNING)
    if args.duration is None:
        say(f"Current power consumption ({unit}): {control.power_measurement(dvm, kind):g}")
        return
    periods, averages = bound.PERIODS_US, bound.AVERAGES
    control.stop_power_measurement()
    control.set_power_measurement(dvm=dvm, measurement_type=kind)
    control.start_power_measurement(
        bound.AveragingFactor(averages.index(args.averaging_factor)),
        bound.SamplingPeriod(periods.index(args.sampling_period)),
    )
    say(f"Measuring power consumption over {args.duration} seconds:")
    time.sleep(args.duration)
    control.stop_power_measurement()
    read = control.get_power_measurement(should_clear=False)
    say(f"Total samples: {read.total_number_of_samples}")
    say(f"Max value ({unit}): {read.max_value:g}")
    say(f"Min value ({unit}): {read.min_value:g}")
    say(f"Average value ({unit}): {read.average_value:g}")
    say(f"Average time per sample (ms): {read.average_time_value_milliseconds:g}")


# --- sensors ----------------------------------------------------------------------------------------------------------


def sections(control: api.Control, args: argparse.Namespace) -> None:
    """Print what lies in the eight sections of sensor settings."""
    for index, section in enumerate(bound.unpack_sections(control.get_sensor_sections_info())):
        say(f"======== section_index: {index} =========")
        if section.is_free:
            say("Section is not active")
            continue
        _print_section(section)


def _print_section(section: Any) -> None:
    kinds = {value.value: name for name, value in bound.SensorConfigTypes.__members__.items()}
    say(f"Configuration name: {section.name}")
    say(f"Sensor type: {kinds.get(section.sensor_type, section.sensor_type)}")
    say(f"Configuration number of lines: {section.config_size // bound.OPERATION_BYTES}")
    say(f"Configuration size in bytes: {section.config_size}")
    say(f"Reset configuration number of lines: {section.reset_config_size // bound.OPERATION_BYTES}")
    say(f"Configuration resolution: {section.width}x{section.height}, {section.fps} fps")
    say(f"Configuration version: {section.version}")


def store_sensor_config(control: api.Control, args: argparse.Namespace) -> None:
    """Store a sensor's settings."""
    control.store_sensor_config(
        args.section_index,
        args.reset_config_size,
        bound.SensorConfigTypes.__members__[args.sensor_type],
        args.config_file,
        args.config_height,
        args.config_width,
        args.config_fps,
        args.config_name,
    )


def get_config(control: api.Control, args: argparse.Namespace) -> None:
    """Write a sensor's settings into a file with one operation per line."""
    section = bound.unpack_sections(control.get_sensor_sections_info())[args.section_index]
    if section.is_free:
        raise bound.status_error("NOT_FOUND", f"Section {args.section_index} is not active")
    operations = control._get_device_handle().sensor_get_config(args.section_index, section.config_size)
    bound.write_operations(args.output_file, operations)


def load_config(control: api.Control, args: argparse.Namespace) -> None:
    """Program a sensor."""
    control.load_and_start_sensor(args.section_index)


def reset_sensor(control: api.Control, args: argparse.Namespace) -> None:
    """Reset a sensor."""
    control.reset_sensor(args.section_index)


def set_generic_slave(control: api.Control, args: argparse.Namespace) -> None:
    """Tell the bus address of a sensor."""
    endianness = bound.Endianness.__members__[args.slave_endianness]
    control.sensor_set_generic_i2c_slave(
        args.slave_address, args.register_address_size, args.bus_index, args.should_hold_bus, endianness
    )


# --- files ------------------------------------------------------------------------------------------------------------


def fw_logger(control: api.Control, args: argparse.Namespace) -> None:
    """Write the firmware's logs, of both processors, into a file."""
    device = control._get_device_handle()
    parts = [device.read_log(1 << 20, bound.CpuId(cpu)) for cpu in (0, 1)]
    with Path(args.output_file).open("wb" if args.overwrite else "ab") as file:
        file.write(b"".join(parts))


def fw_config_read(control: api.Control, args: argparse.Namespace) -> None:
    """Print the user configuration as JSON, or write it into a file."""
    text = _user_config.to_json(control.read_user_config())
    if args.output_file is None:
        say(text)
    else:
        Path(args.output_file).write_text(text + "\n", encoding="utf-8")


def fw_config_write(control: api.Control, args: argparse.Namespace) -> None:
    """Write a file, JSON or binary, into the user configuration."""
    control.write_user_config(_user_config_of(args.input_file))


def fw_config_serialize(args: argparse.Namespace) -> int:
    """Make the binary form of a JSON file."""
    Path(args.output_file).write_bytes(_user_config_of(args.input_file))
    return 0


def _user_config_of(path: str) -> bytes:
    content = Path(path).read_bytes()
    if content.startswith(_user_config.MAGIC):
        return content
    return _user_config.from_json(content.decode("utf-8", "replace"))


def board_config_read(control: api.Control, args: argparse.Namespace) -> None:
    """Write the board configuration into a file."""
    Path(args.file).write_bytes(control.read_board_config())


def board_config_write(control: api.Control, args: argparse.Namespace) -> None:
    """Write a file into the board configuration."""
    control.write_board_config(Path(args.file).read_bytes())


def fw_update(control: api.Control, args: argparse.Namespace) -> None:
    """Write a firmware image to flash."""
    say("Updating firmware")
    control.firmware_update(Path(args.file).read_bytes(), not args.skip_reset)
    say("Firmware has been updated")


def ssb_update(control: api.Control, args: argparse.Namespace) -> None:
    """Write a boot image to flash."""
    say("Updating second stage boot...")
    control.second_stage_update(Path(args.file).read_bytes())
    say("second stage boot has been updated successfully")
