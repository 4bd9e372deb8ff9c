"""Controls of networks and the context switch (control-protocol.md 5.32-5.37, 5.52-5.54, 5.59, 5.71-5.79)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openhailo.errors import MalformedReply
from openhailo.spec.enums import (
    BoundaryChannelMode,
    BreakpointControl,
    BreakpointStatus,
    ContextSwitchState,
    HwInferState,
)

from .caller import ControlCaller
from .results import ActionListDownload, HwConsts, HwInferResult

#: An action list cannot be longer than the firmware's own memory, so a download must end (GUESS: 1 MiB is ample).
_MAX_ACTION_LIST_BYTES = 1 << 20
#: Firmware fills its answers, so 64 KiB come in some fifty; one that hands out single bytes is not followed for ever.
_MAX_ACTION_LIST_CHUNKS = 1024


class NetworkControls(ControlCaller):
    """Everything that configures, activates and inspects networks."""

    def hw_consts(self) -> HwConsts:
        """Read the constants of the buffer formulas."""
        return HwConsts(**self.call("GET_HW_CONSTS")["hw_consts"])

    def set_application_header(self, header: Mapping[str, Any] | bytes) -> None:
        """Begin a network group: the 32-byte header, or its members by name (context-switch.md 2)."""
        self.call("CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER", application_header=header)

    def set_context_info(self, context_type: int, action_list: bytes) -> None:
        """Send one context's action list, in chunks of up to 1461 bytes (context-switch.md 3)."""
        step = self._spec.control_rules.max_chunk_bytes
        starts = range(0, max(len(action_list), 1), step)
        for at in starts:
            self.set_context_info_chunk(
                context_type,
                action_list[at : at + step],
                is_first=at == 0,
                is_last=at + step >= len(action_list),
            )

    def set_context_info_chunk(self, context_type: int, chunk: bytes, *, is_first: bool, is_last: bool) -> None:
        """Send one chunk of an action list."""
        self.call(
            "CONTEXT_SWITCH_SET_CONTEXT_INFO",
            is_first_chunk_per_context=int(is_first),
            is_last_chunk_per_context=int(is_last),
            context_type=context_type,
            context_network_data=chunk,
        )

    def change_status(
        self, state: int, application_index: int, dynamic_batch_size: int = 0, batch_count: int = 0
    ) -> None:
        """Move the context-switch state machine (0 reset, 1 enabled); batch size 0 means the configured one."""
        self.call(
            "CHANGE_CONTEXT_SWITCH_STATUS",
            state_machine_status=int(state),
            application_index=application_index,
            dynamic_batch_size=dynamic_batch_size,
            batch_count=batch_count,
        )

    def enable_application(self, application_index: int, dynamic_batch_size: int = 0, batch_count: int = 0) -> None:
        """Activate a network group, or switch to it from another one."""
        self.change_status(ContextSwitchState.ENABLED, application_index, dynamic_batch_size, batch_count)

    def reset_applications(self) -> None:
        """Deactivate whatever runs; allowed at any time."""
        self.change_status(ContextSwitchState.RESET, self._spec.control_rules.any_application)

    def clear_configured_apps(self) -> None:
        """Forget all network groups; the next header gets application index 0."""
        self.call("CONTEXT_SWITCH_CLEAR_CONFIGURED_APPS")

    def download_action_list(self, network_group_id: int, context_type: int, context_index: int) -> ActionListDownload:
        """Fetch the action list of one context with its timestamps, chunk by chunk."""
        data = bytearray()
        for _ in range(_MAX_ACTION_LIST_CHUNKS):
            part = self.call(
                "DOWNLOAD_CONTEXT_ACTION_LIST",
                network_group_id=network_group_id,
                context_type=context_type,
                context_index=context_index,
                action_list_offset=len(data),
            )
            if not part["action_list"] or not part["base_address"]:
                raise MalformedReply(what="action list", detail=f"empty chunk at {len(data)}, or no base address")
            data += part["action_list"]
            if part["is_action_list_end"]:
                return ActionListDownload(part["base_address"], part["batch_counter"], part["idle_time"], bytes(data))
            # The offset travels in 16 bits.
            if len(data) > min(_MAX_ACTION_LIST_BYTES, 0xFFFF):
                break
        raise MalformedReply(what="action list", detail=f"no end after {len(data)} bytes")

    def main_header(self) -> list[dict[str, Any]]:
        """Return the headers of the configured network groups."""
        header = self.call("GET_CONTEXT_SWITCH_MAIN_HEADER")["main_header"]
        applications = header["application_header"]
        if header["application_count"] > len(applications):
            raise MalformedReply(what="main header", detail=f"{header['application_count']} applications")
        return list(applications[: header["application_count"]])

    def set_timestamps(self, batch_index: int, *, enable: bool) -> None:
        """Choose the batch whose action times `download_action_list` shows."""
        self.call("CONFIG_CONTEXT_SWITCH_TIMESTAMP", batch_index=batch_index, enable_user_configuration=int(enable))

    def set_breakpoint(self, breakpoint_id: int, **where: int) -> None:
        """Halt at an action; ``where`` names members of the breakpoint data (control-protocol.md 11)."""
        self._breakpoint(breakpoint_id, BreakpointControl.SET, where)

    def continue_breakpoint(self, breakpoint_id: int) -> None:
        """Go on after a breakpoint."""
        self._breakpoint(breakpoint_id, BreakpointControl.CONTINUE, {})

    def clear_breakpoint(self, breakpoint_id: int) -> None:
        """Take a breakpoint back."""
        self._breakpoint(breakpoint_id, BreakpointControl.CLEAR, {})

    def breakpoint_status(self, breakpoint_id: int) -> BreakpointStatus:
        """Tell whether a breakpoint is cleared, waiting or reached."""
        value = self.call("GET_CONTEXT_SWITCH_BREAKPOINT_STATUS", breakpoint_id=breakpoint_id)["breakpoint_status"]
        try:
            return BreakpointStatus(value)
        except ValueError as error:
            raise MalformedReply(what="breakpoint status", detail=str(error)) from error

    def start_hw_infer(
        self,
        application_index: int,
        channels: Sequence[tuple[int, int]],
        *,
        dynamic_batch_size: int,
        batch_count: int,
        mode: int = BoundaryChannelMode.DESC,
    ) -> HwInferResult:
        """Run frames without the host; ``channels`` are (channel, descriptors) pairs. Ends with notification 11."""
        infos = [{"channel_index": c, "engine_index": 0, "desc_programed": n} for c, n in channels]
        return self._hw_infer(HwInferState.START, application_index, dynamic_batch_size, batch_count, infos, mode)

    def stop_hw_infer(self) -> HwInferResult:
        """Stop a run of `start_hw_infer` and return what it measured.

        Batch size and count mean nothing here; the vendor's library sends ones.
        """
        return self._hw_infer(HwInferState.STOP, 0, 1, 1, [], BoundaryChannelMode.DESC)

    def signal_cache_updated(self) -> None:
        """Tell the firmware that the host moved a cache offset."""
        self.call("CONTEXT_SWITCH_SIGNAL_CACHE_UPDATED")

    def set_dataflow_interrupt(self, kind: int, index: int, sub_index: int) -> None:
        """Trigger a dataflow interrupt (debugging)."""
        self.call("SET_DATAFLOW_INTERRUPT", interrupt_type=kind, interrupt_index=index, interrupt_sub_index=sub_index)

    def _breakpoint(self, breakpoint_id: int, control: BreakpointControl, where: Mapping[str, int]) -> None:
        self.call(
            "CONFIG_CONTEXT_SWITCH_BREAKPOINT",
            breakpoint_id=breakpoint_id,
            breakpoint_control=int(control),
            breakpoint_data=dict(where),
        )

    def _hw_infer(
        self, state: HwInferState, application: int, batch: int, count: int, infos: list[dict[str, int]], mode: int
    ) -> HwInferResult:
        values = self.call(
            "CHANGE_HW_INFER_STATUS",
            hw_infer_state=int(state),
            application_index=application,
            dynamic_batch_size=batch,
            batch_count=count,
            channels_info={"channel_info": infos, "channel_count": len(infos)},
            boundary_channel_mode=int(mode),
        )
        return HwInferResult(bool(values["results"]["infer_done"]), values["results"]["infer_cycles"])
