"""Backends by name."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from openhailo.bus import registry
from openhailo.bus.registry import Endpoint
from openhailo.errors import DeviceError, DeviceNotFound


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """Two rows of the package and two foreign ones, in place of what is installed."""
    module = types.ModuleType("made_up_backend")
    module.open_it = lambda target, **options: Endpoint(link=(target, options))  # type: ignore[attr-defined]
    module.number = 5  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_up_backend", module)
    monkeypatch.setattr(
        registry,
        "BUILTIN",
        {"here": "made_up_backend:open_it", "gone": "no_such_module:x", "odd": "made_up_backend:number"},
    )
    foreign = EntryPoint("there", "made_up_backend:open_it", registry.ENTRY_POINT_GROUP)
    broken = EntryPoint("broken", "made_up_backend:missing", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [foreign, broken])
    yield module


@pytest.mark.parametrize("scheme", ["here", "there"])
def test_open(scheme: str) -> None:
    endpoint = registry.open_endpoint(f"{scheme}:0001:01:00.0", firmware=None)
    assert endpoint.link == ("0001:01:00.0", {"firmware": None})


def test_schemes_are_sorted() -> None:
    assert registry.schemes() == ["broken", "gone", "here", "odd", "there"]


@pytest.mark.parametrize("name", ["", "here", "vfio-user:/run/x", "pci:0000:01:00.0"])
def test_unknown_names_list_what_there_is(name: str) -> None:
    with pytest.raises(DeviceNotFound, match="here:, odd:, there:"):
        registry.open_endpoint(name)


def test_unknown_scheme() -> None:
    with pytest.raises(DeviceNotFound):
        registry.load("nowhere")


@pytest.mark.parametrize("scheme", ["gone", "broken", "odd"])
def test_backends_that_cannot_be_used(scheme: str) -> None:
    with pytest.raises(DeviceError, match=scheme):
        registry.load(scheme)


def test_every_row_of_the_package_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for scheme in registry.BUILTIN:
        assert callable(registry.load(scheme))
