"""Making a machine ready for the card: facts about it, a plan of typed steps, carrying it out, taking it back.

`read_machine` reads, `plan_kernel` and `plan_vfio` compute (nothing is touched), `apply_plan` works and keeps a
journal, `undo_journal` takes back what the journal says. Every function takes the root of the file system and the
runner of commands, so that all of it runs on a folder that only looks like a machine.
"""

from .journal import JOURNAL, Journal, undo_journal
from .machine import Machine, Platform, read_machine
from .plan import Request, plan_kernel
from .run import Completed, Runner, SystemRunner
from .steps import Plan, State, Step
from .tree import Tree
from .vfio import plan_vfio
from .work import apply_plan

__all__ = [
    "JOURNAL",
    "Completed",
    "Journal",
    "Machine",
    "Plan",
    "Platform",
    "Request",
    "Runner",
    "State",
    "Step",
    "SystemRunner",
    "Tree",
    "apply_plan",
    "plan_kernel",
    "plan_vfio",
    "read_machine",
    "undo_journal",
]
