"""The whole declaration in one comparison, and that the comparison notices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.golden.differences import Expected, flatten

from openhailo.spec.chip import CHIP
from openhailo.spec.layout import RegBlock

pytestmark = pytest.mark.facts


@pytest.fixture(scope="module")
def expected(shared_dir) -> Expected:
    return Expected(shared_dir)


def test_the_declaration_is_what_the_facts_say(expected, checked):
    assert expected.differences(CHIP) == []
    checked(len(expected.values), 600)


def test_every_number_is_compared():
    """No path of the declaration is left out, so nothing can be bent unseen."""
    paths = flatten(CHIP)
    assert {path.split(" ")[0].split(".")[0] for path in paths} >= {
        "pci",
        "config",
        "control",
        "action",
        "event",
        "struct",
    }
    assert len([path for path in paths if path.startswith("struct ")]) >= 90


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda: replace(CHIP, mailbox=replace(CHIP.mailbox, response=0x644)), ["mailbox.response"]),
        (lambda: replace(CHIP, doorbell=replace(CHIP.doorbell, soft_reset=16)), ["doorbell.soft_reset"]),
        (lambda: replace(CHIP, channel=RegBlock("c", CHIP.channel.regs[:3])), ["channel.ADDRESS_HIGH"]),
        (
            lambda: replace(CHIP, events={**CHIP.events, 3: replace(CHIP.events[3], parameter_count=9)}),
            ["event 3"],
        ),
        (
            lambda: replace(CHIP, controls={**CHIP.controls, 9: replace(CHIP.controls[9], request=())}),
            ["control 9 request"],
        ),
        (
            lambda: replace(CHIP, log_header=CHIP.notification_header),
            ["part log_header", "struct fw_debug_buffer_header"],
        ),
    ],
)
def test_a_change_is_noticed(expected, change, where):
    assert expected.differences(change()) == where
