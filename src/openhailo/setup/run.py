"""Running other programs: the one place where setup does it, so that tests can stand in for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: Programs are looked for here and nowhere else, whatever the caller's PATH says.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Completed:
    """How a program ended: its exit code (127: there is no such program, 124: out of time) and what it said."""

    code: int
    output: str = ""
    error: str = ""

    @property
    def last_words(self) -> str:
        """The last line it printed, errors first."""
        lines = [line.strip() for line in (self.error or self.output).splitlines() if line.strip()]
        return lines[-1] if lines else "it printed nothing"


class Runner(Protocol):
    """Something that runs programs."""

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Completed:
        """Run ``argv`` without a shell and wait for it, at most ``timeout_s``."""
        ...


#: Makes ``/proc`` and ``/dev`` of another root ($0) for one program alone: the mounts go with its name space.
_ENTER = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'


class SystemRunner:
    """Runs programs of the system, or with another root those of that root, inside it.

    Programs in another root get ``/proc`` and ``/dev``: without them DKMS says that all is well, and does half of it.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def run(self, argv: Sequence[str], *, timeout_s: float) -> Completed:
        """See `Runner.run`. The environment holds nothing of the caller's, and there is no input to read."""
        words = [*self._enter(), *argv]
        environment = {"PATH": SYSTEM_PATH, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
        environment |= {name: os.environ[name] for name in ("http_proxy", "https_proxy") if name in os.environ}
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=environment,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError:
            return Completed(127, error=f"{words[0]}: not found")
        except subprocess.TimeoutExpired:
            return Completed(124, error=f"{words[0]}: nothing after {timeout_s:.0f} s")
        except OSError as error:
            return Completed(126, error=f"{words[0]}: {error.strerror}")
        return Completed(done.returncode, done.stdout, done.stderr)

    def _enter(self) -> list[str]:
        if self._root == Path("/"):
            return []
        if (self._root / "proc/self").exists():
            return ["chroot", str(self._root)]
        return ["unshare", "--mount", "sh", "-c", _ENTER, str(self._root)]
