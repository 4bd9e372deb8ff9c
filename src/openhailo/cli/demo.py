"""The main job, start to end: compile real models, boot a device, find things in real photos."""

from __future__ import annotations

import json as jsonlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._devices import UnknownDriverOption, open_device
from ._models import ModelChoice, find_model, load
from ._output import DeviceOption, JsonOption, print_json, print_table

if TYPE_CHECKING:
    from openhailo import Device, Network

NAME = "demo"

#: Which photos go through which model.
PLAN = {
    "yolov3-tiny": ("astronaut", "chelsea", "coffee", "motorcycle"),
    "centerface": ("astronaut",),
    "efficientnet-lite0": ("chelsea", "coffee"),
}

#: How many findings of a photo are named in the table.
MOST_NAMES = 2


@dataclass(frozen=True)
class Finding:
    """What one model found in one photo, and what its frame cost on the way."""

    model: str
    photo: str
    found: list[dict[str, Any]]
    picture: Path
    milliseconds: float


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the annotated pictures.")] = Path("demo"),
    device: DeviceOption = None,
    allow_unknown_driver: UnknownDriverOption = False,
    json: JsonOption = False,
) -> None:
    """Run `openhailo demo`."""
    output.mkdir(parents=True, exist_ok=True)
    with open_device(device, allow_unknown_driver=allow_unknown_driver) as chip:
        identity = chip.identify()
        findings, frames = [], 0
        for name, photos in PLAN.items():
            choice = find_model(name)
            with load(chip, choice) as network:
                findings += _run_model(network, choice, output)
            frames += len(photos)
        counters = _counters(chip)
    results = {"device": chip.name, "firmware": str(identity.version), "frames": frames, "link": counters}
    (output / "results.json").write_text(jsonlib.dumps([_record(f) for f in findings], indent=1) + "\n")
    if json:
        print_json(results | {"findings": [_record(finding) for finding in findings]})
        return
    _print(chip.name, str(identity.version), findings, counters)


def _run_model(network: Network, choice: ModelChoice, output: Path) -> list[Finding]:
    from openhailo.pipeline.models import demo_photos
    from openhailo.pipeline.tasks import draw
    from openhailo.vision.images import load_image, save_image

    assert choice.task is not None, "every demo model has a task"
    photos, findings = demo_photos(), []
    for photo in PLAN[choice.name]:
        image = load_image(photos[photo])
        started = time.perf_counter()
        result = choice.task.run(image, network)
        elapsed = time.perf_counter() - started
        target = output / f"{photo}.{choice.name}.jpg"
        save_image(target, draw(image, result))
        findings.append(Finding(choice.name, photo, result.to_list(), target, elapsed * 1e3))
    return findings


def _counters(chip: Device) -> dict[str, int]:
    """What went over the link: the proof that frames took the whole way."""
    return {key: int(value) for key, value in vars(chip.link.statistics()).items()}


def _record(finding: Finding) -> dict[str, Any]:
    return {**vars(finding), "picture": str(finding.picture), "milliseconds": round(finding.milliseconds, 2)}


def _print(device: str, version: str, findings: list[Finding], counters: dict[str, int]) -> None:
    rows = [(f.photo, f.model, _names(f.found), f"{f.milliseconds:.1f} ms", str(f.picture)) for f in findings]
    print_table("", ("photo", "model", "found", "time", "picture"), rows)
    crossed = ", ".join(f"{value} {key.replace('_', ' ')}" for key, value in counters.items())
    typer.echo(f"device {device} (firmware {version}); over the link went {crossed}")


def _names(found: list[dict[str, Any]]) -> str:
    best = [f"{item.get('label', item['class_id'])} {item['score']:.2f}" for item in found[:MOST_NAMES]]
    return ", ".join(best) or "nothing"
