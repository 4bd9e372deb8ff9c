"""One process that tries the cases of one surface, under limits; the supervisor survives whatever happens in it.

``python -m tests.fuzz.worker JOB`` with the job as JSON; results go to the files that the job names.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

from .surface import Surface, case_random, load_surface

#: A starved process may take this many times its budget of processor time.
PATIENCE = 10
#: A worker that finds this many different failures has said enough.
MOST_FAILURES = 20
#: The first cases load what is loaded lazily; so many of them may take this many times the memory.
_WARM_CASES, _WARM_GAIN = 3, 4
_PROGRESS = struct.Struct("<4Qd")


class Hang(BaseException):
    """An input takes longer than it may."""


@dataclass
class Job:
    """Cases ``first`` ... of a surface: ``inputs`` inputs, or as many as ``seconds`` allow."""

    surface: str
    seed: int
    first: int
    inputs: int
    seconds: float
    progress: str
    result: str


@dataclass
class Failure:
    """The first case that failed in a certain way, and how many more did."""

    case: int
    what: str
    where: str
    details: str
    count: int = 1


@dataclass
class Result:
    """What a worker found. ``peak_bytes`` is what it gained over its memory before the first case."""

    failures: list[Failure] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    slowest_case: int = 0
    peak_bytes: int = 0


class Progress:
    """Where the worker is, in a file that outlives it: next case, inputs tried, cases, refusals, time of the start."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), _PROGRESS.size)

    def write(self, case: int, inputs: int, cases: int, refused: int) -> None:
        """Note what is done and which case comes now."""
        # One copy: `pack_into` would clear the old numbers first, for the supervisor to see.
        self._map[:] = _PROGRESS.pack(case, inputs, cases, refused, time.monotonic())

    @staticmethod
    def create(path: Path, first: int) -> None:
        """Make the file."""
        path.write_bytes(_PROGRESS.pack(first, 0, 0, 0, time.monotonic()))

    @staticmethod
    def read(path: Path) -> tuple[int, int, int, int, float]:
        """Return (case, inputs, cases, refused, started)."""
        case, inputs, cases, refused, started = _PROGRESS.unpack(path.read_bytes())
        return case, inputs, cases, refused, started


class Alarm:
    """Raises `Hang` in an input that exceeds its budget of processor time, or far exceeds it in real time."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s, self._cpu, self._real = budget_s, 0.0, 0.0
        signal.signal(signal.SIGALRM, self._ring)

    def start(self) -> None:
        """An input begins."""
        self._cpu, self._real = time.thread_time(), time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, self._budget_s)

    def stop(self) -> float:
        """It ended; return the processor time it took in seconds."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        return time.thread_time() - self._cpu

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        cpu, real = time.thread_time() - self._cpu, time.monotonic() - self._real
        if cpu >= self._budget_s or real >= PATIENCE * self._budget_s:
            raise Hang(f"still busy after {cpu:.1f} s of processor time, {real:.1f} s in all")
        signal.setitimer(signal.ITIMER_REAL, max(0.05, self._budget_s - cpu))


class Worker:
    """Runs a job."""

    def __init__(self, job: Job, surface: Surface) -> None:
        self._job, self._surface = job, surface
        self._result = Result()
        self._known: dict[tuple[str, str], Failure] = {}
        self._alarm = Alarm(surface.budget_s)

    def run(self) -> None:
        """Try cases until the job is done."""
        job, progress = self._job, Progress(Path(self._job.progress))
        end = time.monotonic() + job.seconds
        case, inputs, cases, refused = job.first, 0, 0, 0
        self._limit_memory(_WARM_GAIN * self._surface.gain_bytes)
        before = _peak_bytes()
        while inputs < job.inputs and time.monotonic() < end and len(self._known) < MOST_FAILURES:
            progress.write(case, inputs, cases, refused)
            if cases == _WARM_CASES:
                self._limit_memory(self._surface.gain_bytes)
                before = _peak_bytes()
            count, was_refused = self._try(case)
            inputs, cases, refused, case = inputs + count, cases + 1, refused + was_refused, case + 1
        progress.write(case, inputs, cases, refused)
        self._result.peak_bytes = max(0, _peak_bytes() - before)

    @staticmethod
    def _limit_memory(gain_bytes: int) -> None:
        """Bound what this process may get from now on."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (used + gain_bytes, most))

    def _try(self, number: int) -> tuple[int, bool]:
        """Run one case; return how many inputs it was and whether it was refused."""
        case = self._surface.make_case(case_random(self._job.seed, self._surface.name, number))
        count, outcome = 1, "accepted"
        self._alarm.start()
        try:
            count = self._surface.run(case)
        except self._surface.refusals as error:
            outcome = type(error).__name__
            if not str(error):
                self._note(number, error)
        except BaseException as error:
            outcome = "FAILED"
            self._note(number, error)
        self._time(number, self._alarm.stop())
        self._result.outcomes[outcome] = self._result.outcomes.get(outcome, 0) + 1
        return count, outcome != "accepted"

    def _time(self, number: int, seconds: float) -> None:
        if seconds > self._result.slowest_s:
            self._result.slowest_s, self._result.slowest_case = seconds, number

    def _note(self, number: int, error: BaseException) -> None:
        where = _place(error)
        key = (type(error).__name__, where)
        if key in self._known:
            self._known[key].count += 1
            return
        details = "".join(traceback.format_exception(error))[-6000:]
        self._known[key] = Failure(number, f"{type(error).__name__}: {str(error)[:300]}", where, details)
        self._result.failures.append(self._known[key])
        self.save()  # a later case may take the process with it

    def save(self) -> None:
        """Write what is known so far."""
        Path(self._job.result).write_text(json.dumps(asdict(self._result)))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _place(error: BaseException) -> str:
    """Return where in the product it happened, else where at all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "openhailo" in Path(frame.filename).parts] or frames
    return f"{'/'.join(Path(ours[-1].filename).parts[-3:])}:{ours[-1].name}" if ours else "?"


def main() -> None:
    """Run the job of the command line."""
    faulthandler.enable()
    warnings.simplefilter("error", RuntimeWarning)  # numbers that overflow are noticed, not printed
    job = Job(**json.loads(sys.argv[1]))
    surface = load_surface(job.surface)
    worker = Worker(job, surface)
    worker.run()
    worker.save()
    sys.stdout.flush()
    os._exit(0)  # whatever the cases left behind is not worth taking apart


if __name__ == "__main__":
    main()
