"""Configuration bytes: where a program begins in them."""

from __future__ import annotations

import pytest

from openhailo.spec.chip import CHIP
from openhailo.twin.core import PRELIMINARY, NeuralCore

BEGIN = CHIP.program.magic + bytes(range(1, 57))


@pytest.mark.parametrize("nops", [0, 1, 64, 511])
def test_zero_words_in_front_are_nops(nops):
    core = NeuralCore(CHIP)
    core.configure(0, 0, bytes(8 * nops))
    assert core.image(0) is None
    core.configure(0, 0, BEGIN)
    assert core.image(0) == BEGIN


def test_other_zeros_are_content():
    core = NeuralCore(CHIP)
    core.configure(PRELIMINARY, 0, bytes(16) + BEGIN)
    core.configure(0, 0, bytes(24) + b"rest")
    assert core.image(0) == BEGIN + bytes(24) + b"rest"
    core.configure(1, 0, bytes(12) + BEGIN)
    assert core.image(1) == BEGIN + bytes(12) + BEGIN, "zeros that are not whole words begin no program"


def test_configuration_for_silicon_has_no_image():
    core = NeuralCore(CHIP)
    core.configure(PRELIMINARY, 0, b"\x01" + bytes(63))
    core.configure(0, 0, bytes(4096))
    assert core.image(0) is None
    assert core.image(PRELIMINARY) is None
