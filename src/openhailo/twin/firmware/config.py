"""What the virtual firmware claims to be and to measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from openhailo.errors import InputError
from openhailo.twin.board import TwinConfig

#: ``arch`` -> device_architecture of opcode 0 (control-protocol.md 8).
ARCHITECTURES: Mapping[str, int] = MappingProxyType({"hailo8_a0": 0, "hailo8": 1, "hailo8l": 2})
#: Releases whose protocol the facts pages cover.
OLDEST_VERSION, NEWEST_VERSION = (4, 17, 0), (4, 23, 0)

#: Opcode 72. Free choices that made the official library work (control-protocol.md 8); real numbers are not public.
DEFAULT_HW_CONSTS: Mapping[str, int] = MappingProxyType(
    {
        "fifo_word_granularity_bytes": 8,
        "max_periph_buffers_per_frame": 16383,
        "max_periph_bytes_per_buffer": 16384,
        "max_acceptable_bytes_per_buffer": 16376,
        # Twice the largest buffer: with an equal size, outputs that divide into buffers just under the largest have no
        # framing at all (context-switch.md 14, D2H check). All seven numbers are free choices (control-protocol.md 8).
        "outbound_data_stream_size": 32768,
        "should_optimize_credits": 1,
        "default_initial_credit_size": 2048,
    }
)


@dataclass(frozen=True)
class ThrottlingLevel:
    """One step of temperature throttling: above ``threshold_c`` the core runs at ``clock_hz``."""

    threshold_c: float
    hysteresis_c: float
    clock_hz: int


@dataclass(frozen=True)
class FirmwareConfig:
    """Every answer of the virtual firmware that is a choice.

    Texts are padded with NUL to the fixed widths of control-protocol.md 3.3. ``scripted_responses`` maps an opcode to
    recorded answers (whole messages): they replace the answers in order, the last one for ever; one that carries a
    failing status also keeps the control from taking effect, an empty one means no answer.
    """

    version: tuple[int, int, int] = NEWEST_VERSION
    follow_image_version: bool = False
    arch: str = "hailo8"
    board_name: str = "Hailo-8"
    serial_number: str = "TWIN000000000001"
    part_number: str = "TWIN-PART"
    product_name: str = "OPENHAILO VIRTUAL HAILO-8"
    logger_version: int = 0
    boot_source: int = 1
    life_cycle_state: int = 3
    soc_id: bytes = bytes(range(32))
    eth_mac_address: bytes = bytes((0x02, 0, 0, 0, 0, 1))
    lot_id: bytes = b"LOT00001"
    die_wafer_info: int = 0x04030201
    pd_info: bytes = bytes(24)
    partial_clusters_layout_bitmap: int = 0
    supported_features: int = 0x0000000C  # PCIe and current monitoring
    hw_consts: Mapping[str, int] = field(default_factory=lambda: DEFAULT_HW_CONSTS)
    red_overcurrent_ma: float = 5000.0
    # GUESS: the real levels are not public; four steps between orange and red, clock rates of control-protocol.md 10.
    throttling_levels: tuple[ThrottlingLevel, ...] = (
        ThrottlingLevel(104.0, 99.0, 350_000_000),
        ThrottlingLevel(108.0, 103.0, 300_000_000),
        ThrottlingLevel(112.0, 107.0, 250_000_000),
        ThrottlingLevel(116.0, 111.0, 200_000_000),
    )
    user_config: bytes = b""
    board_config: bytes = b""
    context_memory_bytes: int = 1 << 20  # GUESS: the firmware's own storage limit is unknown (context-switch.md 3)
    scripted_responses: Mapping[int, Sequence[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise InputError(what="arch", detail=f"{self.arch!r} is not one of {', '.join(ARCHITECTURES)}")
        if not OLDEST_VERSION <= self.version <= NEWEST_VERSION:
            raise InputError(what="firmware version", detail=f"{self.version} is not within 4.17.0 to 4.23.0")

    @classmethod
    def from_twin(cls, twin: TwinConfig) -> FirmwareConfig:
        """Derive the firmware's part from a twin's configuration; ``options["firmware"]`` may hold a whole one."""
        base = twin.options.get("firmware", cls())
        assert isinstance(base, cls), "options['firmware'] is a FirmwareConfig"
        changes: dict[str, object] = {"arch": twin.arch, "board_name": _BOARD_NAMES.get(twin.arch, base.board_name)}
        if twin.arch == "hailo8l":
            # GUESS: the layouts of real parts are not public; hef.md 17 shows 0xFF, and no other, at work.
            changes["partial_clusters_layout_bitmap"] = base.partial_clusters_layout_bitmap or 0xFF
        if "firmware" in twin.options:
            changes = {} if twin.arch == TwinConfig().arch else {"arch": twin.arch}
        if twin.firmware_version is not None:
            changes["version"] = twin.firmware_version
        elif "firmware" not in twin.options:
            changes["follow_image_version"] = True
        if twin.hw_consts is not None:
            changes["hw_consts"] = {**DEFAULT_HW_CONSTS, **twin.hw_consts}
        if twin.answers:
            changes["scripted_responses"] = {
                **base.scripted_responses,
                **{opcode: (answer,) for opcode, answer in twin.answers.items()},
            }
        return replace(base, **changes)  # type: ignore[arg-type]


_BOARD_NAMES = {"hailo8": "Hailo-8", "hailo8l": "Hailo-8L", "hailo8_a0": "Hailo-8"}
