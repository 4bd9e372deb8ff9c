"""How every command opens its device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from openhailo import Device

UnknownDriverOption = Annotated[
    bool,
    typer.Option(
        "--allow-unknown-driver",
        help="Try a 4.x kernel driver that openhailo does not know, as if it were the nearest older one.",
    ),
]


def open_device(name: str | None, *, allow_unknown_driver: bool = False, **options: Any) -> Device:
    """Open ``name`` (see `openhailo.open`); ``allow_unknown_driver`` means something to ``kernel:`` names alone."""
    import openhailo
    from openhailo.runtime.open import default_name

    if allow_unknown_driver:
        name = name or default_name()
        if name.partition(":")[0] == "kernel":
            options["allow_unknown_driver"] = True
    return openhailo.open(name, **options)
