"""Show the action lists that the firmware executes for a model, with the time of each action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._devices import UnknownDriverOption, open_device
from ._models import ModelArgument, NetworkOption, ReferenceOption, find_model
from ._output import DeviceOption, JsonOption, print_json, print_table, to_plain

if TYPE_CHECKING:
    from openhailo import Network
    from openhailo.runtime.action_lists import ContextActions

NAME = "actions"

#: The cycle through several contexts that is timed: the ones before warm up (the vendor's tools look at it as well).
TIMED_CYCLE = 2


def command(
    model: ModelArgument,
    batch: Annotated[int, typer.Option("--batch", "-b", min=1, max=63, help="Frames per cycle.")] = 1,
    timed: Annotated[bool, typer.Option("--timed/--untimed", help="Run frames and have actions timed.")] = True,
    reference: ReferenceOption = None,
    network: NetworkOption = None,
    device: DeviceOption = None,
    allow_unknown_driver: UnknownDriverOption = False,
    json: JsonOption = False,
) -> None:
    """Run `openhailo actions`."""
    choice = find_model(model)
    options = choice.compile_options if choice.path.suffix == ".onnx" else {}
    with open_device(device, allow_unknown_driver=allow_unknown_driver) as chip:
        loaded = chip.load(choice.path, reference=reference, network=network, compile_options=options, batch_size=batch)
        lists = _timed_lists(loaded, batch) if timed else loaded.action_lists()
    if json:
        print_json([_plain(entry) for entry in lists])
        return
    for entry in lists:
        print_table(entry.name, ("action", "time", "fields"), _rows(entry))


def _timed_lists(network: Network, batch: int) -> Sequence[ContextActions]:
    """Run zeros for as many cycles as it takes, and download."""
    import numpy as np

    # A network of one context stays in its first cycle (context-switch.md 10.4).
    cycle = TIMED_CYCLE if network.description.multi_context else 0
    network.stamp_actions(cycle)
    count = batch * (cycle + 1)
    frames = {tensor.name: np.zeros((count, *tensor.shape), tensor.dtype) for tensor in network.inputs}
    network(frames, raw=True)
    lists = network.action_lists()
    network.stamp_actions(None)
    return lists


def _plain(entry: ContextActions) -> dict[str, Any]:
    actions = [{"name": a.name, "time": a.time, "fields": to_plain(dict(a.fields))} for a in entry.actions]
    return {"context": entry.name, "bytes": len(entry.raw), "batch_counter": entry.batch_counter, "actions": actions}


def _rows(entry: ContextActions) -> list[tuple[str, object]]:
    rows: list[Any] = []
    for action in entry.actions:
        fields = ", ".join(f"{name} {_short(value)}" for name, value in action.fields.items())
        rows.append((action.name, "" if action.time is None else action.time, fields))
    return rows


def _short(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(_short(each) for each in value.values()) + ")"
    return value.hex() if isinstance(value, bytes) else str(value)
