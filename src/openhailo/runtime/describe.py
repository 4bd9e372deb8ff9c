"""A HEF's network group in the runtime's terms."""

from __future__ import annotations

import logging

from openhailo import hef as hef_floor
from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.hef import model as hef
from openhailo.hef.enums import WriteDataKind
from openhailo.hef.operations import WriteDataByType
from openhailo.runtime.configure.header import ApplicationFeatures
from openhailo.runtime.configure.operations import Operations
from openhailo.runtime.describe_layers import LayerDescriber, output_names
from openhailo.runtime.description import NetworkDescription
from openhailo.runtime.host_ops import describe_ops
from openhailo.runtime.translate import Translator
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.enums import DeviceArchitecture

_log = logging.getLogger(__name__)


def describe(
    content: bytes | hef.Hef, group: str | None, architecture: int, clusters: int, spec: ChipSpec = CHIP
) -> NetworkDescription:
    """Describe ``group`` (None: the default one) for a device.

    ``architecture`` is the identity's number; ``clusters`` the device's bitmap of working clusters, which chooses among
    the versions in a Hailo-8L file. Raises `HefError`, `InputError`.
    """
    file = read_for(content, architecture)
    chosen = file.network_group(group)
    core_op = chosen.core_op_for(clusters if architecture == DeviceArchitecture.HAILO8L else None)
    return _Describer(file, core_op, chosen, spec).describe()


def read_for(content: bytes | hef.Hef, architecture: int) -> hef.Hef:
    """Return the file, which was compiled for a device of ``architecture``. Raises `HefError`."""
    if isinstance(content, hef.Hef):
        _check_architecture(content, architecture)
        return content
    file = hef_floor.read(content)
    warning = _check_architecture(file, architecture)
    if warning is not None:
        _log.warning("%s: %s", ", ".join(group.name for group in file.network_groups), warning)
    return file


def _check_architecture(file: hef.Hef, architecture: int) -> str | None:
    """Return what a user should know of a file that runs all the same. Raises `UnsupportedHef`."""
    try:
        device = DeviceArchitecture(architecture)
    except ValueError:
        raise UnsupportedHef(feature=f"device architecture {architecture}", hint="use a Hailo-8 or Hailo-8L") from None
    return hef_floor.compatible_with(file, device)


class _Describer:
    """Collects the pieces of one description."""

    def __init__(self, file: hef.Hef, core_op: hef.CoreOp, group: hef.NetworkGroup, spec: ChipSpec) -> None:
        self._features, self._version = file.features, file.version
        self._core_op, self._group, self._spec = core_op, group, spec

    def describe(self) -> NetworkDescription:
        core_op, group, features = self._core_op, self._group, self._features
        if not core_op.contexts:
            raise InvalidHef(rule="contexts", where=group.name, detail="the core op has none")
        by_reference = self._version != 0
        translator = Translator(multi_network=features.multi_network, ccw_by_reference=by_reference)
        asap = features.preliminary_run_asap
        preliminary = translator.translate(core_op.preliminary, "preliminary config", required=asap)
        contexts = tuple(
            translator.translate(context.operations, f"context {index}", required=True)
            for index, context in enumerate(core_op.contexts)
        )
        described = LayerDescriber(core_op, group)
        layers, fused = tuple(described.layers()), described.fused()
        host_ops = describe_ops(group, [layer for layer in layers if layer.is_output])
        return NetworkDescription(
            name=group.name,
            layers=layers,
            preliminary=preliminary,
            contexts=contexts,
            outputs=output_names(group, layers, host_ops),
            layer_outputs=output_names(group, layers),
            host_ops=host_ops,
            config_channels=core_op.cfg_channels_count,
            networks=len(group.network_names),
            features=ApplicationFeatures(
                preliminary_run_asap=asap,
                batch_register_config=features.batch_register_config,
                can_fast_batch_switch=not self._writes_batch_size(),
            ),
            ccw_by_reference=by_reference,
            is_program=self._starts_program(preliminary) or self._starts_program(contexts[0]),
            images=described.images(),
            fused=fused,
        )

    def _writes_batch_size(self) -> bool:
        """Whether the first lists depend on the batch size, so that a change of it needs all of them again."""
        first = (*self._core_op.preliminary, *self._core_op.contexts[0].operations)
        return any(
            isinstance(action, WriteDataByType) and action.data_type == WriteDataKind.BATCH_SIZE
            for operation in first
            for action in operation.actions
        )

    def _starts_program(self, operations: Operations) -> bool:
        """Whether the configuration begins as an image of ours does (spec/program.py)."""
        magic = self._spec.program.magic
        begin = b""
        for fetch in operations.fetches(self._spec.program.config_stream):
            for piece in fetch.pieces:
                begin += bytes(piece[: len(magic)])
                if len(begin) >= len(magic):
                    return begin.startswith(magic)
        return False
