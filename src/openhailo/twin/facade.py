"""One twin, ready to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from openhailo.errors import DeviceBusy
from openhailo.spec.chip import CHIP, ChipSpec

from .board import Board, FirmwareFactory, FirmwarePort, LoadedImage, TwinConfig
from .chip import Chip
from .clock import Clock, WallClock
from .faults import Faults
from .loop import EventLoop
from .observe import Observer
from .ports.function import TwinDma, TwinFunction
from .sensors import Sensors

#: Version of the firmware that a twin made with ``booted=True`` runs, if nothing else is asked for.
DEFAULT_VERSION = (4, 23, 0)


def load_firmware(board: Board, config: TwinConfig) -> FirmwarePort:
    """Make the twin's firmware."""
    module = import_module("openhailo.twin.firmware")
    return cast(FirmwarePort, module.Firmware(board, config))


class Twin:
    """A virtual chip and the ways into it.

    Args:
        arch: "hailo8" or "hailo8l".
        firmware_version: what the firmware says it is, 4.17.0 ... 4.23.0; None: what the loaded image says.
        clock: `SteppedClock` for tests; by default `WallClock`.
        spec: the declaration the chip is built from (tests bend it).
        hw_consts: answer of the GET_HW_CONSTS control, by member name; None: the firmware's defaults.
        booted: start with firmware running instead of cold.
        answers: recorded response payloads by opcode (wire tests).
        options: further options for the firmware.
        firmware: makes the firmware; tests put a fake here.
        name: how the function calls itself.
    """

    def __init__(
        self,
        arch: str = "hailo8",
        *,
        firmware_version: tuple[int, int, int] | None = None,
        clock: Clock | None = None,
        spec: ChipSpec = CHIP,
        hw_consts: Mapping[str, int] | None = None,
        booted: bool = False,
        answers: Mapping[int, bytes] | None = None,
        options: Mapping[str, Any] | None = None,
        firmware: FirmwareFactory = load_firmware,
        name: str = "twin",
    ) -> None:
        self.name = name
        config = TwinConfig(arch, firmware_version, hw_consts, answers or {}, options or {})
        loop = EventLoop(clock or WallClock())
        self._dma = TwinDma(loop.lock)
        self.chip = Chip(spec, loop=loop, config=config, memory=self._dma, make_firmware=firmware)
        self._function: TwinFunction | None = None
        if booted:
            self.boot()

    @property
    def faults(self) -> Faults:
        """What is broken; set its attributes."""
        return self.chip.faults

    @property
    def sensors(self) -> Sensors:
        """Temperatures, power, clock; set them."""
        return self.chip.sensors

    @property
    def firmware(self) -> FirmwarePort:
        """The firmware of the chip."""
        return self.chip.firmware

    @property
    def dma(self) -> TwinDma:
        """The host memory that is registered."""
        return self._dma

    def state(self) -> dict[str, Any]:
        """Return what the firmware holds, by family, as plain values (see `FirmwarePort.snapshot`)."""
        with self.chip.loop.lock:
            return self.chip.firmware.snapshot()

    def boot(self) -> None:
        """Start firmware without an image, as if a host had loaded one before."""
        version = self.chip.config.firmware_version or DEFAULT_VERSION
        with self.chip.loop.lock:
            self.chip.start_firmware(LoadedImage(version, b"", version, b""))

    def function(self) -> TwinFunction:
        """Open the PCI function; one owner at a time (`DeviceBusy`)."""
        if self._function is not None and not self._function.closed:
            raise DeviceBusy(name=self.name, detail="its PCI function is already open")
        self._function = TwinFunction(self.chip, self._dma, self.name)
        return self._function

    def observe(self, callback: Observer) -> Callable[[], None]:
        """Report what happens to ``callback``; returns the function that ends it."""
        return self.chip.observe(callback)

    def step(self) -> bool:
        """Run the next event; False if nothing is left to do."""
        return self.chip.loop.step()

    def run_until_idle(self) -> int:
        """Run until nothing is left to do; returns the number of steps."""
        return self.chip.loop.run_until_idle()

    def close(self) -> None:
        """Release the function and the firmware's resources. Idempotent."""
        if self._function is not None:
            self._function.close()
        with self.chip.loop.lock:
            self.chip.loop.drop_all()
            self.chip.firmware.halt()

    def __enter__(self) -> Twin:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
