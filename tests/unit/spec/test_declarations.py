"""Rules that the whole specification keeps: data only, sourced, one bendable value."""

from __future__ import annotations

import ast
import dataclasses
import importlib
from pathlib import Path

import pytest

import openhailo.spec
from openhailo.spec.chip import CHIP, ChipSpec
from openhailo.spec.layout import Member, Reg, RegBlock, Struct

FOLDER = Path(openhailo.spec.__file__).parent
MODULES = sorted(path for path in FOLDER.rglob("*.py") if path.name != "layout.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_declaration_has_no_behaviour(path):
    """No branch and no loop statement outside the engine: a declaration cannot decide anything."""
    tree = ast.parse(path.read_text())
    forbidden = (ast.If, ast.IfExp, ast.While, ast.For, ast.Try, ast.Match)
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, forbidden)] == []
    assert len(path.read_text().splitlines()) < 500


def test_every_control_action_and_event_is_filed_under_its_own_number():
    for table in (CHIP.controls, CHIP.actions, CHIP.events):
        assert {key: key for key in table} == {
            key: getattr(v, "opcode", getattr(v, "id", None)) for key, v in table.items()
        }
        assert len({value.name for value in table.values()}) == len(table)


def test_every_declaration_names_its_source():
    for entry in (*CHIP.controls.values(), *CHIP.actions.values(), *CHIP.events.values()):
        assert ".md " in entry.source, entry.name
    for field in dataclasses.fields(ChipSpec):
        value = getattr(CHIP, field.name)
        if isinstance(value, Struct | Reg | RegBlock):
            assert value.source, field.name
    assert all(reg.source for reg in (*CHIP.config, *CHIP.channel, *CHIP.descriptor))


def test_member_names_are_unique():
    structs = [getattr(CHIP, field.name) for field in dataclasses.fields(ChipSpec)]
    structs += [entry.payload for table in (CHIP.actions, CHIP.events) for entry in table.values()]
    for struct in structs:
        if isinstance(struct, Struct):
            assert len(struct.by_name) == len(struct.members), struct.name


def test_bending_one_copy_leaves_the_other_alone():
    header = dataclasses.replace(
        CHIP.mailbox_header, members=(Member("digest", 0, "bytes", 16), Member("length", 16, "be32"))
    )
    bent = dataclasses.replace(CHIP, mailbox_header=header, controls={1: CHIP.controls[0]})
    assert bent.mailbox_header.pack(length=1) != CHIP.mailbox_header.pack(length=1)
    assert len(CHIP.controls) == 80
    assert ChipSpec() == CHIP != bent


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_the_declaration_cannot_be_changed_in_place(path):
    name = ".".join(("openhailo.spec", *path.relative_to(FOLDER).with_suffix("").parts)).removesuffix(".__init__")
    kinds = [v for v in vars(importlib.import_module(name)).values() if dataclasses.is_dataclass(v)]
    for kind in {value if isinstance(value, type) else type(value) for value in kinds}:
        assert kind.__dataclass_params__.frozen, kind
