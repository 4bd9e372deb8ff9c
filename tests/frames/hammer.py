"""Threads that run frames in every way there is, in random sizes and order, and check each result.

Every frame of a pool has a result of its own, so a frame that is lost, doubled or swapped with another shows at once.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from openhailo.errors import QueueFull
from openhailo.runtime.infer_model import ConfiguredInferModel
from openhailo.runtime.vdevice import VirtualDevice
from openhailo.runtime.vstreams import InferVStreams, InputVStreams, OutputVStreams, input_params, output_params

WAIT_S = 300.0


@dataclass
class Pool:
    """Frames of one model and what each must give; rows of ``want`` differ from each other."""

    model: ConfiguredInferModel
    frames: np.ndarray[Any, Any]
    want: np.ndarray[Any, Any]

    def __post_init__(self) -> None:
        self.want = self.want.reshape(len(self.frames), -1)
        assert len(np.unique(self.want, axis=0)) == len(self.want), "results that are equal cannot be told apart"
        self.input, self.output = self.model.inputs[0].name, self.model.outputs[0].name

    def pick(self, rng: random.Random, count: int) -> list[int]:
        """Return indices of random frames."""
        return [rng.randrange(len(self.frames)) for _ in range(count)]


@dataclass
class Score:
    """Frames whose result came and was right; descriptions of those where it was not."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, pool: Pool, indices: Sequence[int], results: Any) -> None:
        """Compare results (n, ...) with what the frames must give."""
        got = np.asarray(results).reshape(len(indices), -1)
        bad = np.flatnonzero((got != pool.want[list(indices)]).any(axis=1))
        with self.lock:
            self.right += len(indices) - len(bad)
            self.wrong += [f"{pool.model.name}: frame {indices[place]} gave {got[place]}" for place in bad]


Way = Callable[[Pool, random.Random, Score], None]


def _bindings(pool: Pool, indices: Sequence[int]) -> tuple[Any, list[Any]]:
    outs = np.zeros((len(indices), pool.want.shape[1]), np.uint8)
    made = [
        pool.model.create_bindings({pool.input: pool.frames[index]}, {pool.output: out})
        for index, out in zip(indices, outs, strict=True)
    ]
    return outs, made


def one_by_one(pool: Pool, rng: random.Random, score: Score) -> None:
    """Blocking runs, each with a buffer of its own or the same one again."""
    indices = pool.pick(rng, rng.randint(1, 6))
    out = np.zeros(pool.want.shape[1], np.uint8)
    for index in indices:
        pool.model.run(pool.model.create_bindings({pool.input: pool.frames[index]}, {pool.output: out}), WAIT_S)
        score.check(pool, [index], out)


def called_back(pool: Pool, rng: random.Random, score: Score) -> None:
    """Jobs of several frames; callbacks must come once, in order."""
    order: list[int] = []
    jobs, parts = [], []
    for turn in range(rng.randint(1, 8)):
        indices = pool.pick(rng, rng.randint(1, 5))
        outs, made = _bindings(pool, indices)
        pool.model.wait_for_async_ready(WAIT_S, len(indices))
        while True:
            try:
                jobs.append(pool.model.run_async(made, lambda info, turn=turn: order.append(turn)))
                break
            except QueueFull:  # another thread was faster
                pool.model.wait_for_async_ready(WAIT_S, len(indices))
        parts.append((indices, outs))
    for job, (indices, outs) in zip(jobs, parts, strict=True):
        job.wait(WAIT_S)
        score.check(pool, indices, outs)
    if order != list(range(len(jobs))):
        score.wrong.append(f"{pool.model.name}: callbacks came as {order}")


def futures(pool: Pool, rng: random.Random, score: Score) -> None:
    """Batches whose futures are asked for in another order than they were handed in."""
    waiting = []
    for _ in range(rng.randint(1, 4)):
        indices = pool.pick(rng, rng.randint(1, 8))
        pool.model.wait_for_async_ready(WAIT_S)
        try:
            waiting.append((indices, pool.model.submit(pool.frames[indices])))
        except QueueFull:
            continue
    rng.shuffle(waiting)
    for indices, future in waiting:
        score.check(pool, indices, future.result(WAIT_S)[pool.output])


def coroutines(pool: Pool, rng: random.Random, score: Score) -> None:
    """Many coroutines at a time, single frames and batches."""
    parts = [pool.pick(rng, rng.randint(1, 4)) for _ in range(rng.randint(1, 10))]

    async def everything() -> list[Any]:
        return await asyncio.gather(*(pool.model.infer(pool.frames[indices], WAIT_S) for indices in parts))

    for indices, result in zip(parts, asyncio.run(everything()), strict=True):
        score.check(pool, indices, result[pool.output])


def whole_batches(pool: Pool, rng: random.Random, score: Score) -> None:
    """The older interface, beyond the size of the queue."""
    indices = pool.pick(rng, rng.randint(1, 120))
    with InferVStreams(pool.model.group) as pipeline:
        score.check(pool, indices, pipeline.infer({pool.input: pool.frames[indices]})[pool.output])


WAYS: tuple[Way, ...] = (one_by_one, called_back, futures, coroutines, whole_batches)


def send_and_receive(pool: Pool, score: Score, frames: int, seed: int) -> list[threading.Thread]:
    """Start a sender and a receiver on the virtual streams of ``pool``, in bursts of random size, and return them."""
    rng = random.Random(seed)
    indices = pool.pick(rng, frames)

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            with score.lock:
                score.wrong.append(f"virtual stream: {error!r}")

    inputs = InputVStreams(pool.model.group, input_params(pool.model.group, timeout_s=WAIT_S)).open()
    outputs = OutputVStreams(pool.model.group, output_params(pool.model.group, timeout_s=WAIT_S)).open()

    def send() -> None:
        at = 0
        while at < frames:
            count = rng.randint(1, 9)
            inputs.get().send(pool.frames[indices[at : at + count]])
            at += count

    def receive() -> None:
        for index in indices:
            score.check(pool, [index], outputs.get().recv())
        outputs.close()
        inputs.close()

    return [threading.Thread(target=guarded, args=(work,)) for work in (send, receive)]


def hammer(
    pools: Sequence[Pool],
    *,
    frames: int,
    threads: int,
    seed: int,
    ways: Sequence[Way] = WAYS,
    streamed: Pool | None = None,
) -> Score:
    """Run until ``frames`` frames were checked, from several threads; pauses are waits for results.

    ``streamed`` is run frame by frame beside the others, a fifth of all.
    """
    score = Score()

    def work(number: int) -> None:
        rng = random.Random(seed * 1000 + number)
        try:
            while score.right < frames and not score.wrong:
                rng.choice(ways)(rng.choice(pools), rng, score)
        except BaseException as error:
            with score.lock:
                score.wrong.append(f"thread {number}: {error!r}")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    if streamed is not None:
        workers += send_and_receive(streamed, score, frames // 5, seed)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(WAIT_S)
    if any(worker.is_alive() for worker in workers):
        score.wrong.append("a thread hangs")
    return score


def settled(vdevice: VirtualDevice) -> bool:
    """Whether the books are balanced: every frame that was handed in is done, and nothing is under way."""
    models = [group.model for group in vdevice.network_groups]
    return all(m.pending == 0 and m.counters.submitted == m.counters.completed + m.counters.failed for m in models)
