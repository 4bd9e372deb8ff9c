"""Mutants that cannot matter, each with the reason."""

from __future__ import annotations

_MEMORY = "a descriptor lies in host memory, which has no access rules"
_ONLY_ZERO = "zero is the only legal value, and both orders of another one are refused alike"

#: Name of a mutant -> why no peer can notice it.
EQUIVALENTS: dict[str, str] = {
    "descriptor.SIZE_CONTROL access": _MEMORY,
    "descriptor.ADDRESS_LOW access": _MEMORY,
    "descriptor.ADDRESS_HIGH access": _MEMORY,
    "descriptor.STATUS access": _MEMORY,
    "pci.bars first two swapped": "the order of the table has no meaning: every row carries its number",
    "user_config.entries first two swapped": "the order of the table has no meaning: every row carries its numbers",
    "firmware_header.header_version order be32": _ONLY_ZERO,
    "user_config_header.version order be32": _ONLY_ZERO,
    "d2h_event_header.version order be32": "it is always zero, and nobody reads it (control-protocol.md 9.2)",
    "config.ISTATUS_HOST.vdma_source width": (
        "bits 4-7 stand for the source side of channels 16-31, which is the device's and never interrupts the host"
    ),
    "controls.CONTEXT_SWITCH_SET_CONTEXT_INFO request context_network_data max size +1": (
        "1462 bytes do not fit into a message of 1500, which is refused first"
    ),
    "descriptor.STATUS.remaining width": "a page has at most 4096 bytes, so the highest bit is never used",
    "descriptor.SIZE_CONTROL.control width": (
        "only the place of the control byte is read; its bits are declared, and bent, as descriptor_control"
    ),
}
