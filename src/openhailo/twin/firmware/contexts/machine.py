"""The state machine of opcode 37 and what depends on it (context-switch.md 15, 20)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from openhailo.twin.core import NeuralCore
from openhailo.twin.firmware.logs import CORE_CPU, ERROR, INFO
from openhailo.twin.firmware.parts import Parts
from openhailo.twin.firmware.refusal import Refused

from .debug import Debugger
from .executor import ActionFailed, Executor
from .hwinfer import HwInference
from .pump import Pump
from .run import Run
from .store import ACTIVATION, BATCH_SWITCHING, Application, ApplicationStore

RESET, ENABLED = range(2)
#: From the answer to ENABLED to the first preliminary action: the list runs after the answer (context-switch.md 15).
PRELIMINARY_DELAY_NS = 1_000
_CS = "CONTEXT_SWITCH_STATUS_"


class ContextSwitch:
    """Stored applications, and at most one of them running.

    Args:
        refuse_opening: returns a status name when health forbids to start an application, else an empty text.
    """

    def __init__(self, parts: Parts, core: NeuralCore, refuse_opening: Callable[[], str]) -> None:
        self._parts, self._core, self._refuse_opening = parts, core, refuse_opening
        self.store = ApplicationStore(parts.spec, parts.config.context_memory_bytes)
        self.debugger = Debugger(parts, self._resume)
        self.hw_inference = HwInference(parts, self)
        self._run: Run | None = None
        self._executor: Executor | None = None
        self._generation = 0
        self.pump = Pump(parts.board, self._resume, self._pump_failed)
        parts.board.vdma.on_work(self.pump.on_work)

    @property
    def is_idle(self) -> bool:
        """Tell whether no application runs."""
        return self._run is None

    @property
    def run(self) -> Run | None:
        """The running activation."""
        return self._run

    # --- configuration --------------------------------------------------------------------------------------------

    def add_header(self, header: Mapping[str, Any]) -> None:
        """Opcode 32. Raises `Refused`."""
        self._demand_idle(_CS + "CANT_CONFIGURE_HEF_WHILE_ACTIVATED")
        self.store.add_header(header)

    def add_chunk(self, *, is_first: bool, is_last: bool, kind: int, data: bytes) -> None:
        """Opcode 33. Raises `Refused`."""
        self._demand_idle(_CS + "CANT_CONFIGURE_HEF_WHILE_ACTIVATED")
        self.store.add_chunk(is_first=is_first, is_last=is_last, kind=kind, data=data)

    def clear(self) -> None:
        """Opcode 71. Raises `Refused`."""
        self._demand_idle(_CS + "CANT_CLEAR_CONFIGURED_APPS_WHILE_ACTIVATED")
        self.store.clear()

    def _demand_idle(self, status: str) -> None:
        if not self.is_idle:
            raise Refused(status)

    # --- states ---------------------------------------------------------------------------------------------------

    def command(self, state: int, application: int, batch: int) -> None:
        """Opcode 37. Raises `Refused`."""
        if state == RESET:
            self.stop()
        elif state == ENABLED:
            self._enable(application, batch)
        else:
            raise Refused(_CS + "INVALID_STATE_MACHINE_STATUS")

    def stop(self) -> None:
        """Stop whatever runs at once: every channel, all credits, all tasks. Idempotent; applications stay stored."""
        self._generation += 1
        if self._executor is not None:
            self._executor.stop()
        self.pump.close()
        self._run = self._executor = None
        self._core.reset()
        self._parts.board.vdma.close_all()

    def abandon(self) -> None:
        """Stop, and never look at work that is still being computed: the chip drops its results."""
        self.stop()
        self._core.forget_kernels()
        self.pump = Pump(self._parts.board, self._resume, self._pump_failed)
        self._parts.board.vdma.on_work(self.pump.on_work)

    def _enable(self, index: int, dynamic_batch: int) -> None:
        application = self.store.runnable(index)
        batch = self._effective_batch(application, dynamic_batch)
        same = self._run is not None and self._run.application is application
        if same and application.header["can_fast_batch_switch"]:
            self._switch_batch(batch)
            return
        refusal = self._refuse_opening()
        if refusal:
            raise Refused(refusal)
        self.stop()
        self.activate(application, batch)

    def _effective_batch(self, application: Application, dynamic_batch: int) -> int:
        """0 means the configured batch; a multi-context group has buffers for no more than that (trap 10)."""
        configured = int(application.header["batch_size"])
        limit = configured if application.is_multi_context else self._parts.spec.limits.max_batch_size
        if dynamic_batch > limit:
            raise Refused(_CS + "INVALID_BATCH_SIZE")
        return dynamic_batch or configured

    def activate(self, application: Application, batch: int, device_frames: Mapping[int, int] | None = None) -> None:
        """Run ACTIVATION now; PRELIMINARY and the dynamic contexts follow as an event. Raises `Refused`.

        ``device_frames`` (hardware-only inference): boundary channel -> descriptors programmed; the firmware then
        drives those channels itself.
        """
        run = Run(self._parts, self._core, self.pump, application, batch, device_frames=device_frames or {})
        executor = Executor(run, self.debugger, self._failed)
        self._run, self._executor = run, executor
        self._core.reset()
        self.debugger.begin_activation()
        try:
            executor.run_now(application.fixed[ACTIVATION])
        except ActionFailed as failure:
            self._parts.log.line(CORE_CPU, ERROR, str(failure))
            self.stop()
            raise Refused(failure.status) from failure
        self._parts.log.line(CORE_CPU, INFO, f"application {application.index} activated, batch {batch}")
        self._parts.board.trace("firmware", state="ENABLED", application=application.index, batch=batch)
        self._parts.board.schedule(PRELIMINARY_DELAY_NS, partial(self._begin, self._generation))

    def _begin(self, generation: int) -> None:
        if generation == self._generation and self._executor is not None:
            self._executor.begin()

    def _switch_batch(self, batch: int) -> None:
        """Fast batch switch: run BATCH_SWITCHING, keep rings and counters exactly as they are (trap 8)."""
        run, executor = self._run, self._executor
        assert run is not None and executor is not None, "the caller saw it running"
        context = run.application.fixed.get(BATCH_SWITCHING)
        if context is not None:
            try:
                executor.run_now(context)
            except ActionFailed as failure:
                self._failed(failure)
                raise Refused(failure.status) from failure
        run.change_batch(batch)
        self._parts.log.line(CORE_CPU, INFO, f"batch {batch}")
        self._parts.board.schedule(0, partial(self._continue, self._generation))

    def _continue(self, generation: int) -> None:
        if generation == self._generation:
            self._resume()

    def _resume(self) -> None:
        """Something that a wait may be for has happened."""
        if self._executor is not None:
            self._executor.resume()
        self.hw_inference.look()

    # --- failures -------------------------------------------------------------------------------------------------

    def _pump_failed(self, status: str, detail: str) -> None:
        run, executor = self._run, self._executor
        if run is None or executor is None or run.context is None:
            return
        self._failed(ActionFailed(status, run.context, executor.action_index, detail))

    def _failed(self, failure: ActionFailed) -> None:
        """Event 12, then stop every channel, so that the host does not wait for frames that never come (9.4)."""
        run = self._run
        if run is None:
            return
        position = (run.application.index, run.batch_counter, failure.context.flat_index, failure.action_index)
        self._parts.log.line(CORE_CPU, ERROR, f"run-time error at {position}: {failure}")
        self._parts.board.trace("firmware", state="ERROR", status=failure.status, detail=failure.detail)
        self._parts.notifier.run_time_error(self._parts.status(failure.status), position)
        for channel in run.boundaries:
            self._parts.board.vdma.fail_channel(channel, failure.status)
        self.stop()

    # --- caches ---------------------------------------------------------------------------------------------------

    def cache_updated(self) -> None:
        """Opcode 79: the host moved its cache offset."""
        if self._run is not None:
            self._run.is_cache_updated = True
        self._resume()

    def close_streams(self) -> bool:
        """The health monitor demands a stop; True if something was running."""
        was_running = not self.is_idle
        self.stop()
        return was_running

    def snapshot(self) -> dict[str, Any]:
        """Return the stored applications with their lists taken apart, and what the running one has set up."""
        return {
            "applications": [application.snapshot(self._parts.spec) for application in self.store.applications],
            "run": self._run.snapshot() if self._run is not None else None,
            **self.debugger.snapshot(),
        }
