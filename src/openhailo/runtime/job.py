"""What a user holds of frames under way: wait for them, ask how they went, be called back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openhailo.errors import DeviceTimeout
from openhailo.runtime.request import FrameRequest

if TYPE_CHECKING:
    from openhailo.runtime.dispatch import Dispatcher

_log = logging.getLogger(__name__)

#: Longest wait for a job unless the caller says otherwise (runtime-behaviour.md 2).
DEFAULT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class CompletionInfo:
    """How the frames of a job went: ``exception`` is that of the first frame that failed, None when all is well."""

    exception: BaseException | None = None

    def result(self) -> None:
        """Raise the exception, if there is one."""
        if self.exception is not None:
            raise self.exception


Callback = Callable[[CompletionInfo], object]


class InferJob:
    """Frames of one `run_async`. Jobs of a model are done in the order in which they were handed in.

    The callback runs once, on the thread of the virtual device that runs all callbacks, one after the other; what it
    raises is logged. The job counts as done when its callback has returned.
    """

    def __init__(self, dispatcher: Dispatcher, name: str, frames: int, callback: Callback | None) -> None:
        """Use `openhailo.runtime.infer_model.ConfiguredInferModel.run_async`."""
        self._dispatcher, self._name, self._left, self._callback = dispatcher, name, frames, callback
        self._error: BaseException | None = None
        self._requests: Sequence[FrameRequest] = ()
        self._future: Future[None] = Future()
        self._future.set_running_or_notify_cancel()

    def expect(self, requests: Sequence[FrameRequest]) -> None:
        """Wait for these; they tell `on_done`."""
        self._requests = requests

    def on_done(self, request: FrameRequest) -> None:
        """One of the requests is done; they are done in order, so nothing here happens twice at a time."""
        self._error = self._error or request.error
        self._left -= 1
        if self._left:
            return
        if self._callback is None:
            self._finish()
        else:
            self._dispatcher.post(self._call_back)

    def _call_back(self) -> None:
        assert self._callback is not None, "it was posted because there is one"
        try:
            self._callback(CompletionInfo(self._error))
        except Exception:
            _log.exception("a callback of %s raised", self._name)
        finally:
            self._callback = None
            self._finish()

    def _finish(self) -> None:
        if self._error is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(self._error)

    # --- for users --------------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every frame is done and the callback has returned."""
        return self._future.done()

    @property
    def exception(self) -> BaseException | None:
        """What went wrong with the first frame that failed; None while nothing has."""
        return self._error

    def wait(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Wait until the job is done. Raises what went wrong, or `DeviceTimeout`."""
        if not self.wait_done(timeout_s):
            hint = "it goes on; wait again, or shut the model down"
            raise DeviceTimeout(what=f"{self._name}: job", budget_s=timeout_s, elapsed_s=timeout_s, hint=hint)
        if self._error is not None:
            raise self._error

    def wait_done(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> bool:
        """Wait until the job is done, well or not; False after ``timeout_s``.

        Raises `StateError` in a callback of a future, which no result could reach.
        """
        if not self._future.done():
            self._dispatcher.require_patience()
        try:
            self._future.exception(timeout_s)
        except TimeoutError:
            return self._future.done()
        return True

    def future(self) -> Future[None]:
        """Return the job as a future."""
        return self._future

    def __await__(self):  # type: ignore[no-untyped-def]  # the type of a generator of asyncio's own
        """Wait in a coroutine; raises what went wrong. Cancelling it does not stop the frames."""
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()
