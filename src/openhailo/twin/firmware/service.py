"""The virtual firmware behind the chip's mailbox (control-protocol.md, context-switch.md)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from openhailo.twin.board import Board, LoadedImage, TwinConfig
from openhailo.twin.core import NeuralCore

from .config import NEWEST_VERSION, OLDEST_VERSION, FirmwareConfig
from .contexts.machine import ContextSwitch
from .controls.contexts import ContextControls
from .controls.health import ORANGE, OVERCURRENT_GREEN, HealthControls
from .controls.identity import IdentityControls
from .controls.memory import MemoryControls
from .controls.power import PowerControls
from .controls.sensors import SensorControls
from .controls.storage import Flash, StorageControls
from .controls.streams import StreamControls
from .controls.system import SystemControls
from .image import parse_image
from .logs import APP_CPU, CORE_CPU, DEBUG, INFO, WARN, FirmwareLog
from .notifications import Notifier
from .parts import Handler, Keeper, NoAnswer, Parts
from .refusal import Refused
from .wire import Request, build_response, parse_header, parse_parameters

if TYPE_CHECKING:
    from openhailo.spec.control import Control

CHIP, NN_CORE, SOFT, FORCED_SOFT = range(4)
_HOT = "CONTEXT_SWITCH_STATUS_HIGH_TEMPERATURE_WHEN_OPENING_STREAM"
_OVER = "CONTEXT_SWITCH_STATUS_HIGH_CURRENT_WHEN_OPENING_STREAM"


class Firmware:
    """Implements `openhailo.twin.board.FirmwarePort`.

    ``core`` is the neural core: `NeuralCore.bind_reference` lets it run networks compiled for silicon. Configuration,
    flash and references outlive resets; everything else starts again with every `boot`.
    """

    def __init__(self, board: Board, config: TwinConfig) -> None:
        self._board = board
        self.config = FirmwareConfig.from_twin(config)
        self.core = NeuralCore(board.spec)
        self.flash = Flash(bytearray(self.config.user_config), bytearray(self.config.board_config))
        self._scripts = {op: deque(answers) for op, answers in self.config.scripted_responses.items()}
        self._version = self.config.version
        self._start()

    def _start(self) -> None:
        """(Re)start both CPUs."""
        board = self._board
        log = FirmwareLog(board.write_log, board.clock.now_ns)
        self.parts = Parts(board, board.spec, self.config, log, Notifier(board.spec, board.notify))
        self._last_sequence = 0
        self._received: dict[str, Mapping[str, Any]] = {}
        self.machine = ContextSwitch(self.parts, self.core, self._refuse_opening)
        self.health = HealthControls(self.parts, self.machine.close_streams)
        self.handlers = self._collect_handlers()

    def _collect_handlers(self) -> dict[str, Handler]:
        parts, machine = self.parts, self.machine
        system = SystemControls(parts, lambda: machine.is_idle, lambda: machine.pump.latency_ns)
        self._keepers: dict[str, Keeper] = {
            "power": PowerControls(parts),
            "storage": StorageControls(parts, self.flash, lambda: machine.is_idle),
            "sensors": SensorControls(parts),
            "streams": StreamControls(parts),
            "system": system,
            "health": self.health,
            "contexts": ContextControls(parts, machine),
        }
        handlers: dict[str, Handler] = {"RESET": self._reset}
        handlers.update(IdentityControls(parts, self._version).handlers())
        handlers.update(MemoryControls(parts).handlers())
        for keeper in self._keepers.values():
            handlers.update(keeper.handlers())
        return handlers

    def _refuse_opening(self) -> str:
        """Health forbids to start an application in the red zones (context-switch.md 15)."""
        if self.health.temperature_zone > ORANGE:
            return _HOT
        return _OVER if self.health.overcurrent_zone != OVERCURRENT_GREEN else ""

    # --- FirmwarePort ---------------------------------------------------------------------------------------------

    def boot(self, image: LoadedImage) -> None:
        """Start with ``image``; its version is answered where the configuration says so."""
        if self.config.follow_image_version:
            self._adopt_version(image.version)
        if not self.flash.user_config and self._is_user_config(image.firmware_config):
            self.flash.user_config = bytearray(image.firmware_config)
        if not self.flash.board_config and image.board_config:
            self.flash.board_config = bytearray(image.board_config[: self._board.spec.control_rules.board_config_bytes])
        self._start()
        self.parts.log.line(APP_CPU, INFO, f"firmware {'.'.join(map(str, self._version))} up")
        self.parts.log.line(CORE_CPU, INFO, "core CPU up")

    def _adopt_version(self, version: tuple[int, int, int]) -> None:
        number = self._board.spec.firmware_revision["number"].get(version[2])
        if OLDEST_VERSION <= (version[0], version[1], number) <= NEWEST_VERSION:
            self._version = (version[0], version[1], number)

    def _is_user_config(self, blob: bytes) -> bool:
        layout = self._board.spec.user_config_header
        return len(blob) >= layout.size and layout.unpack(blob)["magic"] == self._board.spec.user_config.magic

    def control(self, cpu: int, request: bytes, digest_ok: bool) -> bytes | None:
        """Answer a control; every malformed one has its status, none raises."""
        head = Request(self._board.spec.control_rules.protocol_version, *self._echo(request), 0)
        control: Control | None = None
        values: Mapping[str, Any] | None = None
        status = (0, 0)
        try:
            if not digest_ok:
                raise Refused(self._bad_mailbox(request))
            head = parse_header(self._board.spec, request)
            if self._is_repeated(head):
                return None
            control = self._find(cpu, head)
            scripted = self._next_scripted(head.opcode)
            if scripted is None or _succeeds(scripted):
                values = self._execute(control, head, request, must_succeed=scripted is None)
            if scripted is not None:
                return scripted or None
        except Refused as refusal:
            status = (self.parts.status(refusal.major), self.parts.status(refusal.minor))
            self.parts.log.line(cpu, WARN, f"opcode {head.opcode} refused: {refusal}")
        except NoAnswer:
            return None
        status = self._board.faults.control_status.get(head.opcode, status)
        return build_response(self._board.spec, head, control, values or {}, status)

    def _execute(
        self, control: Control, head: Request, request: bytes, *, must_succeed: bool
    ) -> Mapping[str, Any] | None:
        """Parse and carry out; the recorded device of a scripted answer may have accepted what this one cannot."""
        args = parse_parameters(self._board.spec, control, head, request)
        self._received[control.name] = args
        if head.opcode in self._board.faults.control_status:
            return None
        self.parts.log.line(control.cpu, DEBUG, control.name)
        self.health.look()
        try:
            return self.handlers[control.name](args)
        except Refused:
            if must_succeed:
                raise
            return None

    def _bad_mailbox(self, request: bytes) -> str:
        """The chip says that digest or length were wrong; over-long requests arrive cut."""
        if len(request) >= self._board.spec.mailbox.max_message_bytes:
            return "CONTROL_PROTOCOL_STATUS_REQUSET_LENGTH_OVERFLOW"
        return "PCIE_SERVICE_STATUS_MISMATCHING_MD5"

    def _echo(self, request: bytes) -> tuple[int, int]:
        """Return sequence and opcode of whatever header there is; zeros for what is missing."""
        layout = self._board.spec.request_header
        fields = layout.unpack(request[: layout.size].ljust(layout.size, b"\0"))
        return fields["sequence"], fields["opcode"]

    def _is_repeated(self, head: Request) -> bool:
        """A repeated sequence is dropped, except 0, which several processes share (control-protocol.md 3.4)."""
        repeated = head.sequence != 0 and head.sequence == self._last_sequence
        self._last_sequence = head.sequence
        return repeated

    def _find(self, cpu: int, head: Request) -> Control:
        control = self._board.spec.controls.get(head.opcode)
        if control is None:
            raise Refused("HAILO_CONTROL_STATUS_UNSUPPORTED_OPCODE")
        if control.cpu != cpu:
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_CPU_ID", "MAILBOX_STATUS_GOT_UNSUPPORTED_CPU_ID")
        if control.obsolete:
            raise Refused("HAILO_CONTROL_STATUS_UNSUPPORTED_OPCODE", "CONTROL_PROTOCOL_STATUS_OBSOLETE_CONTROL")
        return control

    def _next_scripted(self, opcode: int) -> bytes | None:
        answers = self._scripts.get(opcode)
        if not answers:
            return None
        return answers.popleft() if len(answers) > 1 else answers[0]

    def driver_shutdown(self) -> None:
        """Doorbell 4: nothing may touch host memory any more; applications stay stored."""
        self.machine.abandon()

    def soft_reset(self) -> None:
        """Doorbell 8: as after power-on."""
        self.machine.abandon()
        self._switch_image()
        self._start()

    def halt(self) -> None:
        """The function was reset or the twin closed."""
        self.machine.abandon()
        self._start()

    def snapshot(self) -> dict[str, Any]:
        """Return what the firmware holds, by family, as plain values that stay as they are.

        ``received`` has the parameters of the last request per control, as they were understood.
        """
        held: dict[str, Any] = {name: keeper.snapshot() for name, keeper in self._keepers.items()}
        held["received"] = deepcopy(self._received)
        held["log"] = {"level": self.parts.log.level, "interfaces": self.parts.log.interfaces}
        held["core"] = self.core.snapshot()
        return held

    # --- reset ----------------------------------------------------------------------------------------------------

    def _reset(self, args: Mapping[str, Any]) -> None:
        """Opcode 7: the soft kinds restart the firmware and are never answered (control-protocol.md 7.6)."""
        kind = args["reset_type"]
        if kind == NN_CORE:
            self.machine.stop()
            return
        if kind not in (SOFT, FORCED_SOFT):
            raise Refused("CONTROL_PROTOCOL_STATUS_INVALID_RESET_TYPE")
        self.soft_reset()
        raise NoAnswer

    def _switch_image(self) -> None:
        """A finished update takes effect."""
        if self.flash.image:
            self._adopt_version(parse_image(self.flash.image, spec=self._board.spec).version)


def _succeeds(message: bytes) -> bool:
    """Tell whether a recorded answer carries success, so that the control takes effect as well."""
    return not message or message[16:20] == bytes(4)
