"""Client processes that are started, watched, killed and started again."""

from __future__ import annotations

import os
import random
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from openhailo.runtime.broker.virtual import SharedVirtualDevice, open_shared
from openhailo.runtime.vdevice import VirtualDeviceOptions

ROOT = Path(__file__).parents[2]
#: Nothing comes from any client for so long: something hangs.
SILENCE_S = 120.0


@contextmanager
def runtime_folder() -> Iterator[Path]:
    """Yield a private folder with a short name, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="ohb-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def process_fds(pid: int) -> int:
    """Return the open descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that is in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def until(holds: object, deadline_s: float = 60.0) -> bool:
    """Call ``holds`` until it is true; False after ``deadline_s``. What it asks takes its time, so nobody sleeps."""
    end = time.monotonic() + deadline_s
    while not holds():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
    return True


@dataclass
class Outcome:
    """What came of it."""

    right: int = 0
    kills: int = 0
    wrong: list[str] = field(default_factory=list)


class Fleet:
    """``count`` clients of the broker at ``path``."""

    def __init__(self, path: Path, devices: Sequence[str], count: int, seed: int, threads: int = 2) -> None:
        """Start them."""
        self._path, self._devices, self._threads = path, list(devices), threads
        self._rng, self._next = random.Random(seed), seed * 1000
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, subprocess.Popen[bytes]] = {}
        self._rest: dict[int, bytes] = {}
        self.outcome = Outcome()
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        self._next += 1
        command = [sys.executable, "-m", "tests.stress.client", "--socket", str(self._path)]
        command += [argument for name in self._devices for argument in ("--device", name)]
        command += ["--seed", str(self._next), "--threads", str(self._threads)]
        client = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._clients[client.pid], self._rest[client.pid] = client, b""
        self._selector.register(_output(client), selectors.EVENT_READ, client.pid)

    def run(self, frames: int, kills: int) -> Outcome:
        """Let them run until ``frames`` were right, and kill one at random ``kills`` times on the way."""
        outcome = self.outcome
        marks = sorted(self._rng.randrange(frames) for _ in range(kills))
        while outcome.right < frames and not outcome.wrong:
            events = self._selector.select(SILENCE_S)
            if not events:
                outcome.wrong.append(f"nothing came from any client for {SILENCE_S} s")
            for key, _ in events:
                self._read(key.data)
            while marks and outcome.right >= marks[0] and not outcome.wrong:
                marks.pop(0)
                self._kill()
        return outcome

    def _kill(self) -> None:
        """Kill a client in the middle of whatever it does, and start another one."""
        pid = self._rng.choice(list(self._clients))
        client = self._clients.pop(pid)
        self._selector.unregister(_output(client))
        os.kill(pid, signal.SIGKILL)
        client.communicate()
        self.outcome.kills += 1
        self._start()

    def _read(self, pid: int) -> None:
        client = self._clients[pid]
        data = os.read(_output(client).fileno(), 65536)
        if not data:
            self._selector.unregister(_output(client))
            self.outcome.wrong.append(f"client {pid} ended with status {client.wait()}")
            return
        *lines, self._rest[pid] = (self._rest[pid] + data).split(b"\n")
        for line in lines:
            what, _, text = line.decode().partition(" ")
            if what == "right":
                self.outcome.right += int(text)
            else:
                self.outcome.wrong.append(text)

    def close(self) -> None:
        """Let all of them end by themselves; what hangs is killed."""
        for client in self._clients.values():
            try:
                client.communicate(timeout=SILENCE_S)
            except subprocess.TimeoutExpired:
                self.outcome.wrong.append(f"client {client.pid} does not end")
                client.kill()
                client.communicate()
        self._selector.close()


def _output(client: subprocess.Popen[bytes]) -> IO[bytes]:
    assert client.stdout is not None, "it was asked for"
    return client.stdout


def run_stress(*, frames: int, clients: int, devices: int, kills: int, seed: int) -> tuple[Outcome, dict[str, float]]:
    """Run ``frames`` frames through one broker; return what came of it and the broker's state afterwards."""
    names = ["twin:"] * devices
    with runtime_folder() as folder:
        path = folder / "stress.sock"
        with open_shared(path, names, VirtualDeviceOptions(), idle_timeout_s=5.0) as watcher:
            pid = watcher.broker_pid
            before = process_fds(pid)
            fleet = Fleet(path, names, clients, seed)
            try:
                fleet.run(frames, kills)
            finally:
                fleet.close()
            return fleet.outcome, _settled(watcher, pid, before, fleet.outcome)


def _settled(watcher: SharedVirtualDevice, pid: int, fds_before: int, outcome: Outcome) -> dict[str, float]:
    """Check that the broker holds nothing of clients that are gone."""
    if watcher.broker_pid != pid:
        outcome.wrong.append("the broker is another one than at the beginning")
        return {}
    if not until(lambda: not any(device.in_flight for device in watcher.statistics().devices)):
        outcome.wrong.append("frames of clients that are gone are still in flight")
    # One descriptor per device and model may stay with networks that are kept configured.
    if not until(lambda: watcher.statistics() and process_fds(pid) <= fds_before + 4, 20.0):
        outcome.wrong.append(f"the broker has {process_fds(pid)} descriptors, {fds_before} at the beginning")
    figures = watcher.statistics()
    return {"switches": figures.switches, "resident_bytes": resident_bytes(pid)}
