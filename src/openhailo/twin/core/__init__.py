"""The neural core of the twin: programs, and references for networks that it cannot execute."""

from .chain import ChainKernel
from .kernel import Kernel, StreamPort
from .neural import PRELIMINARY, NeuralCore
from .onnx import make_session, make_session_options
from .pattern import PatternReference
from .program import IoRecord, Program, parse_program
from .reference import FrameInfo, OutputStream, Reference, ReferenceKernel, ReferenceRun

__all__ = [
    "PRELIMINARY",
    "ChainKernel",
    "FrameInfo",
    "IoRecord",
    "Kernel",
    "NeuralCore",
    "OutputStream",
    "PatternReference",
    "Program",
    "Reference",
    "ReferenceKernel",
    "ReferenceRun",
    "StreamPort",
    "make_session",
    "make_session_options",
    "parse_program",
]
