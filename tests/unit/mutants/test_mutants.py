"""The machinery behind `make mutants`: bending, judging, and workers that hang or die."""

from __future__ import annotations

import os
import signal

import pytest
from tests.mutants import pool as pools
from tests.mutants.bend import bend, lay_out
from tests.mutants.golden import SHARED
from tests.mutants.judge import Hang, Judge, Verdict, limit
from tests.mutants.kernel import KernelJudge, enumerate_kernel_mutants, is_kernel, release_of
from tests.mutants.mutations import Mutant, enumerate_mutants

from openhailo.spec.chip import CHIP
from openhailo.spec.layout import Struct
from openhailo.testing.conformance import load

MUTANTS = {mutant.name: mutant for mutant in enumerate_mutants(CHIP)}


def structs(value, name):
    """Every structure called ``name`` inside ``value``."""
    if isinstance(value, Struct):
        found = [value] if value.name == name else []
        return found + [inner for member in value.members for inner in structs(member.type, name)]
    return []


def test_a_nested_structure_is_bent_wherever_it_occurs():
    bent = MUTANTS["host_buffer_info.dma_address order be64"].build()
    assert bent.host_buffer_info["dma_address"].type == "be64"
    inside = [struct for action in bent.actions.values() for struct in structs(action.payload, "host_buffer_info")]
    assert len(inside) == 11
    assert all(struct is bent.host_buffer_info for struct in inside)


def test_the_application_header_is_bent_in_both_controls():
    bent = MUTANTS["application_header.batch_size order be16"].build()
    for opcode, side in ((32, "request"), (54, "response")):
        (param,) = getattr(bent.controls[opcode], side)
        assert structs(param.type, "application_header") == [bent.application_header]


def test_structures_around_a_resized_one_are_laid_out_again():
    bent = MUTANTS["host_buffer_info.buffer_type width le16"].build()
    opening = bent.actions[32].payload
    assert (opening.size, opening["stream_index"].offset) == (29, 21)
    assert bent.actions[37] is CHIP.actions[37]


def test_nothing_else_changes():
    bent = MUTANTS["doorbell.soft_reset +1"].build()
    assert bent.doorbell.soft_reset == 9
    assert bent.controls is CHIP.controls
    assert bent.config is CHIP.config
    assert bend(CHIP, {}) is CHIP


def test_lay_out_leaves_a_gap():
    shifted = lay_out(CHIP.log_header, CHIP.log_header.members, gap_before=1)
    assert [member.offset for member in shifted.members] == [0, 5]
    assert shifted.size == 9


def test_overlapping_registers_are_refused():
    verdict = Judge([]).judge(MUTANTS["config.IMASK_HOST offset +4"])
    assert verdict.refused
    assert "overlap" in verdict.reason


def test_every_family_is_bent():
    wanted = {"config", "channel", "descriptor", "vdma", "mailbox", "doorbell", "boot", "limits", "controls", "actions"}
    assert wanted | {"events", "program", "hw_consts", "io_record"} <= {name.split(".")[0] for name in MUTANTS}
    assert len(MUTANTS) > 2000


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("mailbox.response +4", "twin"),
        ("controls.GET_CHIP_TEMPERATURE swapped with READ_BOARD_CONFIG", "twin"),
        ("hw_consts.fifo_word_granularity_bytes order be32", "twin"),
        ("sleep.sleep_time order be32", "twin"),
        ("vdma.max_transfers_in_flight +1", "driver"),
    ],
)
def test_some_mutants(name, side):
    verdict = Judge(load()).judge(MUTANTS[name])
    assert (verdict.side, verdict.refused) == (side, False)


def test_an_unbent_declaration_survives():
    checks = [check for check in load() if check.subject in ("raw", "registers")]
    verdict = Judge(checks).judge(Mutant("nothing", frozenset(), lambda: CHIP))
    assert not verdict.caught


def test_a_check_that_does_not_end():
    def spin() -> None:
        while True:
            pass

    with pytest.raises(Hang, match="no end"), limit(0.05):
        spin()


def judge_or_misbehave(mutant: Mutant) -> Verdict:
    if mutant.name == "dies":
        os._exit(1)
    if mutant.name == "hangs":
        signal.pause()
    return Verdict(mutant.name, side="twin", by="check")


def test_workers_that_hang_or_die_are_replaced(monkeypatch):
    monkeypatch.setattr(pools, "MUTANT_LIMIT_S", 0.5)
    names = ["one", "dies", "two", "hangs", "three"]
    pool = pools.Pool([Mutant(name, frozenset(), lambda: CHIP) for name in names], judge_or_misbehave, 2)
    verdicts = {verdict.name: verdict for verdict in pool.judge_all()}
    pool.close()
    assert set(verdicts) == set(names)
    assert {name for name, verdict in verdicts.items() if verdict.by == "worker"} == {"dies", "hangs"}
    assert all(verdict.caught for verdict in verdicts.values())


KERNEL_MUTANTS = {mutant.name: mutant for mutant in enumerate_kernel_mutants()}


@pytest.mark.parametrize(
    "name",
    [
        "kernel.4.23.0.FW_CONTROL nr +1",
        "kernel.4.20.1.vdma_launch_transfer_params.desc_handle order be64",
        "kernel.4.17.1.behaviour.max_buffers_per_launch +1",
    ],
)
def test_what_is_bent_in_the_links_tables_is_noticed(name):
    mutant = KERNEL_MUTANTS[name]
    verdict = KernelJudge(load(), SHARED).judge(mutant)
    assert (verdict.side, verdict.refused) == ("driver", False)
    assert verdict.golden or not (SHARED / "facts").is_dir()
    assert is_kernel(name)
    assert release_of(mutant) in name


def test_what_the_link_does_not_read_is_left_to_the_facts():
    judge = KernelJudge(load(), SHARED)
    verdict = judge.judge(KERNEL_MUTANTS["kernel.4.22.0.MEMORY_TRANSFER nr +1"])
    assert (verdict.side, verdict.by) == ("", "facts")
    assert verdict.golden or judge.missing
