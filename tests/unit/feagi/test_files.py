"""Archives, recipes, descriptions and pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.errors import InputError
from openhailo.feagi.files import (
    build_archive,
    load_network,
    load_structured,
    make_network,
    parse_archive,
    save_network,
)

from .networks import random_network


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from(["int8", "fp32"]))
def test_archives_keep_everything(seed: int, count: int, precision: str) -> None:
    network = random_network(np.random.default_rng(seed), count, precision)
    found = parse_archive(build_archive(network))
    for part in ("neurons", "synapses"):
        for name, values in vars(getattr(network, part)).items():
            assert np.array_equal(getattr(getattr(found, part), name), values), name
    assert (found.areas, found.power_amount, found.fatigue) == (network.areas, network.power_amount, network.fatigue)


def test_files_by_their_content(tmp_path: Path) -> None:
    network = make_network("random:50:3")
    for suffix in (".npz", ".json"):
        save_network(network, tmp_path / f"n{suffix}")
        found = load_network(tmp_path / f"n{suffix}")
        assert np.array_equal(found.synapses.target, network.synapses.target)
        assert np.array_equal(found.neurons.threshold, network.neurons.threshold)
    with pytest.raises(InputError, match=r"one of \.npz"):
        save_network(network, tmp_path / "n.txt")
    with pytest.raises(InputError, match="No such file"):
        load_network(tmp_path / "missing.json")


def archive(**changes: Any) -> bytes:
    with np.load(io.BytesIO(build_archive(make_network("random:5:2")))) as found:
        arrays = {**{name: found[name] for name in found.files}, **changes}
    file = io.BytesIO()
    np.savez(file, **{name: values for name, values in arrays.items() if values is not None})
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        build_archive(make_network("random:5:2"))[:-40],
        archive(about=np.zeros(4)),
        archive(about=np.zeros(3)),
        archive(about=None),
        archive(**{"synapses.target": np.zeros(3, np.uint32)}),
        archive(**{"neurons.leak": np.full(5, np.nan, np.float32)}),
        archive(**{"areas.mp_driven": np.zeros(3)}),
        archive(**{"neurons.area": np.array([{}] * 5, object)}),
    ],
)
def test_archives_that_do_not_add_up(data: bytes) -> None:
    parse_archive(archive())
    with pytest.raises(InputError):
        parse_archive(data)


@pytest.mark.parametrize("recipe", ["random", "random:x", "other:5", "random:1:2:3", "random:0", "random:9999999999"])
def test_recipes_that_are_none(recipe: str) -> None:
    with pytest.raises(InputError):
        make_network(recipe)


def test_descriptions_of_areas(tmp_path: Path) -> None:
    path = tmp_path / "areas.json"
    areas = [
        {"name": "eye", "shape": [1, 4, 4], "threshold": 9.0, "takes_input": True},
        {"name": "out", "shape": [1, 4, 4]},
    ]
    way = {"source": "eye", "target": "out", "kernel": [[[[1, 2, 1]] * 3]], "psp": 4}
    path.write_text(json.dumps({"areas": areas, "projections": [way]}))
    assert load_structured(path).count == 32
    for wrong in (
        "[]",
        "{",
        '{"areas": [{"name": "x"}]}',
        '{"areas": 3}',
        '{"areas": [{"name": "x", "shape": [1], "y": 1}]}',
    ):
        path.write_text(wrong)
        with pytest.raises(InputError):
            load_structured(path)
    with pytest.raises(InputError):
        load_structured(tmp_path / "none.json")


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from openhailo.feagi.plots import save_raster

    fired = [np.arange(n % 5, dtype=np.uint32) for n in range(50)]
    save_raster(fired, tmp_path / "r.png", neurons=5, rate_hz=1000.0, title="five")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError):
        save_raster(fired, tmp_path / "r.nothing", neurons=5)
    with pytest.raises(InputError):
        save_raster([], tmp_path / "r.png", neurons=5)
