"""Every error openhailo raises on purpose, in one tree.

::

    OpenHailoError
    +- DeviceError      DeviceNotFound AccessDenied DeviceLost DeviceBusy DmaMapError VersionUnsupported
    |                 BrokerLost (also a DeviceLost)
    +- DeviceTimeout    (also a TimeoutError)
    +- ProtocolError    ControlFailed MalformedReply MalformedMessage SequenceMismatch
    +- FirmwareError    BadImage (also a ValueError) BootFailed BadProgram (also a ValueError)
    +- HefError         (also a ValueError) NotAHef BadChecksum UnsupportedHef Truncated InvalidHef
    +- CompileError     UnsupportedOp DoesNotFit CalibrationError ModelInvalid
    +- InferenceError   ShapeMismatch QueueFull Cancelled NoReference StateError
    +- AcceleratorError NotInitialized BufferTooLarge InferenceFailed InvalidParameter (also a ValueError)
    +- InputError       (also a ValueError) a user's file or argument that cannot be used
    +- SetupFailed      a step of `openhailo setup` that could not be carried out
    +- AssetUnavailable a demo model or photo that could not be fetched

Every class takes keyword-only fields, keeps them as attributes, and builds a message that ends with what to do next.
Where they come from:

* a card that vanished (unplugged, powered down) -> ``DeviceLost``;
* firmware that answers "no" to a control -> ``ControlFailed`` with the names of both status words;
* firmware that does not answer -> ``DeviceTimeout`` with the budget and the time that passed;
* a file that is not a HEF, or a damaged one -> a ``HefError`` that says which check failed;
* a frame of the wrong shape -> ``ShapeMismatch`` with the shape that is needed.
"""

from __future__ import annotations

from collections.abc import Sequence


class OpenHailoError(Exception):
    """Root of every deliberate error; ``except OpenHailoError`` catches all of them."""


# --- devices ----------------------------------------------------------------------------------------------------


class DeviceError(OpenHailoError):
    """A chip, or the way to it, is missing, closed to us, busy or gone."""


class DeviceNotFound(DeviceError):
    """No device answers to that name."""

    def __init__(self, *, name: str, hint: str = "run `openhailo devices` to list what can be opened") -> None:
        self.name = name
        super().__init__(f"no device {name!r}: {hint}")


class AccessDenied(DeviceError):
    """The operating system refuses access to the device."""

    def __init__(self, *, name: str, hint: str) -> None:
        self.name, self.hint = name, hint
        super().__init__(f"access to {name} denied: {hint}")


class DeviceLost(DeviceError):
    """The device stopped answering on its bus (reads give all ones, or a foreign id)."""

    def __init__(self, *, name: str, detail: str) -> None:
        self.name, self.detail = name, detail
        super().__init__(f"{name} is gone: {detail}; check power and seating, then open it again")


class BrokerLost(DeviceLost):
    """The broker that shares the devices ended, or let go of us."""

    def __init__(self, *, name: str, detail: str) -> None:
        self.name, self.detail = name, detail
        DeviceError.__init__(
            self, f"{name} is gone: {detail}; frames under way are lost, the next call starts it again"
        )


class DeviceBusy(DeviceError):
    """The device, or a resource of it, already has an owner."""

    def __init__(self, *, name: str, detail: str) -> None:
        self.name, self.detail = name, detail
        super().__init__(f"{name} is busy: {detail}; close the other user first")


class DmaMapError(DeviceError):
    """Memory could not be made visible to the device."""

    def __init__(self, *, detail: str, size_bytes: int = 0) -> None:
        self.detail, self.size_bytes = detail, size_bytes
        super().__init__(f"cannot map {size_bytes} bytes for DMA: {detail}")


class VersionUnsupported(DeviceError):
    """A driver or firmware release that openhailo does not know how to talk to."""

    def __init__(self, *, component: str, version: str, supported: str) -> None:
        self.component, self.version, self.supported = component, version, supported
        super().__init__(f"{component} {version} is not supported; install {supported}")


class DeviceTimeout(OpenHailoError, TimeoutError):
    """The device did not do something within its budget."""

    def __init__(self, *, what: str, budget_s: float, elapsed_s: float, hint: str = "") -> None:
        self.what, self.budget_s, self.elapsed_s = what, budget_s, elapsed_s
        advice = hint or "reset the device (`device.reset()`) and try again"
        super().__init__(f"{what}: nothing after {elapsed_s:.3f} s (budget {budget_s:.3f} s); {advice}")


# --- protocol ----------------------------------------------------------------------------------------------------


class ProtocolError(OpenHailoError):
    """Host and firmware do not understand each other."""


