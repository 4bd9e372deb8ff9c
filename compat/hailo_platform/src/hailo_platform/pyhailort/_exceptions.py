"""Exceptions and the translation of statuses into them (pyhailort-api.md 3)."""

from __future__ import annotations

from types import TracebackType
from typing import NoReturn, Self

from . import _pyhailort


class HailoRTException(Exception):
    """Root of this module's exceptions; the text is ``libhailort failed with error: N (NAME)``."""


class UdpRecvError(HailoRTException):
    """Status 21."""


class InvalidProtocolVersionException(HailoRTException):
    """Status 15."""


class HailoRTFirmwareControlFailedException(HailoRTException):
    """Status 18."""


class HailoRTInvalidFrameException(HailoRTException):
    """Status 25."""


class HailoRTUnsupportedOpcodeException(HailoRTException):
    """Status 48."""


class HailoRTTimeout(HailoRTException):
    """Status 4."""


class HailoRTStreamAborted(HailoRTException):
    """Status 63."""


class HailoRTStreamAbortedByUser(HailoRTException):
    """Never raised; programs name it."""


class HailoRTInvalidOperationException(HailoRTException):
    """Status 6."""


class HailoRTInvalidArgumentException(HailoRTException):
    """Status 2."""


class HailoRTNotFoundException(HailoRTException):
    """Status 61."""


class HailoRTInvalidHEFException(HailoRTException):
    """Status 26."""


class HailoRTHEFNotCompatibleWithDevice(HailoRTException):
    """Status 93."""


class HailoRTEthException(HailoRTException):
    """Status 19."""


class HailoRTDriverOperationFailedException(HailoRTException):
    """Status 36."""


#: An older name.
HailoRTPCIeDriverException = HailoRTDriverOperationFailedException


class HailoRTNetworkGroupNotActivatedException(HailoRTException):
    """Status 69."""


class HailoCommunicationClosedException(HailoRTException):
    """Status 62."""


class HailoStatusInvalidValueException(Exception):
    """A number that is no status."""


EXCEPTION_OF_STATUS: dict[int, type[HailoRTException]] = {
    2: HailoRTInvalidArgumentException,
    4: HailoRTTimeout,
    6: HailoRTInvalidOperationException,
    15: InvalidProtocolVersionException,
    18: HailoRTFirmwareControlFailedException,
    19: HailoRTEthException,
    21: UdpRecvError,
    25: HailoRTInvalidFrameException,
    26: HailoRTInvalidHEFException,
    36: HailoRTDriverOperationFailedException,
    48: HailoRTUnsupportedOpcodeException,
    61: HailoRTNotFoundException,
    62: HailoCommunicationClosedException,
    63: HailoRTStreamAborted,
    69: HailoRTNetworkGroupNotActivatedException,
    93: HailoRTHEFNotCompatibleWithDevice,
}


def get_status_message(status_code: int) -> str:
    """Return the name of a status. Raises `HailoStatusInvalidValueException` for a number that is none."""
    found = _pyhailort.get_status_message(status_code)
    if not found:
        raise HailoStatusInvalidValueException(f"Value {status_code} is not a valid status")
    return found


class ExceptionWrapper:
    """A context in which statuses of the compiled part become the exceptions of this module."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(value, _pyhailort.HailoRTStatusException):
            self._raise_indicative_status_exception(value)

    @staticmethod
    def create_exception_from_status(error_code: int) -> HailoRTException:
        """Return the exception of a status, for callbacks."""
        kind = EXCEPTION_OF_STATUS.get(error_code, HailoRTException)
        name = _pyhailort.get_status_message(error_code)
        return kind(f"libhailort failed with error: {error_code} ({name})")

    def _raise_indicative_status_exception(self, libhailort_exception: BaseException) -> NoReturn:
        number = str(libhailort_exception.args[0])
        if not number.isdecimal():
            raise libhailort_exception
        made = self.create_exception_from_status(int(number))
        for note in getattr(libhailort_exception, "__notes__", ()):
            made.add_note(note)
        raise made from libhailort_exception
