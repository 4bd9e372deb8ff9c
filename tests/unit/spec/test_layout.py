"""The pack/unpack engine: round trips, exact bytes, and every error it promises."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.spec.layout import SCALARS, Access, Field, Member, Reg, RegBlock, Struct, sequential

WORD = Reg("word", 0x10, fields=(Field("low", 0, 8), Field("flag", 8), Field("high", 16, 16)))


def scalar_values(kind: str) -> st.SearchStrategy[object]:
    code, size = SCALARS[kind]
    if code[1] == "f":
        return st.floats(width=32, allow_nan=False)
    bits = 8 * size
    if code[1].islower():
        return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return st.integers(0, (1 << bits) - 1)


@st.composite
def structs_with_values(draw: st.DrawFn, depth: int = 2) -> tuple[Struct, dict[str, object]]:
    """A random packed structure, nested up to ``depth``, and a value for each member."""
    members: list[tuple[str, str | Struct, int]] = []
    values: dict[str, object] = {}
    for index in range(draw(st.integers(1, 5))):
        name, n = f"m{index}", draw(st.integers(1, 3))
        kind: str | Struct = draw(st.sampled_from([*SCALARS, "bytes", "nested"]))
        if kind == "bytes":
            values[name] = draw(st.binary(min_size=n, max_size=n))
        elif kind == "nested" and depth:
            kind, one = draw(structs_with_values(depth - 1))
            values[name] = tuple([one] * n) if n > 1 else one
        else:
            kind = "le32" if kind == "nested" else kind
            items = draw(st.lists(scalar_values(kind), min_size=n, max_size=n))
            values[name] = tuple(items) if n > 1 else items[0]
        members.append((name, kind, n))
    return sequential("random", "test", *members), values


@given(structs_with_values(), st.binary(max_size=9))
def test_unpack_inverts_pack_at_any_offset(pair, prefix):
    layout, values = pair
    packed = layout.pack(**values)
    assert len(packed) == layout.size
    assert layout.unpack(prefix + packed, len(prefix)) == values
    assert layout.unpack(memoryview(packed)) == values


@given(structs_with_values())
def test_short_data_is_refused(pair):
    layout, values = pair
    packed = layout.pack(**values)
    with pytest.raises(ValueError, match=f"{layout.size} bytes needed, {layout.size - 1} there"):
        layout.unpack(packed[:-1])
    with pytest.raises(ValueError, match="bytes needed"):
        layout.unpack(packed, -1)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("u8", 0x81, "81"),
        ("i8", -1, "ff"),
        ("le16", 0x1234, "3412"),
        ("be16", 0x1234, "1234"),
        ("le32", 0x12345678, "78563412"),
        ("be32", 0x12345678, "12345678"),
        ("le64", 0x0123456789ABCDEF, "efcdab8967452301"),
        ("be64", 0x0123456789ABCDEF, "0123456789abcdef"),
        ("lei32", -2, "feffffff"),
        ("bei32", -2, "fffffffe"),
        ("f32", 2.5, "00002040"),
    ],
)
def test_scalar_bytes(kind, value, expected):
    layout = sequential("one", "test", ("value", kind))
    assert layout.pack(value=value).hex() == expected
    assert layout.unpack(bytes.fromhex(expected)) == {"value": value}


def test_every_scalar_has_its_size():
    assert {kind: struct.calcsize(code) for kind, (code, _) in SCALARS.items()} == {
        kind: size for kind, (_, size) in SCALARS.items()
    }


def test_members_left_out_and_gaps_are_zero():
    layout = Struct("gappy", 8, (Member("a", 0, "u8"), Member("b", 4, "be16")))
    assert layout.pack(b=0x0102).hex() == "0000000001020000"
    assert layout.unpack(b"\xff" * 8) == {"a": 0xFF, "b": 0xFFFF}


def test_arrays():
    layout = sequential("arrays", "test", ("words", "le16", 3), ("text", "bytes", 4))
    assert layout.pack(words=(1, 2), text=b"ab").hex() == "01000200000061620000"
    assert layout.unpack(bytes(10)) == {"words": (0, 0, 0), "text": b"\0\0\0\0"}
    with pytest.raises(ValueError, match=r"arrays\.words: 4 elements, room for 3"):
        layout.pack(words=(1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"arrays\.text: 5 bytes, room for 4"):
        layout.pack(text=b"abcde")


def test_nested_structures_take_mappings_or_their_exact_bytes():
    inner = sequential("inner", "test", ("x", "be16"))
    outer = sequential("outer", "test", ("kind", "u8"), ("inner", inner), ("list", inner, 2))
    packed = outer.pack(kind=1, inner={"x": 2}, list=(b"\0\3", {"x": 4}))
    assert packed.hex() == "01000200030004"
    assert outer.unpack(packed) == {"kind": 1, "inner": {"x": 2}, "list": ({"x": 3}, {"x": 4})}
    assert outer["list"].size_bytes == 4


@pytest.mark.parametrize(
    ("kind", "value"),
    [("u8", 256), ("u8", -1), ("i8", 128), ("le16", 1 << 16), ("be32", 1 << 32), ("f32", 1e39), ("le32", "text")],
)
def test_values_that_do_not_fit(kind, value):
    with pytest.raises(ValueError, match=r"one\.value: .* does not fit"):
        sequential("one", "test", ("value", kind)).pack(value=value)


def test_unknown_member():
    with pytest.raises(TypeError, match=r"no member .*'other'"):
        sequential("one", "test", ("value", "u8")).pack(other=1)


@pytest.mark.parametrize("offset", [-1, 3])
def test_member_outside_its_structure(offset):
    with pytest.raises(ValueError, match=r"s\.m leaves the structure of 4 bytes"):
        Struct("s", 4, (Member("m", offset, "le16"),))


@given(st.integers(0, 255), st.integers(0, 1), st.integers(0, 65535))
def test_register_fields_round_trip(low, flag, high):
    word = WORD.pack(low=low, flag=flag, high=high)
    assert word == low | flag << 8 | high << 16
    assert WORD.unpack(word) == {"low": low, "flag": flag, "high": high}


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 255))
def test_putting_a_field_keeps_the_other_bits(word, value):
    changed = WORD["low"].put(value, word)
    assert changed & ~WORD["low"].mask == word & ~0xFF
    assert WORD["low"].get(changed) == value


@pytest.mark.parametrize("value", [256, -1])
def test_field_value_too_wide(value):
    with pytest.raises(ValueError, match=r"low: .* does not fit in 8 bits"):
        WORD.pack(low=value)


def test_register_block_lookup():
    other = Reg("other", 0x14, Access.R)
    block = RegBlock("block", (other, WORD))
    assert block["word"] is WORD
    assert block.by_offset[0x14] is other
    assert [reg.name for reg in block] == ["other", "word"]


def test_overlapping_registers_are_refused_with_both_named():
    with pytest.raises(ValueError, match="block: word and other overlap at 0x12"):
        RegBlock("block", (WORD, Reg("other", 0x12)))


def test_structures_compare_by_layout_not_by_source():
    assert sequential("s", "page 1", ("x", "u8")) == sequential("s", "page 2", ("x", "u8"))
    assert sequential("s", "", ("x", "u8")) != sequential("s", "", ("x", "i8"))
