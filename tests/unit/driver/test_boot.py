"""Firmware image, cold boot and reload, access for access."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from driver_fakes import FakeChip, firmware_image
from hypothesis import given
from hypothesis import strategies as st

from openhailo.driver.boot import parse_image
from openhailo.driver.pcie_link import LinkOptions, PcieLink
from openhailo.driver.state import LinkState
from openhailo.errors import BadImage, BootFailed, DeviceLost, DeviceTimeout
from openhailo.spec.chip import CHIP

ATR_READ = [("R", 0, at) for at in (0x700, 0x704, 0x708, 0x70C, 0x710)]


def recorded(path: Path) -> list[tuple[str, int, int, int]]:
    """Read a ``*.bars.txt`` recording: order, us, R|W and bar, offset, width, value."""
    accesses = []
    for line in path.read_text(encoding="ascii").splitlines():
        if not line.startswith("#"):
            _, _, kind, offset, _, value = line.split()
            accesses.append((kind[0], int(kind[1]), int(offset, 16), int(value, 16)))
    return accesses


def boot(chip: FakeChip, image: bytes, **extra: object) -> PcieLink:
    options = LinkOptions(clock=chip.clock, pause=chip.clock.sleep, vendor_accesses=True, **extra)  # type: ignore[arg-type]
    return PcieLink(chip, firmware=image, options=options)


def load_sequence(chip: FakeChip) -> list[tuple[str, int, int, int]]:
    """The accesses up to and including the one that masks interrupts after the load."""
    return chip.log[: chip.log.index(("W", 0, 0x188, 0)) + 1]


@pytest.mark.facts
def test_cold_boot_makes_the_recorded_accesses(shared_dir: Path) -> None:
    chip = FakeChip(running=False)
    with boot(chip, firmware_image()):
        expected = recorded(shared_dir / "traces/device/driver_load.bars.txt")
        assert load_sequence(chip) == expected


@pytest.mark.facts
def test_reload_over_running_firmware_makes_the_recorded_accesses(shared_dir: Path) -> None:
    chip = FakeChip(running=True)
    chip.atr |= {0x700: 0x17, 0x710: 6}
    with boot(chip, firmware_image()):
        expected = recorded(shared_dir / "traces/device/driver_reload_firmware_running.bars.txt")
        # The recording has two CPUs: the handler's last look at the status came after the mask was cleared.
        assert expected[-2:] == [("W", 0, 0x188, 0), ("R", 0, 0x18C, 0)]
        assert load_sequence(chip) == [*expected[:-2], expected[-1], expected[-2]]


def test_zero_length_key_still_reads_and_restores_the_translation() -> None:
    chip = FakeChip(running=False)
    with boot(chip, firmware_image(key=b"", content=b"")):
        targets = [value for kind, bar, at, value in chip.log if (kind, bar, at) == ("W", 0, 0x708)]
        # header, code, key (restore only), content (restore only), core code, core header, trigger
        assert targets == [0xE0000, 0, 0x60000, 0, 0, 0, 0xC0000, 0, 0xA0000, 0, 0xE0000, 0]
        reads = [entry[:3] for entry in chip.log]
        blocks = [i for i in range(len(reads) - 4) if reads[i : i + 5] == ATR_READ]
        assert len(blocks) == 7


def test_code_is_split_at_window_borders_and_arrives() -> None:
    chip = FakeChip(running=False)
    app = bytes(i * 7 & 0xFF for i in range(0x2345))
    with boot(chip, firmware_image(app=app), board_config=b"B" * 10, firmware_config=b"F" * 6):
        assert chip.read_memory(0x60000, len(app)) == app
        assert chip.read_memory(0xE0030, 4) == struct.pack("<I", 0x1DD89DE0)
        assert chip.read_memory(0x60001000, 10) == b"B" * 10
        assert chip.read_memory(0x60001500, 6) == b"F" * 6


def test_attach_uses_what_runs(chip: FakeChip, options: LinkOptions) -> None:
    with PcieLink(chip, options=options) as link:
        assert link.state is LinkState.READY
        assert chip.doorbells == []
        assert chip.log[:7] == [
            ("R", 0, 0x98, 0x28641E60), ("R", 0, 0x188, 0), ("W", 0, 0x188, 0xFF00FFFF),
            ("W", 0, 0x18C, 0xFFFFFFFF), ("W", 0, 0x500, 0xFFFFFFFF), ("W", 0, 0x400, 0xFFFFFFFF),
            ("R", 0, 0x708, 0x60000000),
        ]  # fmt: skip


def test_running_firmware_can_be_kept(chip: FakeChip) -> None:
    with boot(chip, firmware_image(), reload_running=False):
        assert chip.doorbells == []


def test_without_firmware_nothing_can_be_attached() -> None:
    chip = FakeChip(running=False)
    with pytest.raises(BootFailed) as caught:
        PcieLink(chip, options=LinkOptions(clock=chip.clock))
    assert caught.value.stage == "attach"
    assert chip.closed and chip.mask == 0 and not chip.irq.enabled and not chip.dma.buffers


def test_no_boot_interrupt_is_a_failed_boot() -> None:
    chip = FakeChip(running=False)
    chip.boots = False
    started = chip.clock.now
    with pytest.raises(BootFailed) as caught:
        boot(chip, firmware_image())
    assert caught.value.stage == "start"
    assert chip.clock.now - started == pytest.approx(5.0, abs=0.1)
    assert chip.closed


def test_no_answer_to_a_soft_reset_is_a_timeout(chip: FakeChip) -> None:
    chip.answers_soft_reset = False
    with pytest.raises(DeviceTimeout) as caught:
        boot(chip, firmware_image())
    assert caught.value.what == "soft reset"


def test_boot_code_that_never_gets_ready_fails(chip: FakeChip) -> None:
    chip.memory[0xE0000] = 7
    with pytest.raises(BootFailed) as caught:
        boot(chip, firmware_image())
    assert caught.value.stage == "boot code"
    assert sum(1 for kind, bar, at, _ in chip.log if (kind, bar, at) == ("R", 4, 0)) == 10


def test_memory_that_forgets_fails_the_boot_and_restores_the_window() -> None:
    chip = FakeChip(running=False)
    plain_load = chip.load
    chip.load = lambda bar, at: 0xBAD if (bar, at) == (4, 0x40) else plain_load(bar, at)  # type: ignore[method-assign]
    with pytest.raises(BootFailed) as caught:
        boot(chip, firmware_image())
    assert caught.value.stage == "memory"
    assert chip.atr[0x708] == 0


def test_a_card_that_is_not_there_is_lost() -> None:
    chip = FakeChip()
    chip.dead = True
    with pytest.raises(DeviceLost):
        PcieLink(chip, options=LinkOptions(clock=chip.clock, pause=chip.clock.sleep))
    assert chip.closed


def test_soft_reset_loads_again(chip: FakeChip) -> None:
    with boot(chip, firmware_image()) as link:
        seen = []
        link.states.listen(lambda before, after: seen.append(after))
        link.soft_reset()
        assert chip.doorbells == [8, 8]
        assert seen == [LinkState.LOADING, LinkState.READY]
        assert chip.mask == 0xFF00FFFF


def test_soft_reset_without_an_image_is_refused_before_it_rings(chip: FakeChip, options: LinkOptions) -> None:
    with PcieLink(chip, options=options) as link:
        with pytest.raises(BootFailed):
            link.soft_reset()
        assert chip.doorbells == []


def test_failed_soft_reset_leaves_the_link_in_error(chip: FakeChip) -> None:
    with boot(chip, firmware_image()) as link:
        chip.boots = False
        with pytest.raises(BootFailed):
            link.soft_reset()
        assert link.state is LinkState.ERROR
        chip.boots = True
        link.soft_reset()
        assert link.state is LinkState.READY


def test_the_smallest_image_has_216_bytes() -> None:
    data = firmware_image(app=bytes(80), key=b"", content=b"", core=bytes(80))
    assert len(data) == 216
    image = parse_image(data, CHIP)
    assert image.version == (4, 23, 0)
    assert (len(image.app_code), len(image.core_code), image.key, image.content) == (80, 80, b"", b"")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: b"", "application header needs 24 bytes"),
        (lambda d: b"\0" + d[1:], "magic"),
        (lambda d: d[:4] + b"\1" + d[5:], "version 1"),
        (lambda d: d[:20] + struct.pack("<I", 79) + d[24:], "application code of 79 bytes"),
        (lambda d: d[:20] + struct.pack("<I", 0x40001) + d[24:], "application code of 262145 bytes"),
        (lambda d: d[:280] + struct.pack("<I", 0x1001) + d[284:], "key_size"),
        (lambda d: d[:284] + struct.pack("<I", 0x1001) + d[288:], "content_size"),
        (lambda d: d[:-1], "core code needs 256 bytes, 255"),
        (lambda d: d + b"\0", "1 bytes follow"),
        (lambda d: bytes(0x50001), "at most"),
    ],
)  # fmt: skip
def test_bad_images_are_named(change: object, words: str) -> None:
    with pytest.raises(BadImage, match=words):
        parse_image(change(firmware_image()), CHIP)  # type: ignore[operator]


@given(st.binary(max_size=400))
def test_any_bytes_are_an_image_or_a_typed_error(data: bytes) -> None:
    with contextlib.suppress(BadImage):
        parse_image(data, CHIP)


@given(st.data())
def test_a_flipped_byte_is_an_image_or_a_typed_error(data: st.DataObject) -> None:
    image = bytearray(firmware_image())
    image[data.draw(st.integers(0, len(image) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(BadImage):
        parse_image(bytes(image), CHIP)


def test_config_files_have_a_limit() -> None:
    chip = FakeChip(running=False)
    with pytest.raises(BadImage, match="board config"):
        boot(chip, firmware_image(), board_config=bytes(0x501))
