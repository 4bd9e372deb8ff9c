"""The virtual chip: a Hailo-8 or Hailo-8L that exists as registers, memory and time only.

::

    from openhailo.twin import Twin

    with Twin() as twin:             # cold, as after power-on
        function = twin.function()   # an `openhailo.bus.protocols.PciFunction`, for the driver

`Twin` is imported lazily, so that naming the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .facade import Twin
    from .violation import TwinViolation

__all__ = ["Twin", "TwinViolation"]


def __getattr__(name: str) -> Any:
    if name == "Twin":
        from .facade import Twin

        return Twin
    if name == "TwinViolation":
        from .violation import TwinViolation

        return TwinViolation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
