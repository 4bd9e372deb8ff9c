"""Identity, memory, streams of other buses, resets, through the typed client (control-protocol.md 5, 8)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from openhailo.driver.results import ChipTemperature, DeviceInformation, FirmwareVersion, HwConsts, Identity
from openhailo.errors import ControlFailed, InputError
from openhailo.testing import reference
from openhailo.testing.check import add_check, check, expect, expect_error
from openhailo.testing.rig import Rig

from .raw.exchange import unhex


def received(rig: Rig, name: str, wanted: Mapping[str, object]) -> None:
    """Expect that the firmware understood the last request of control ``name`` as ``wanted``."""
    expect(f"{name} as understood", rig.state()["received"].get(name), dict(wanted))


@check("controls", needs=("expected",), about=["IDENTIFY", "CORE_IDENTIFY", "firmware_revision"])
def identity(rig: Rig) -> None:
    """Every field as configured."""
    known = rig.expected
    number = known.version[2]
    version = FirmwareVersion(known.version[0], known.version[1], number)
    wanted = Identity(
        2,
        version,
        known.logger_version,
        known.board_name,
        reference.ARCHITECTURES[known.arch],
        known.serial_number,
        known.part_number,
        known.product_name,
    )
    expect("identity", rig.client.identify(), wanted)
    core = FirmwareVersion(known.version[0], known.version[1], number, is_core=True)
    expect("core version", rig.client.core_identify(), core)


@check("controls", needs=("fresh",), about=["IDENTIFY", "CORE_IDENTIFY", "firmware_revision"])
def every_release_identifies(rig: Rig) -> None:
    """All versions whose protocol is known, on both chips; the number takes 27 bits (control-protocol.md 3.2)."""
    widest = (4, 20, 0x05A5A5A5)
    for version in (*reference.VERSIONS, widest):
        for arch, number in reference.ARCHITECTURES.items():
            with rig.fresh(version=version, arch=arch) as other:
                seen = other.client.identify()
                parts = (seen.version.major, seen.version.minor, seen.version.revision)
                expect(f"version on {arch}", parts, version)
                expect("architecture", seen.architecture, number)
                expect("whose version", seen.version.is_core, False)
                expect("core version", other.client.core_identify().is_core, True)
    with rig.fresh(version=widest) as other:
        raw = other.link.control(unhex("00000002 00*8 0000002a 00*4"), 1)
        expect("revision word of the core", raw[-4:].hex(), "a5a5a50d")


@check("controls", needs=("fresh",), about=["firmware_revision", "CORE_IDENTIFY"])
def revision_bits(rig: Rig) -> None:
    """Bit 27 core, 29 extended context switch, 30 development, 31 second stage (control-protocol.md 3.2)."""
    names = {27: "is_core", 29: "extended_context_switch", 30: "is_development", 31: "is_second_stage"}
    for bit in (0, 26, 27, 28, 29, 30, 31):
        word = (1 << bit).to_bytes(4, "little").hex()
        answer = unhex(f"00000002 00000001 00*4 0000002a 00*8 00000001 0000000c 04000000 17000000 {word}")
        with rig.fresh(answers={42: [answer]}) as other:
            seen = other.client.core_identify()
            flags = {name: getattr(seen, name) for name in names.values()}
            expect(f"flags of bit {bit}", flags, {name: bit == at for at, name in names.items()})
            expect(f"number at bit {bit}", seen.revision, 1 << bit if bit < 27 else 0)


@check("controls", needs=("expected",), about=["GET_DEVICE_INFORMATION", "feature_flags"])
def device_information(rig: Rig) -> None:
    """Clock, features, ids and fuses as configured."""
    known = rig.expected
    wanted = DeviceInformation(
        400_000_000,
        frozenset({"pcie", "current_monitoring"}),
        known.boot_source,
        known.life_cycle_state,
        known.soc_id,
        known.eth_mac_address,
        known.lot_id,
        known.die_wafer_info,
        known.pd_info,
        known.partial_clusters_layout_bitmap,
    )
    expect("device information", rig.client.device_information(), wanted)


@check("controls", needs=("fresh",), about=["GET_DEVICE_INFORMATION", "feature_flags"])
def feature_bits(rig: Rig) -> None:
    """Bit 0 Ethernet, 1 MIPI, 2 PCIe, 3 current monitoring, 4 MDIO; power needs bit 3 (control-protocol.md 7.4, 8)."""
    names = ("ethernet", "mipi", "pcie", "current_monitoring", "mdio")
    for bit, name in enumerate(names):
        with rig.fresh(firmware={"supported_features": 1 << bit}) as other:
            expect(f"feature {bit}", other.client.device_information().features, frozenset({name}))
            if name == "current_monitoring":
                expect("power", other.client.power_measurement().value, reference.POWER_W)
            else:
                error = expect_error("power", ControlFailed, other.client.power_measurement)
                expect("status without the feature", error.major, 0x400300B4)
    with rig.fresh(firmware={"supported_features": 0xFFFFFFE0}) as other:
        expect("features nobody knows", other.client.device_information().features, frozenset())


@check("controls", needs=("expected",), about=["GET_HW_CONSTS"])
def hw_consts(rig: Rig) -> None:
    """The seven constants as configured."""
    expect("constants", rig.client.hw_consts(), HwConsts(**rig.expected.hw_consts))


@check("controls", needs=("sensors",), about=["GET_CHIP_TEMPERATURE"])
def temperature(rig: Rig) -> None:
    """Both sensors; the counter grows."""
    first = rig.client.chip_temperature()
    rig.sensors.set_temperature(-40.25, 88.5)
    second = rig.client.chip_temperature()
    expect("both", (second.ts0_c, second.ts1_c), (-40.25, 88.5))
    expect("first", (first.ts0_c, first.ts1_c), reference.TEMPERATURE_C)
    expect("samples grow", second.sample_count > first.sample_count, True)


@check("controls", needs=("fresh",), about=["GET_CHIP_TEMPERATURE"])
def temperature_counter(rig: Rig) -> None:
    """A counter of 0x0102 samples."""
    answer = unhex("00000002 00000001 00*4 0000002e 00*8 00000001 0000000a 00002a42 00002d42 0102")
    with rig.fresh(answers={46: [answer]}) as other:
        expect("temperature", other.client.chip_temperature(), ChipTemperature(42.5, 43.25, 0x0102))


@check("controls", needs=("state",), about=["WRITE_MEMORY", "READ_MEMORY", "max_data_bytes"])
def memory(rig: Rig) -> None:
    """3000 bytes go and come back in pieces of 1024; the last piece is told to begin 2048 further."""
    data = bytes((at * 7 + at // 256) % 256 for at in range(3000))
    rig.client.write_memory(0x00061230, data)
    received(rig, "WRITE_MEMORY", {"address": 0x61230 + 2048, "data": data[2048:]})
    expect("memory", rig.client.read_memory(0x00061230, 3000), data)
    received(rig, "READ_MEMORY", {"address": 0x61230 + 2048, "data_count": 952})
    error = expect_error("no memory there", ControlFailed, partial(rig.client.read_memory, 0x10203040, 4))
    expect("status", error.major, 0x40030098)


@check("controls", needs=("state",), about=["RESET"])
def resets(rig: Rig) -> None:
    """The core answers, the soft kinds do not, and the whole chip cannot be reset over PCIe."""
    rig.client.reset()
    received(rig, "RESET", {"reset_type": 1})
    expect_error("a chip reset", InputError, partial(rig.client.reset, 0))
    rig.client.reset(2, timeout_s=0.1)
    expect("identity afterwards", rig.client.identify().protocol_version, 2)


#: Parameters of CONFIG_STREAM by name of their layout: values, and bytes (control-protocol.md 3.1, 11).
_MIPI = {
    "data_type": 1,
    "img_width_pixels": 0x0203,
    "img_height_pixels": 0x0405,
    "pixels_per_clock": 6,
    "number_of_lanes": 7,
    "clock_selection": 8,
    "virtual_channel_index": 9,
    "data_rate": 0x0A0B0C0D,
}
_MIPI_BYTES = "01 0302 0504 06 07 08 09 0a0b0c0d"
_ISP = {
    "isp_enable": 0x21,
    "isp_img_in_order": 0x22,
    "isp_img_out_data_type": 0x23,
    "isp_crop_enable": 0x24,
    "isp_crop_output_width_pixels": 0x2526,
    "isp_crop_output_height_pixels": 0x2728,
    "isp_crop_output_width_start_offset_pixels": 0x292A,
    "isp_crop_output_height_start_offset_pixels": 0x2B2C,
    "isp_test_pattern_enable": 0x2D,
    "isp_configuration_bypass": 0x2E,
    "isp_run_time_ae_enable": 0x2F,
    "isp_run_time_awb_enable": 0x30,
    "isp_run_time_adt_enable": 0x31,
    "isp_run_time_af_enable": 0x32,
    "isp_run_time_calculations_interval_ms": 0x3334,
    "isp_light_frequency": 0x35,
}
_ISP_BYTES = "21 22 23 24 2625 2827 2a29 2c2b 2d 2e 2f 30 31 32 3433 35"
_SYNC = {"should_sync": 1, "frames_per_sync": 0x02030405, "packets_per_frame": 0x06070809, "sync_size": 0x0A0B}
STREAM_PARAMETERS: dict[str, tuple[dict[str, object], str]] = {
    "udp_input": (
        {"listening_port": 0x0102, "sync": _SYNC, "buffers_threshold": 0x0C0D0E0F, "use_rtp": 0x10},
        "0102 01 02030405 06070809 0a0b 0c0d0e0f 10",
    ),
    "udp_output": (
        {
            "host_udp_port": 0x0102,
            "chip_udp_port": 0x0304,
            "max_udp_payload_size": 0x0506,
            "should_send_sync_packets": 7,
            "buffers_threshold": 0x08090A0B,
            "use_rtp": 0x0C,
        },
        "0102 0304 0506 07 08090a0b 0c",
    ),
    "mipi_input": ({"common_params": _MIPI, "mipi_rx_id": 0x11, "isp_params": _ISP}, f"{_MIPI_BYTES} 11 {_ISP_BYTES}"),
    "mipi_output": (
        {"common_params": _MIPI, "mipi_tx_id": 0x12, "fifo_threshold_percent": 0x13, "deskew_enable": 0x14},
        f"{_MIPI_BYTES} 12 13 14",
    ),
    "pcie_input": ({"pcie_channel_index": 1, "pcie_dataflow_type": 2}, "01 02"),
    "pcie_output": ({"pcie_channel_index": 1, "desc_page_size": 0x0203}, "01 0302"),
}


def _stream_parameters(rig: Rig, *, layout: str) -> None:
    values, wanted = STREAM_PARAMETERS[layout]
    config = partial(
        rig.client.config_stream,
        0x21,
        is_input=True,
        communication_type=0x01020304,
        parameters=values,
        layout=layout,
        nn_stream_config={"core_bytes_per_buffer": 0x0102, "buffer_padding_payload": 0x03040506, "buffer_padding": 7},
        power_mode=0x22,
    )
    error = expect_error("a stream of another bus", ControlFailed, config)
    expect("status", error.major, 0x400300B4)
    seen = rig.state()["received"]["CONFIG_STREAM"]
    expect(f"bytes of {layout}", seen["communication_params"], unhex(wanted))
    expect(f"members of {layout}", rig.state()["streams"]["refused_stream"], values)
    plain = {name: value for name, value in seen.items() if name not in ("communication_params", "nn_stream_config")}
    wanted_plain = {"stream_index": 0x21, "is_input": 1, "communication_type": 0x01020304}
    expect("other parameters", plain, {**wanted_plain, "skip_nn_stream_config": 0, "power_mode": 0x22})
    numbers = {name: value for name, value in seen["nn_stream_config"].items() if value}
    expect(
        "stream configuration",
        numbers,
        {"core_bytes_per_buffer": 0x0102, "buffer_padding_payload": 0x03040506, "buffer_padding": 7},
    )


for _layout in STREAM_PARAMETERS:
    add_check(
        f"stream_{_layout}",
        "controls",
        partial(_stream_parameters, layout=_layout),
        needs=("state",),
        about=["CONFIG_STREAM", "communication_params", _layout],
    )


@check("controls", needs=("state",), about=["OPEN_STREAM", "CLOSE_STREAM", "PHY_OPERATION", "SET_PAUSE_FRAMES"])
def streams(rig: Rig) -> None:
    """What a PCIe board does not have is refused, and was understood."""
    client = rig.client
    for name, call, wanted in (
        ("OPEN_STREAM", partial(client.open_stream, 3, is_input=True), {"dataflow_manager_id": 3, "is_input": 1}),
        ("CLOSE_STREAM", partial(client.close_stream, is_input=False), {"dataflow_manager_id": 255, "is_input": 0}),
        ("PHY_OPERATION", client.reset_phy, {"operation_type": 0}),
        ("SET_PAUSE_FRAMES", partial(client.set_pause_frames, enable=True), {"rx_pause_frames_enable": 1}),
    ):
        expect("status", expect_error(name, ControlFailed, call).major, 0x400300B4)
        received(rig, name, dict(wanted))
    client.config_core_top(0, 0x55)
    received(rig, "CONFIG_CORE_TOP", {"config_type": 0, "config_params": 0x55})
    client.set_notification_host(1, 0x0A0B0C0D, 0x1234)
    received(
        rig,
        "D2H_EVENT_MANAGER_SET_HOST_INFO",
        {"connection_type": 1, "host_ip_address": 0x0A0B0C0D, "host_port": 0x1234},
    )


@check("controls", needs=("fresh",), about=["CONFIG_STREAM"])
def stream_manager(rig: Rig) -> None:
    """A board with other buses answers with a dataflow manager."""
    answer = unhex("00000002 00000001 00*4 00000003 00*8 00000001 00000001 5a")
    with rig.fresh(answers={3: [answer]}) as other:
        config = partial(other.client.config_stream, 1, is_input=False, communication_type=2, parameters=b"\1\2")
        expect("manager", config(), 0x5A)
