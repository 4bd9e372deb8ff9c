"""The neural core: takes configuration bytes, hands out the kernel that a context runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import xxhash

from openhailo.errors import BadProgram

from .chain import ChainKernel
from .kernel import Kernel
from .onnx import OnnxKernel
from .program import Program, is_cut_off, parse_programs, starts_program
from .reference import Reference
from .snn import SnnKernel

if TYPE_CHECKING:
    from openhailo.spec.chip import ChipSpec

#: Kernels kept for networks that are switched in and out: one per application that can be stored.
_KEPT_KERNELS = 32
PRELIMINARY = -1
#: A configuration word; one of zeros does nothing (context-switch.md 13).
CCW_BYTES = 8

#: Program kind -> what runs it.
KERNELS: dict[str, Callable[[Program, ChipSpec], Kernel]] = {
    "onnx": lambda program, _: OnnxKernel(program),
    "snn": SnnKernel,
}
#: Kinds whose kernels have a state: it begins anew whenever the program is loaded, so they are not kept.
STATEFUL = frozenset({"snn"})


def _kernel_of(program: Program, spec: ChipSpec) -> Kernel:
    maker = KERNELS.get(program.kind)
    if maker is None:
        raise BadProgram(detail=f"programs of kind {program.kind} are not executed by this release")
    return maker(program, spec)


@dataclass
class _Configuration:
    """What the config streams of one context have delivered."""

    streams: dict[int, bytes | bytearray] = field(default_factory=dict)

    def append(self, index: int, data: bytes) -> None:
        """Add to a stream; what came in one piece, as most programs do, is kept as it is."""
        held = self.streams.get(index)
        if held is None:
            self.streams[index] = data
        elif isinstance(held, bytearray):
            held.extend(data)
        else:
            self.streams[index] = bytearray(held + data)


class NeuralCore:
    """Configuration bytes per context in, kernels out.

    A context's program is the image in its own configuration if that begins as one does, else the one that the
    preliminary configuration began (pieces are appended in the order in which they were fetched). Anything else was
    compiled for silicon: accepted, counted, and only runnable with a bound reference.
    """

    def __init__(self, spec: ChipSpec) -> None:
        self._spec = spec
        self._contexts: dict[int, _Configuration] = {}
        self._kernels: OrderedDict[int, Kernel] = OrderedDict()
        self._references: dict[int | None, Reference] = {}

    def bind_reference(self, reference: Reference | None, *, application: int | None = None) -> None:
        """Let ``reference`` compute what the core cannot; ``application`` None means every one without its own.

        ``None`` as the reference unbinds. Takes effect with the next activation.
        """
        if reference is None:
            self._references.pop(application, None)
        else:
            self._references[application] = reference

    def reset(self) -> None:
        """Forget all configuration; kernels stay cached, since a switch back loads the same bytes."""
        self._contexts.clear()

    def forget_kernels(self) -> None:
        """Let go of every kernel: one may still be computing for a firmware that is gone."""
        self._kernels.clear()

    def begin_context(self, context: int) -> None:
        """Forget what ``context`` was configured with: its configuration is about to be fetched again."""
        self._contexts[context] = _Configuration()

    def configure(self, context: int, config_stream: int, data: bytes) -> None:
        """Take configuration bytes from ``config_stream`` while ``context`` (or `PRELIMINARY`) runs."""
        if context not in self._contexts:
            self.begin_context(context)
        self._contexts[context].append(config_stream, data)

    def configured_bytes(self, context: int, config_stream: int) -> int:
        """Return how many bytes ``context`` has received on ``config_stream``."""
        configuration = self._contexts.get(context)
        return len(configuration.streams.get(config_stream, b"")) if configuration else 0

    def snapshot(self) -> dict[tuple[int, int], bytes]:
        """Return the configuration bytes held, by (context or `PRELIMINARY`, config stream)."""
        return {
            (context, stream): bytes(data)
            for context, configuration in self._contexts.items()
            for stream, data in configuration.streams.items()
        }

    def image(self, context: int) -> bytes | None:
        """Return the program image of ``context``; None when its configuration was compiled for silicon.

        What a config stream cannot carry, since a list of descriptors has an end, goes on in the next ones.
        """
        stream = self._spec.program.config_stream
        contexts: tuple[int, ...] = (context,)
        image = self._begun(self._bytes(context, stream))
        if image is None and (first := self._begun(self._bytes(PRELIMINARY, stream))) is not None:
            image, contexts = first + self._bytes(context, stream), (PRELIMINARY, context)
        while image is not None and is_cut_off(self._spec, image):
            stream += 1
            more = b"".join(self._bytes(each, stream) for each in contexts)
            if not more:
                break
            image += more
        return image

    def _begun(self, data: bytes) -> bytes | None:
        """Return ``data`` from where a program begins in it: at the start, or after words of zeros, which are NOPs."""
        if not any(data[:CCW_BYTES]):
            # A host that lets the device read the file itself fills the first page up like this (hef.md 19 row 5).
            data = data[(len(data) - len(data.lstrip(b"\0"))) // CCW_BYTES * CCW_BYTES :]
        return data if starts_program(self._spec, data) else None

    def _bytes(self, context: int, stream: int) -> bytes:
        configuration = self._contexts.get(context)
        return bytes(configuration.streams.get(stream, b"")) if configuration else b""

    def load(self, image: bytes) -> Kernel:
        """Return the kernel of a program image, made on first sight. Raises `BadProgram`. May take a while."""
        key = xxhash.xxh3_64_intdigest(image)
        kernel = self._kernels.get(key)
        if kernel is None:
            programs = parse_programs(self._spec, image)
            stages = [_kernel_of(program, self._spec) for program in programs]
            kernel = stages[0] if len(stages) == 1 else ChainKernel(stages)
            if any(program.kind in STATEFUL for program in programs):
                return kernel
            self._kernels[key] = kernel
            while len(self._kernels) > _KEPT_KERNELS:
                self._kernels.popitem(last=False)
        self._kernels.move_to_end(key)
        return kernel

    def reference(self, application: int) -> Reference | None:
        """Return what is bound to ``application``: its own reference, else the one for all."""
        return self._references.get(application, self._references.get(None))
