"""The conformance suite: `load` declares every check in `openhailo.testing.check.REGISTRY`."""

from __future__ import annotations

from importlib import import_module

from openhailo.testing.check import REGISTRY, Check

SUBJECTS = (
    "raw_tables",
    "registers",
    "boot",
    "mailbox",
    "logs",
    "notifications",
    "controls_device",
    "controls_board",
    "controls_system",
    "vdma",
    "contexts",
)


def load() -> tuple[Check, ...]:
    """Return all checks, in the order of their modules."""
    for subject in SUBJECTS:
        import_module(f"{__name__}.{subject}")
    return tuple(REGISTRY.values())
