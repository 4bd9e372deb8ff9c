"""What a finished run means: QEMU's exit code alone does not tell (vm-rig.md 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DONE = re.compile(r"^RIG-DONE rc=(\d+)\r?$", re.MULTILINE)
#: A guest kernel that says one of these is broken, whatever the test found.
_KERNEL_TROUBLE = re.compile(
    r"(Kernel panic|BUG: |Oops: |general protection fault|WARNING: CPU|Call Trace:|RCU detected|soft lockup)"
)
#: QEMU lost the device, though the guest may not have noticed.
_SERVER_TROUBLE = ("timed out waiting for reply", "unexpected reply", "Broken pipe", "short read of header")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Verdict:
    """``problem`` is empty for a run that passed."""

    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing went wrong."""
        return not self.problem


def clean(console: bytes) -> str:
    """Return the text of a serial console without carriage returns and terminal controls."""
    return _ANSI.sub("", console.decode(errors="replace").replace("\r", ""))


def judge(console: str, qemu_stderr: str, exit_code: int | None, *, server_may_die: bool = False) -> Verdict:
    """Judge a run. ``exit_code`` None: the time limit was reached. ``server_may_die``: the test kills it on purpose."""
    if exit_code is None:
        return Verdict("the time limit was reached")
    if exit_code:
        reason = (qemu_stderr.strip().splitlines() or ["no message"])[-1]
        return Verdict(f"QEMU ended with {exit_code}: {reason}")
    done = _DONE.findall(console)
    if not done:
        trouble = _KERNEL_TROUBLE.search(console)
        return Verdict(f"the guest did not come to its end ({trouble[1] if trouble else 'no word why'})")
    if len(done) > 1:
        return Verdict("the guest came to its end more than once")
    if any(code != "0" for code in done):
        return Verdict(f"the program in the guest ended with {', '.join(done)}")
    trouble = _KERNEL_TROUBLE.search(console)
    if trouble:
        return Verdict(f"the guest's kernel complained: {trouble[1]}")
    lost = [text for text in _SERVER_TROUBLE if text in qemu_stderr]
    if lost and not server_may_die:
        return Verdict(f"QEMU lost the device: {lost[0]}")
    return Verdict()
