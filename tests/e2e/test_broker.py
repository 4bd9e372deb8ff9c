"""Several processes on one chip: real processes, one broker, some of them killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.frames.nets import tagged
from tests.stress.fleet import ROOT, Fleet, process_fds, run_stress, runtime_folder, until

import openhailo
from openhailo.errors import BrokerLost, OpenHailoError, StateError
from openhailo.runtime.broker.virtual import SharedVirtualDevice, open_shared
from openhailo.runtime.vdevice import VirtualDeviceOptions

pytestmark = pytest.mark.timeout(180)
WAIT_S = 60.0
SHAPE = (12, 12, 3)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder with a short name."""
    with runtime_folder() as path:
        yield path


@pytest.fixture
def sockets(folder: Path) -> Iterator[Path]:
    """A broker's socket; the broker that was started there ends with the test."""
    path = folder / "b.sock"
    yield path
    try:
        with open_shared(path, [], VirtualDeviceOptions(), start=False) as vdevice:
            ending = Ending(vdevice.broker_pid)
    except OpenHailoError:
        return
    os.kill(ending.pid, signal.SIGTERM)
    ending.wait()


class Ending:
    """The end of a process that is no child of ours."""

    def __init__(self, pid: int) -> None:
        self.pid, self._fd = pid, os.pidfd_open(pid)

    def wait(self) -> None:
        """Wait for it."""
        ready, _, _ = select.select([self._fd], [], [], WAIT_S)
        os.close(self._fd)
        assert ready, f"process {self.pid} does not end"


def opened(path: Path, devices: int = 1, idle_timeout_s: float = 30.0) -> SharedVirtualDevice:
    return open_shared(path, ["twin:"] * devices, VirtualDeviceOptions(), idle_timeout_s=idle_timeout_s)


def check(vdevice: SharedVirtualDevice, name: str = "first", seed: int = 1) -> None:
    """Run frames and compare them with ONNX Runtime."""
    hef, frames, want = tagged(SHAPE, name, seed, 48)
    with vdevice.create_infer_model(hef).configure() as model:
        got = model.submit(frames).result(WAIT_S)[model.outputs[0].name]
        np.testing.assert_array_equal(got.reshape(48, -1), want.reshape(48, -1))


CHILD = """
import os, sys
import openhailo
from tests.frames.nets import tagged
with openhailo.open_virtual_device(["twin:"], multi_process_service=True, group_id="SHARED") as vdevice:
    hef, frames, want = tagged((12, 12, 3), sys.argv[1], int(sys.argv[2]), 200)
    with vdevice.create_infer_model(hef).configure() as model:
        print("ready", flush=True)
        sys.stdin.readline()
        got = model.submit(frames).result(60)[model.outputs[0].name]
        print(vdevice.broker_pid, int((got.reshape(200, -1) == want.reshape(200, -1)).all()), flush=True)
        sys.stdin.readline()
"""


