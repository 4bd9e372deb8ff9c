"""The whole way from a model to a HEF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import onnx

from openhailo.hef import write

from .allocate import Stream, allocate_streams
from .calibration import CalibrationSource
from .contexts.plan import plan_contexts
from .emit import build_hef, build_program
from .frontend import Source
from .host_ops.attach import attach
from .lower import lower
from .options import Choices, Options, network_name
from .report import Report, build_report


@dataclass(frozen=True)
class CompiledModel:
    """A finished compilation.

    ``hef_bytes`` is the file. ``quantized_model`` is the very graph inside it: what the device computes equals ONNX
    Runtime on this graph bit for bit; its ends are uint8 and named as the HEF's layers. ``float_model`` is the
    simplified float network it came from. ``metadata`` holds what the importer knows for the host ("openhailo.yolo":
    anchors, for instance).
    """

    name: str
    hef_bytes: bytes = field(repr=False)
    report: Report = field(repr=False)
    quantized_model: onnx.ModelProto = field(repr=False)
    float_model: onnx.ModelProto = field(repr=False)
    streams: tuple[Stream, ...]
    metadata: Mapping[str, Any]

    def save(self, path: str | Path) -> None:
        """Write the HEF to ``path``. Raises `OSError`."""
        Path(path).write_bytes(self.hef_bytes)


def compile_model(
    source: Source,
    *,
    name: str | None = None,
    calibration: CalibrationSource | None = None,
    **choices: Unpack[Choices],
) -> CompiledModel:
    """Compile a float model to a HEF whose program the virtual chip runs. The same arguments give the same bytes.

    Args:
        source: ``.onnx``, Darknet ``.cfg``, or a ModelProto.
        name: of the network; by default the file's.
        calibration: representative inputs: a folder of pictures, ``.npy``, ``.npz``, arrays, or "random[:COUNT]" for
            speed tests. Pixels are 0..255 RGB.
        choices: everything else; `openhailo.compiler.options.Options` explains each.

    Raises:
        CompileError: `ModelInvalid`, `UnsupportedOp`, `DoesNotFit`, `CalibrationError`.
        InputError: a file or argument that cannot be used.
    """
    options = Options(**choices)
    network = network_name(name, source)
    lowered = lower(source, network, calibration, options)
    streams, host_ops = attach(lowered.host, network, allocate_streams(network, lowered))
    quantized = lowered.device.model
    split = plan_contexts(
        network,
        quantized,
        streams,
        contexts=options.contexts,
        context_bytes=options.context_bytes,
        ddr_above=options.ddr_above,
    )
    plans = split.plans if split else ()
    program = b"" if plans else build_program(serialize(quantized), streams)
    data = write(build_hef(network, program, streams, arch=options.arch, contexts=plans, host_ops=host_ops))
    report = build_report(
        lowered,
        network=network,
        arch=options.arch,
        method=options.method,
        streams=streams,
        program_bytes=len(program) + sum(len(plan.program) for plan in plans),
        hef_bytes=len(data),
        contexts=split.table if split else (),
    )
    return CompiledModel(network, data, report, quantized, lowered.float_model, streams, lowered.metadata)


def serialize(model: onnx.ModelProto) -> bytes:
    """Return the model's bytes, the same for the same content."""
    return model.SerializeToString(deterministic=True)
