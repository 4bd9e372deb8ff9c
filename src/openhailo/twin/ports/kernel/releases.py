"""How the nine releases of the kernel driver differ in behaviour (driver.md 7.6 and the sections named below)."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

Version = tuple[int, int, int]

VERSIONS: tuple[Version, ...] = (
    (4, 17, 0),
    (4, 17, 1),
    (4, 18, 0),
    (4, 19, 0),
    (4, 20, 0),
    (4, 20, 1),
    (4, 21, 0),
    (4, 22, 0),
    (4, 23, 0),
)
#: What each release ORs into the interrupt mask (driver.md 5.2), newest first.
_MASKS = (
    ((4, 21, 0), 0xFF00FFFF),
    ((4, 20, 0), 0xFF000000),
    ((4, 19, 0), 0x3E000000),
    ((4, 18, 0), 0x1E000000),
    ((4, 17, 0), 0x0E000000),
)


@dataclass(frozen=True)
class Release:
    """One release: a row of differences. The attributes follow from ``version``."""

    version: Version
    #: ABI family (driver.md 0).
    family: str = field(init=False)
    #: 8- and 16-bit accesses to channel registers (6.1).
    narrow_channels: bool = field(init=False)
    #: 8- and 16-bit accesses to the other BARs (1.1, 2.1, 4.1).
    narrow_bars: bool = field(init=False)
    #: The driver puts ATR0 back after it wrote device memory (2.1).
    restores_window: bool = field(init=False)
    #: Firmware is loaded as one batch: configs last, a missing image is fatal, the file is at most 0x50000 (2.3, 2.4).
    batch_loader: bool = field(init=False)
    #: Running firmware is reset and loaded again; a boot phase of its own for the interrupt handler (2.4).
    reloads: bool = field(init=False)
    #: After a soft reset the boot status is polled; before, 10 ms are slept (2.4).
    polls_boot_status: bool = field(init=False)
    #: The interrupt mask at enable, and whether it is written before the status is cleared (5.2).
    mask: int = field(init=False)
    mask_first: bool = field(init=False)
    #: Channel groups are (un)masked when channels are enabled and disabled (5.2).
    masks_channels: bool = field(init=False)
    #: Per-channel registers are written back only if not zero (5.3).
    clears_set_bits_only: bool = field(init=False)
    #: The channel's state is checked at each launch, bind errors are not (6.6).
    checks_channel: bool = field(init=False)
    #: Disabling a channel wipes all 32 (6.8).
    wipes_all_channels: bool = field(init=False)
    #: Channels are tracked per open and disabled at its close (1.3).
    tracks_channels: bool = field(init=False)
    #: Memory transfers take 64-bit addresses (7.5, 7.6).
    wide_addresses: bool = field(init=False)
    #: errno of bad list positions and offsets when binding (6.5).
    bind_errno: int = field(init=False)
    #: errno where no contiguous memory is left (7.5).
    contiguous_errno: int = field(init=False)
    #: errno of a reader whose notifications were disabled (4.1).
    disabled_errno: int = field(init=False)

    def __post_init__(self) -> None:
        version = self.version
        if version not in VERSIONS:
            raise ValueError(f"kernel driver {version} is not one of 4.17.0 ... 4.23.0")
        facts = {
            "family": "ABCD"[sum(version >= first for first in ((4, 18, 0), (4, 21, 0), (4, 23, 0)))],
            "narrow_channels": version < (4, 18, 0),
            "narrow_bars": version < (4, 19, 0),
            "restores_window": version >= (4, 18, 0),
            "batch_loader": version >= (4, 19, 0),
            "reloads": version >= (4, 20, 0),
            "polls_boot_status": version >= (4, 21, 0),
            "mask": next(mask for first, mask in _MASKS if version >= first),
            "mask_first": version >= (4, 21, 0),
            "masks_channels": version < (4, 21, 0),
            "clears_set_bits_only": version >= (4, 20, 0),
            "checks_channel": version >= (4, 18, 0),
            "wipes_all_channels": version < (4, 19, 0),
            "tracks_channels": version >= (4, 19, 0),
            "wide_addresses": version >= (4, 19, 0),
            "bind_errno": errno.EINVAL if version >= (4, 21, 0) else errno.EFAULT,
            "contiguous_errno": errno.ENOBUFS if version >= (4, 20, 0) else errno.ENOMEM,
            "disabled_errno": errno.ECANCELED if version >= (4, 20, 0) else errno.EINVAL,
        }
        for name, value in facts.items():
            object.__setattr__(self, name, value)

    @property
    def text(self) -> str:
        """The version as text."""
        return ".".join(map(str, self.version))


def parse_release(text: str) -> Release:
    """Return the release called ``text``, for instance "4.21.0"; `ValueError` for any other."""
    try:
        major, minor, revision = map(int, text.split("."))
    except ValueError:
        raise ValueError(f"{text!r} is not a release such as 4.23.0") from None
    return Release((major, minor, revision))
