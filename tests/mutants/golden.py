"""Both copies bent: the golden comparison of a declaration with the facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from openhailo.spec.chip import ChipSpec
from tests.golden.differences import Expected

from .judge import Verdict
from .mutations import Mutant

SHARED = Path(__file__).resolve().parents[3] / "shared"


class Golden:
    """What the facts say, if they are there; ``missing`` tells why not."""

    def __init__(self, shared: Path = SHARED) -> None:
        self.missing = "" if (shared / "facts").is_dir() else "the facts folder is not beside this checkout"
        self._expected = None if self.missing else Expected(shared)

    def differences(self, spec: ChipSpec) -> list[str]:
        """Return what differs from the facts; nothing when they are missing."""
        return self._expected.differences(spec) if self._expected is not None else []

    def judge(self, mutant: Mutant, verdict: Verdict) -> Verdict:
        """Add the number of differences that both copies bent would show, -1 for a mutant that cannot be built."""
        try:
            spec = mutant.build()
        except Exception:
            return replace(verdict, golden=-1)
        return replace(verdict, golden=len(self.differences(spec)))
