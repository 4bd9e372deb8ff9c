"""A rig around a function on the guest's bus whose chip can also be asked and changed from outside."""

from __future__ import annotations

import base64
import builtins
import pickle
import time
from dataclasses import replace

from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.testing.rig import ALL, Lacking, Rig, TwinSetup
from openhailo.twin.faults import Faults

#: The status word of configuration space.
_STATUS = 0x06
#: For a message that the chip sent before the server answered: QEMU delivers it before, or together with, the answer.
_ON_ITS_WAY_S = 0.005
#: A chip that works longer than this never stops.
_PATIENCE_S = 5.0


class Session:
    """The one function, and what its chip is at the moment."""

    def __init__(self, outside, function) -> None:
        self.outside, self.function = outside, function
        self.owner = None

    def ask(self, op: str, **fields):
        """Have the server do ``op``."""
        answer = self.outside.ask("chip", op=op, **fields)
        if "error" in answer:
            kind = getattr(builtins, answer["kind"], RuntimeError)
            raise kind(f"{answer['kind']}: {answer['error']}")
        return pickle.loads(base64.b64decode(answer["value"]))


class RemoteRig(Rig):
    """As `openhailo.testing.rig.TwinRig`, over a real bus and in real time; one chip at a time."""

    capabilities = ALL

    def __init__(self, session: Session, setup: TwinSetup | None = None) -> None:
        super().__init__(None)
        self._session, self.setup = session, setup or TwinSetup()
        self._used = False
        self._faults = _RemoteFaults(self)

    def ask(self, op: str, **fields):
        """Have the server do ``op`` to this rig's chip."""
        self._take()
        return self._session.ask(op, **fields)

    def _take(self) -> None:
        """Make the chip behind the function this rig's."""
        session, setup = self._session, self.setup
        if session.owner is self:
            return
        if self._used:
            raise Lacking("second chip at the same time")
        answers = base64.b64encode(pickle.dumps({op: tuple(data) for op, data in setup.answers.items()})).decode()
        version = list(setup.version) if setup.version else None
        session.ask("make", arch=setup.arch, version=version, firmware=dict(setup.firmware), answers=answers)
        session.function.irq.disable()
        session.function.irq.wait(0.0)  # what came for the chip before
        if setup.booted:
            session.ask("boot")
        session.owner, self._used = self, True

    # --- what a rig offers ----------------------------------------------------------------------------------------

    def _open_link(self):
        self._take()
        options = LinkOptions(**dict(self.setup.options))
        return PcieLink(_Lent(self._session.function), firmware=self.setup.image, options=options)

    def open_function(self):
        """Return the bare function; the link is closed for it."""
        self.close_link()
        self._take()
        return _Patient(self)

    def close_link(self) -> None:
        """Close the driver and leave the chip."""
        super().close()

    def fresh(self, **changes):
        """Return a rig around another chip in the same place; this one is gone as soon as that is used."""
        return RemoteRig(self._session, replace(self.setup, **changes))

    @property
    def expected(self):
        """What the chip was configured to answer."""
        from openhailo.testing import reference

        changes = dict(self.setup.firmware)
        if self.setup.version is not None:
            changes["version"] = self.setup.version
        return replace(reference.FIRMWARE, arch=self.setup.arch, **changes)

    @property
    def faults(self):
        """What is broken; set its attributes."""
        return self._faults

    @property
    def sensors(self):
        """The board's sensors; set them."""
        return _RemoteSensors(self)

    def state(self):
        """Return what the firmware holds, by family."""
        return self.ask("state")

    def emit(self, event: str, **fields) -> None:
        """Have the firmware send an event."""
        self.ask("emit", event=event, fields=fields)

    def log(self, cpu: int, data: bytes) -> None:
        """Have the firmware write to a log ring."""
        self.ask("log", cpu=cpu, data=bytes(data).hex())

    def bind(self, compute) -> None:
        """Let a function of the suite, which exists outside as well, stand for silicon's arithmetic."""
        if "<" in compute.__qualname__:
            raise Lacking("way to send a function that has no name")
        self.ask("bind", module=compute.__module__, name=compute.__qualname__)

    def advance(self, seconds: float) -> None:
        """Let time pass on the chip's clock, beside what passes anyway."""
        self.ask("advance", seconds=seconds)

    @property
    def now_s(self) -> float:
        """The present on the chip's clock."""
        return self.ask("now_s")

    def reset(self) -> None:
        """Nothing to do: every check has a chip of its own."""


class _Lent:
    """The function for a driver that does not own it."""

    def __init__(self, function) -> None:
        self._function = function
        self.name, self.config = function.name, function.config
        self.dma, self.irq, self.window, self.reset = function.dma, function.irq, function.window, function.reset

    def close(self) -> None:
        self.irq.disable()
        self.irq.wait(0.0)


class _Patient:
    """The bare function; a wait for a message does not end before the chip has nothing more to do.

    A host that knows only bytes waits as long as a chip in the same process needs, which is no time at all. Here the
    guest, the server and others share the processors.
    """

    def __init__(self, rig: RemoteRig) -> None:
        self._rig, self._inner = rig, rig._session.function
        self.name, self.config = self._inner.name, self._inner.config
        self.dma, self.window, self.reset = self._inner.dma, self._inner.window, self._inner.reset
        self.irq = self
        self.enable, self.disable, self.wake = self._inner.irq.enable, self._inner.irq.disable, self._inner.irq.wake

    def wait(self, timeout_s: float) -> bool:
        """Wait for a message; False when none came and none will."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self._inner.irq.wait(timeout_s):
            self.config.read(_STATUS, 2)  # all writes before it have arrived when it is answered
            if not self._rig.ask("busy") or time.monotonic() > deadline:
                return self._inner.irq.wait(_ON_ITS_WAY_S)
        return True

    def close(self) -> None:
        """Nothing to do: the session keeps the function."""


class _RemoteSensors:
    def __init__(self, rig: RemoteRig) -> None:
        self._rig = rig

    def __getattr__(self, name: str):
        if not name.startswith("set_"):
            raise Lacking(f"sensor's {name}")
        return lambda *arguments: self._rig.ask("sensors", method=name, arguments=list(arguments))


class _RemoteFaults:
    """Sends all faults when one changes; those in containers as well."""

    def __init__(self, rig: RemoteRig) -> None:
        object.__setattr__(self, "_rig", rig)
        object.__setattr__(self, "_local", Faults())

    def __getattr__(self, name: str):
        value = getattr(self._local, name)
        return _Watched(value, self._send) if isinstance(value, dict | set) else value

    def __setattr__(self, name: str, value) -> None:
        setattr(self._local, name, value)
        self._send()

    def clear(self) -> None:
        """Repair everything."""
        self._local.clear()
        self._send()

    def _send(self) -> None:
        values = {}
        for name, value in vars(self._local).items():
            if isinstance(value, dict):
                values[name] = {str(key): entry for key, entry in value.items()}
            else:
                values[name] = sorted(value) if isinstance(value, set) else value
        self._rig.ask("faults", values=values)


class _Watched:
    """A dictionary or set that tells when it was changed."""

    def __init__(self, inner, changed) -> None:
        self._inner, self._changed = inner, changed

    def __getattr__(self, name: str):
        method = getattr(self._inner, name)

        def call(*arguments):
            result = method(*arguments)
            self._changed()
            return result

        return call

    def __setitem__(self, key, value) -> None:
        self._inner[key] = value
        self._changed()
