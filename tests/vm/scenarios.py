"""What is run in guests: one boot per scenario, many steps per boot."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .guest import Guest, Outcome, Setup, device
from .journal import Marks
from .networks import Case
from .packages import Tree
from .processes import Control, OpenServer, ServedTwin

_ANSWER_LIMIT_S = 20.0
#: Who serves where this runs as root; the sockets' folder is made his.
NOBODY = 65534
PORTS = ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0")


@dataclass(frozen=True)
class Rig:
    """What all scenarios share: the unpacked packages, the networks, and a folder for logs."""

    tree: Tree
    folder: Path
    networks: Mapping[str, Case]
    echo: Callable[[str], None] | None = None


@dataclass
class Result:
    """One scenario: the steps that the guest reported, and how the run ended."""

    name: str
    outcome: Outcome
    steps: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """What went wrong; empty for a scenario that passed."""
        failed = [f"{step['step']}: {step['problem']}" for step in self.steps if not step["ok"]]
        if self.outcome.verdict.problem and not failed:
            failed.append(self.outcome.verdict.problem)
        if not self.steps and not failed:
            failed.append("no step was reported")
        return failed


class Servers:
    """The served twins of one scenario, and what the guest may ask to be done with them."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self.twins: list[ServedTwin] = []

    def start(self, *options: str, uid: int | None = None) -> ServedTwin:
        """Serve another twin; its faults can be changed."""
        number = len(self.twins)
        place = self._folder / f"server{number}"
        place.mkdir()
        if uid is not None:
            os.chown(place, uid, uid)
        faults = place / "faults.json"
        faults.write_text("{}")
        command = ["--faults", str(faults), *options]
        twin = self._stack.enter_context(
            ServedTwin(place / "s", self._folder / f"server{number}.log", *command, uid=uid)
        )
        self.twins.append(twin)
        return twin.wait_ready()

    @property
    def sockets(self) -> list[Path]:
        """Where QEMU finds them."""
        return [twin.socket for twin in self.twins]

    def break_(self, _guest: Guest, values: Mapping[str, Any], server: int = 0) -> dict[str, Any]:
        """Put faults into a chip and return when they are in."""
        twin = self.twins[server]
        (twin.socket.parent / "faults.json").write_text(json.dumps(values))
        before = twin.output().count("faults read")
        twin.hang_up()
        deadline = time.monotonic() + _ANSWER_LIMIT_S
        while twin.output().count("faults read") == before:
            assert time.monotonic() < deadline, f"the server does not take faults: {twin.output()}"
            time.sleep(0.005)
        return {}

    def kill(self, _guest: Guest, server: int) -> dict[str, Any]:
        """End a server as a crash would."""
        self.twins[server].kill()
        return {}

    def plug(self, guest: Guest, port: int, server: int) -> dict[str, Any]:
        """Put the function of ``server`` into a port."""
        assert guest.qmp is not None
        guest.qmp.execute("device_add", **device(port, self.twins[server].socket))
        return {}

    def unplug(self, guest: Guest, port: int) -> dict[str, Any]:
        """Ask the guest to give up the function in a port; it does so in its own time."""
        assert guest.qmp is not None
        guest.qmp.execute("device_del", id=f"h{port}")
        return {}

    def gone(self, guest: Guest, port: int) -> dict[str, Any]:
        """Wait until QEMU has let go of the function in a port."""
        assert guest.qmp is not None
        while guest.qmp.wait_event("DEVICE_DELETED").get("device") != f"h{port}":
            pass
        return {}

    def handlers(self) -> dict[str, Any]:
        """Return what the guest can ask for, by name."""
        return {name: getattr(self, name) for name in ("break_", "kill", "plug", "unplug", "gone")}


