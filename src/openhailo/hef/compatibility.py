"""Which HEF runs on which chip, and which extensions are understood (hef.md 3 and 4)."""

from __future__ import annotations

from openhailo.errors import UnsupportedHef
from openhailo.spec.enums import DeviceArchitecture

from .enums import ExtensionType, HwArch
from .model import Hef

#: Numbers that the list of demanded extensions may hold (hef.md 3).
SUPPORTED_EXTENSIONS = frozenset(range(33)) - {
    ExtensionType.TEST_ONE,
    ExtensionType.MULTI_NETWORK_VARIABLE_BATCH_SIZE,
}

#: Without it the periphery's registers would have to come from the file (hef.md 2, step 8).
REQUIRED_EXTENSION = ExtensionType.PERIPH_CALCULATION_IN_HAILORT

_ACCEPTED: dict[DeviceArchitecture, tuple[HwArch, ...]] = {
    DeviceArchitecture.HAILO8: (HwArch.HAILO8P, HwArch.HAILO8R, HwArch.HAILO8L),
    DeviceArchitecture.HAILO8L: (HwArch.HAILO8L,),
    DeviceArchitecture.HAILO8_A0: (HwArch.HAILO8_A0,),
}
_NAMES = {HwArch.HAILO8P: "Hailo-8", HwArch.HAILO8R: "Hailo-8", HwArch.HAILO8L: "Hailo-8L"}
_RECOMPILE = "compile the model again for this chip: `openhailo compile MODEL --arch"
_NEWER = frozenset({HwArch.HAILO15H, HwArch.HAILO15M, HwArch.HAILO15L, HwArch.HAILO10H, HwArch.PLUTO})


def extension_name(number: int) -> str:
    """Return number and name of an extension: ``13 (HAILO_NET_FLOW)``."""
    try:
        return f"{number} ({ExtensionType(number).name})"
    except ValueError:
        return str(number)


def arch_name(arch: HwArch) -> str:
    """Return the chip that ``arch`` stands for, as people call it."""
    return _NAMES.get(arch, arch.name)


def compatible_with(hef: Hef, device: DeviceArchitecture) -> str | None:
    """Check that ``hef`` runs on a chip that identifies as ``device``.

    Returns a warning about lower performance, or None. Raises `UnsupportedHef` that says what to do.
    """
    arch = hef.header.hw_arch
    if arch not in _ACCEPTED.get(device, ()):
        raise _refusal(arch, device)
    if device is DeviceArchitecture.HAILO8 and arch is HwArch.HAILO8L:
        return "compiled for Hailo-8L: it runs on this Hailo-8 with lower performance; recompile it for Hailo-8"
    if arch is HwArch.HAILO8R:
        return "compiled for a neural core clock of 200 MHz; on another clock timing estimates do not hold"
    return None


def _refusal(arch: HwArch, device: DeviceArchitecture) -> UnsupportedHef:
    feature = f"compiled for {arch_name(arch)}, which does not run on {device.name}"
    if arch in _NEWER:
        return UnsupportedHef(feature=feature, hint=f"{_RECOMPILE} hailo8` or `... hailo8l`")
    target = "hailo8l" if device is DeviceArchitecture.HAILO8L else "hailo8"
    return UnsupportedHef(feature=feature, hint=f"{_RECOMPILE} {target}`")