class ControlFailed(ProtocolError):
    """The firmware refused a control; ``major_name`` says what failed and ``minor_name`` the cause."""

    def __init__(
        self, *, opcode: int, opcode_name: str, major: int, minor: int, major_name: str = "", minor_name: str = ""
    ) -> None:
        self.opcode, self.opcode_name = opcode, opcode_name
        self.major, self.minor = major, minor
        self.major_name, self.minor_name = major_name, minor_name
        super().__init__(
            f"firmware refused {opcode_name} ({opcode}): {major_name or 'unknown status'} (0x{major:08X}), "
            f"cause {minor_name or 'unknown status'} (0x{minor:08X}); `openhailo trace` records the exchange"
        )


class MalformedReply(ProtocolError):
    """A reply that breaks the protocol: length, digest, version, opcode or parameters."""

    def __init__(self, *, what: str, detail: str) -> None:
        self.what, self.detail = what, detail
        super().__init__(f"malformed {what}: {detail}; reset the device and try again")


class MalformedMessage(ProtocolError):
    """A message of another process that breaks the broker's protocol."""

    def __init__(self, *, what: str, detail: str) -> None:
        self.what, self.detail = what, detail
        super().__init__(f"malformed {what}: {detail}; use the same release of openhailo on both sides")


class SequenceMismatch(ProtocolError):
    """A reply to another request than the one that was sent."""

    def __init__(self, *, expected: int, seen: int) -> None:
        self.expected, self.seen = expected, seen
        super().__init__(f"reply has sequence {seen}, expected {expected}: a late answer; send the request again")


# --- firmware ----------------------------------------------------------------------------------------------------


class FirmwareError(OpenHailoError):
    """The firmware image or its boot."""


class BadImage(FirmwareError, ValueError):
    """A firmware file whose headers do not add up."""

    def __init__(self, *, detail: str) -> None:
        self.detail = detail
        super().__init__(f"not a usable firmware image: {detail}; `openhailo twin firmware` makes one for the twin")


class BootFailed(FirmwareError):
    """The chip did not come up; ``stage`` names the step that failed."""

    def __init__(self, *, stage: str, detail: str = "") -> None:
        self.stage, self.detail = stage, detail
        super().__init__(f"boot failed at {stage}{': ' + detail if detail else ''}; power-cycle the card and try again")


class BadProgram(FirmwareError, ValueError):
    """A program image for the twin's neural core that does not add up; ``detail`` names the field."""

    def __init__(self, *, detail: str) -> None:
        self.detail = detail
        super().__init__(f"not a usable program for the twin's core: {detail}; compile the model again")


# --- HEF ----------------------------------------------------------------------------------------------------


class HefError(OpenHailoError, ValueError):
    """A HEF that cannot be used."""


class NotAHef(HefError):
    """The file does not begin as a HEF does."""

    def __init__(self, *, detail: str) -> None:
        self.detail = detail
        super().__init__(f"not a HEF file: {detail}")


class BadChecksum(HefError):
    """The stored hash and the computed one differ: the file is damaged."""

    def __init__(self, *, kind: str, expected: str, seen: str) -> None:
        self.kind, self.expected, self.seen = kind, expected, seen
        super().__init__(f"{kind} of the HEF is {seen}, the header says {expected}: damaged file, fetch it again")


class UnsupportedHef(HefError):
    """A HEF that asks for something this version, or this chip, does not have."""

    def __init__(self, *, feature: str, hint: str = "recompile the model for Hailo-8 or Hailo-8L") -> None:
        self.feature, self.hint = feature, hint
        super().__init__(f"unsupported HEF: {feature}; {hint}")


class Truncated(HefError):
    """A length in the file does not match the bytes that are there."""

    def __init__(self, *, what: str, need: int, have: int) -> None:
        self.what, self.need, self.have = what, need, have
        super().__init__(f"{what}: {need} bytes needed, {have} there: damaged file, fetch it again")


class InvalidHef(HefError):
    """Content that breaks a rule of the format; ``rule`` names it, ``where`` is the path of the field."""

    def __init__(self, *, rule: str, where: str, detail: str) -> None:
        self.rule, self.where, self.detail = rule, where, detail
        super().__init__(f"invalid HEF at {where}: {detail} [{rule}]")


# --- compiler ----------------------------------------------------------------------------------------------------


class CompileError(OpenHailoError):
    """A model that cannot be compiled."""


class ModelInvalid(CompileError):
    """A model file that cannot be read or breaks a rule of its own format."""

    def __init__(self, *, detail: str) -> None:
        self.detail = detail
        super().__init__(f"cannot use this model: {detail}")


class UnsupportedOp(CompileError):
    """An operator the compiler does not take; ``node`` names it in the graph."""

    def __init__(self, *, op: str, node: str, hint: str = "cut the graph before it with --end-node") -> None:
        self.op, self.node, self.hint = op, node, hint
        super().__init__(f"operator {op} (node {node!r}) is not supported; {hint}")


