"""What mutations start from: real files where they are, files that the product writes, parts of other tests."""

from __future__ import annotations

import atexit
import importlib.util
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared"


@cache
def load_test_module(path: str) -> ModuleType:
    """Import a module of the unit tests by its path below ``tests/unit``."""
    file = REPOSITORY / "tests" / "unit" / path
    spec = importlib.util.spec_from_file_location(f"fuzz_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def real_hefs(largest_bytes: int) -> tuple[bytes, ...]:
    """Return the real HEF files up to a size; none on a machine that has none."""
    files = sorted(SHARED.joinpath("hefs").glob("*.hef"))
    return tuple(file.read_bytes() for file in files if file.stat().st_size <= largest_bytes)


@cache
def scratch() -> Path:
    """Return a folder of this process for inputs that only come as files; it goes away with the process."""
    folder = tempfile.TemporaryDirectory(prefix="openhailo-fuzz-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
