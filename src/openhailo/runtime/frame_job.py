"""A job: frames on their way through one network on one device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from openhailo.driver.link import BufferRange
from openhailo.runtime.formats import Array
from openhailo.runtime.stages import Stage, StageTimes
from openhailo.runtime.transforms import FramesCopy


@dataclass(frozen=True)
class Direct:
    """Memory of the user's that the device reads and writes itself, per stream; None where frames are copied.

    An element is the transfers of all frames of the job, in the form that `ChipLink.launch_many` takes.
    """

    inputs: Sequence[Sequence[Sequence[BufferRange]] | None]
    outputs: Sequence[Sequence[Sequence[BufferRange]] | None]


class Job:
    """``count`` frames: arrays (count, ...) per input and per output, in stream order.

    ``fed`` frames were launched, ``taken`` were delivered. ``future`` gets ``finish()`` if it is set; ``watcher`` is
    called with jobs that are done, by a thread that holds no lock of ours; ``tag`` is whatever it wants to know.
    ``direct`` has the ranges of memory that the device reads and writes itself, for streams where nothing is copied,
    and ``release`` gives them back (see `Direct`).
    """

    __slots__ = (
        "count", "direct", "error", "fed", "finish", "future", "inputs", "outputs", "readers", "release", "tag",
        "taken", "watcher", "writers",
    )  # fmt: skip

    def __init__(
        self,
        count: int,
        inputs: Sequence[Array],
        writers: Sequence[FramesCopy],
        outputs: Sequence[Array],
        readers: Sequence[FramesCopy],
        finish: Callable[[], Any] | None = None,
    ) -> None:
        self.count, self.inputs, self.writers, self.outputs, self.readers = count, inputs, writers, outputs, readers
        self.fed = self.taken = 0
        self.error: BaseException | None = None
        self.finish = finish
        self.future: Future[Any] | None = None
        self.watcher: Callable[[list[Job]], None] | None = None
        self.direct: Direct | None = None
        self.release: Callable[[], object] | None = None
        self.tag: Any = None

    def measure(self, times: StageTimes) -> None:
        """Add the time of the transformations to ``times``."""
        self.writers = [times.timed(Stage.INPUT, write) for write in self.writers]
        self.readers = [times.timed(Stage.OUTPUT, read) for read in self.readers]

    @property
    def done(self) -> bool:
        """Whether every frame was delivered, or the job failed."""
        return self.taken == self.count or self.error is not None
