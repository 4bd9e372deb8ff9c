"""What a check reports, and the register of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from openhailo.errors import InvalidHef, UnsupportedHef

from .contexts import CoreOp
from .model import Hef, NetworkGroup

#: Where and what: paths are like ``net.contexts[0].edge_layers[1]``.
Problem = tuple[str, str]
RuleFunction = Callable[[Hef], Iterator[Problem]]


class Severity(StrEnum):
    """ERROR: the vendor's library refuses the file or breaks on it. WARNING: it works, with a trap."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """A rule that a HEF breaks. ``source`` is the section of hef.md that the rule comes from."""

    rule: str
    severity: Severity
    where: str
    detail: str
    source: str = ""


@dataclass(frozen=True)
class Rule:
    """A named check. ``unsafe`` rules also guard the reader: content that breaks them has no meaning to work with."""

    name: str
    source: str
    find: RuleFunction
    severity: Severity
    unsafe: bool

    def findings(self, hef: Hef) -> Iterator[Finding]:
        """Yield what breaks the rule."""
        for where, detail in self.find(hef):
            yield Finding(self.name, self.severity, where, detail, self.source)


RULES: dict[str, Rule] = {}


def rule(
    name: str, source: str, *, severity: Severity = Severity.ERROR, unsafe: bool = False
) -> Callable[[RuleFunction], RuleFunction]:
    """Register a function that yields the problems it finds."""

    def register(find: RuleFunction) -> RuleFunction:
        assert name not in RULES
        RULES[name] = Rule(name, source, find, severity, unsafe)
        return find

    return register


def core_ops(hef: Hef) -> Iterator[tuple[NetworkGroup, CoreOp, str]]:
    """Yield every core op that can be configured, all cluster layouts included, with its group and path.

    Groups without a core op are left to the rule "core op".
    """
    for group in hef.network_groups:
        try:
            outer = group.core_op
        except InvalidHef:
            for partial in group.partial_network_groups:
                if partial.network_group.legacy is not None:
                    yield group, partial.network_group.legacy, f"{group.name}[0x{partial.layout:X}]"
            continue
        if not outer.partial_core_ops:
            yield group, outer, group.name
        for partial_op in outer.partial_core_ops:
            yield group, partial_op.core_op, f"{group.name}[0x{partial_op.layout:X}]"


def format_error(error: InvalidHef | UnsupportedHef) -> str:
    """Return what an error of the model says, without its advice."""
    return error.detail if isinstance(error, InvalidHef) else error.feature
