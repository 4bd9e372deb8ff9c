"""One boot of a guest with virtual Hailo-8s: QEMU, the shared folder, the console, and a channel for questions."""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .initramfs import Payload, build_initramfs
from .packages import Tree
from .processes import NotStarted, Process
from .qmp import Qmp
from .verdict import Verdict, clean, judge

ROOT = Path(__file__).resolve().parents[2]
#: A boot takes 2 to 5 s, the longest scenario under a minute on an idle machine; what needs longer than this hangs.
LIMIT_S = 240.0
_MEMORY = "512M"
_LONGEST_LINE = 1 << 20

#: Answers a question of the guest; gets its fields, returns the fields of the answer.
Handler = Callable[..., Mapping[str, Any] | None]


@dataclass(frozen=True)
class Setup:
    """What a guest is made of.

    Args:
        arguments: of Python in the guest; the current folder is the checkout's root.
        sockets: one virtual function per socket, behind root ports ``rp0``, ``rp1``, ... with ids ``h0``, ``h1``, ...
        spare_ports: further root ports, empty, for hot plug.
        reboots: a reboot of the guest boots it again, instead of ending the run.
        server_may_die: the test takes the device away by force.
        limit_s: the run is ended then.
        echo: gets the console's text as it comes.
    """

    arguments: Sequence[str]
    sockets: Sequence[Path] = ()
    spare_ports: int = 0
    reboots: bool = False
    server_may_die: bool = False
    limit_s: float = LIMIT_S
    echo: Callable[[str], None] | None = None


@dataclass
class Outcome:
    """How a run ended, what the guest reported on the channel, and how long everything took."""

    verdict: Verdict
    seconds: float
    reports: list[dict[str, Any]] = field(default_factory=list)
    console: str = ""
    qemu_log: str = ""


