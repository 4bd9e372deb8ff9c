"""What the vendor's stack does where nothing needs it, as options of ours.

``habits="vendor"`` when opening a device makes the driver access every register as often as the kernel driver 4.23
does, and configures networks as the vendor's streams do; ``"vendor-async"`` as its asynchronous interface under the
scheduler does. The recordings of the vendor's stack are equal byte for byte with these.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from openhailo.errors import InputError
from openhailo.runtime.streams import OutputRefill

#: Name -> options of `openhailo.runtime.options.NetworkOptions`. The first one is ours: as little as is needed.
HABITS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "": {},
        "vendor": {"repeat_queries": True, "output_refill": OutputRefill.EACH},
        "vendor-async": {
            "repeat_queries": True,
            "output_refill": OutputRefill.PAIRED,
            # The scheduler sends bursts of one frame to networks of a single context (control-protocol.md 7.3).
            "dynamic_batch_size": 1,
        },
    }
)


def network_options(habits: str) -> Mapping[str, Any]:
    """Return the network options of ``habits``. Raises `InputError` for a name that is not in `HABITS`."""
    try:
        return HABITS[habits]
    except KeyError:
        known = ", ".join(repr(name) for name in HABITS)
        raise InputError(what="habits", detail=f"{habits!r} is not one of {known}") from None
