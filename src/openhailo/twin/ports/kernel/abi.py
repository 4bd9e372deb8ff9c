"""Requests and structures of each release, as the kernel side reads them (driver.md 7.2-7.4).

Written down here a second time, apart from the client's tables, so that a wrong number on either side is noticed; the
tests compare every row with `driver-abi.json`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .releases import VERSIONS, Version


class Layout:
    """A byte-packed little-endian structure: ``names`` and a `struct` format without padding."""

    def __init__(self, text: str) -> None:
        pairs = [entry.split(":") for entry in text.split()]
        self.names = tuple(name for name, _code in pairs)
        self._codec = struct.Struct("<" + "".join(code for _name, code in pairs))
        self.size = self._codec.size
        offsets, at = {}, 0
        for name, code in pairs:
            offsets[name] = (at, struct.Struct("<" + code))
            at += struct.calcsize("<" + code)
        self._members: Mapping[str, tuple[int, struct.Struct]] = offsets

    def read(self, data: bytes | bytearray | memoryview, at: int = 0) -> dict[str, Any]:
        """Return the members of the structure at ``at``."""
        return dict(zip(self.names, self._codec.unpack_from(data, at), strict=True))

    def store(self, data: bytearray, **values: Any) -> None:
        """Put ``values`` into the structure at the start of ``data``; the other members stay."""
        for name, value in values.items():
            at, codec = self._members[name]
            codec.pack_into(data, at, value)

    def offset(self, name: str) -> int:
        """Return where member ``name`` is."""
        return self._members[name][0]


_CHANNELS = "engine0:I engine1:I engine2:I"
_LAUNCH = "engine_index:B channel_index:B desc_handle:Q starting_desc:I should_bind:? buffers_count:B buffers:{}s "
_LAUNCH += "first_interrupts_domain:I last_interrupts_domain:I is_debug:?"
_PROGRAM = "desc_handle:Q channel_index:B starting_desc:I"
_SPAN = "buffer_handle:Q buffer_size:Q buffer_offset:Q"

#: name -> rows (first release, layout or None where it no longer exists), oldest first.
_STRUCTS: Mapping[str, tuple[tuple[Version, str | None], ...]] = {
    "driver_info": (((4, 17, 0), "major_version:I minor_version:I revision_version:I"),),
    "device_properties": (
        (
            (4, 17, 0),
            "desc_max_page_size:H board_type:I allocation_mode:I dma_type:I dma_engines_count:Q is_fw_loaded:?",
        ),
    ),
    "memory_transfer_params": (
        ((4, 17, 0), "transfer_direction:I memory_type:I address:Q count:Q buffer:4096s"),
        ((4, 23, 0), None),
    ),
    "fw_control": (((4, 17, 0), "expected_md5:16s buffer_len:I buffer:1500s timeout_ms:I cpu_id:I"),),
    "d2h_notification": (((4, 17, 0), "buffer_len:Q buffer:1500s"),),
    "read_log_params": (((4, 17, 0), "cpu_id:I buffer:512s buffer_size:Q read_bytes:Q"),),
    "channels": (((4, 17, 0), _CHANNELS),),
    "enable_channels": (((4, 17, 0), f"{_CHANNELS} enable_timestamps_measure:?"),),
    "vdma_interrupts_channel_data": (
        (
            (4, 17, 0),
            "engine_index:B channel_index:B is_active:? host_num_processed:H host_error:B device_error:B "
            "validation_success:?",
        ),
        (
            (4, 18, 0),
            "engine_index:B channel_index:B is_active:? transfers_completed:B host_error:B device_error:B "
            "validation_success:?",
        ),
        ((4, 21, 0), "engine_index:B channel_index:B data:B"),
    ),
    "vdma_interrupts_wait_params": (
        ((4, 17, 0), f"{_CHANNELS} channels_count:B irq_data:768s"),
        ((4, 18, 0), f"{_CHANNELS} channels_count:B irq_data:672s"),
        ((4, 21, 0), f"{_CHANNELS} channels_count:B irq_data:288s"),
    ),
    "channel_interrupt_timestamp": (((4, 17, 0), "timestamp_ns:Q desc_num_processed:H"),),
    "vdma_interrupts_read_timestamp_params": (
        ((4, 17, 0), "engine_index:B channel_index:B timestamps_count:I timestamps:2560s"),
    ),
    "vdma_buffer_map_params": (
        ((4, 17, 0), "user_address:Q size:Q data_direction:I allocated_buffer_handle:Q mapped_handle:Q"),
        ((4, 18, 0), "user_address:Q size:Q data_direction:I buffer_type:I allocated_buffer_handle:Q mapped_handle:Q"),
    ),
    "handle": (((4, 17, 0), "handle:Q"),),
    "vdma_buffer_sync_params": (((4, 17, 0), "handle:Q sync_type:I offset:Q count:Q"),),
    "desc_list_create_params": (
        ((4, 17, 0), "desc_count:Q desc_page_size:H is_circular:? desc_handle:Q dma_address:Q"),
    ),
    "desc_list_program_params": (
        ((4, 17, 0), f"{_SPAN} {_PROGRAM}"),  # here it is called desc_list_bind_vdma_buffer_params
        ((4, 18, 0), f"{_SPAN} {_PROGRAM} should_bind:? last_interrupts_domain:I is_debug:?"),
        (
            (4, 21, 0),
            f"{_SPAN} batch_size:I {_PROGRAM} should_bind:? last_interrupts_domain:I is_debug:? stride:I",
        ),
    ),
    "allocate_low_memory_buffer_params": (((4, 17, 0), "buffer_size:Q buffer_handle:Q"),),
    "mark_as_in_use_params": (((4, 17, 0), "in_use:?"),),
    "allocate_continuous_buffer_params": (((4, 17, 0), "buffer_size:Q buffer_handle:Q dma_address:Q"),),
    "vdma_transfer_buffer": (
        ((4, 17, 0), "mapped_buffer_handle:Q offset:I size:I"),
        ((4, 21, 0), "buffer_type:I addr_or_fd:Q size:I"),
    ),
    "vdma_launch_transfer_params": (
        ((4, 17, 0), _LAUNCH.format(32) + " descs_programed:I"),
        ((4, 18, 0), _LAUNCH.format(32) + " descs_programed:I launch_transfer_status:i"),
        ((4, 21, 0), _LAUNCH.format(128)),
    ),
}

#: name -> structure ("" for none) and rows (first release, request or None), oldest first (driver.md 7.2).
_REQUESTS: Mapping[str, tuple[str, tuple[tuple[Version, int | None], ...]]] = {
    "QUERY_DRIVER_INFO": ("driver_info", (((4, 17, 0), 0x400C6705), ((4, 18, 0), 0x400C6702))),
    "QUERY_DEVICE_PROPERTIES": ("device_properties", (((4, 17, 0), 0x40176704), ((4, 18, 0), 0x40176701))),
    "MEMORY_TRANSFER": ("memory_transfer_params", (((4, 17, 0), 0xD0186700), ((4, 23, 0), None))),
    "FW_CONTROL": ("fw_control", (((4, 17, 0), 0xC5F86701), ((4, 18, 0), 0xC5F86E00))),
    "READ_NOTIFICATION": ("d2h_notification", (((4, 17, 0), 0x45E46702), ((4, 18, 0), 0x45E46E01))),
    "DISABLE_NOTIFICATION": ("", (((4, 17, 0), 0x00006703), ((4, 18, 0), 0x00006E02))),
    "READ_LOG": ("read_log_params", (((4, 17, 0), 0xC2146706), ((4, 18, 0), 0xC2146E03))),
    "VDMA_ENABLE_CHANNELS": ("enable_channels", (((4, 17, 0), 0x800D7600),)),
    "VDMA_DISABLE_CHANNELS": ("channels", (((4, 17, 0), 0x800C7601),)),
    "VDMA_INTERRUPTS_WAIT": (
        "vdma_interrupts_wait_params",
        (((4, 17, 0), 0xC30D7602), ((4, 18, 0), 0xC2AD7602), ((4, 21, 0), 0xC12D7602)),
    ),
    "VDMA_INTERRUPTS_READ_TIMESTAMPS": ("vdma_interrupts_read_timestamp_params", (((4, 17, 0), 0xCA067603),)),
    "VDMA_BUFFER_MAP": ("vdma_buffer_map_params", (((4, 17, 0), 0xC0247604), ((4, 18, 0), 0xC0287604))),
    "VDMA_BUFFER_UNMAP": ("handle", (((4, 17, 0), 0x80087605),)),
    "VDMA_BUFFER_SYNC": ("vdma_buffer_sync_params", (((4, 17, 0), 0x801C7606),)),
    "DESC_LIST_CREATE": ("desc_list_create_params", (((4, 17, 0), 0xC01B7607),)),
    "DESC_LIST_RELEASE": ("handle", (((4, 17, 0), 0x80087608),)),
    "DESC_LIST_PROGRAM": (
        "desc_list_program_params",
        (((4, 17, 0), 0x80257609), ((4, 18, 0), 0x802B7609), ((4, 21, 0), 0x80337609)),
    ),
    "VDMA_LOW_MEMORY_BUFFER_ALLOC": ("allocate_low_memory_buffer_params", (((4, 17, 0), 0xC010760A),)),
    "VDMA_LOW_MEMORY_BUFFER_FREE": ("handle", (((4, 17, 0), 0x8008760B),)),
    "MARK_AS_IN_USE": ("mark_as_in_use_params", (((4, 17, 0), 0x4001760C),)),
    "VDMA_CONTINUOUS_BUFFER_ALLOC": ("allocate_continuous_buffer_params", (((4, 17, 0), 0xC018760D),)),
    "VDMA_CONTINUOUS_BUFFER_FREE": ("handle", (((4, 17, 0), 0x8008760E),)),
    "VDMA_LAUNCH_TRANSFER": (
        "vdma_launch_transfer_params",
        (((4, 17, 0), 0xC03D760F), ((4, 18, 0), 0xC041760F), ((4, 21, 0), 0x8099760F)),
    ),
}


@dataclass(frozen=True)
class Call:
    """One request that a release implements: its name and structure (None: no argument)."""

    name: str
    layout: Layout | None


@dataclass(frozen=True)
class Abi:
    """What one release understands."""

    calls: Mapping[int, Call]
    structs: Mapping[str, Layout]


def _latest(rows: tuple[tuple[Version, Any], ...], version: Version) -> Any:
    return [value for first, value in rows if first <= version][-1]


def build_abi(version: Version) -> Abi:
    """Return the requests and structures of release ``version``."""
    assert version in VERSIONS
    texts = {name: _latest(rows, version) for name, rows in _STRUCTS.items()}
    structs = {name: Layout(text) for name, text in texts.items() if text is not None}
    calls = {}
    for name, (struct_name, rows) in _REQUESTS.items():
        number = _latest(rows, version)
        if number is not None:
            calls[number] = Call(name, structs[struct_name] if struct_name else None)
    return Abi(calls, structs)
