"""The applications that the host has configured (context-switch.md 2, 3, 15, 22)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openhailo.twin.firmware.refusal import Refused

from .lists import ListFault, Step, parse_list

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

PRELIMINARY, DYNAMIC, BATCH_SWITCHING, ACTIVATION = range(4)
#: context_type -> place in the order on the wire (context-switch.md 3).
_RANK = {ACTIVATION: 0, BATCH_SWITCHING: 1, PRELIMINARY: 2, DYNAMIC: 3}
#: Flat number of the first dynamic context in notifications (context-switch.md 3).
FIRST_DYNAMIC = 3
_FLAT = {ACTIVATION: 0, BATCH_SWITCHING: 1, PRELIMINARY: 2, DYNAMIC: FIRST_DYNAMIC}
_CS = "CONTEXT_SWITCH_STATUS_"
_TASK = "CONTEXT_SWITCH_TASK_STATUS_"


@dataclass
class Context:
    """One action list: ``sent`` as the host sent it, ``live`` with the times that the firmware writes into it."""

    kind: int
    flat_index: int
    sent: bytearray = field(default_factory=bytearray)
    live: bytearray = field(default_factory=bytearray)
    _steps: list[Step] | None = None

    def steps(self, spec: ChipSpec) -> list[Step]:
        """Return the parsed list, parsed at first use. Raises `lists.ListFault`."""
        if self._steps is None:
            self._steps = parse_list(spec, self.sent)
        return self._steps


@dataclass
class Application:
    """A network group: header fields, its raw header, and its contexts."""

    index: int
    header: Mapping[str, Any]
    raw_header: bytes
    fixed: dict[int, Context] = field(default_factory=dict)
    dynamic: list[Context] = field(default_factory=list)

    @property
    def is_multi_context(self) -> bool:
        """More than one dynamic context: frames go through in batches."""
        return bool(self.header["dynamic_contexts_count"] > 1)

    def contexts(self) -> Iterator[Context]:
        """Yield every context that was sent."""
        yield from self.fixed.values()
        yield from self.dynamic

    def context(self, kind: int, index: int = 0) -> Context | None:
        """Return a context by type and, for dynamic ones, number."""
        if kind != DYNAMIC:
            return self.fixed.get(kind)
        return self.dynamic[index] if index < len(self.dynamic) else None

    def snapshot(self, spec: ChipSpec) -> dict[str, Any]:
        """Return header and contexts; a context is (type, actions), an action (name, fields)."""
        contexts = [(context.kind, _actions(spec, context)) for context in self.contexts()]
        return {"header": deepcopy(dict(self.header)), "contexts": contexts}


def _actions(spec: ChipSpec, context: Context) -> list[tuple[str, dict[str, Any]]]:
    """Return the list of ``context`` taken apart; for one that cannot be (yet), its status alone."""
    try:
        return [(step.name, deepcopy(dict(step.fields))) for step in parse_list(spec, context.sent)]
    except ListFault as fault:
        return [(fault.status, {"action_index": fault.action_index})]


class ApplicationStore:
    """Headers and chunks in, applications out; every rule that is broken has its status."""

    def __init__(self, spec: ChipSpec, memory_bytes: int) -> None:
        self._spec, self._memory_bytes = spec, memory_bytes
        self.applications: list[Application] = []
        self._open: Context | None = None
        self._used_bytes = 0

    def clear(self) -> None:
        """Forget everything; the next header is application 0 again."""
        self.applications.clear()
        self._open = None
        self._used_bytes = 0

    def add_header(self, header: Mapping[str, Any]) -> None:
        """Opcode 32: the next application begins. Raises `Refused`."""
        limits = self._spec.limits
        if len(self.applications) >= limits.max_applications:
            raise Refused(_TASK + "RECEIVED_INVALID_APPLICATION_COUNT")
        if header["dynamic_contexts_count"] == 0:
            raise Refused(_TASK + "MAIN_HEADER_INDICATES_THERE_IS_NO_CONTEXTS")
        if header["dynamic_contexts_count"] + FIRST_DYNAMIC > limits.max_contexts:
            raise Refused(_TASK + "RECEIVED_INVALID_TOTAL_CONTEXTS_COUNT")
        if not 1 <= header["networks_count"] <= limits.max_networks:
            raise Refused(_CS + "INVALID_NETWORK_INDEX")
        if not 1 <= header["config_channels_count"] <= limits.max_config_channels:
            raise Refused(_CS + "INVALID_CFG_CHANNELS_COUNT")
        if not 1 <= header["batch_size"] <= limits.max_batch_size:
            raise Refused(_CS + "INVALID_BATCH_SIZE")
        if header["external_action_list_address"]:
            raise Refused(_CS + "INVALID_EXTERNAL_ACTION_LIST_ADDRESS")
        raw = self._spec.application_header.pack(**header)
        self.applications.append(Application(len(self.applications), dict(header), raw))
        self._open = None

    def add_chunk(self, *, is_first: bool, is_last: bool, kind: int, data: bytes) -> None:
        """Opcode 33: a piece of a context of the newest application. Raises `Refused`."""
        if not self.applications:
            raise Refused(_TASK + "USER_SENT_CONTEXT_CONTROL_BEFORE_MAIN_HEADER_CONTROL")
        if kind not in _RANK:
            raise Refused(_CS + "INVALID_CONTEXT_TYPE")
        if not data:
            raise Refused(_TASK + "CONTEXT_HEADER_INDICATES_THERE_IS_NO_CONTEXT_NETWORK_INFO")
        if self._used_bytes + len(data) > self._memory_bytes:
            raise Refused(_CS + "SRAM_MEMORY_FULL")
        context = self._begin(kind) if is_first else self._continue(kind)
        context.sent += data
        context.live += data
        self._used_bytes += len(data)
        self._open = None if is_last else context

    def _begin(self, kind: int) -> Context:
        application = self.applications[-1]
        newest = max((_RANK[c.kind] for c in application.contexts()), default=-1)
        if self._open is not None or _RANK[kind] < newest or kind in application.fixed:
            raise Refused(_CS + "UNEXPECTED_CONTEXT_ORDER")
        if kind != DYNAMIC:
            return application.fixed.setdefault(kind, Context(kind, _FLAT[kind]))
        if len(application.dynamic) >= application.header["dynamic_contexts_count"]:
            raise Refused(_CS + "INVALID_DYNAMIC_CONTEXT_COUNT")
        application.dynamic.append(Context(kind, FIRST_DYNAMIC + len(application.dynamic)))
        return application.dynamic[-1]

    def _continue(self, kind: int) -> Context:
        if self._open is None or self._open.kind != kind:
            raise Refused(_CS + "UNEXPECTED_CONTEXT_ORDER")
        return self._open

    def runnable(self, index: int) -> Application:
        """Return application ``index`` if all of it has arrived. Raises `Refused`."""
        if index >= len(self.applications):
            raise Refused(_CS + "INVALID_APPLICATION_INDEX")
        application = self.applications[index]
        unfinished = self._open is not None and application is self.applications[-1]
        missing = len(application.dynamic) < application.header["dynamic_contexts_count"]
        if unfinished or missing or ACTIVATION not in application.fixed:
            raise Refused(_CS + "RECEIVED_APPLICATION_SET_BEFORE_INIT_STATE_DONE")
        return application
