"""Worker processes that judge mutants; one that hangs is ended, and the hang counts as noticed."""

from __future__ import annotations

import multiprocessing as mp
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

from .judge import Verdict
from .mutations import Mutant

#: A mutant may bend a size; a worker that asks for more memory than this gets a MemoryError.
MEMORY_LIMIT_BYTES = 8 << 30
MUTANT_LIMIT_S = 120.0

Work = Callable[[Mutant], Verdict]


@dataclass
class _Worker:
    process: ForkProcess
    pipe: Connection
    index: int = -1
    deadline: float = 0.0


class Pool:
    """``size`` processes, forked once everything is imported."""

    def __init__(self, mutants: Sequence[Mutant], work: Work, size: int) -> None:
        self._mutants, self._work = mutants, work
        self._context = mp.get_context("fork")
        self._workers = [self._start() for _ in range(size)]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._mutants, self._work), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def judge_all(self) -> Iterator[Verdict]:
        """Yield a verdict for every mutant, as they come."""
        queue = list(range(len(self._mutants)))[::-1]
        while queue or any(worker.index >= 0 for worker in self._workers):
            for worker in self._workers:
                if worker.index < 0 and queue:
                    self._give(worker, queue.pop())
            yield from self._collect()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
            worker.process.join()

    def _give(self, worker: _Worker, index: int) -> None:
        worker.index, worker.deadline = index, time.monotonic() + MUTANT_LIMIT_S
        worker.pipe.send(index)

    def _collect(self) -> Iterator[Verdict]:
        busy = [worker for worker in self._workers if worker.index >= 0]
        ready = wait([worker.pipe for worker in busy], timeout=1.0)
        for place, worker in enumerate(self._workers):
            if worker.index < 0:
                continue
            name = self._mutants[worker.index].name
            if worker.pipe in ready:
                try:
                    verdict = worker.pipe.recv()
                except EOFError:
                    yield Verdict(name, side="twin", by="worker", reason="the worker died")
                    self._workers[place] = self._replace(worker)
                    continue
                worker.index = -1
                yield verdict
            elif time.monotonic() > worker.deadline:
                yield Verdict(name, side="twin", by="worker", reason=f"no end after {MUTANT_LIMIT_S:g} s")
                self._workers[place] = self._replace(worker)

    def _replace(self, worker: _Worker) -> _Worker:
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()
        return self._start()


def _serve(pipe: Connection, mutants: Sequence[Mutant], work: Work) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    while True:
        try:
            index = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(work(mutants[index]))
