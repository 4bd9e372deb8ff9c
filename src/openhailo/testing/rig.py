"""The device under test, and what is known of it.

A check gets a `Rig` and asks it for what it declared to need. A board offers a link and perhaps its bare function; the
twin offers everything. Capabilities:

============  =========================================================================================================
link          always: ``rig.link`` and ``rig.client``
pcie          ``rig.link`` is this project's own PCIe driver, which loads firmware and owns interrupts and registers
function      ``rig.open_function()`` gives the bare PCI function, with firmware running and no driver on it
raw           ``rig.raw_host()`` gives a host that knows only bytes: on a bare function, or on the kernel driver's node
device_file   ``rig.open_file()`` gives an open of the kernel driver's node (`openhailo.testing.rig_kernel`)
fresh         ``rig.fresh(...)`` makes another device: cold, of another version, with scripted answers
expected      ``rig.expected``: what the device was configured to answer, and ``rig.hw_consts``
faults        ``rig.faults`` breaks things on purpose
sensors       ``rig.sensors`` sets temperatures and power
state         ``rig.state()``: what the firmware holds, and events that only hardware would cause
clock         time is virtual: ``rig.advance`` moves it, ``rig.now_s`` tells it
programs      the core executes this project's programs
============  =========================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from openhailo.bus.protocols import DeviceFile, PciFunction
from openhailo.driver.control import FirmwareClient
from openhailo.driver.link import ChipLink
from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.spec.chip import CHIP, ChipSpec

if TYPE_CHECKING:
    from openhailo.twin.board import LoadedImage
    from openhailo.twin.facade import Twin
    from openhailo.twin.faults import Faults
    from openhailo.twin.firmware import FirmwareConfig
    from openhailo.twin.sensors import Sensors

    from .conformance.raw.host import MessageHost

ALL = frozenset(
    {"link", "pcie", "function", "raw", "fresh", "expected", "faults", "sensors", "state", "clock", "programs"}
)


class Lacking(Exception):
    """A check used something that it did not declare, or that this rig does not have."""

    def __init__(self, capability: str) -> None:
        self.capability = capability
        super().__init__(f"this rig has no {capability}")


class Rig:
    """A rig around an open link: what a board offers."""

    capabilities: frozenset[str] = frozenset({"link"})

    def __init__(self, link: ChipLink | None, spec: ChipSpec = CHIP) -> None:
        self._link, self._spec = link, spec
        self._client: FirmwareClient | None = None

    @property
    def link(self) -> ChipLink:
        """The link to the device."""
        if self._link is None:
            self._link = self._open_link()
        return self._link

    @property
    def client(self) -> FirmwareClient:
        """The typed client of its firmware."""
        if self._client is None:
            self._client = FirmwareClient(self.link, self._spec)
        return self._client

    @property
    def spec(self) -> ChipSpec:
        """The declaration that the host's side goes by."""
        return self._spec

    def _open_link(self) -> ChipLink:
        raise Lacking("link")

    def open_function(self) -> PciFunction:
        """Return the bare PCI function; the link is closed for it."""
        raise Lacking("function")

    def open_file(self) -> DeviceFile:
        """Return an open of the kernel driver's node, one of any number; the link is closed for it."""
        raise Lacking("device_file")

    def raw_host(self) -> MessageHost:
        """Return a host that knows only bytes; the link is closed for it."""
        from .conformance.raw.host import RawHost

        return RawHost(self.open_function())

    def fresh(self, **changes: Any) -> Rig:
        """Return a rig around another device; the caller closes it."""
        raise Lacking("fresh")

    @property
    def expected(self) -> FirmwareConfig:
        """What the device was configured to answer."""
        raise Lacking("expected")

    @property
    def faults(self) -> Faults:
        """What is broken; set its attributes."""
        raise Lacking("faults")

    @property
    def sensors(self) -> Sensors:
        """The board's sensors; set them."""
        raise Lacking("sensors")

    @property
    def twin(self) -> Twin:
        """The virtual chip itself, for checks that need ``state``."""
        raise Lacking("state")

    def state(self) -> dict[str, Any]:
        """Return what the firmware holds, by family."""
        raise Lacking("state")

    def emit(self, event: str, **fields: Any) -> None:
        """Have the firmware send an event."""
        raise Lacking("state")

    def watch_boots(self) -> list[LoadedImage]:
        """Return a list that every firmware image will be added to as it starts."""
        raise Lacking("state")

    def log(self, cpu: int, data: bytes) -> None:
        """Have the firmware write to a log ring."""
        raise Lacking("state")

    def bind(self, compute: Callable[[Mapping[int, memoryview]], Mapping[int, bytes]]) -> None:
        """Let ``compute`` (frames by input stream -> frames by output stream) stand for silicon's arithmetic."""
        raise Lacking("state")

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        raise Lacking("clock")

    @property
    def now_s(self) -> float:
        """The present on the device's clock."""
        raise Lacking("clock")

    def reset(self) -> None:
        """Bring a device that others will use as well back to a known state."""
        self.client.reset_applications()
        self.client.clear_configured_apps()

    def close_link(self) -> None:
        """Close the link; the next use opens it again."""
        raise Lacking("fresh")

    def close(self) -> None:
        """Leave the device. Idempotent."""
        if self._link is not None:
            self._link.close()
        self._link = self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FunctionRig(Rig):
    """A rig around a PCI function that this process owns, with our driver on it, or none, as a check asks.

    The bare function is only offered with ``firmware``: it is reset after the check, and firmware has to come back.
    """

    def __init__(self, function: PciFunction, *, firmware: bytes | None = None) -> None:
        super().__init__(None)
        self._function, self._firmware = function, firmware
        self._is_bare = False
        self.capabilities = frozenset({"link", "pcie"} | ({"function"} if firmware is not None else set()))

    def _open_link(self) -> ChipLink:
        if self._is_bare:
            self._function.reset()
            self._is_bare = False
        return PcieLink(_Lent(self._function), firmware=self._firmware)

    def open_function(self) -> PciFunction:
        """Return the bare function, reset and booted by our driver, which has left again."""
        if self._firmware is None:
            raise Lacking("function")
        self.close_link()
        self._open_link().close()
        self._is_bare = True
        return self._function

    def close_link(self) -> None:
        """Close the driver and keep the function."""
        super().close()

    def close(self) -> None:
        """Close the driver and the function. Idempotent."""
        self.close_link()
        self._function.close()


