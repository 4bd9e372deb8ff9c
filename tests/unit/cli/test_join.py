"""`openhailo join`."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from openhailo import hef
from openhailo.cli.main import app
from openhailo.errors import InputError


def save(folder: Path, name: str) -> Path:
    ends = [hef.StreamSpec(f"{name}/in", (8, 8, 4))], [hef.StreamSpec(f"{name}/out", (1, 1, 16))]
    path = folder / f"{name}.hef"
    path.write_bytes(hef.write(hef.compose(name, *ends, [bytes(64)])))
    return path


def test_files_become_one(tmp_path: Path) -> None:
    paths = [str(save(tmp_path, name)) for name in ("cat", "dog")]
    result = CliRunner().invoke(app, ["join", *paths, "-o", str(tmp_path / "both.hef"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["networks"] == ["cat", "dog"]
    assert [group.name for group in hef.read(tmp_path / "both.hef").network_groups] == ["cat", "dog"]
    text = CliRunner().invoke(app, ["join", *paths, "-o", str(tmp_path / "both.hef")])
    assert text.output.strip().endswith("both.hef: cat, dog")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["join", str(tmp_path / "no.hef"), "-o", str(tmp_path / "x.hef")])
    assert isinstance(result.exception, InputError)
