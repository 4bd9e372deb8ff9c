"""Runs the lists of an activation: waits, breakpoints, time stamps, failures (context-switch.md 15, 16, 20)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from openhailo.errors import BadProgram
from openhailo.twin.board import ChannelFault
from openhailo.twin.firmware.refusal import Refused

from .debug import Debugger
from .handlers import HANDLERS, Wait
from .lists import ListFault, Step
from .pump import BAD_CONFIG, CHANNEL_FAILED
from .run import Run
from .store import PRELIMINARY, Context


class ActionFailed(Exception):
    """An action of ``context`` failed with a status."""

    def __init__(self, status: str, context: Context, action_index: int, detail: str = "") -> None:
        self.status, self.context, self.action_index, self.detail = status, context, action_index, detail
        super().__init__(f"{status}: {detail or 'action failed'}")


class Executor:
    """One activation's program counter, as a generator that yields what it waits for.

    Args:
        failed: called once when an action fails; the executor has stopped by then.
    """

    def __init__(self, run: Run, debugger: Debugger, failed: Callable[[ActionFailed], None]) -> None:
        self._run, self._debugger, self._failed = run, debugger, failed
        self._waits: Iterator[Wait] | None = None
        self._wait: Wait | None = None
        self._is_running = False
        self.action_index = 0

    @property
    def position(self) -> tuple[int, int, int, int]:
        """(application, batch, context, action) as events 9 and 12 report it."""
        context = self._run.context
        flat = context.flat_index if context is not None else 0
        return self._run.application.index, self._run.batch_counter, flat, self.action_index

    def run_now(self, context: Context) -> None:
        """Run a list that must not wait (ACTIVATION, BATCH_SWITCHING). Raises `ActionFailed`."""
        before = self._run.context
        self._run.context = context
        for wait in self._execute(context, stops=False):
            if not wait():
                raise ActionFailed("CONTEXT_SWITCH_STATUS_ACTION_NOT_SUPPORTED", context, self.action_index)
        self._run.context = before

    def begin(self) -> None:
        """Start PRELIMINARY and the cycle of dynamic contexts."""
        self._waits = self._program()
        self.resume()

    def stop(self) -> None:
        """Never run again."""
        self._waits = self._wait = None

    def resume(self) -> None:
        """Go on if what was waited for has come."""
        if self._waits is None or self._is_running:
            return
        self._is_running = True
        try:
            while self._waits is not None and (self._wait is None or self._wait()):
                self._wait = next(self._waits)
        except (ActionFailed, Refused, ChannelFault) as error:
            self.stop()
            self._failed(self._as_failure(error))
        finally:
            self._is_running = False
        self._run.pump.advance()

    def _as_failure(self, error: ActionFailed | Refused | ChannelFault) -> ActionFailed:
        if isinstance(error, ActionFailed):
            return error
        context = self._run.context
        assert context is not None, "waits are made by contexts"
        status = error.major if isinstance(error, Refused) else CHANNEL_FAILED
        return ActionFailed(status, context, self.action_index, str(error))

    def _program(self) -> Iterator[Wait]:
        application = self._run.application
        preliminary = application.context(PRELIMINARY)
        if preliminary is not None:
            yield from self._context(preliminary)
        while True:
            before = self._run.pump.frames_computed
            for context in application.dynamic:
                yield from self._context(context)
                if not self._run.is_batch_done():
                    yield self._run.is_batch_done
            self._run.batch_counter += 1
            if self._run.pump.frames_computed == before:
                # A cycle that moves no frame would spin for ever: there is nothing to do until the next command.
                yield _never

    def _context(self, context: Context) -> Iterator[Wait]:
        self._run.enter(context)
        if context.kind != PRELIMINARY:
            self._run.core.begin_context(self._run.key)
        self._debugger.open_context(self._run, context)
        return self._execute(context, stops=True)

    def _execute(self, context: Context, *, stops: bool) -> Iterator[Wait]:
        """Run every action of ``context``; ``stops``: breakpoints, sleep and halt take effect."""
        try:
            steps = context.steps(self._run.parts.spec)
        except ListFault as fault:
            self.action_index = fault.action_index
            raise ActionFailed(fault.status, context, fault.action_index) from fault
        for step in steps:
            self.action_index = step.index
            if stops and self._debugger.is_armed and step.sub <= 0:
                halted = self._debugger.check(self.position)
                if halted is not None:
                    yield halted
            wait = self._act(context, step, stops)
            if wait is not None:
                yield wait
            if self._debugger.is_stamping:
                self._debugger.stamp(self._run, context, step)

    def _act(self, context: Context, step: Step, stops: bool) -> Wait | None:
        try:
            if step.name in ("SLEEP", "HALT"):
                if not stops:
                    raise Refused("CONTEXT_SWITCH_STATUS_ACTION_NOT_SUPPORTED")
                return self._sleep(step) if step.name == "SLEEP" else self._debugger.halt()
            return HANDLERS[step.name](self._run, step.fields)
        except (Refused, ChannelFault, BadProgram) as error:
            raise self._failure(error, context, step) from error

    @staticmethod
    def _failure(error: Refused | ChannelFault | BadProgram, context: Context, step: Step) -> ActionFailed:
        status = BAD_CONFIG
        if isinstance(error, Refused):
            status = error.major
        elif isinstance(error, ChannelFault):
            status = CHANNEL_FAILED
        return ActionFailed(status, context, step.index, f"{step.name}: {error}")

    def _sleep(self, step: Step) -> Wait:
        """43: microseconds of the twin's time."""
        parts = self._run.parts
        due_ns = parts.now_ns() + step.fields["sleep_time"] * 1000
        parts.board.schedule(step.fields["sleep_time"] * 1000, self.resume)
        return partial(_is_due, parts.now_ns, due_ns)


def _is_due(now_ns: Callable[[], int], due_ns: int) -> bool:
    return now_ns() >= due_ns


def _never() -> bool:
    return False
