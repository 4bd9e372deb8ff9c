"""Errors on their way to another process: the same class, message and plain attributes there as here."""

from __future__ import annotations

import inspect
from typing import Any

from openhailo import errors
from openhailo.errors import DeviceError, OpenHailoError
from openhailo.runtime.broker.messages import Refusal, Scalar

_PLAIN = (str, int, float, bool)
_MOST_TEXT = 2000


def refusal_of(error: BaseException) -> Refusal:
    """Return ``error`` as a message; anything that is no error of ours becomes a `DeviceError`."""
    kind = type(error).__name__
    if not isinstance(error, OpenHailoError) or not _known(kind):
        return Refusal("DeviceError", f"the broker failed: {type(error).__name__}: {str(error)[:_MOST_TEXT]}")
    kept = {name: value for name, value in vars(error).items() if isinstance(value, _PLAIN)}
    short: dict[str, Scalar] = {
        name: value[:_MOST_TEXT] if isinstance(value, str) else value for name, value in kept.items()
    }
    return Refusal(kind, str(error)[:_MOST_TEXT], short)


def error_of(refusal: Refusal) -> OpenHailoError:
    """Return the error that ``refusal`` tells of."""
    kind = _known(refusal.type) or DeviceError
    error: Any = kind.__new__(kind)
    error.args = (refusal.message,)
    allowed = inspect.signature(kind.__init__).parameters
    vars(error).update({name: value for name, value in refusal.fields.items() if name in allowed})
    assert isinstance(error, OpenHailoError), "only such are known"
    return error


def _known(name: str) -> type[OpenHailoError] | None:
    found = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, OpenHailoError) else None
