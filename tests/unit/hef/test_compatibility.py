"""Which file runs on which chip (hef.md 4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openhailo.errors import UnsupportedHef
from openhailo.hef import compatible_with
from openhailo.hef.model import Hef, HwArch
from openhailo.spec.enums import DeviceArchitecture as Device

ACCEPTED = {
    Device.HAILO8: {HwArch.HAILO8P, HwArch.HAILO8R, HwArch.HAILO8L},
    Device.HAILO8L: {HwArch.HAILO8L},
    Device.HAILO8_A0: {HwArch.HAILO8_A0},
}


@pytest.mark.parametrize("device", Device)
@pytest.mark.parametrize("arch", HwArch)
def test_only_matching_files_run(device: Device, arch: HwArch, minimal: Hef) -> None:
    hef = replace(minimal, header=replace(minimal.header, hw_arch=arch))
    if arch in ACCEPTED.get(device, set()):
        compatible_with(hef, device)
        return
    with pytest.raises(UnsupportedHef, match=r"compile the model again .* --arch hailo8"):
        compatible_with(hef, device)


def test_what_to_do_is_part_of_the_refusal(minimal: Hef) -> None:
    with pytest.raises(UnsupportedHef, match=r"compiled for Hailo-8, .* HAILO8L; .* --arch hailo8l`$"):
        compatible_with(minimal, Device.HAILO8L)
    newer = replace(minimal, header=replace(minimal.header, hw_arch=HwArch.HAILO15H))
    with pytest.raises(UnsupportedHef, match=r"HAILO15H.*hailo8` or `... hailo8l`"):
        compatible_with(newer, Device.HAILO8)


def test_lower_performance_is_a_warning(minimal: Hef) -> None:
    assert compatible_with(minimal, Device.HAILO8) is None
    smaller = replace(minimal, header=replace(minimal.header, hw_arch=HwArch.HAILO8L))
    assert "lower performance" in (compatible_with(smaller, Device.HAILO8) or "")
    assert compatible_with(smaller, Device.HAILO8L) is None
    slower = replace(minimal, header=replace(minimal.header, hw_arch=HwArch.HAILO8R))
    assert "200 MHz" in (compatible_with(slower, Device.HAILO8) or "")
