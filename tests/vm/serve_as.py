"""``python -m tests.vm.serve_as UID twin serve ...``: `openhailo twin serve` as another user.

The command line is read and everything imported before the change of user, because the interpreter and the environment
may lie in a folder that only the first user can read.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from contextlib import suppress
from importlib import import_module

import openhailo.cli.main
import openhailo.twin
from openhailo.cli import _serve


def read_plan(arguments: list[str]) -> _serve.Plan:
    """Return what the command line asks for, without doing it."""
    plans: list[_serve.Plan] = []
    before, _serve.serve = _serve.serve, plans.append
    sys.argv = ["openhailo", *arguments]
    try:
        with suppress(SystemExit):
            openhailo.cli.main.main()
    finally:
        _serve.serve = before
    (plan,) = plans
    return plan


def import_twin() -> None:
    """Import every module of the twin, also those that it only needs later."""
    for module in pkgutil.walk_packages(openhailo.twin.__path__, f"{openhailo.twin.__name__}."):
        import_module(module.name)


def main() -> None:
    """Change the user and serve."""
    uid = int(sys.argv[1])
    plan = read_plan(sys.argv[2:])
    import_twin()
    os.chdir("/")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _serve.serve(plan)


if __name__ == "__main__":
    main()
