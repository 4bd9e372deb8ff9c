"""Several networks in one file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openhailo.errors import InputError, UnsupportedHef
from openhailo.hef import Hef, StreamSpec, check, compose, join, read, write
from openhailo.hef.enums import ExtensionType, HwArch
from openhailo.hef.model import Extension


def made(name: str, config: bytes = bytes(64), **more: object) -> Hef:
    ends = [StreamSpec(f"{name}/in", (8, 8, 4))], [StreamSpec(f"{name}/out", (1, 1, 16))]
    return compose(name, *ends, [config], **more)  # type: ignore[arg-type]


def test_groups_keep_their_order_names_and_bytes() -> None:
    file = read(write(join([made("a", b"a" * 64), made("b", b"b" * 128), made("c", b"c" * 8)])))
    assert [group.name for group in file.network_groups] == ["a", "b", "c"]
    assert check(file) == []
    assert file.network_group().name == "a"
    for name, config in (("a", b"a" * 64), ("b", b"b" * 128), ("c", b"c" * 8)):
        group = file.network_group(name)
        (operation,) = group.core_op_for().preliminary
        assert bytes(operation.actions[0].data) == config  # type: ignore[union-attr]
        assert file.network_group(f"{name}/{name}") is group


def test_an_unknown_network_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no 'x' in this HEF; it has: a, b"):
        join([made("a"), made("b")]).network_group("x")


def test_files_that_were_read_are_joined_again() -> None:
    both = read(write(join([read(write(made("a"))), read(write(made("b"), 3))])))
    again = read(write(join([both, made("c")])))
    assert [group.name for group in again.network_groups] == ["a", "b", "c"]
    assert [group.output_vstreams[0].name for group in again.network_groups] == ["a/out", "b/out", "c/out"]


def test_announcements_of_all_files_are_kept() -> None:
    contexts = Extension(int(ExtensionType.IS_MULTI_CONTEXTS))
    several = replace(made("b"), extensions=(*made("b").extensions, contexts))
    for files in ((made("a"), several), (several, made("a"))):
        assert {e.type_index for e in join(files).extensions} == {4, 13, 26}


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match="no HEFs"):
        join([])
    with pytest.raises(InputError, match="two networks are called 'a'"):
        join([made("a"), made("a")])
    with pytest.raises(UnsupportedHef, match=r"for Hailo-8, another for Hailo-8L; compile all"):
        join([made("a"), made("b", hw_arch=HwArch.HAILO8L)])
    padding = replace(made("b"), optional_extensions=(Extension(int(ExtensionType.HW_PADDING)),))
    with pytest.raises(UnsupportedHef, match="hw_padding is on in one HEF and off in another"):
        join([made("a"), padding])
    with pytest.raises(UnsupportedHef, match="more than a network"):
        join([made("a"), replace(made("b"), additional=b"x")])
