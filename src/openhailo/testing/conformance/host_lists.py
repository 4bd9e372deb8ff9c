"""Action lists as the host builds them: framing, repeated blocks, page sizes (context-switch.md 4, 8, 13)."""

from __future__ import annotations

from openhailo.runtime.configure.actions import ActionCodec, BuiltAction
from openhailo.runtime.configure.requirements import boundary_page_size
from openhailo.spec.actions import ActionType
from openhailo.testing.check import check, expect
from openhailo.testing.rig import Rig

from .raw.lists import action
from .raw.tables.actions import ACTIONS, REPEATABLE


def _codec(rig: Rig) -> ActionCodec:
    spec = rig.spec
    return ActionCodec(spec.actions, spec.action_header, spec.repeated_header, spec.action_rules)


@check("host", about=[row.name for row in ACTIONS] + ["action_header", "host_time_stamp"])
def every_action_is_built(rig: Rig) -> None:
    """Number, time stamp of all ones, payload."""
    codec = _codec(rig)
    for row in ACTIONS:
        built = codec.plain(codec.build(ActionType(row.number), **row.fields))
        expect(f"bytes of {row.name}", built, action(row.number, row.payload))


@check("host", about=["repeatable", "repeated_header", "min_repeated", "max_repeated", "action_rules"])
def runs_are_folded(rig: Rig) -> None:
    """Two to 255 actions of a repeatable type become a block; one alone, and other types, stay plain."""
    codec = _codec(rig)
    for row in ACTIONS:
        pieces = codec.buffers([BuiltAction(row.number, row.payload)] * 2)
        folded = [action(24, bytes([2, 0, row.number])), row.payload, row.payload]
        plain = [action(row.number, row.payload)] * 2
        expect(f"two of {row.name}", pieces, folded if row.number in REPEATABLE else plain)
    one = BuiltAction(5, b"\x11")
    for count, blocks in ((1, [0]), (2, [2]), (255, [255]), (256, [255, 0]), (257, [255, 2]), (512, [255, 255, 2])):
        wanted: list[bytes] = []
        for block in blocks:
            wanted += [action(24, bytes([block, 0, 5]))] + [b"\x11"] * block if block else [action(5, b"\x11")]
        expect(f"a run of {count}", codec.buffers([one] * count), wanted)


@check("host", about=["default_page_size", "min_page_size", "max_descriptors", "vdma"])
def page_sizes(rig: Rig) -> None:
    """512, or the power of two that holds a smaller transfer, 64 at least; more for very long ones."""
    rules = rig.spec.vdma
    small = ((1, 64), (64, 64), (65, 128), (256, 256), (511, 512), (512, 512), (150_528, 512), (16_776_704, 512))
    large = ((16_777_216, 1024), (33_554_432, 2048))
    for transfer_bytes, page in small + large:
        expect(f"page for {transfer_bytes} bytes", boundary_page_size(transfer_bytes, 0, 4096, rules), page)
    expect("page that equals the FIFO's size", boundary_page_size(512, 512, 4096, rules), 256)
