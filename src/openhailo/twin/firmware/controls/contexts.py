"""Controls of the context switch: opcodes 32, 33, 36, 37, 41, 52-54, 59, 71, 74, 79."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openhailo.twin.firmware.contexts.machine import ContextSwitch
from openhailo.twin.firmware.contexts.store import DYNAMIC
from openhailo.twin.firmware.parts import Handler, Parts
from openhailo.twin.firmware.refusal import Refused

if TYPE_CHECKING:
    from openhailo.twin.firmware.contexts.store import Application, Context

#: Response bytes around the list of opcode 36 (context-switch.md 20); the message limit leaves the rest.
_DOWNLOAD_OVERHEAD = 33
#: GUESS: where lists lie; the host only wants it not to be zero.
_LIST_BASE = 0x20000000
_HW_START, _HW_STOP = 0, 1
_CS = "CONTEXT_SWITCH_STATUS_"


class ContextControls:
    """Translates parameters; the behaviour is `ContextSwitch`'s."""

    def __init__(self, parts: Parts, machine: ContextSwitch) -> None:
        self._parts, self._machine = parts, machine
        self.dataflow_interrupt: tuple[int, int, int] | None = None

    def handlers(self) -> dict[str, Handler]:
        """Opcode name -> handler."""
        return {
            "CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER": self.set_header,
            "CONTEXT_SWITCH_SET_CONTEXT_INFO": self.set_context_info,
            "CONTEXT_SWITCH_CLEAR_CONFIGURED_APPS": self.clear,
            "CHANGE_CONTEXT_SWITCH_STATUS": self.change_status,
            "CHANGE_HW_INFER_STATUS": self.change_hw_infer,
            "DOWNLOAD_CONTEXT_ACTION_LIST": self.download,
            "GET_CONTEXT_SWITCH_MAIN_HEADER": self.main_header,
            "CONFIG_CONTEXT_SWITCH_TIMESTAMP": self.configure_stamps,
            "CONFIG_CONTEXT_SWITCH_BREAKPOINT": self.configure_breakpoint,
            "GET_CONTEXT_SWITCH_BREAKPOINT_STATUS": self.breakpoint_status,
            "SET_DATAFLOW_INTERRUPT": self.set_dataflow_interrupt,
            "CONTEXT_SWITCH_SIGNAL_CACHE_UPDATED": self.cache_updated,
        }

    def set_header(self, args: Mapping[str, Any]) -> None:
        """Opcode 32."""
        self._machine.add_header(args["application_header"])

    def set_context_info(self, args: Mapping[str, Any]) -> None:
        """Opcode 33."""
        self._machine.add_chunk(
            is_first=bool(args["is_first_chunk_per_context"]),
            is_last=bool(args["is_last_chunk_per_context"]),
            kind=args["context_type"],
            data=args["context_network_data"],
        )

    def clear(self, args: Mapping[str, Any]) -> None:
        """Opcode 71."""
        self._machine.clear()

    def change_status(self, args: Mapping[str, Any]) -> None:
        """Opcode 37."""
        self._machine.command(args["state_machine_status"], args["application_index"], args["dynamic_batch_size"])

    def change_hw_infer(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 74: START and STOP both answer with results."""
        if args["hw_infer_state"] == _HW_START:
            return {"results": self._machine.hw_inference.start(args)}
        if args["hw_infer_state"] == _HW_STOP:
            return {"results": self._machine.hw_inference.stop()}
        raise Refused("HW_INFER_MANAGER_STATUS_INVALID_STATE")

    def _application(self, index: int) -> Application:
        applications = self._machine.store.applications
        if index >= len(applications):
            raise Refused(_CS + "COULD_NOT_FIND_MATCH_APP_FOR_CONTEXT_INDEX")
        return applications[index]

    def _find(self, args: Mapping[str, Any]) -> Context:
        application = self._application(args["network_group_id"])
        number = args["context_index"]
        context = application.context(args["context_type"], number if args["context_type"] == DYNAMIC else 0)
        if context is None:
            raise Refused("CONTEXT_SWITCH_TASK_STATUS_DOWNLOAD_ACTION_LIST_INVALID_CONTEXT_INDEX")
        return context

    def download(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 36: the executed list from an offset on, as much as one message takes."""
        context, offset = self._find(args), args["action_list_offset"]
        if offset >= len(context.live):
            raise Refused(_CS + "INVALID_ACTION_LIST_OFFSET")
        spec = self._parts.spec
        room = spec.mailbox.max_message_bytes - spec.response_header.size - spec.parameter_count.size
        piece = bytes(context.live[offset : offset + room - _DOWNLOAD_OVERHEAD])
        run = self._machine.run
        return {
            "base_address": _LIST_BASE + (context.flat_index << 16),
            "is_action_list_end": int(offset + len(piece) == len(context.live)),
            "batch_counter": run.batch_counter if run is not None else 0,
            "idle_time": 0,
            "action_list": piece,
        }

    def main_header(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 54: all application headers."""
        applications = self._machine.store.applications
        return {
            "main_header": {
                "application_count": len(applications),
                "application_header": tuple(application.header for application in applications),
            }
        }

    def configure_stamps(self, args: Mapping[str, Any]) -> None:
        """Opcode 59."""
        self._machine.debugger.configure_stamps(args["batch_index"], bool(args["enable_user_configuration"]))

    def configure_breakpoint(self, args: Mapping[str, Any]) -> None:
        """Opcode 52."""
        self._machine.debugger.command(args["breakpoint_id"], args["breakpoint_control"], args["breakpoint_data"])

    def breakpoint_status(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Opcode 53."""
        return {"breakpoint_status": self._machine.debugger.status(args["breakpoint_id"])}

    def set_dataflow_interrupt(self, args: Mapping[str, Any]) -> None:
        """Opcode 41: remembered; no public caller waits for such an interrupt."""
        self.dataflow_interrupt = (args["interrupt_type"], args["interrupt_index"], args["interrupt_sub_index"])

    def cache_updated(self, args: Mapping[str, Any]) -> None:
        """Opcode 79."""
        self._machine.cache_updated()

    def snapshot(self) -> dict[str, Any]:
        """Return the stored applications, the running one, and the debugger's settings."""
        return {"dataflow_interrupt": self.dataflow_interrupt, **self._machine.snapshot()}
