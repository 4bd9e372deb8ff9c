"""The raw tables as checks: one check a table of controls, one for the actions, one an event."""

from __future__ import annotations

from functools import partial

from openhailo.testing.check import add_check, check, expect, expect_error
from openhailo.testing.rig import Rig

from .raw.exchange import Exchange, Step, play, unhex
from .raw.lists import ACTIVATION, DYNAMIC, action, configure, header
from .raw.tables import actions, board, camera, device, events, network, refused, system

_NEEDS = ("raw", "state", "expected", "sensors", "clock")

TABLES: dict[str, tuple[Step, ...]] = {
    "identity": device.IDENTITY,
    "memory": device.MEMORY,
    "streams": device.STREAMS,
    "reset": device.RESET,
    "power": board.POWER,
    "update": board.UPDATE,
    "configuration": board.CONFIGURATION,
    "sensors": camera.SENSORS,
    "system": system.SYSTEM,
    "health": system.HEALTH,
    "applications": network.APPLICATIONS,
    "debugger": network.DEBUGGER,
    "unsupported": refused.UNSUPPORTED,
    "malformed": refused.MALFORMED,
    "sequence": refused.SEQUENCE,
}

for _name, _steps in TABLES.items():
    add_check(
        f"exchange_{_name}",
        "raw",
        partial(play, steps=_steps),
        needs=_NEEDS,
        about=[step.name for step in _steps if isinstance(step, Exchange)],
    )

_BLOCK_FAULT = "CONTEXT_SWITCH_STATUS_REPEATED_ACTION_INVALID_SUBACTION_TYPE"


@check("raw", needs=_NEEDS, about=[row.name for row in actions.ACTIONS] + ["REPEATED_ACTION"])
def every_action_is_understood(rig: Rig) -> None:
    """One list with every action; each payload is made of other bytes."""
    host = rig.raw_host()
    data = b"".join(action(row.number, row.payload) for row in actions.ACTIONS)
    configure(host, [(DYNAMIC, data)])
    ((kind, seen),) = rig.state()["contexts"]["applications"][0]["contexts"]
    expect("context type", kind, DYNAMIC)
    for row, (name, fields) in zip(actions.ACTIONS, seen, strict=True):
        expect(f"name of action {row.number}", name, row.name)
        expect(f"payload of {row.name}", fields, dict(row.fields))


@check("raw", needs=_NEEDS, about=[row.name for row in actions.ACTIONS] + ["REPEATED_ACTION"])
def blocks_are_unfolded(rig: Rig) -> None:
    """A repeated block of two of every type that has a payload; of those that must not be folded, a refusal."""
    host = rig.raw_host()
    nested = actions.Action(24, "REPEATED_ACTION", b"\x02\0\x03", {})
    rows = [*(row for row in actions.ACTIONS if row.payload), nested]
    lists = [(DYNAMIC, action(24, bytes([2, 0, row.number]), row.payload, row.payload[::-1])) for row in rows]
    configure(host, [(ACTIVATION, action(30)), *lists], header(dynamic=len(lists)))
    contexts = rig.state()["contexts"]["applications"][0]["contexts"][1:]
    for row, (_, seen) in zip(rows, contexts, strict=True):
        if row.number not in actions.REPEATABLE:
            expect(f"a block of {row.name}", [name for name, _ in seen], [_BLOCK_FAULT])
            continue
        expect(f"a block of {row.name}", [name for name, _ in seen], [row.name] * 2)
        expect(f"the first {row.name} of a block", seen[0][1], dict(row.fields))


def _event_as_bytes(rig: Rig, *, event: events.Event) -> None:
    host = rig.raw_host()
    payload = unhex(event.payload)
    for priority in (0, 1):
        rig.emit(event.name, priority=priority, **event.fields)
        seen = host.notification() or b""
        words = [int.from_bytes(seen[at : at + 4], "little") for at in range(0, 28, 4)]
        expect(
            f"header of {event.name}",
            words,
            [0, priority + 1, priority, event.module, event.number, event.parameters, len(payload)],
        )
        expect(f"payload of {event.name}", seen[28:], payload)


for _event in events.EVENTS:
    add_check(
        f"event_{_event.number}", "raw", partial(_event_as_bytes, event=_event), needs=_NEEDS, about=[_event.name]
    )


@check("raw", needs=_NEEDS)
def nothing_else_is_sent(rig: Rig) -> None:
    """A notification that nobody caused does not come."""
    host = rig.raw_host()
    expect("an unasked notification", host.notification(0.1), None)
    expect_error("an event that does not exist", StopIteration, lambda: rig.emit("NO_SUCH_EVENT"))
