"""Check a HEF against the rules that readers rely on (hef.md 3, 6, 10, 14, 16, 17, 19).

The vendor's library crashes on several of these instead of refusing them (hef.md 19.11), so files are checked before
they are written. Each rule has a name; a finding names its rule and the row of the facts it comes from.
"""

from __future__ import annotations

from openhailo.errors import InvalidHef

from . import rules_file, rules_layers, rules_operations, rules_ops
from .findings import RULES, Finding, Rule, Severity
from .model import Hef

__all__ = ["RULES", "STRUCTURAL", "Finding", "Rule", "Severity", "check", "refuse_unsafe"]

#: Rules that `openhailo.hef.read` itself keeps, because the model has no way to hold what breaks them.
STRUCTURAL: dict[str, str] = {
    "header version": "hef.md 16: header",
    "trigger unset": "hef.md 16: a trigger left unset",
    "action unset": "hef.md 16: an action without alternative",
    "layer info": "hef.md 16: layer_info or edge_layer_base",
    "layer kind": "hef.md 5: EdgeLayer.edge_layer_type",
    "core op": "hef.md 16: ops, core_op, contexts",
    "ccw kind": "hef.md 14: v0, v1-v3",
    "ccw range": "hef.md 1: write_data_ccw_ptr.offset",
    "mux edges": "hef.md 12: limit 32 edges",
    "count": "a bound of this reader",
    "protobuf size": "a bound of this reader",
    "protobuf": "hef.md 2, step 3",
}

#: The order in which rules run: what others build on comes first.
MODULES = (rules_layers, rules_ops, rules_file, rules_operations)
_ORDERED = tuple(rule for module in MODULES for rule in RULES.values() if rule.find.__module__ == module.__name__)


def check(hef: Hef) -> list[Finding]:
    """Return everything in ``hef`` that breaks a rule, errors first."""
    findings = [finding for rule in _ORDERED for finding in rule.findings(hef)]
    return sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR)


def refuse_unsafe(hef: Hef) -> None:
    """Raise `InvalidHef` for the first finding of a rule without which the content has no meaning."""
    for rule in _ORDERED:
        if rule.unsafe:
            for finding in rule.findings(hef):
                raise InvalidHef(rule=finding.rule, where=finding.where, detail=finding.detail)
