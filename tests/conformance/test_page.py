"""The page of a conformance run: rows, reasons, and what is kept of a page that was there."""

from __future__ import annotations

from collections import Counter

from openhailo.testing.check import Check

from .page import NOT_RUN, VM, Result, read_rows, render, vm_row
from .run import _run


def made(name, **failed):
    return Result(name, Counter(board=3), dict(failed), Counter(vdma=2), Counter({"no registers": 2}))


def test_rows_can_be_read_back(tmp_path):
    guest = vm_row({"passed": 5, "failed": {"a": "b"}, "skipped": {"x": 2, "y": 1}}, {})
    results = [made("twin"), made("4.17.0"), made("4.23.0", **{"board.x": "why"})]
    (tmp_path / "page.md").write_text(render(results, {"4.17.0": "500"}, guest))
    rows = read_rows(tmp_path / "page.md")
    assert rows["twin behind kernel driver 4.17.0"] == ["twin behind kernel driver 4.17.0", "3", "0", "2", "500"]
    assert rows["twin behind kernel driver 4.23.0"][1:3] == ["3", "1"]
    assert rows["board"][-1] == "3, 1 failed"
    assert rows["vdma"][1:] == ["-", "-", "-"]
    assert rows[VM] == [VM, "5", "1", "3", ""] == vm_row(None, rows)
    assert vm_row(None, read_rows(tmp_path / "none.md"))[1] == NOT_RUN


def test_what_becomes_of_a_check():
    def breaks(_rig):
        raise ValueError("broken")

    result = Result("4.23.0")
    _run(Check("board.good", "board", lambda rig: None), result)
    _run(Check("board.bad", "board", breaks), result)
    _run(Check("boot.own", "boot", breaks, ("function",)), result)
    assert (result.passed, result.left_out) == (Counter(board=1), Counter(boot=1))
    assert result.failed == {"board.bad": "ValueError: broken"}
    assert list(result.reasons) == ["the kernel driver owns registers, windows and configuration space"]