def _run(
    rig: Rig, name: str, sockets: Sequence[Path], folder: Path, settings: Mapping[str, Any], **setup: Any
) -> Result:
    """Boot a guest that runs program ``name`` with the functions at ``sockets``."""
    path = folder / "settings.json"
    networks = {key: case.settings() for key, case in rig.networks.items()}
    path.write_text(json.dumps({"ports": PORTS, **networks, **settings}))
    arguments = ["-m", "tests.vm.inside", name, str(path)]
    handlers = setup.pop("handlers")
    outcome = Guest(rig.tree, folder, Setup(arguments, sockets, echo=rig.echo, **setup), handlers).run()
    (folder / "console.log").write_text(outcome.console)
    return Result(name, outcome, [report for report in outcome.reports if "step" in report])


def life(rig: Rig, folder: Path, stack: ExitStack) -> Result:
    """One function from its discovery to its removal, with faults on the way."""
    servers = Servers(stack, folder)
    servers.start(uid=NOBODY if os.geteuid() == 0 else None)
    return _run(rig, "life", servers.sockets, folder, {}, handlers=servers.handlers())


def hotplug(rig: Rig, folder: Path, stack: ExitStack) -> Result:
    """Two functions in one guest; unplugged while open, plugged again, a server that dies, and a reboot."""
    servers = Servers(stack, folder)
    for options in ((), ("--arch", "hailo8l"), ("--firmware", "4.20.0")):
        servers.start(*options)
    boots = itertools.count(1)

    def boot(_guest: Guest) -> dict[str, Any]:
        return {"number": next(boots)}

    handlers = {**servers.handlers(), "boot": boot}
    return _run(rig, "hotplug", servers.sockets[:2], folder, {}, server_may_die=True, reboots=True, handlers=handlers)


def conformance(rig: Rig, folder: Path, stack: ExitStack) -> Result:
    """The conformance suite, through VFIO."""
    server = stack.enter_context(OpenServer(folder / "s", folder / "control", folder / "server.log"))
    server.wait_for_files(server.control, server.socket)
    chip = stack.enter_context(Control(server.control))
    result = _run(rig, "conformance", [server.socket], folder, {}, handlers={"chip": chip.ask})
    found = next((report["conformance"] for report in result.outcome.reports if "conformance" in report), None)
    begun = [report["begins"] for report in result.outcome.reports if "begins" in report]
    if found is None and begun:
        result.extra["ended_in"] = begun[-1]
    if found is not None:
        failed = [f"{name}: {why}" for name, why in found["failed"].items()]
        result.extra["conformance"] = {"rig": "vm", **found, "failed": failed}
        result.extra["checks"] = [report for report in result.outcome.reports if "check" in report]
    return result


def speed(rig: Rig, folder: Path, stack: ExitStack) -> Result:
    """Rates and latencies; and the log of the second function, which says what an inference costs on the bus."""
    servers = Servers(stack, folder)
    servers.start()
    log = folder / "accesses.jsonl"
    servers.start("--log", str(log))
    marks = Marks(log)

    def mark(_guest: Guest, name: str, frames: int = 0) -> None:
        marks.set(name, frames)

    result = _run(rig, "speed", servers.sockets, folder, {}, handlers={"mark": mark})
    if not result.problems:
        spans = {name: marks.span(name) for name in ("one", "single", "stream")}
        result.extra["inference"] = "".join(json.dumps(record) + "\n" for record in spans["one"].records)
        result.extra["per_frame"] = {name: span.counts() for name, span in spans.items()}
        maps = marks.maps("one")
        result.extra |= {"maps": len(maps), "mapped_mb": sum(maps.values()) / 1e6}
    return result


SCENARIOS: Mapping[str, Callable[[Rig, Path, ExitStack], Result]] = {
    "life": life,
    "hotplug": hotplug,
    "conformance": conformance,
    "speed": speed,
}


def run_scenario(rig: Rig, name: str) -> Result:
    """Run one scenario in a folder of its own. Raises `NotStarted` where a part of the rig does not start."""
    folder = rig.folder / name
    folder.mkdir()
    folder.chmod(0o711)
    with ExitStack() as stack:
        return SCENARIOS[name](rig, folder, stack)
