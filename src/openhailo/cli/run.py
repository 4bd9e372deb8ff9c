"""Run a model on pictures or arrays; write annotated pictures and one JSON line per input."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openhailo.errors import InputError

from ._devices import UnknownDriverOption, open_device
from ._models import ModelArgument, NetworkOption, ReferenceOption, find_model, load
from ._output import DeviceOption, to_plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from openhailo import Network
    from openhailo.pipeline.tasks import Task

NAME = "run"


def command(
    model: ModelArgument,
    inputs: Annotated[list[str], typer.Argument(help="Pictures, folders, glob patterns, or .npy arrays.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for pictures and arrays.")] = None,
    settings: Annotated[Path | None, typer.Option("--task", help="JSON file: decoder, input size, ...")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="File with one class name a line.")] = None,
    reference: ReferenceOption = None,
    network: NetworkOption = None,
    raw: Annotated[bool, typer.Option("--raw", help="Integers as the device gives them, not dequantized.")] = False,
    device: DeviceOption = None,
    allow_unknown_driver: UnknownDriverOption = False,
    json: Annotated[bool, typer.Option("--json", help="JSON Lines on standard output (the default form).")] = True,
) -> None:
    """Run `openhailo run`."""
    choice = find_model(model, settings, labels)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    with open_device(device, allow_unknown_driver=allow_unknown_driver) as chip:
        loaded = load(chip, choice, reference, network)
        task = choice.task or _boxes_task(loaded, labels)
        for record in _progress(_run_all(loaded, task, inputs, output, raw), len(inputs)):
            typer.echo(jsonlib.dumps(to_plain(record)))


def _boxes_task(network: Network, labels: Path | None) -> Task | None:
    """Return how boxes of the chip or a host op are shown on pictures; None where there are none."""
    from openhailo.pipeline.tasks import boxes_task

    names = labels.read_text(encoding="utf-8").splitlines() if labels else []
    return boxes_task(network.inputs, network.outputs, names)


def _progress(records: Iterator[dict[str, Any]], expected: int) -> Iterator[dict[str, Any]]:
    """Show a progress bar on a terminal's standard error while records pass through."""
    if not sys.stderr.isatty():
        yield from records
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(records, total=expected, description="running", console=Console(stderr=True), transient=True)


def _run_all(
    network: Network, task: Task | None, inputs: list[str], output: Path | None, raw: bool
) -> Iterator[dict[str, Any]]:
    arrays = [Path(entry) for entry in inputs if entry.endswith(".npy")]
    pictures = [entry for entry in inputs if not entry.endswith(".npy")]
    for path in arrays:
        yield _run_array(network, path, output, raw)
    if pictures:
        from openhailo.pipeline.sources import find_images

        for path in find_images(pictures):
            yield _run_picture(network, task, path, output, raw)


def _run_picture(network: Network, task: Task | None, path: Path, output: Path | None, raw: bool) -> dict[str, Any]:
    from openhailo.vision.images import load_image, save_image

    image = load_image(path)
    if task is None or raw:
        return _summary(path, network(_fit(network, image), raw=raw), output)
    from openhailo.pipeline.tasks import draw

    result = task.run(image, network)
    record: dict[str, Any] = {"input": str(path), "task": task.name, "found": result.to_list()}
    if output is not None:
        target = output / f"{path.stem}.{task.name}.jpg"
        save_image(target, draw(image, result))
        record["picture"] = str(target)
    return record


def _fit(network: Network, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring a picture to the only input's size, when no task says how."""
    from openhailo.vision.resize import letterbox

    shapes = [tensor.shape for tensor in network.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][2] != 3:
        raise InputError(what=network.name, detail=f"takes {shapes}, not one RGB picture: give .npy arrays")
    return letterbox(image, shapes[0][0], shapes[0][1])[0]


def _run_array(network: Network, path: Path, output: Path | None, raw: bool) -> dict[str, Any]:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(what=str(path), detail=f"not a readable .npy array: {error}") from error
    return _summary(path, network(array, raw=raw), output)


def _summary(path: Path, outputs: dict[str, Any], output: Path | None) -> dict[str, Any]:
    """Describe every output and save it; boxes of the chip or a host op become a table (see `box_table`)."""
    import numpy as np

    from openhailo.runtime.host_ops import MaskedDetections
    from openhailo.runtime.nms_stream import box_table

    record: dict[str, Any] = {"input": str(path), "outputs": {}}
    for name, result in outputs.items():
        boxes = isinstance(result, list | MaskedDetections)
        array = box_table(result) if boxes else result
        entry: dict[str, Any] = {"shape": list(array.shape), "type": str(array.dtype)}
        if boxes:
            entry["boxes"] = array.tolist()
        elif array.size:
            entry |= {"min": float(array.min()), "max": float(array.max()), "argmax": int(array.argmax())}
        if output is not None:
            target = output / f"{path.stem}.{name.replace('/', '_')}.npy"
            np.save(target, array)
            entry["file"] = str(target)
        record["outputs"][name] = entry
    return record
