"""What the twin says when it is used in a way the facts do not allow."""

from __future__ import annotations


class TwinViolation(BaseException):  # outside Exception on purpose: no `except` of a driver may swallow it
    """An access that no fact allows: an unknown register, a wrong width, a write to a read-only register.

    It is neither an ``Exception`` nor an ``OpenHailoError``, because real hardware would answer with something
    arbitrary and a driver that depends on it is wrong, whatever it does about errors.
    """
