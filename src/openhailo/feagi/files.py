"""Networks in files, by their content: FEAGI connectomes and our own archive (``.npz``)."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from openhailo.burst import Areas, Network, Neurons, Synapses
from openhailo.errors import InputError

from .builders import build_random, build_small_world, build_steady
from .connectome import Connectome, load_connectome, save_connectome

if TYPE_CHECKING:
    from .structured import Structured

VERSION: Final = 1
#: Bytes that an archive may unpack to.
MAX_BYTES: Final = 1 << 32
_NEURON_FIELDS: Final = tuple(item.name for item in fields(Neurons) if item.name != "precision")
_SYNAPSE_FIELDS: Final = ("row_start", "target", "weight", "psp", "kind")
SUFFIXES: Final = (".npz", ".json")


def load_network(path: str | Path) -> Network:
    """Read a network: a connectome (JSON, or binary), or an archive.

    Raises:
        InputError: no such file, or none of these.
    """
    place = Path(path)
    try:
        with place.open("rb") as file:
            begin = file.read(4)
    except OSError as error:
        raise InputError(what=str(place), detail=error.strerror or str(error)) from error
    if begin == b"PK\x03\x04":
        return parse_archive(place.read_bytes())
    return load_connectome(place).network


def save_network(network: Network, path: str | Path) -> None:
    """Write a network as an archive (``.npz``: everything) or a connectome (``.json``: what FEAGI's format has).

    Raises:
        InputError: another suffix.
    """
    place = Path(path)
    if place.suffix == ".npz":
        place.write_bytes(build_archive(network))
    elif place.suffix == ".json":
        save_connectome(Connectome(network), place)
    else:
        raise InputError(what=str(place), detail=f"write one of {', '.join(SUFFIXES)}")


def build_archive(network: Network) -> bytes:
    """Return ``network`` as a NumPy archive."""
    neurons, synapses = network.neurons, network.synapses
    arrays: dict[str, Any] = {f"neurons.{name}": getattr(neurons, name) for name in _NEURON_FIELDS}
    arrays |= {f"synapses.{name}": getattr(synapses, name) for name in _SYNAPSE_FIELDS}
    if synapses.valid is not None:
        arrays["synapses.valid"] = synapses.valid
    for name in ("psp_uniform", "mp_driven"):
        arrays[f"areas.{name}"] = np.array(sorted(getattr(network.areas, name).items()), np.int64).reshape(-1, 2)
    is_fp32, fatigue = neurons.precision == "fp32", network.fatigue
    arrays["about"] = np.array([VERSION, is_fp32, fatigue, network.power_amount], np.float64)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def parse_archive(data: bytes) -> Network:
    """Return the network of an archive. Raises `InputError`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise InputError(what="network archive", detail=f"it unpacks to {size} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        return _of_arrays(arrays)
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError, NotImplementedError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(what="network archive", detail=str(error) or type(error).__name__) from error
    except Exception as error:  # zlib.error and what else a damaged archive makes the unpacker raise
        raise InputError(what="network archive", detail=f"{type(error).__name__}: {error}") from error


def _of_arrays(arrays: dict[str, Any]) -> Network:
    about = arrays["about"]
    if about.shape != (4,) or about.dtype.kind != "f" or about[0] != VERSION:
        raise InputError(what="network archive", detail=f"not of version {VERSION}")
    neurons = Neurons("fp32" if about[1] else "int8", **{name: arrays[f"neurons.{name}"] for name in _NEURON_FIELDS})
    columns = {name: arrays[f"synapses.{name}"] for name in _SYNAPSE_FIELDS}
    synapses = Synapses(**columns, valid=arrays.get("synapses.valid"))
    areas = Areas(_flags(arrays["areas.psp_uniform"]), _flags(arrays["areas.mp_driven"]))
    return Network(neurons, synapses, areas, float(about[3]), bool(about[2]))


def _flags(table: Any) -> dict[int, bool]:
    if table.ndim != 2 or table.shape[1] != 2 or table.dtype.kind not in "iu":
        raise InputError(what="network archive", detail="flags of areas")
    return {int(area): bool(flag) for area, flag in table.tolist()}


def load_structured(path: str | Path) -> Structured:
    """Read areas and projections from JSON: ``{"areas": [{...}], "projections": [{...}]}``.

    Members are those of `openhailo.feagi.structured.Sheet` and `Projection`; kernels are nested lists.

    Raises:
        InputError: no such file, or a description that does not add up.
    """
    from .structured import Projection, Sheet, Structured

    place = Path(path)
    try:
        document = json.loads(place.read_bytes())
        areas = tuple(Sheet(**{**area, "shape": tuple(area["shape"])}) for area in document["areas"])
        ways = tuple(
            Projection(**{**way, "kernel": np.asarray(way["kernel"])}) for way in document.get("projections", ())
        )
    except OSError as error:
        raise InputError(what=str(place), detail=error.strerror or str(error)) from error
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(what=str(place), detail=f"no description of areas: {error}") from error
    return Structured(areas, ways)


def make_network(recipe: str) -> Network:
    """Return a network by recipe: ``random``, ``small-world`` or ``steady``, ``:NEURONS``, ``:SYNAPSES`` of each.

    Raises `InputError`.
    """
    name, _, sizes = recipe.partition(":")
    numbers = sizes.split(":")
    if name not in RECIPES or not all(part.isdecimal() and len(part) < 10 for part in numbers) or len(numbers) > 2:
        known = ", ".join(RECIPES)
        raise InputError(what=recipe, detail=f"no file, and no recipe like random:10000:10 ({known})")
    return RECIPES[name](*map(int, numbers))


RECIPES: Final[dict[str, Callable[..., Network]]] = {
    "random": partial(build_random, weight=5, psp=5, threshold=9.0),
    "small-world": partial(build_small_world, weight=5, psp=5, threshold=9.0, refractory_period=2),
    "steady": build_steady,
}
