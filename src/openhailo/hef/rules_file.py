"""Rules about the file as a whole: header, extensions, groups, names (hef.md 2, 3, 4, 6, 16, 17, 19)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeVar

from openhailo.errors import InvalidHef, UnsupportedHef
from openhailo.spec.limits import MAX_CONTEXTS, MAX_NETWORKS

from .compatibility import REQUIRED_EXTENSION, SUPPORTED_EXTENSIONS, extension_name
from .contexts import CoreOp
from .enums import ExtensionType, HwArch
from .findings import Problem, Severity, core_ops, format_error, rule
from .model import Hef, NetworkGroup

T = TypeVar("T")

MAX_NAME_BYTES = 127  # 128 with the terminating NUL (hef.md 2)
MAX_LAYOUTS = 256  # a bitmap of 8 clusters
FIXED_CONTEXTS = 3  # activation, batch switching, preliminary (context-switch.md 22)
ACCEPTED_ARCHS = (HwArch.HAILO8P, HwArch.HAILO8R, HwArch.HAILO8L)


@rule("header version", "hef.md 16: header, or header.version = 0")
def header_version(hef: Hef) -> Iterator[Problem]:
    """Extensions are ignored with version 0, so net-flow content is not found."""
    if hef.header.version == 0:
        yield "header.version", "0 makes readers ignore the extensions; use 1 or more"


@rule("hw arch", "hef.md 16: hw_arch = 0 on HAILO8; hef.md 4")
def hw_arch(hef: Hef) -> Iterator[Problem]:
    """Devices refuse other architectures at configure time."""
    if hef.header.hw_arch not in ACCEPTED_ARCHS:
        yield "header.hw_arch", f"{hef.header.hw_arch.name} runs on no Hailo-8; use 1 (Hailo-8) or 3 (Hailo-8L)"


@rule("extension 26", "hef.md 16: extension 26")
def required_extension(hef: Hef) -> Iterator[Problem]:
    """PERIPH_CALCULATION_IN_HAILORT must be demanded."""
    if all(extension.type_index != REQUIRED_EXTENSION for extension in hef.extensions):
        yield "extensions", f"{extension_name(REQUIRED_EXTENSION)} is missing"


@rule("extension 13", "hef.md 16: extension 13")
def net_flow_extension(hef: Hef) -> Iterator[Problem]:
    """Without HAILO_NET_FLOW the core op is looked for in the group itself."""
    if hef.features.net_flow:
        return
    for group in hef.network_groups:
        if group.legacy is None and any(isinstance(op.body, CoreOp) for op in group.ops):
            yield group.name, f"the core op is among the ops, but {extension_name(13)} is missing"


@rule("unknown extension", "hef.md 16: unknown extension number (or 7, 8, 65535)")
def unknown_extension(hef: Hef) -> Iterator[Problem]:
    """A demanded extension that a reader does not know makes it refuse the file."""
    for place, extension in enumerate(hef.extensions):
        if extension.type_index not in SUPPORTED_EXTENSIONS:
            yield f"extensions[{place}]", f"{extension_name(extension.type_index)} is refused by readers"


@rule("aligned ccws", "hef.md 19.4", severity=Severity.WARNING)
def aligned_ccws(hef: Hef) -> Iterator[Problem]:
    """Works only for files loaded from memory in the vendor's library 4.23."""
    if hef.extension(ExtensionType.SHARED_CONFIG):
        yield "extensions", f"{extension_name(32)} works only with header version 3 and files loaded from memory"


@rule("network groups", "hef.md 16: network_groups", unsafe=True)
def network_groups(hef: Hef) -> Iterator[Problem]:
    """A file needs a group."""
    if not hef.network_groups:
        yield "network_groups", "none"


@rule("duplicate group", "hef.md 2", unsafe=True)
def duplicate_group(hef: Hef) -> Iterator[Problem]:
    """Groups are found by name."""
    names = [group.name for group in hef.network_groups]
    yield from ((name, "two network groups of that name") for name in _repeated(names))


@rule("group name", "hef.md 16: group name or core_op name (only one of them); hef.md 6")
def group_name(hef: Hef) -> Iterator[Problem]:
    """The group and its core op are matched by name."""
    for group in hef.network_groups:
        if not group.name:
            yield "network_groups", "a network group without a name"
    for group, core_op, where in core_ops(hef):
        names = {core_op.name, _outer_name(group)} - {group.name}
        if names:
            yield where, f"the group is called {group.name!r}, its core op {sorted(names)[0]!r}"


def _outer_name(group: NetworkGroup) -> str:
    try:
        return group.core_op.name
    except InvalidHef:
        return group.name


@rule("core op", "hef.md 16: ops, core_op, contexts", unsafe=True)
def core_op_present(hef: Hef) -> Iterator[Problem]:
    """Every group needs a core op with a context."""
    for group in hef.network_groups:
        try:
            group.core_op_for()
        except InvalidHef as error:
            yield group.name, error.detail
    for _, core_op, where in core_ops(hef):
        if not core_op.contexts:
            yield where, "no context"
        if core_op.partial_core_ops:
            yield where, "a core op for one cluster layout that holds further ones"


