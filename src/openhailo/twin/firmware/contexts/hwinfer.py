"""Hardware-only inference: opcode 74 and event 11 (context-switch.md 20).

The host has programmed every descriptor of the boundary channels and launches nothing: the firmware plays its part and
feeds batch x batch_count frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openhailo.twin.firmware.parts import Parts
from openhailo.twin.firmware.refusal import Refused

if TYPE_CHECKING:
    from .machine import ContextSwitch

START, STOP = range(2)
DESCRIPTORS_MODE = 0
#: Cycles are counted in 5 ns (context-switch.md 20: fps = frames / (cycles x 5 ns)).
CYCLE_NS = 5
_HW = "HW_INFER_MANAGER_STATUS_"


class HwInference:
    """One measurement at a time."""

    def __init__(self, parts: Parts, machine: ContextSwitch) -> None:
        self._parts, self._machine = parts, machine
        self._frames = 0
        self._started_ns: int | None = None
        self._cycles: int | None = None

    def start(self, args: Mapping[str, Any]) -> dict[str, int]:
        """START: activate the application on device-driven boundary channels. Raises `Refused`."""
        if not self._machine.is_idle:
            raise Refused(_HW + "NETWORK_GROUP_ALREADY_ACTIVATED")
        if args["boundary_channel_mode"] != DESCRIPTORS_MODE:
            raise Refused(_HW + "INVALID_BOUNDARY_CHANNEL_MODE")
        try:
            application = self._machine.store.runnable(args["application_index"])
        except Refused as refusal:
            raise Refused(_HW + "NETWORK_GROUP_NOT_CONFIGURED_BEFORE_INFER_START", refusal.major) from refusal
        info = args["channels_info"]
        channels = info["channel_info"][: info["channel_count"]]
        batch = args["dynamic_batch_size"] or application.header["batch_size"]
        self._frames = batch * max(1, args["batch_count"])
        self._started_ns, self._cycles = self._parts.now_ns(), None
        frames = {c["channel_index"]: c["desc_programed"] for c in channels}
        self._machine.activate(application, batch, frames)
        return {"infer_done": 0, "infer_cycles": 0}

    def stop(self) -> dict[str, int]:
        """STOP: deactivate and report. Raises `Refused` when nothing was started."""
        if self._started_ns is None:
            raise Refused(_HW + "INVALID_STATE")
        self._machine.stop()
        cycles, self._started_ns = self._cycles, None
        return {"infer_done": int(cycles is not None), "infer_cycles": cycles or 0}

    def look(self) -> None:
        """Frames have moved: finish when all of them went out."""
        run = self._machine.run
        if self._started_ns is None or self._cycles is not None or run is None or not run.device_frames:
            return
        flow = self._machine.pump.flow
        through = flow.all_delivered() if flow is not None else 0
        if run.application.is_multi_context:
            through = run.batch_counter * run.batch
        if through < self._frames:
            return
        self._machine.pump.close()
        self._cycles = min(max(1, (self._parts.now_ns() - self._started_ns) // CYCLE_NS), 0xFFFFFFFF)
        self._parts.notifier.emit("HW_INFER_MANAGER_INFER_DONE", infer_cycles=self._cycles)
