"""Register accesses: what the program does and what the interrupt handler does are two sequences.

In the recordings a second processor runs the handler, so its accesses may fall anywhere between the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .compare import Check, compare_accesses
from .recording import BarAccess, Control, Recording

#: Registers that the handler touches: id, status, per-channel registers (BAR0).
HANDLER = {(0, 0x98), (0, 0x18C), (0, 0x400), (0, 0x500)}
DOORBELL_AT, MAILBOX_BYTES = 0x1684, 0x640
DIGEST_BYTES, MESSAGE_AT = 0x10, 0x14
RESPONSE_AT = 0x640


def is_handler(access: BarAccess) -> bool:
    """Tell whether the interrupt handler made this access (or the enabling of interrupts, which is alike)."""
    return (access.bar, access.offset) in HANDLER


def without_handler(accesses: Iterable[BarAccess]) -> list[BarAccess]:
    """Return what the program itself accessed."""
    return [access for access in accesses if not is_handler(access)]


def only_handler(accesses: Iterable[BarAccess]) -> list[BarAccess]:
    """Return what the interrupt handler accessed."""
    return [access for access in accesses if is_handler(access)]


def mask_requests(accesses: Iterable[BarAccess], controls: Sequence[Control]) -> list[BarAccess]:
    """Zero what differs from run to run: DMA addresses in requests, the digests over them, and what follows a response.

    The last dword of a response that is no multiple of four bytes long shows old memory behind it.
    """
    masked = []
    rung = 0
    for access in accesses:
        spans = controls[rung].masked if rung < len(controls) else ()
        valid = 0xFFFFFFFF
        if access.bar == 4 and access.offset < MAILBOX_BYTES and spans and _is_masked(access.offset, spans):
            valid = 0
        elif access.bar == 4 and access.offset > RESPONSE_AT and 0 < rung <= len(controls):
            left = RESPONSE_AT + MESSAGE_AT + len(controls[rung - 1].response) - access.offset
            valid = (1 << 8 * left) - 1 if 0 < left < 4 else valid
        masked.append(access._replace(value=access.value & valid))
        rung += access.is_write and (access.bar, access.offset) == (4, DOORBELL_AT)
    return masked


def _is_masked(offset: int, spans: Iterable[tuple[int, int]]) -> bool:
    if offset < DIGEST_BYTES:
        return True
    at = offset - MESSAGE_AT
    return any(at < start + length and start < at + 4 for start, length in spans)


def compare_phases(seen: Sequence[BarAccess], recording: Recording) -> list[Check]:
    """Compare the program's accesses and the handler's, each in order and with values."""
    recorded = recording.bars or ()
    ours, theirs = (mask_requests(side, recording.controls) for side in (seen, recorded))
    return [
        compare_accesses("register accesses", without_handler(ours), without_handler(theirs)),
        compare_accesses("interrupt handler", only_handler(ours), only_handler(theirs)),
    ]
