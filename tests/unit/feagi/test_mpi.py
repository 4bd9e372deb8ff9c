"""One network on several MPI ranks of this machine: the bits of the whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mpi4py", reason="mpi4py is not installed (extra mpi)")

HERE = Path(__file__).parent


def launcher() -> str | None:
    beside = Path(sys.executable).with_name("mpirun")
    return str(beside) if beside.exists() else shutil.which("mpirun")


@pytest.mark.skipif(launcher() is None, reason="there is no mpirun")
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_are_the_whole(ranks: int) -> None:
    command = [str(launcher()), "-n", str(ranks), sys.executable, str(HERE / "ranks.py")]
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
