"""What a network group is, in the runtime's own terms; `openhailo.runtime.describe` makes it from a HEF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from openhailo.errors import InputError
from openhailo.runtime.configure.header import ApplicationFeatures
from openhailo.runtime.configure.layers import D2H, H2D, Layer, LayerKind
from openhailo.runtime.configure.operations import Operations
from openhailo.runtime.formats import DTYPES, FormatOrder, FormatType, Quantization, user_shape

if TYPE_CHECKING:
    from openhailo.runtime.host_ops.describe import HostOp
    from openhailo.runtime.host_ops.settings import NmsSettings

#: y_min, x_min, y_max, x_max, score.
BOX_NUMBERS = 5


@dataclass(frozen=True)
class TensorInfo:
    """An input or output as the user sees it.

    ``shape`` is one frame's; ``dtype`` the device's own element type (what ``raw`` results have); ``original_names``
    are the layers of the model that it was compiled from. ``nms`` holds the thresholds and limits of boxes that the
    host suppresses; None for everything else.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: FormatOrder
    quantization: Quantization
    original_names: tuple[str, ...] = ()
    nms: NmsSettings | None = field(default=None, compare=False)

    @staticmethod
    def of(layer: Layer, order: FormatOrder) -> TensorInfo:
        """Describe ``layer`` in the user's ``order``."""
        return TensorInfo(
            layer.name,
            user_shape(order, layer.layout),
            DTYPES[layer.layout.type],
            order,
            layer.quantization,
            layer.original_names,
        )

    @staticmethod
    def of_boxes(layer: Layer) -> TensorInfo:
        """Describe an output of boxes: ``shape`` is (classes, 5, most boxes of a class), as the vendor reports it."""
        nms = layer.nms
        assert nms is not None, "the caller knows that there are boxes"
        return TensorInfo(
            layer.name,
            (nms.classes, BOX_NUMBERS, nms.max_boxes * nms.chunks),
            DTYPES[FormatType.UINT16],
            FormatOrder.HAILO_NMS_BY_CLASS,
            layer.quantization,
            layer.original_names,
        )


class TensorInfos(tuple[TensorInfo, ...]):
    """Inputs or outputs in order; found by place, or by name."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        """Return the one at place ``key``, or called ``key`` (an unknown name: `InputError`)."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        for info in self:
            if info.name == key:
                return info
        names = ", ".join(repr(info.name) for info in self)
        raise InputError(what="name", detail=f"no {key!r}; there are: {names or 'none'}")


@dataclass(frozen=True)
class FusedOutput:
    """One output of boxes that comes in several streams (hef.md 12)."""

    info: TensorInfo
    classes: int


@dataclass(frozen=True)
class NetworkDescription:
    """One network group.

    ``layers`` holds every context's layers in file order, ``outputs`` the names of the outputs in the order in which
    results are given: leaves of a mux, and outputs put together, under names of their own. ``images`` are the inputs
    that come in planes, ``fused`` the outputs of boxes that come in several streams. ``ccw_by_reference`` tells that
    configuration writes point into a section of their own (HEF header versions above 0): lists are then sized, and
    memory is synchronised, per write. ``host_ops`` are done by the host; the layers that they read are no outputs then,
    but are among ``layer_outputs``, the names without host ops. ``is_program`` tells that the configuration is an
    image of ours, not of the silicon's.
    """

    name: str
    layers: tuple[Layer, ...]
    preliminary: Operations
    contexts: tuple[Operations, ...]
    outputs: tuple[str, ...]
    config_channels: int = 1
    networks: int = 1
    features: ApplicationFeatures = field(default_factory=ApplicationFeatures)
    ccw_by_reference: bool = True
    is_program: bool = False
    images: Mapping[str, TensorInfo] = field(default_factory=dict)
    fused: Mapping[str, FusedOutput] = field(default_factory=dict)
    host_ops: tuple[HostOp, ...] = ()
    layer_outputs: tuple[str, ...] = ()

    def without_host_ops(self) -> NetworkDescription:
        """Return the network whose outputs are what the device sends, all of it."""
        return replace(self, host_ops=(), outputs=self.layer_outputs) if self.host_ops else self

    @property
    def multi_context(self) -> bool:
        """Whether the chip runs several contexts in turn."""
        return len(self.contexts) > 1

    @property
    def boundary(self) -> list[Layer]:
        """Boundary layers in metadata order: inputs, then outputs (context-switch.md 12)."""
        found = [layer for layer in self.layers if layer.kind is LayerKind.BOUNDARY]
        return [layer for direction in (H2D, D2H) for layer in found if layer.direction is direction]

    def context(self, index: int) -> list[Layer]:
        """Return the layers of one dynamic context, in file order."""
        return [layer for layer in self.layers if layer.context == index]