class DoesNotFit(CompileError):
    """More of a chip resource is needed than there is."""

    def __init__(self, *, resource: str, need: int, have: int) -> None:
        self.resource, self.need, self.have = resource, need, have
        super().__init__(f"{resource}: {need} needed, {have} there; use a smaller model or more contexts")


class CalibrationError(CompileError):
    """Calibration data that is missing, too little or of the wrong shape."""

    def __init__(self, *, detail: str) -> None:
        self.detail = detail
        super().__init__(f"calibration: {detail}; give representative inputs with --calibration DIR")


# --- inference ----------------------------------------------------------------------------------------------------


class InferenceError(OpenHailoError):
    """A frame that could not be run."""


class ShapeMismatch(InferenceError):
    """An array whose shape or type is not the model's."""

    def __init__(self, *, name: str, expected: Sequence[int], seen: Sequence[int], detail: str = "") -> None:
        self.name, self.expected, self.seen = name, tuple(expected), tuple(seen)
        extra = f" ({detail})" if detail else ""
        super().__init__(f"{name}: needs shape {self.expected}, got {self.seen}{extra}")


class QueueFull(InferenceError):
    """Too many frames in flight."""

    def __init__(self, *, name: str, depth: int) -> None:
        self.name, self.depth = name, depth
        super().__init__(f"{name}: {depth} frames already in flight; wait for a result first")


class Cancelled(InferenceError):
    """The work was given up before it was done."""

    def __init__(self, *, what: str, reason: str) -> None:
        self.what, self.reason = what, reason
        super().__init__(f"{what} cancelled: {reason}")


class NoReference(InferenceError):
    """A HEF compiled for silicon has no program that the twin can execute."""

    def __init__(self, *, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name} was compiled for silicon, whose instruction set is not public, so the twin cannot compute it; "
            "bind its numerics with `--reference model.onnx` (or `reference=` in Python), or run it on a real device"
        )


class StateError(InferenceError):
    """A call that the present state does not allow."""

    def __init__(self, *, what: str, state: str, hint: str) -> None:
        self.what, self.state, self.hint = what, state, hint
        super().__init__(f"{what} is not possible while {state}; {hint}")


# --- spiking networks ---------------------------------------------------------------------------------------------


class AcceleratorError(OpenHailoError):
    """A neural accelerator that cannot do what it was asked for."""


class NotInitialized(AcceleratorError):
    """A call to an accelerator that has no device, or no network, yet."""

    def __init__(self, *, what: str, hint: str = "call init_device(0) first") -> None:
        self.what, self.hint = what, hint
        super().__init__(f"{what} is not possible yet; {hint}")


class BufferTooLarge(AcceleratorError):
    """More neurons or synapses than the accelerator has room for; ``hint`` says what would fit."""

    def __init__(self, *, what: str, need: int, have: int, hint: str) -> None:
        self.what, self.need, self.have, self.hint = what, need, have, hint
        super().__init__(f"{what}: {need} bytes needed, {have} there; {hint}")


class InferenceFailed(AcceleratorError):
    """A burst that was not executed, or whose result cannot be trusted."""

    def __init__(self, *, detail: str, hint: str = "upload the network again") -> None:
        self.detail, self.hint = detail, hint
        super().__init__(f"the burst failed: {detail}; {hint}")


class InvalidParameter(AcceleratorError, ValueError):
    """An argument that an accelerator does not take."""

    def __init__(self, *, what: str, detail: str) -> None:
        self.what, self.detail = what, detail
        super().__init__(f"{what}: {detail}")


# --- inputs ----------------------------------------------------------------------------------------------------


class InputError(OpenHailoError, ValueError):
    """A file or an argument from the user that cannot be used."""

    def __init__(self, *, what: str, detail: str) -> None:
        self.what, self.detail = what, detail
        super().__init__(f"{what}: {detail}")


class SetupFailed(OpenHailoError):
    """A step of setting a machine up that did not work; ``step`` names it."""

    def __init__(
        self, *, step: str, detail: str, hint: str = "`openhailo setup --undo --apply` takes back what was done"
    ) -> None:
        self.step, self.detail, self.hint = step, detail, hint
        super().__init__(f"setup step {step!r}: {detail}; {hint}")


class AssetUnavailable(OpenHailoError):
    """A demo model or photo that is neither in the cache nor to be had from the package index."""

    def __init__(self, *, name: str, detail: str, hint: str = "check the network and pip's configuration") -> None:
        self.name, self.detail, self.hint = name, detail, hint
        super().__init__(f"{name} is not available: {detail}; {hint}")
