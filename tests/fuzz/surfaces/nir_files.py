"""NIR files into the importer, and what comes out through the engine."""

from __future__ import annotations

import io
from functools import cache
from importlib import import_module
from random import Random
from typing import Any

import numpy as np

from openhailo.errors import OpenHailoError
from openhailo.feagi.nir import import_nir
from openhailo.feagi.nir_file import build_graph, read_content
from tests.fuzz.surface import Surface, require

_VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 3, 1 << 31, -(1 << 63), 1e-300, 1e300, float("nan"), float("inf"), b"", b"LIF", b"Conv2d", b"\xff"),
    *(b"same", b"valid", b"NIRGraph", b"Flatten", b"CubaLIF"),
)


@cache
def _seeds() -> tuple[bytes, ...]:
    nir = import_module("nir")

    def lif(*shape: int) -> Any:
        return nir.LIF(**{key: np.ones(shape) for key in ("tau", "r", "v_leak", "v_threshold", "v_reset")})

    def conv(*shape: int) -> Any:
        return nir.Conv2d((6, 6), np.ones(shape), 1, (1, 1), 1, 1, np.ones(shape[0]))

    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    flat = nir.Flatten(np.array([2, 3, 3]), 0, -1)
    small = nir.NIRGraph.from_list(nir.Affine(np.ones((3, 2)), np.ones(3)), lif(3), nir.Linear(np.ones((1, 3))))
    chain = (conv(2, 1, 3, 3), lif(2, 6, 6), pool, flat, nir.Linear(np.ones((4, 18))), nir.Scale(np.ones(4)), lif(4))
    return tuple(_write(graph) for graph in (small, nir.NIRGraph.from_list(*chain, type_check=False)))


def _write(graph: Any) -> bytes:
    data = io.BytesIO()
    import_module("nir").write(data, graph)
    return data.getvalue()


def make_case(rng: Random) -> bytes:
    """Replace, drop or reshape values of a file. Broken bytes of HDF5 itself are for its own process."""
    buffer = io.BytesIO(rng.choice(_seeds()))
    with import_module("h5py").File(buffer, "r+") as file:
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            _change(rng, file)
    return buffer.getvalue()


def _change(rng: Random, file: Any) -> None:
    names: list[str] = []
    file.visit(names.append)
    name = rng.choice(sorted(names))
    item, kind = file[name], rng.randrange(5)
    if kind == 0 or not hasattr(item, "shape"):
        file[rng.choice(sorted(names))].parent[f"n{rng.getrandbits(60)}"] = item
        return
    value = item[()]
    del file[name]
    if kind == 1 or not hasattr(value, "shape"):
        file[name] = rng.choice(_VALUES)
    elif kind == 2:
        changed = np.array(value)
        if changed.size and changed.dtype.kind in "iuf":
            chosen = rng.choice([v for v in _VALUES if not isinstance(v, bytes) and abs(v) != 1 << 63])
            with np.errstate(all="ignore"):
                changed.reshape(-1)[rng.randrange(changed.size)] = np.float64(chosen).astype(changed.dtype)
        file[name] = changed
    elif kind == 3:
        file[name] = np.resize(value, [rng.choice((0, 1, 2, 3, 7)) for _ in range(rng.randrange(1, 5))])


def run(case: bytes) -> int:
    """Read it, import it, run it."""
    model = import_nir(build_graph(read_content(case)), dt_s=1.0)
    engine = model.engine(backend="numpy")
    inputs = {name: np.ones(shape["input"]) for name, shape in _inputs(model)}
    for _ in range(3):
        fired = engine.step(model.inputs(inputs)).fired
        require(all(np.isfinite(value).all() for value in model.outputs(fired).values()), "an output is no number")
    return 1


def _inputs(model: Any) -> list[tuple[str, Any]]:
    nodes = model.graph.nodes.items()
    return [(name, node.input_type) for name, node in nodes if type(node).__name__ == "Input"]


SURFACE = Surface("nir_files", make_case, run, (OpenHailoError,))