@rule("context count", "context-switch.md 22")
def context_count(hef: Hef) -> Iterator[Problem]:
    """The firmware has room for so many."""
    for _, core_op, where in core_ops(hef):
        if len(core_op.contexts) > MAX_CONTEXTS - FIXED_CONTEXTS:
            yield where, f"{len(core_op.contexts)} contexts, at most {MAX_CONTEXTS - FIXED_CONTEXTS}"


@rule("cluster layouts", "hef.md 17")
def cluster_layouts(hef: Hef) -> Iterator[Problem]:
    """A Hailo-8L file has one version per set of working clusters."""
    if hef.header.hw_arch is not HwArch.HAILO8L:
        return
    for group in hef.network_groups:
        try:
            core_op = group.core_op
        except InvalidHef:
            continue
        layouts = core_op.layouts or tuple(partial.layout for partial in group.partial_network_groups)
        if not layouts:
            yield group.name, "Hailo-8L needs partial_core_ops with a cluster layout"
        if not group.partial_network_groups:
            yield group.name, "Hailo-8L needs partial_network_groups, which give the name"
        for layout in _repeated(layouts):
            yield group.name, f"two versions for cluster layout 0x{layout:X}"


@rule("layout count", "a bound of this reader", unsafe=True)
def layout_count(hef: Hef) -> Iterator[Problem]:
    """More versions than there are sets of clusters."""
    for group in hef.network_groups:
        inner = (len(op.body.partial_core_ops) for op in group.ops if isinstance(op.body, CoreOp))
        count = max(len(group.partial_network_groups), *inner, 0)
        if count > MAX_LAYOUTS:
            yield group.name, f"{count} cluster layouts, at most {MAX_LAYOUTS}"


@rule("name length", "hef.md 2", unsafe=True)
def name_length(hef: Hef) -> Iterator[Problem]:
    """Names live in fields of 128 bytes."""
    for where, name in _names(hef):
        if len(name.encode()) > MAX_NAME_BYTES:
            yield where, f"{name[:24]!r}... has {len(name.encode())} bytes, at most {MAX_NAME_BYTES}"


def _names(hef: Hef) -> Iterator[tuple[str, str]]:
    for group in hef.network_groups:
        yield "network_groups", group.name
        yield from ((group.name, name) for name in group.network_names)
        yield from ((group.name, pad.name) for op in group.host_ops for pad in op.output_pads)
    for _, core_op, where in core_ops(hef):
        if core_op.fused_layers is not None:
            yield from ((where, fused.layer.name) for fused in core_op.fused_layers.fused_layers)
        for context in core_op.contexts:
            for layer in context.edge_layers:
                parts = (*layer.leaves(), *layer.streams())
                yield from ((where, part.name) for part in (layer, *parts))


@rule("network index", "hef.md 3: extension 8", unsafe=True)
def network_index(hef: Hef) -> Iterator[Problem]:
    """With extension 8 layers belong to one of several networks."""
    for group, core_op, where in core_ops(hef):
        count = len(group.network_names)
        if count > MAX_NETWORKS:
            yield where, f"{count} networks, at most {MAX_NETWORKS}"
        for layer in core_op.boundary_layers():
            if group.features.multi_network and layer.network_index >= count:
                yield layer.name, f"network {layer.network_index} of {count}"


@rule("sorted outputs", "hef.md 16: group sorted_outputs_order; hef.md 6")
def sorted_outputs(hef: Hef) -> Iterator[Problem]:
    """The order names every output; with one output its name does not matter."""
    for group in hef.network_groups:
        if not group.sorted_outputs_order:
            yield group.name, "sorted_outputs_order is empty"
            continue
        try:
            outputs = {vstream.name for vstream in group.output_vstreams}
        except (InvalidHef, UnsupportedHef):
            continue  # reported by the rule that it breaks
        missing = sorted(outputs - set(group.output_order))
        if len(outputs) > 1 and missing:
            yield group.name, f"output {missing[0]!r} is not in the order of outputs"


@rule("streams", "hef.md 6", unsafe=True)
def streams(hef: Hef) -> Iterator[Problem]:
    """What the user sees can be derived: formats, networks, host ops."""
    for group in hef.network_groups:
        try:
            found = [*group.input_streams, *group.output_streams]
            group.vstreams  # noqa: B018  # derived on access
        except (InvalidHef, UnsupportedHef) as error:
            yield group.name, format_error(error)
            continue
        for name in _repeated([stream.name for stream in found]):
            yield group.name, f"two streams called {name!r}"


def _repeated(values: Iterable[T]) -> list[T]:
    return [value for value, count in Counter(values).items() if count > 1]