class Guest:
    """Runs a `Setup` in ``folder``, which is the run's own; ``handlers`` answer what the guest asks, by name."""

    def __init__(self, tree: Tree, folder: Path, setup: Setup, handlers: Mapping[str, Handler] | None = None) -> None:
        self._tree, self._folder, self._setup = tree, folder, setup
        self._handlers = handlers or {}
        self._pending = b""
        self._console = bytearray()
        self.reports: list[dict[str, Any]] = []
        self.qmp: Qmp | None = None

    # --- the command lines ----------------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _virtiofsd(self) -> list[str]:
        options = ["--socket-path", str(self._path("fs")), "--shared-dir", "/", "--sandbox", "none", "--readonly"]
        return self._tree.command("usr/libexec/virtiofsd", *options, "--cache", "always", "--log-level", "error")

    def _payload(self) -> Payload:
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/dev/shm",
            "TMPDIR": "/dev/shm",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        return Payload([sys.executable, *self._setup.arguments], environment)

    def _qemu(self) -> list[str]:
        setup, tree = self._setup, self._tree
        data = [word for name in ("qemu", "seabios") for word in ("-L", str(tree.root / "usr/share" / name))]
        machine = ["-machine", "q35,accel=tcg,memory-backend=mem", "-cpu", "max", "-smp", "1", "-m", _MEMORY]
        memory = ["-object", f"memory-backend-memfd,id=mem,size={_MEMORY},share=on"]
        append = "console=ttyS0 panic=-1 quiet intel_iommu=on"
        kernel = ["-kernel", str(tree.kernel), "-initrd", str(self._path("initramfs")), "-append", append]
        channels = ["-serial", "stdio", "-chardev", f"socket,id=ctl,path={self._path('ctl')},server=on,wait=off"]
        channels += ["-serial", "chardev:ctl", "-qmp", f"unix:{self._path('qmp')},server=on,wait=off"]
        share = ["-chardev", f"socket,id=vf,path={self._path('fs')}"]
        share += ["-device", "vhost-user-fs-pci,chardev=vf,tag=share"]
        plain = ["-nodefaults", "-no-user-config", "-display", "none", *([] if setup.reboots else ["-no-reboot"])]
        iommu = ["-device", "intel-iommu,intremap=on,caching-mode=on"]
        options = [*data, *plain, *machine, *memory, *kernel, *channels, *iommu, *share, *self._functions()]
        return tree.command("usr/bin/qemu-system-x86_64", *options)

    def _functions(self) -> list[str]:
        words = []
        sockets = list(self._setup.sockets)
        for port in range(len(sockets) + self._setup.spare_ports):
            words += ["-device", f"pcie-root-port,id=rp{port},chassis={port + 1},slot={port + 1}"]
            if port < len(sockets):
                words += ["-device", json.dumps(device(port, sockets[port]))]
        return words

    # --- a run ----------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Boot, wait for the end or the limit, judge. Raises `NotStarted` where a part of the rig does not start."""
        started = time.monotonic()
        self._path("initramfs").write_bytes(build_initramfs(self._tree, self._payload()))
        with ExitStack() as stack:
            share = stack.enter_context(Process(self._virtiofsd(), self._path("virtiofsd.log")))
            share.wait_for_files(self._path("fs"))
            code = self._boot(stack, started + self._setup.limit_s)
        text, log = clean(bytes(self._console)), self._path("qemu.log").read_text(errors="replace")
        verdict = judge(text, log, code, server_may_die=self._setup.server_may_die)
        self._path("console.log").write_text(text)
        return Outcome(verdict, time.monotonic() - started, self.reports, text, log)

    def _boot(self, stack: ExitStack, deadline: float) -> int | None:
        """Run QEMU to its end; returns its exit code, None when ``deadline`` came first."""
        log = stack.enter_context(self._path("qemu.log").open("wb"))
        qemu = subprocess.Popen(self._qemu(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        stack.callback(_end, qemu)
        assert qemu.stdout is not None
        channel = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        if self._connect(qemu, channel):
            self.qmp = stack.enter_context(Qmp(self._path("qmp")))
            self._follow(qemu.stdout, channel, deadline)
        try:
            return qemu.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None

    def _connect(self, qemu: subprocess.Popen[bytes], channel: socket.socket) -> bool:
        """Connect the channel as soon as QEMU listens; False if QEMU ends instead, which its log explains."""
        deadline = time.monotonic() + LIMIT_S
        while qemu.poll() is None and time.monotonic() < deadline:
            try:
                channel.connect(str(self._path("ctl")))
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.01)
            else:
                return self._path("qmp").exists()
        return False

    def _follow(self, console: IO[bytes], channel: socket.socket, deadline: float) -> None:
        """Read the console and answer the guest until QEMU closes the console, or the time is up."""
        with selectors.DefaultSelector() as selector:
            selector.register(console, selectors.EVENT_READ)
            selector.register(channel, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if key.fileobj is channel:
                        if not self._take(channel):
                            selector.unregister(channel)
                    elif not self._print(os.read(console.fileno(), 65536)):
                        return

    def _print(self, data: bytes) -> bool:
        self._console += data
        if self._setup.echo and data:
            self._setup.echo(clean(data))
        return bool(data)

    def _take(self, channel: socket.socket) -> bool:
        """Handle the lines that are there; False at the end of the channel."""
        data = channel.recv(65536)
        self._pending += data
        if len(self._pending) > _LONGEST_LINE:
            raise NotStarted("the guest sends a line without an end")
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            self._take_line(channel, line)
        return bool(data)

    def _take_line(self, channel: socket.socket, line: bytes) -> None:
        message = json.loads(line)
        question = message.pop("ask", None)
        if question is None:
            self.reports.append(message)
            return
        answer = self._handlers[question](self, **message) or {}
        channel.sendall(json.dumps(answer).encode() + b"\n")


def device(port: int, path: Path) -> dict[str, Any]:
    """Return QEMU's description of a virtual function behind root port ``port``, served at ``path``.

    ``rombar`` 0: the function has no ROM, and QEMU would say so with a warning.
    """
    place = {"id": f"h{port}", "bus": f"rp{port}"}
    return {"driver": "vfio-user-pci", **place, "rombar": 0, "socket": {"type": "unix", "path": str(path)}}


def _end(qemu: subprocess.Popen[bytes]) -> None:
    if qemu.poll() is None:
        qemu.kill()
    qemu.wait()
    if qemu.stdout is not None:
        qemu.stdout.close()
