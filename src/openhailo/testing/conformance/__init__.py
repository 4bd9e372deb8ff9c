"""The conformance suite: `load` declares every check in `openhailo.testing.check.REGISTRY`."""

from __future__ import annotations

from importlib import import_module

from openhailo.testing.check import REGISTRY, Check

#: The modules that declare checks.
MODULES = (
    "board",
    "raw_tables",
    "registers",
    "boot",
    "mailbox",
    "logs",
    "notifications",
    "controls_device",
    "controls_board",
    "controls_system",
    "controls_network",
    "vdma",
    "vdma_driver",
    "contexts",
    "inference",
    "snn",
    "host_lists",
    "recovery",
    "kernel_board",
    "kernel_memory",
    "kernel_channels",
    "kernel_link",
)


def load() -> tuple[Check, ...]:
    """Return all checks, in the order of their modules."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")
    return tuple(REGISTRY.values())
