"""Rules that the fields of actions keep among each other (context-switch.md 6, 7, 9, 13, 14).

Silicon would stall or stream garbage where one is broken; the firmware here says which one instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openhailo.twin.firmware.refusal import Refused

_CS = "CONTEXT_SWITCH_STATUS_"
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2
#: periph_buffers_per_frame is clamped here, so that the product says nothing any more (14).
_CLAMPED_BUFFERS = 65535
_FRAMING_BYTES = 8


def periph_frame_bytes(regs: Mapping[str, Any]) -> int:
    """Return the bytes of one frame on the DMA side."""
    return int(regs["periph_bytes_per_buffer"] * regs["periph_buffers_per_frame"])


def check_registers(regs: Mapping[str, Any], buffer: Mapping[str, Any]) -> None:
    """Stream registers against the host buffer: both describe the same frame. Raises `Refused`."""
    size = periph_frame_bytes(regs)
    if not size or not regs["core_bytes_per_buffer"] or not regs["core_buffers_per_frame"]:
        raise Refused(_CS + "INVALID_BYTES_PER_BUFFER_VALUE")
    if regs["periph_buffers_per_frame"] == _CLAMPED_BUFFERS:
        return
    if buffer["bytes_in_pattern"] != size or regs["periph_bytes_per_buffer"] % _FRAMING_BYTES:
        raise Refused(_CS + "INVALID_BYTES_PER_BUFFER_VALUE")
    padding = regs["buffer_padding"]
    if regs["core_bytes_per_buffer"] * regs["core_buffers_per_frame"] < size - padding:
        raise Refused(_CS + "INVALID_BUFFERS_PER_FRAME_VALUE")
    if padding >= _FRAMING_BYTES or (padding and regs["buffer_padding_payload"] + padding != size):
        raise Refused(_CS + "INVALID_BYTES_PER_BUFFER_VALUE")


def check_credit(size: int) -> None:
    """Initial credits of an input: what its FIFO takes, never nothing. Raises `Refused`."""
    if not size:
        raise Refused("VDMA_SERVICE_STATUS_INVALID_INITIAL_CREDIT_SIZE")


def check_opened(opened: Mapping[str, Any], fields: Mapping[str, Any], *, is_input: bool) -> None:
    """A boundary activation against the OPEN action of its channel. Raises `Refused`."""
    if opened["host_buffer_info"] != fields["host_buffer_info"]:
        raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_CONTEXT_SWITCH_HOST_BUFFER_INFO")
    if not is_input:
        return
    regs = fields["stream_reg_info"]
    if opened["periph_bytes_per_buffer"] != regs["periph_bytes_per_buffer"]:
        raise Refused(_CS + "INVALID_BYTES_PER_BUFFER_VALUE")
    if regs["periph_buffers_per_frame"] != _CLAMPED_BUFFERS and opened["frame_periph_size"] != periph_frame_bytes(regs):
        raise Refused(_CS + "INVALID_BYTES_PER_BUFFER_VALUE")
    if opened["stream_index"] != fields["stream_index"]:
        raise Refused("CONTEXT_SWITCH_TASK_STATUS_UNDEFINED_MAPPING_FOR_SHIMFO")


def check_direction(fields: Mapping[str, Any], *, from_host: bool) -> None:
    """A direction field against the channel's own. Raises `Refused`."""
    if fields["edge_layer_direction"] != (HOST_TO_DEVICE if from_host else DEVICE_TO_HOST):
        raise Refused(_CS + "INVALID_EDGE_LAYER_DIRECTION")


def check_buffer_type(kind: int) -> None:
    """Only descriptor lists exist over PCIe. Raises `Refused`."""
    if kind:
        raise Refused(_CS + "INVALID_HOST_BUFFER_TYPE")
