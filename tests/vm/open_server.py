"""``python -m tests.vm.open_server SOCKET CONTROL``: a served twin whose inside can be asked and changed.

For the conformance suite in a guest: the chip is reached over the bus alone, and a UNIX socket offers what
`openhailo.testing.rig.TwinRig` offers: other chips, their state, sensors, faults.  One JSON object per line and answer.
"""

from __future__ import annotations

import base64
import json
import pickle
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from openhailo.testing import reference
from openhailo.twin.board import LoadedImage, TwinConfig
from openhailo.twin.chip import Chip
from openhailo.twin.facade import DEFAULT_VERSION, load_firmware
from openhailo.twin.firmware import Firmware
from openhailo.twin.ports.vfio_user.device import BOOT_NS, ServedDevice
from openhailo.twin.ports.vfio_user.server import Server

#: An event that is due by then counts as work that goes on.
_SOON_NS = 1_000_000_000
#: Functions that may be bound come from here.
_OWN = "openhailo.testing."


class OpenDevice:
    """Operations on ``device``, by name; all run in the server's thread."""

    def __init__(self, device: ServedDevice) -> None:
        self._device = device

    @property
    def _firmware(self) -> Firmware:
        firmware = self._device.chip.firmware
        assert isinstance(firmware, Firmware)
        return firmware

    def make(self, arch: str, version: list[int] | None, firmware: Mapping[str, Any], answers: str) -> None:
        """Put another chip, cold, in the place of this one; the bus goes on as the host has set it up."""
        changes: dict[str, Any] = dict(firmware)
        if version is not None:
            changes["version"] = tuple(version)
        scripted = pickle.loads(base64.b64decode(answers))
        if scripted:
            changes["scripted_responses"] = scripted
        expected = replace(reference.FIRMWARE, arch=arch, **changes)
        device, old = self._device, self._device.chip
        configuration = bytes(old.pci._bytes)
        old.reset_function()
        config = TwinConfig(arch, expected.version if version else None, None, {}, {"firmware": expected})
        device.chip = Chip(
            old.spec,
            loop=device.loop,
            config=config,
            memory=device.memory,
            make_firmware=load_firmware,
            boot_ns=BOOT_NS,
        )
        device.chip.msi.on_message(device._message)
        device.chip.pci._bytes[:] = configuration
        device.chip.pci._update()
        device.chip.sensors.set_power(reference.POWER_W)
        device.chip.sensors.set_temperature(*reference.TEMPERATURE_C)

    def boot(self) -> None:
        """Start firmware without an image, as if a host had loaded one before."""
        version = self._device.chip.config.firmware_version or DEFAULT_VERSION
        self._device.chip.start_firmware(LoadedImage(version, b"", version, b""))

    def busy(self) -> bool:
        """Tell whether the chip computes, or will do something soon."""
        loop = self._device.loop
        soon = bool(loop._events) and loop._events[0][0] - loop.clock.now_ns() < _SOON_NS
        return soon or bool(loop._offloaded) or loop._running_work is not None

    def now_s(self) -> float:
        """Return the present on the chip's clock."""
        return self._device.loop.clock.now_ns() / 1e9

    def advance(self, seconds: float) -> None:
        """Let time pass; what falls due meanwhile happens right after this."""
        clock = self._device.loop.clock
        clock.advance_to(clock.now_ns() + round(seconds * 1e9))

    def state(self) -> dict[str, Any]:
        """Return what the firmware holds."""
        return self._device.chip.firmware.snapshot()

    def emit(self, event: str, fields: Mapping[str, Any]) -> None:
        """Have the firmware send an event."""
        self._firmware.parts.notifier.emit(event, **fields)

    def log(self, cpu: int, data: str) -> None:
        """Have the firmware write to a log ring."""
        self._device.chip.write_log(cpu, bytes.fromhex(data))

    def bind(self, module: str, name: str) -> None:
        """Let a function of the suite stand for silicon's arithmetic."""
        assert module.startswith(_OWN), module
        compute = getattr(import_module(module), name)
        self._firmware.core.bind_reference(lambda inputs, _frame: compute(inputs))

    def faults(self, values: Mapping[str, Any]) -> None:
        """Break exactly this."""
        self._device.chip.faults.load(values)

    def sensors(self, method: str, arguments: list[Any]) -> None:
        """Set a sensor."""
        assert method.startswith("set_"), method
        getattr(self._device.chip.sensors, method)(*arguments)


class Questions:
    """Takes questions in a thread of its own and has them answered in the server's."""

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._queue: queue.SimpleQueue[tuple[dict[str, Any], queue.SimpleQueue[Any]]] = queue.SimpleQueue()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client = self._listening.accept()[0]
            with client, client.makefile("rw") as lines:
                for line in lines:
                    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
                    self._queue.put((json.loads(line), answer))
                    self._wake()
                    lines.write(json.dumps(answer.get()) + "\n")
                    lines.flush()

    def attend(self, device: ServedDevice, operations: OpenDevice) -> None:
        """Answer what was asked."""
        while not self._queue.empty():
            question, answer = self._queue.get()
            try:
                with device.loop.lock:
                    result = getattr(operations, question.pop("op"))(**question)
                answer.put({"value": base64.b64encode(pickle.dumps(result)).decode()})
            except Exception as error:  # the guest raises it: it is the check's, or a bug of ours that it shows
                answer.put({"error": str(error), "kind": type(error).__name__})


def main() -> None:
    """Serve until SIGTERM."""
    path, control = map(Path, sys.argv[1:])
    with ThreadPoolExecutor(1, "core") as executor, Server() as server:
        device = ServedDevice(path.name, executor=executor, wake=server.wake)
        questions = Questions(control, server.wake)
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        server.listen(device, path)
        server.run(partial(questions.attend, device, OpenDevice(device)))


if __name__ == "__main__":
    main()
