"""Parameters of opcode 3 CONFIG_STREAM, which PCIe inference never sends (facts: control-protocol.md 3.1, 11).

Ports and sizes are big endian by the general rule of 3.1; image sizes, ISP values and the PCIe page size are native.
"""

from __future__ import annotations

from collections.abc import Mapping

from .layout import Struct, sequential

#: Same fields as the stream registers of an action, in the other byte order. ``buffer_padding_payload`` goes through a
#: 16-bit swap on its way into a native 32-bit word: only its low half travels, swapped (control-protocol.md 3.1).
NN_STREAM_CONFIG: Struct = sequential(
    "nn_stream_config",
    "control-protocol.md 3.1, 11",
    ("core_bytes_per_buffer", "be16"),
    ("core_buffers_per_frame", "be16"),
    ("periph_bytes_per_buffer", "be16"),
    ("periph_buffers_per_frame", "be16"),
    ("feature_padding_payload", "be16"),
    ("buffer_padding_payload", "le32"),
    ("buffer_padding", "be16"),
    ("is_core_hw_padding_config_in_dfc", "u8"),
)
UDP_INPUT_SYNC: Struct = sequential(
    "udp_input_config_sync",
    "control-protocol.md 11",
    ("should_sync", "u8"),
    ("frames_per_sync", "be32"),
    ("packets_per_frame", "be32"),
    ("sync_size", "be16"),
)
UDP_INPUT: Struct = sequential(
    "udp_input_config_params",
    "control-protocol.md 11",
    ("listening_port", "be16"),
    ("sync", UDP_INPUT_SYNC),
    ("buffers_threshold", "be32"),
    ("use_rtp", "u8"),
)
UDP_OUTPUT: Struct = sequential(
    "udp_output_config_params",
    "control-protocol.md 11",
    ("host_udp_port", "be16"),
    ("chip_udp_port", "be16"),
    ("max_udp_payload_size", "be16"),
    ("should_send_sync_packets", "u8"),
    ("buffers_threshold", "be32"),
    ("use_rtp", "u8"),
)
MIPI_COMMON: Struct = sequential(
    "mipi_common_config_params",
    "control-protocol.md 3.1, 11",
    ("data_type", "u8"),
    ("img_width_pixels", "le16"),
    ("img_height_pixels", "le16"),
    ("pixels_per_clock", "u8"),
    ("number_of_lanes", "u8"),
    ("clock_selection", "u8"),
    ("virtual_channel_index", "u8"),
    ("data_rate", "be32"),
)
ISP: Struct = sequential(
    "isp_config_params",
    "control-protocol.md 3.1, 11",
    ("isp_enable", "u8"),
    ("isp_img_in_order", "u8"),
    ("isp_img_out_data_type", "u8"),
    ("isp_crop_enable", "u8"),
    ("isp_crop_output_width_pixels", "le16"),
    ("isp_crop_output_height_pixels", "le16"),
    ("isp_crop_output_width_start_offset_pixels", "le16"),
    ("isp_crop_output_height_start_offset_pixels", "le16"),
    ("isp_test_pattern_enable", "u8"),
    ("isp_configuration_bypass", "u8"),
    ("isp_run_time_ae_enable", "u8"),
    ("isp_run_time_awb_enable", "u8"),
    ("isp_run_time_adt_enable", "u8"),
    ("isp_run_time_af_enable", "u8"),
    ("isp_run_time_calculations_interval_ms", "le16"),
    ("isp_light_frequency", "u8"),
)
MIPI_INPUT: Struct = sequential(
    "mipi_input_config_params",
    "control-protocol.md 11",
    ("common_params", MIPI_COMMON),
    ("mipi_rx_id", "u8"),
    ("isp_params", ISP),
)
MIPI_OUTPUT: Struct = sequential(
    "mipi_output_config_params",
    "control-protocol.md 11",
    ("common_params", MIPI_COMMON),
    ("mipi_tx_id", "u8"),
    ("fifo_threshold_percent", "u8"),
    ("deskew_enable", "u8"),
)
PCIE_INPUT: Struct = sequential(
    "pcie_input_config_params", "control-protocol.md 11", ("pcie_channel_index", "u8"), ("pcie_dataflow_type", "u8")
)
PCIE_OUTPUT: Struct = sequential(
    "pcie_output_config_params",
    "control-protocol.md 3.1, 11",
    ("pcie_channel_index", "u8"),
    ("desc_page_size", "le16"),
)

#: Variants of the last parameter of opcode 3; its length on the wire is that of the variant.
COMMUNICATION_PARAMS: Mapping[str, Struct] = {
    "udp_input": UDP_INPUT,
    "udp_output": UDP_OUTPUT,
    "mipi_input": MIPI_INPUT,
    "mipi_output": MIPI_OUTPUT,
    "pcie_input": PCIE_INPUT,
    "pcie_output": PCIE_OUTPUT,
}
