"""Checks: small functions that ask one thing of a device, found by a decorator.

::

    @check("controls", needs=("state",))
    def user_config_is_kept(rig: Rig) -> None:
        ...

A check fails by raising anything. `expect` raises `Mismatch` and says what was seen and what was wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .rig import Rig

E = TypeVar("E", bound=BaseException)
_MAX_SHOWN = 200


class Mismatch(AssertionError):
    """The device did something else than it should."""


@dataclass(frozen=True)
class Check:
    """One check: the ``subject`` it belongs to, what it ``needs`` of a rig, and what it is ``about``.

    ``about`` names controls, actions, events and registers by their official names; it says which checks to run first
    when one of them is suspected.
    """

    name: str
    subject: str
    run: Callable[[Rig], None]
    needs: tuple[str, ...] = ()
    about: frozenset[str] = frozenset()

    def missing(self, capabilities: frozenset[str]) -> str:
        """Return why a rig with ``capabilities`` cannot run this check; empty when it can."""
        offered = capabilities | {"raw"} if "function" in capabilities else capabilities
        lacking = [need for need in self.needs if need not in offered]
        return f"needs {', '.join(lacking)}" if lacking else ""


#: Every check that was declared, by name.
REGISTRY: dict[str, Check] = {}


def check(
    subject: str, *, needs: Sequence[str] = (), about: Sequence[str] = ()
) -> Callable[[Callable[[Rig], None]], Callable[[Rig], None]]:
    """Declare the decorated function as a check of ``subject``."""

    def declare(run: Callable[[Rig], None]) -> Callable[[Rig], None]:
        add_check(run.__name__, subject, run, needs=needs, about=about)
        return run

    return declare


def add_check(
    name: str, subject: str, run: Callable[[Rig], None], *, needs: Sequence[str] = (), about: Sequence[str] = ()
) -> None:
    """Declare ``run`` as check ``subject.name``; the way for checks that come from a table."""
    full = f"{subject}.{name}"
    assert full not in REGISTRY, f"two checks are called {full}"
    REGISTRY[full] = Check(full, subject, run, tuple(needs), frozenset(about))


def expect(what: str, seen: Any, wanted: Any) -> None:
    """Raise `Mismatch` unless ``seen`` equals ``wanted``."""
    if seen != wanted:
        raise Mismatch(f"{what}: {_show(seen)} instead of {_show(wanted)}{_where(seen, wanted)}")


def expect_true(what: str, holds: Any) -> None:
    """Raise `Mismatch` unless ``holds``."""
    if not holds:
        raise Mismatch(f"{what}: does not hold")


def expect_error(what: str, kind: type[E], action: Callable[[], object]) -> E:
    """Call ``action``, which must raise ``kind``; return the error."""
    try:
        result = action()
    except kind as error:
        return error
    raise Mismatch(f"{what}: gave {_show(result)}, should have raised {kind.__name__}")


def _show(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}... ({len(text)} characters)"


def _where(seen: Any, wanted: Any) -> str:
    """Name the first difference of two long values of one kind."""
    if isinstance(seen, dict) and isinstance(wanted, dict):
        for key in [*wanted, *seen]:
            if seen.get(key) != wanted.get(key):
                return f" (at {key!r}: {_show(seen.get(key))} instead of {_show(wanted.get(key))})"
    if isinstance(seen, bytes | list | tuple) and isinstance(wanted, bytes | list | tuple):
        for at, (ours, theirs) in enumerate(zip(seen, wanted, strict=False)):
            if ours != theirs:
                return f" (at {at}: {_show(ours)} instead of {_show(theirs)})"
        return f" (lengths {len(seen)} and {len(wanted)})"
    return ""
