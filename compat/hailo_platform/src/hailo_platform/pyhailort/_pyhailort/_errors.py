"""What the compiled part raises, and which status an openhailo error stands for (pyhailort-api.md 3).

The three exceptions derive directly from `Exception`, not from each other: programs that catch the wrong one depend on
it. The reason that openhailo gives becomes a note of the exception, which tracebacks show and `str` does not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

from openhailo import errors as oh

from ._status_names import STATUS, STATUS_NAMES

P = ParamSpec("P")
T = TypeVar("T")


class HailoRTException(Exception):
    """A failure without a status."""


class HailoRTCustomException(Exception):
    """A failure that is told in words."""


class HailoRTStatusException(Exception):
    """A failure with a status: the first argument is its number, in decimal, as text."""


def get_status_message(status_code: int) -> str:
    """Return the name of a status; empty for a number that is none."""
    return STATUS_NAMES[status_code] if 0 <= status_code < len(STATUS_NAMES) else ""


def status_error(status: str, detail: str = "") -> HailoRTStatusException:
    """Return the exception for the status called ``status`` (without ``HAILO_``); ``detail`` says what to do."""
    error = HailoRTStatusException(str(STATUS[f"HAILO_{status}"]))
    if detail:
        error.add_note(detail)
    return error


def fail(status: str, detail: str = "") -> NoReturn:
    """Raise the exception for a status."""
    raise status_error(status, detail)


#: Error of openhailo -> status, the first row that fits counts. Rows without a mark follow runtime-behaviour.md 27 and
#: pyhailort-api.md 7; where the original has no such failure the nearest status is a GUESS.
_STATUS_OF: tuple[tuple[type[BaseException], str], ...] = (
    (oh.DeviceNotFound, "INVALID_ARGUMENT"),
    (oh.BrokerLost, "RPC_FAILED"),
    (oh.AccessDenied, "DRIVER_OPERATION_FAILED"),
    (oh.DeviceBusy, "DEVICE_IN_USE"),
    (oh.DmaMapError, "OUT_OF_HOST_MEMORY"),
    (oh.VersionUnsupported, "INVALID_DRIVER_VERSION"),
    (oh.DeviceTimeout, "TIMEOUT"),
    (oh.DeviceError, "DRIVER_OPERATION_FAILED"),
    (oh.ControlFailed, "FW_CONTROL_FAILURE"),
    (oh.ProtocolError, "INVALID_CONTROL_RESPONSE"),
    (oh.BadImage, "INVALID_FIRMWARE"),
    (oh.FirmwareError, "DRIVER_OPERATION_FAILED"),
    (oh.BadChecksum, "HEF_FILE_CORRUPTED"),
    (oh.UnsupportedHef, "HEF_NOT_SUPPORTED"),
    (oh.HefError, "INVALID_HEF"),
    (oh.DoesNotFit, "OUT_OF_FW_MEMORY"),
    (oh.CompileError, "INVALID_HEF"),
    (oh.ShapeMismatch, "INVALID_ARGUMENT"),
    (oh.QueueFull, "QUEUE_IS_FULL"),
    (oh.Cancelled, "STREAM_ABORT"),
    (oh.NoReference, "NOT_SUPPORTED"),
    (oh.StateError, "INVALID_OPERATION"),
    (oh.InputError, "INVALID_ARGUMENT"),
    (oh.OpenHailoError, "INTERNAL_FAILURE"),
    (TimeoutError, "TIMEOUT"),
)


def status_of(error: BaseException) -> int:
    """Return the status number that ``error`` stands for."""
    if isinstance(error, HailoRTStatusException):
        number = str(error.args[0])
        return int(number) if number.isdecimal() else STATUS["HAILO_INTERNAL_FAILURE"]
    if isinstance(error, oh.ControlFailed) and "UNSUPPORTED_OPCODE" in f"{error.major_name} {error.minor_name}":
        return STATUS["HAILO_UNSUPPORTED_OPCODE"]
    name = next((name for kind, name in _STATUS_OF if isinstance(error, kind)), "INTERNAL_FAILURE")
    return STATUS[f"HAILO_{name}"]


def as_status(error: BaseException) -> HailoRTStatusException:
    """Return ``error`` as the compiled part would raise it; the message goes into a note."""
    if isinstance(error, HailoRTStatusException):
        return error
    made = HailoRTStatusException(str(status_of(error)))
    made.add_note(str(error))
    return made


def translated(function: Callable[P, T]) -> Callable[P, T]:
    """Let ``function`` raise `HailoRTStatusException` instead of errors of openhailo."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except oh.OpenHailoError as error:
            raise as_status(error) from error

    return call


class Translating:
    """A base whose subclasses raise statuses: every public method, static method and property is `translated`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            wrapped = _translated_member(value) if not name.startswith("__") or name == "__init__" else value
            if wrapped is not value:
                setattr(cls, name, wrapped)


def _translated_member(value: Any) -> Any:
    if isinstance(value, property):
        getter, setter = value.fget, value.fset
        return property(getter and translated(getter), setter and translated(setter), None, value.__doc__)
    if isinstance(value, staticmethod | classmethod):
        return type(value)(translated(value.__func__))
    return translated(value) if callable(value) and not isinstance(value, type) else value
