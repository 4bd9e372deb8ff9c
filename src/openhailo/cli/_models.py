"""What `run`, `benchmark`, `demo` and `trace` share: naming a model, its task, and loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openhailo.errors import InputError

if TYPE_CHECKING:
    from openhailo import Device, Network
    from openhailo.pipeline.tasks import Task

ModelArgument = Annotated[
    str,
    typer.Argument(help="A .hef file, an .onnx file (compiled once), or a demo model such as yolov3-tiny."),
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option("--reference", help="ONNX file with the numerics of a HEF compiled for silicon (twin only)."),
]
NetworkOption = Annotated[
    str | None, typer.Option("--network", help="Which network of a HEF with several. Default: the first.")
]


@dataclass(frozen=True)
class ModelChoice:
    """A model as named on the command line: its file, and its task when one is known."""

    name: str
    path: Path
    task: Task | None = None
    demo: bool = False

    @property
    def compile_options(self) -> Mapping[str, Any]:
        """Demo models are calibrated on the demo photos."""
        if not self.demo:
            return {}
        from openhailo.pipeline.models import demo_calibration

        return {"calibration": demo_calibration(self.name), "name": self.name}


def find_model(model: str, settings: Path | None = None, labels: Path | None = None) -> ModelChoice:
    """Resolve a model argument. ``settings`` is a JSON file for `openhailo.pipeline.settings.build_task`."""
    from openhailo.pipeline.catalogue import MODELS
    from openhailo.pipeline.models import demo_model, demo_task

    path = Path(model)
    if path.is_file():
        return ModelChoice(path.stem, path, _task(settings, labels))
    if model not in MODELS:
        raise InputError(what=model, detail=f"no such file, and no demo model; those are {', '.join(MODELS)}")
    return ModelChoice(model, demo_model(model), demo_task(model), demo=True)


def _task(settings: Path | None, labels: Path | None) -> Task | None:
    if settings is None:
        return None
    from openhailo.pipeline.settings import build_task

    try:
        values = json.loads(settings.read_text(encoding="utf-8"))
        names = labels.read_text(encoding="utf-8").splitlines() if labels else []
    except (OSError, ValueError) as error:
        raise InputError(what=str(settings), detail=str(error)) from error
    if not isinstance(values, dict):
        raise InputError(what=str(settings), detail="not a JSON object")
    return build_task(values, labels=names)


def load(device: Device, choice: ModelChoice, reference: Path | None = None, network: str | None = None) -> Network:
    """Load the model on ``device``."""
    options = choice.compile_options if choice.path.suffix == ".onnx" else {}
    return device.load(choice.path, reference=reference, network=network, compile_options=options)
