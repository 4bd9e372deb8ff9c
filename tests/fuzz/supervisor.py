"""Gives slices of the surfaces to worker processes, and collects what they find, crash or hang included."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .surface import SHARES, case_random, load_surface
from .worker import MOST_FAILURES, PATIENCE, Failure, Job, Progress, Result

#: Inputs after which a worker is replaced, so that no leak of a library passes for one of ours, and none piles up.
SLICE_INPUTS = 400_000
#: Seconds beyond which a case that no signal could end is ended from outside.
STUCK_S = 3.0 * PATIENCE
#: Crashes after which a surface is given up.
MOST_CRASHES = 5


@dataclass
class Tally:
    """What is known of one surface so far."""

    name: str
    wanted: int
    seconds: float
    next_case: int = 0
    inputs: int = 0
    cases: int = 0
    refused: int = 0
    busy_s: float = 0.0
    crashes: int = 0
    slowest_s: float = 0.0
    slowest_case: int = 0
    peak_bytes: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def unfinished(self) -> bool:
        """More is to be tried."""
        hopeless = self.crashes >= MOST_CRASHES or len(self.failures) >= MOST_FAILURES
        return self.inputs < self.wanted and self.busy_s < self.seconds and not hopeless

    def job(self, seed: int, folder: Path) -> Job:
        """Return the next slice."""
        progress, result = (str(folder / f"{self.name}.{kind}") for kind in ("progress", "result"))
        inputs = min(self.wanted - self.inputs, SLICE_INPUTS)
        return Job(self.name, seed, self.next_case, inputs, self.seconds - self.busy_s, progress, result)


@dataclass
class Running:
    """A worker at work."""

    tally: Tally
    job: Job
    process: subprocess.Popen[bytes]
    started: float
    suspicions: int = 0

    def is_stuck(self) -> bool:
        """Tell whether one case takes so long that no signal can have reached it (seen twice: the file may be torn)."""
        late = time.monotonic() - Progress.read(Path(self.job.progress))[4] > STUCK_S
        self.suspicions = self.suspicions + 1 if late else 0
        return self.suspicions > 2


class Supervisor:
    """Runs workers until every surface has what it wants."""

    def __init__(self, seed: int, folder: Path, workers: int = 2) -> None:
        self._seed, self._folder, self._workers = seed, folder, workers
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, tallies: Iterable[Tally]) -> None:
        """Fill in the tallies."""
        waiting, running = deque(tallies), list[Running]()
        while waiting or running:
            while waiting and len(running) < self._workers:
                running.append(self._start(waiting.popleft()))
            time.sleep(0.05)
            for worker in list(running):
                if worker.process.poll() is None and not worker.is_stuck():
                    continue
                running.remove(worker)
                self._finish(worker)
                if worker.tally.unfinished:
                    waiting.append(worker.tally)

    def _start(self, tally: Tally) -> Running:
        job = tally.job(self._seed, self._folder)
        Path(job.result).unlink(missing_ok=True)
        Progress.create(Path(job.progress), job.first)
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        with (self._folder / f"{tally.name}.stderr").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker", json.dumps(asdict(job))],
                stdout=errors,
                stderr=errors,
                env=environment,
            )
        return Running(tally, job, process, time.monotonic())

    def _finish(self, worker: Running) -> None:
        tally, process = worker.tally, worker.process
        stuck = process.poll() is None
        if stuck:
            process.kill()
        code = process.wait()
        tally.busy_s += time.monotonic() - worker.started
        case, inputs, cases, refused, _ = Progress.read(Path(worker.job.progress))
        tally.next_case, tally.inputs = case, tally.inputs + inputs
        tally.cases, tally.refused = tally.cases + cases, tally.refused + refused
        result = Path(worker.job.result)
        if result.exists():
            self._merge(tally, json.loads(result.read_text()))
        if code:
            self._crashed(tally, "hangs beyond the reach of signals" if stuck else _describe(code))

    def _merge(self, tally: Tally, raw: dict[str, object]) -> None:
        result = Result(**raw)  # type: ignore[arg-type]
        if result.slowest_s > tally.slowest_s:
            tally.slowest_s, tally.slowest_case = result.slowest_s, result.slowest_case
        tally.peak_bytes = max(tally.peak_bytes, result.peak_bytes)
        for name, count in result.outcomes.items():
            tally.outcomes[name] = tally.outcomes.get(name, 0) + count
        for entry in result.failures:
            self._report(tally, Failure(**entry))  # type: ignore[arg-type]

    def _crashed(self, tally: Tally, what: str) -> None:
        """The case that was being tried is the failure; the next worker begins after it."""
        errors = (self._folder / f"{tally.name}.stderr").read_text(errors="replace")[-6000:]
        self._report(tally, Failure(tally.next_case, what, "the process", errors))
        tally.next_case, tally.inputs, tally.cases = tally.next_case + 1, tally.inputs + 1, tally.cases + 1
        tally.crashes += 1

    def _report(self, tally: Tally, failure: Failure) -> None:
        known = next((f for f in tally.failures if (f.what, f.where) == (failure.what, failure.where)), None)
        if known is not None:
            known.count += failure.count
            return
        tally.failures.append(failure)
        path = save_case(self._folder, self._seed, tally.name, failure.case)
        print(f"FAILED {tally.name} seed {self._seed} case {failure.case}: {failure.what}")
        print(f"       at {failure.where}; the input is {path}")
        path.with_suffix(".txt").write_text(failure.details)


def save_case(folder: Path, seed: int, name: str, number: int) -> Path:
    """Write the bytes of a case to a file and return it."""
    path = folder / f"{name}-{seed}-{number}.bin"
    try:
        path.write_bytes(load_surface(name).make_case(case_random(seed, name, number)))
    except Exception as error:  # the surface itself is broken, which the failure says already
        path.write_text(f"the case cannot be made: {error!r}\n")
    return path


def _describe(code: int) -> str:
    if code < 0:
        return f"the process died of {signal.Signals(-code).name}"
    return f"the process ended with {code}"


def plan(names: list[str], seconds: float | None, inputs: int | None, workers: int = 2) -> list[Tally]:
    """Share time evenly, or a number of inputs by `SHARES`, among the surfaces."""
    total = sum(SHARES[name] for name in names)
    if inputs is not None:
        return [Tally(name, max(1, round(inputs * SHARES[name] / total)), float("inf")) for name in names]
    each = (60.0 if seconds is None else seconds) * workers / len(names)
    return [Tally(name, 1 << 60, each) for name in names]


def clear_folder(folder: Path) -> None:
    """Forget what an earlier run left."""
    shutil.rmtree(folder, ignore_errors=True)