class _Lent:
    """A function whose owner keeps it when the driver leaves."""

    def __init__(self, function: PciFunction) -> None:
        self._function = function
        self.name, self.config = function.name, function.config
        self.dma, self.irq, self.window, self.reset = function.dma, function.irq, function.window, function.reset

    def close(self) -> None:
        """Switch off what the driver switched on; the function stays open."""
        self.irq.disable()
        self.irq.wait(0.0)  # what the driver woke itself with is not for the next owner


@dataclass(frozen=True)
class TwinSetup:
    """How a twin is made for a check.

    ``spec`` is the twin's declaration and ``host_spec`` the driver's: tests bend one of them. ``firmware`` is what it
    answers, by default `openhailo.testing.reference`; ``answers`` replaces whole responses by opcode.
    """

    arch: str = "hailo8"
    version: tuple[int, int, int] | None = None
    booted: bool = True
    spec: ChipSpec = CHIP
    host_spec: ChipSpec = CHIP
    firmware: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[int, Sequence[bytes]] = field(default_factory=dict)
    image: bytes | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class TwinRig(Rig):
    """A rig around a twin of its own: everything can be asked, and time is virtual."""

    capabilities = ALL

    def __init__(self, setup: TwinSetup | None = None) -> None:
        setup = setup or TwinSetup()
        super().__init__(None, setup.host_spec)
        self.setup = setup
        self._twin: Twin | None = None
        self._function: PciFunction | None = None

    @property
    def twin(self) -> Twin:
        """The twin, made at first use; its sensors stand still at known values."""
        if self._twin is None:
            self._twin = self._make_twin(self.setup)
        return self._twin

    def _make_twin(self, setup: TwinSetup) -> Twin:
        from openhailo.twin.clock import SteppedClock
        from openhailo.twin.facade import Twin

        from . import reference

        twin = Twin(
            setup.arch,
            firmware_version=setup.version,
            clock=SteppedClock(),
            spec=setup.spec,
            booted=setup.booted,
            options={"firmware": self.expected},
        )
        twin.sensors.set_power(reference.POWER_W)
        twin.sensors.set_temperature(*reference.TEMPERATURE_C)
        return twin

    @property
    def expected(self) -> FirmwareConfig:
        """What the twin was configured to answer."""
        from . import reference

        setup = self.setup
        changes: dict[str, Any] = dict(setup.firmware)
        if setup.version is not None:
            changes["version"] = setup.version
        if setup.answers:
            changes["scripted_responses"] = dict(setup.answers)
        return replace(reference.FIRMWARE, arch=setup.arch, **changes)

    @property
    def link_options(self) -> LinkOptions:
        """Options that put the driver on the twin's clock."""
        return LinkOptions(clock=lambda: self.now_s, pause=self.advance, **dict(self.setup.options))

    def _open_link(self) -> ChipLink:
        return self.open_link()

    def open_link(self, firmware: bytes | None = None) -> PcieLink:
        """Open the driver on the twin; a link that is open already is closed first."""
        self.close_link()
        link = PcieLink(
            self._bare(),
            spec=self.setup.host_spec,
            firmware=firmware if firmware is not None else self.setup.image,
            options=self.link_options,
        )
        self._link = link
        return link

    def close_link(self) -> None:
        """Close the driver and leave the twin as it is."""
        super().close()
        if self._function is not None:
            self._function.close()
            self._function = None

    def open_function(self) -> PciFunction:
        """Return the bare PCI function; the link is closed for it."""
        self.close_link()
        self._function = self._bare()
        return self._function

    def _bare(self) -> PciFunction:
        return cast(PciFunction, self.twin.function())

    def fresh(self, **changes: Any) -> TwinRig:
        """Return a rig around another twin; ``changes`` are fields of `TwinSetup`."""
        return TwinRig(replace(self.setup, **changes))

    @property
    def faults(self) -> Faults:
        """What is broken; set its attributes."""
        return self.twin.faults

    @property
    def sensors(self) -> Sensors:
        """The board's sensors; set them."""
        return self.twin.sensors

    def state(self) -> dict[str, Any]:
        """Return what the firmware holds, by family."""
        return self.twin.state()

    def emit(self, event: str, **fields: Any) -> None:
        """Have the firmware send an event that only hardware would cause."""
        from openhailo.twin.firmware import Firmware

        firmware = self.twin.firmware
        assert isinstance(firmware, Firmware), "a rig's twin has real firmware"
        with self.twin.chip.loop.lock:
            firmware.parts.notifier.emit(event, **fields)

    def watch_boots(self) -> list[LoadedImage]:
        """Return a list that every firmware image will be added to as it starts."""
        firmware = self.twin.chip.firmware
        images: list[LoadedImage] = []
        start = firmware.boot

        def boot(image: LoadedImage) -> None:
            images.append(image)
            start(image)

        firmware.boot = boot  # type: ignore[method-assign]
        return images

    def log(self, cpu: int, data: bytes) -> None:
        """Have the firmware write to a log ring."""
        with self.twin.chip.loop.lock:
            self.twin.chip.write_log(cpu, data)

    def bind(self, compute: Callable[[Mapping[int, memoryview]], Mapping[int, bytes]]) -> None:
        """Let ``compute`` (frames by input stream -> frames by output stream) stand for silicon's arithmetic."""
        from openhailo.twin.firmware import Firmware

        firmware = self.twin.firmware
        assert isinstance(firmware, Firmware), "a rig's twin has real firmware"
        firmware.core.bind_reference(lambda inputs, _frame: compute(inputs))

    def advance(self, seconds: float) -> None:
        """Let time pass; what falls due meanwhile happens at the next access or wait."""
        clock = self.twin.chip.clock
        clock.advance_to(clock.now_ns() + round(seconds * 1e9))

    @property
    def now_s(self) -> float:
        """The present on the twin's clock."""
        return self.twin.chip.clock.now_ns() / 1e9

    def reset(self) -> None:
        """Nothing to do: every check has a twin of its own."""

    def close(self) -> None:
        """Take the twin down."""
        self.close_link()
        if self._twin is not None:
            self._twin.close()
            self._twin = None


@contextmanager
def open_rig(name: str) -> Iterator[Rig]:
    """Open the device ``name`` (``scheme:target``) as a rig; ``twin`` is the reference twin."""
    if name in ("twin", "twin:"):
        with TwinRig() as twin:
            yield twin
        return
    from openhailo.bus.registry import open_endpoint

    endpoint = open_endpoint(name)
    if endpoint.link is not None:
        rig: Rig = _rig_of_link(endpoint.link)
    else:
        assert endpoint.function is not None, "an endpoint has a function or a link"
        rig = FunctionRig(endpoint.function, firmware=endpoint.firmware)
    with rig:
        yield rig


def _rig_of_link(link: ChipLink) -> Rig:
    from openhailo.driver.kernel.link import KernelLink

    from .rig_kernel import NodeRig

    return NodeRig(link) if isinstance(link, KernelLink) else Rig(link)
