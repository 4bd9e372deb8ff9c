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
#: BAR2: registers of a channel, and the position register in each half.
CHANNEL_BYTES, PROCESSED_AT = 0x20, 0x04


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


def without_idle_looks(accesses: Sequence[BarAccess]) -> list[BarAccess]:
    """Drop the handler's looks that found nothing: how often it runs is timing, and messages may merge."""
    kept: list[BarAccess] = []
    for access in accesses:
        if (access.bar, access.offset, access.is_write, access.value) == (0, 0x18C, False, 0):
            while kept and (kept[-1].bar, kept[-1].offset, kept[-1].is_write) == (0, 0x98, False):
                kept.pop()
            continue
        kept.append(access)
    return kept


def split_channels(accesses: Sequence[BarAccess]) -> tuple[list[BarAccess], dict[int, list[BarAccess]]]:
    """Return the accesses of BAR0 and BAR4, and those of each channel in BAR2.

    Frames, completions and output slots are handled by several threads in the recordings, so channels interleave.
    """
    rest: list[BarAccess] = []
    channels: dict[int, list[BarAccess]] = {}
    for access in accesses:
        if access.bar == 2:
            channels.setdefault(access.offset // CHANNEL_BYTES, []).append(access)
        else:
            rest.append(access)
    return rest, channels


def launches_and_looks(
    accesses: Sequence[BarAccess],
) -> tuple[list[tuple[BarAccess, ...]], list[tuple[BarAccess, ...]]]:
    """Split a channel's accesses: three per launch (look, look again, move the ring), two per look at completions."""
    launches: list[tuple[BarAccess, ...]] = []
    looks: list[tuple[BarAccess, ...]] = []
    at = 0
    while at < len(accesses):
        is_look = not accesses[at].is_write and accesses[at].offset % 0x10 == PROCESSED_AT
        length = 2 if is_look else 3
        (looks if is_look else launches).append(tuple(accesses[at : at + length]))
        at += length
    return launches, looks


def compare_run_phases(seen: Sequence[BarAccess], recording: Recording) -> list[Check]:
    """Compare the accesses of a run: controls one by one, launches of each channel one by one.

    How often completions are looked at, and how often the handler runs for nothing, is timing (masks.json).
    """
    recorded = recording.bars or ()
    ours, theirs = (mask_requests(side, recording.controls) for side in (seen, recorded))
    handlers = [without_idle_looks(only_handler(side)) for side in (ours, theirs)]
    our_rest, our_channels = split_channels(without_handler(ours))
    their_rest, their_channels = split_channels(without_handler(theirs))
    checks = [
        compare_accesses("register accesses", our_rest, their_rest),
        compare_accesses("interrupt handler", *handlers),
    ]
    launches = Check("launches")
    looks = Check("looks at completions")
    launches.expect("channels", sorted(our_channels), sorted(their_channels))
    for channel, accesses in their_channels.items():
        their_launches, their_looks = launches_and_looks(accesses)
        our_launches, our_looks = launches_and_looks(our_channels.get(channel, []))
        launches.expect(f"channel {channel}", our_launches, their_launches)
        looks.expect(f"channel {channel}, registers", {_shape(x) for x in our_looks}, {_shape(x) for x in their_looks})
        looks.expect(f"channel {channel}, last position", our_looks[-1][0], their_looks[-1][0])
    return [*checks, launches, looks]


def _shape(accesses: Sequence[BarAccess]) -> tuple[tuple[bool, int], ...]:
    return tuple((access.is_write, access.offset) for access in accesses)
