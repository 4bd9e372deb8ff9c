"""What consoles and exit codes mean."""

from __future__ import annotations

import pytest
from tests.vm.verdict import clean, judge

PASSED = "RIG-START\nhello\nRIG-DONE rc=0\n[    5.1] reboot: Power down\n"


def test_passed():
    assert judge(PASSED, "", 0).passed


@pytest.mark.parametrize(
    ("console", "log", "code", "problem"),
    [
        (PASSED, "", None, "time limit"),
        ("", "qemu: Failed to connect to 's': No such file\n", 1, "QEMU ended with 1: qemu: Failed to connect"),
        ("", "", -6, "QEMU ended with -6: no message"),
        ("RIG-START\n", "", 0, "did not come to its end .no word why"),
        ("RIG-START\n[ 3.0] Kernel panic - not syncing\n", "", 0, "did not come to its end .Kernel panic"),
        ("RIG-START\nRIG-DONE rc=3\n", "", 0, "ended with 3"),
        (PASSED + "RIG-DONE rc=0\n", "", 0, "more than once"),
        ("[ 1.0] BUG: unable to handle page fault\n" + PASSED, "", 0, "kernel complained: BUG"),
        ("[ 1.0] WARNING: CPU: 0 PID: 1 at x.c\n" + PASSED, "", 0, "kernel complained: WARNING"),
        (PASSED, "qemu: timed out waiting for reply\n", 0, "lost the device: timed out"),
        (PASSED, "qemu: Unable to write to socket: Broken pipe\n", 0, "lost the device: Broken pipe"),
        ("the guest said RIG-DONE rc=0 in passing\n", "", 0, "did not come to its end"),
    ],
)
def test_failed(console, log, code, problem):
    verdict = judge(console, log, code)
    assert not verdict.passed
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(verdict.problem)


def test_a_server_that_was_killed_on_purpose():
    assert judge(PASSED, "qemu: Unable to write to socket: Broken pipe\n", 0, server_may_die=True).passed


def test_terminal_controls_are_no_text():
    assert clean(b"\x1b[0mRIG-DONE rc=0\r\n\x1b[2J") == "RIG-DONE rc=0\n"
    assert clean(b"\xff") == "\ufffd"