def start_child(folder: Path, name: str, seed: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    command = [sys.executable, "-c", CHILD, name, str(seed)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def say(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def hear(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], WAIT_S)
    assert ready, "the child says nothing"
    return child.stdout.readline().strip()


def test_processes_that_begin_together_share_one_broker(folder: Path) -> None:
    children = [start_child(folder, name, seed) for name, seed in (("first", 1), ("second", 2), ("first", 1))]
    assert [hear(child) for child in children] == ["ready"] * 3
    for child in children:
        say(child)
    said = [hear(child).split() for child in children]
    assert len({pid for pid, _ in said}) == 1
    assert all(right == "1" for _, right in said)
    broker = Ending(int(said[0][0]))
    private = folder / "openhailo"
    assert private.stat().st_mode & 0o777 == 0o700
    [path] = private.glob("*.sock")
    assert path.stat().st_mode & 0o777 == 0o600
    for child in children:
        child.communicate("\n", timeout=WAIT_S)
        assert child.returncode == 0
    os.kill(broker.pid, signal.SIGTERM)
    broker.wait()
    assert not path.exists()


def test_a_broker_ends_when_nobody_needs_it(sockets: Path) -> None:
    with opened(sockets, idle_timeout_s=0.0) as vdevice:
        check(vdevice)
        broker = Ending(vdevice.broker_pid)
    broker.wait()
    assert not sockets.exists()


def test_what_a_killed_client_held_is_free(sockets: Path) -> None:
    with opened(sockets) as vdevice:
        check(vdevice)
        before = process_fds(vdevice.broker_pid)
        fleet = Fleet(sockets, ["twin:"], 1, seed=5)
        outcome = fleet.run(300, kills=1)
        fleet.close()
        assert outcome.kills == 1
        assert not outcome.wrong
        assert until(lambda: not any(device.in_flight for device in vdevice.statistics().devices))
        # Networks that are kept configured have descriptors for nothing; clients have three each.
        assert until(lambda: vdevice.statistics() and process_fds(vdevice.broker_pid) <= before + 1)
        check(vdevice, "second", 2)


def test_a_killed_broker_is_a_clear_error_and_starts_again(sockets: Path) -> None:
    hef, frames, want = tagged(SHAPE, "first", 1, 64)
    with opened(sockets) as vdevice, vdevice.create_infer_model(hef).configure() as model:
        name = model.outputs[0].name
        model.set_scheduler_priority(20)
        first = Ending(vdevice.broker_pid)
        os.kill(first.pid, signal.SIGSTOP)
        future = model.submit(frames)
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(BrokerLost, match="starts it again"):
            future.result(WAIT_S)
        first.wait()
        got = model.submit(frames).result(WAIT_S)[name]
        np.testing.assert_array_equal(got.reshape(64, -1), want.reshape(64, -1))
        assert vdevice.broker_pid != first.pid
        assert model.group.scheduling.priority == 20


def test_a_broker_that_died_while_nothing_ran_is_not_noticed(sockets: Path) -> None:
    hef, frames, want = tagged(SHAPE, "first", 1, 64)
    with opened(sockets) as vdevice, vdevice.create_infer_model(hef).configure() as model:
        broker = Ending(vdevice.broker_pid)
        os.kill(broker.pid, signal.SIGKILL)
        broker.wait()
        got = model.submit(frames).result(WAIT_S)[model.outputs[0].name]
        np.testing.assert_array_equal(got.reshape(64, -1), want.reshape(64, -1))


def test_a_forked_child_opens_its_own(sockets: Path) -> None:
    hef, frames, _ = tagged(SHAPE, "first", 1, 8)
    with opened(sockets) as vdevice, vdevice.create_infer_model(hef).configure() as model:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                with pytest.raises(StateError, match="forked child"):
                    model.submit(frames)
                vdevice.close()
                with opened(sockets) as own:
                    check(own)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        check(vdevice, "second", 2)


def test_the_command_shares_devices_until_it_is_told_to_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "own.sock"
    command = [
        sys.executable,
        "-m",
        "openhailo.cli.main",
        "broker",
        "-d",
        "twin:",
        "-d",
        "twin:",
        "--socket",
        str(path),
    ]
    broker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert hear(broker) == f"sharing twin:, twin: #2 at {path}"
    second = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert second.returncode == 3
    assert "a broker is there already" in second.stderr
    monkeypatch.setenv("OPENHAILO_BROKER", str(path))
    with openhailo.open_virtual_device(multi_process_service=True) as vdevice:
        assert vdevice.device_ids == ["twin:", "twin: #2"]
        check(vdevice)  # type: ignore[arg-type]
    broker.terminate()
    broker.communicate(timeout=WAIT_S)
    assert broker.returncode == 0
    assert not path.exists()
    with pytest.raises(OpenHailoError, match="openhailo broker"):
        openhailo.open_virtual_device(multi_process_service=True)


def test_a_device_that_cannot_be_opened_is_the_callers_error(folder: Path) -> None:
    with pytest.raises(OpenHailoError, match=r"pci:ffff:00:00\.0"):
        open_shared(folder / "none.sock", ["pci:ffff:00:00.0"], VirtualDeviceOptions())


def test_frames_of_killed_and_living_clients() -> None:
    outcome, _ = run_stress(frames=2000, clients=3, devices=2, kills=2, seed=7)
    assert not outcome.wrong
    assert outcome.right >= 2000
    assert outcome.kills == 2


#: What the conformance suite asks of virtual devices, and what cannot be through a broker: memory of the caller's that
#: the chip uses itself, no scheduler, and stopping devices that are others' too.
SUITE = ("test_async_inference.py", "test_vstreams.py", "test_async_formats.py", "test_context_batches.py")
NOT_SHARED = (
    "page_aligned_buffers_are_used_in_place",
    "without_a_scheduler",
    "coroutines_that_wait_for_room_hear_of_the_end",
)


def test_the_conformance_suite_through_a_broker() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.stress.through_broker", "-p", "no:cacheprovider"]
    command += ["-k", "not " + " and not ".join(NOT_SHARED)]
    command += [f"tests/conformance/{name}" for name in SUITE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(done.stdout.rpartition(" passed")[0].split()[-1]) >= 65
