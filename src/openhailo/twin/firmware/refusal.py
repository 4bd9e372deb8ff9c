"""How a handler says no: with the names of the status words, as fw.status.json spells them."""

from __future__ import annotations


class Refused(Exception):
    """Unwinds a control handler or an action; never leaves the firmware.

    ``major`` says what failed at control level, ``minor`` the cause (control-protocol.md 6).
    """

    def __init__(self, major: str, minor: str = "") -> None:
        self.major, self.minor = major, minor
        super().__init__(f"{major} {minor}".strip())
