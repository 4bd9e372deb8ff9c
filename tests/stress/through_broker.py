"""A plugin of pytest: virtual devices of the conformance suite are a broker's (`-p tests.stress.through_broker`).

The broker serves in a thread, so that tests can look at both ends. Numerics that a test binds are given to the broker's
devices, as they could not be sent to another process.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

import openhailo
import openhailo.runtime.vdevice as module
from openhailo.runtime.broker.network import SharedNetwork
from openhailo.runtime.broker.server import BrokerServer
from openhailo.runtime.broker.virtual import SharedVirtualDevice, open_shared
from openhailo.runtime.device import Device
from openhailo.runtime.vdevice import VirtualDeviceOptions
from tests.frames import devices as several

_OwnVirtualDevice = module.VirtualDevice
_configure = _OwnVirtualDevice.configure
_references: dict[str, Any] = {}


def _check_options(network: SharedNetwork, reference: object) -> None:
    if reference is not None:
        _references[network.name] = reference


def _configure_with_reference(vdevice: Any, model: Any, **options: Any) -> Any:
    if type(vdevice) is _OwnVirtualDevice and options.get("group") in _references:
        options["reference"] = _references[options["group"]]
    return _configure(vdevice, model, **options)


class BrokeredVirtualDevice:
    """Stands where `VirtualDevice` is made: the devices are a broker's, what comes of it is a client's."""

    def __init__(self, devices: Sequence[Device], options: VirtualDeviceOptions | None = None, **more: Any) -> None:
        """Share ``devices``."""
        if options is not None and not options.scheduler:
            pytest.skip("processes take turns by a scheduler")
        self._own = _OwnVirtualDevice(devices, **more)
        self._folder = Path(tempfile.mkdtemp(prefix="ohb-"))
        self._server = BrokerServer(self._own, self._folder / "s")
        self._thread = threading.Thread(target=self._server.serve, daemon=True)
        self._thread.start()
        self._client = open_shared(self._folder / "s", [], options or VirtualDeviceOptions(), start=False)

    def __enter__(self) -> SharedVirtualDevice:
        return self._client

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._server.stop()
        self._thread.join(30)
        self._server.close()
        self._own.close()
        _references.clear()
        shutil.rmtree(self._folder)


def _open_several(count: int = 1, **options: Any) -> BrokeredVirtualDevice:
    made = VirtualDeviceOptions(**options)
    return BrokeredVirtualDevice([openhailo.open("twin:") for _ in range(count)], made)


def pytest_configure() -> None:
    """Put ourselves in place, before tests are imported."""
    several.open_several = _open_several  # type: ignore[assignment]
    module.VirtualDevice = BrokeredVirtualDevice  # type: ignore[assignment, misc]
    _OwnVirtualDevice.configure = _configure_with_reference  # type: ignore[assignment, method-assign]
    SharedNetwork.check_options = _check_options  # type: ignore[assignment, method-assign]
