"""`VDevice` (pyhailort-api.md 8)."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, Sequence
from typing import Self

from . import _pyhailort
from ._device import Device
from ._exceptions import ExceptionWrapper, HailoRTException
from ._hef import HEF
from ._hints import VDEVICE, Guided, guided
from ._infer_model import InferModel
from ._network import ConfiguredNetwork
from ._pyhailort import VDeviceParams


class VDevice(metaclass=Guided):
    """One or more boards that networks run on; a context manager."""

    _hints_ = VDEVICE

    def __init__(self, params: VDeviceParams | None = None, *, device_ids: Sequence[str] | None = None) -> None:
        """Take boards: ``VDevice()``, ``VDevice(params)`` or ``VDevice(device_ids=[...])``.

        Without parameters there is no scheduler; with ``device_ids`` the parameters are not looked at, unless they
        name boards as well, which is an error (pyhailort-api.md 25 rows 1, 2).
        """
        gc.collect()
        self._id = "VDevice"
        self._params = params
        self._device_ids = device_ids
        self._loaded_network_groups: list[ConfiguredNetwork] = []
        self._creation_pid = os.getpid()
        self._vdevice: _pyhailort.VDevice | None = None
        if params is not None and not isinstance(params, VDeviceParams):
            raise TypeError(f"VDevice takes VDevice.create_params(), not {type(params).__name__}")
        self._open_vdevice()

    def _open_vdevice(self) -> None:
        with ExceptionWrapper():
            if self._device_ids is None:
                self._vdevice = _pyhailort.VDevice.create(self._params or VDeviceParams.default())
                return
            if isinstance(self._device_ids, str):
                raise TypeError(f"device_ids is a list: VDevice(device_ids=[{self._device_ids!r}])")
            if self._params is not None and self._params.device_ids:
                _pyhailort.fail("INVALID_OPERATION", "boards are named twice: in params and in device_ids")
            self._vdevice = _pyhailort.VDevice.create_from_ids(list(self._device_ids))

    @property
    def _opened(self) -> _pyhailort.VDevice:
        if self._vdevice is None:
            raise HailoRTException("VDevice was released; make another one")
        return self._vdevice

    def __enter__(self) -> Self:
        return self

    def release(self) -> None:
        """Drop the networks, then the boards. Idempotent."""
        vdevice, self._vdevice = self._vdevice, None
        if vdevice is None or self._creation_pid != os.getpid():
            return
        self._loaded_network_groups.clear()
        vdevice.release()

    def __exit__(self, *args: object) -> None:
        self.release()

    def __del__(self) -> None:
        if self.__dict__.get("_vdevice") is not None:
            self.release()

    @staticmethod
    def create_params() -> VDeviceParams:
        """Return the defaults: one board, no scheduler, no group, no service."""
        with ExceptionWrapper():
            return VDeviceParams.default()

    def _require_own_process(self, what: str) -> None:
        if self._creation_pid != os.getpid():
            error = HailoRTException(f"VDevice can only {what} in the process that it was created in")
            error.add_note("make it after the fork, or send and receive in children with InputVStreams/OutputVStreams")
            raise error

    def configure(
        self, hef: HEF, configure_params_by_name: Mapping[str, _pyhailort.ConfigureParams] = {}
    ) -> list[ConfiguredNetwork]:
        """Configure the network groups of a file; returns a list, mostly of one: use element [0]."""
        self._require_own_process("configure")
        if not isinstance(hef, HEF):
            raise TypeError(f"configure takes a HEF: vdevice.configure(HEF(path), params), not {type(hef).__name__}")
        with ExceptionWrapper():
            found = self._opened.configure(hef._hef, dict(configure_params_by_name))
        networks = [ConfiguredNetwork(group) for group in found]
        self._loaded_network_groups.extend(networks)
        return networks

    def get_physical_devices(self) -> list[Device]:
        """Return the boards, as new handles."""
        return [Device(device_id) for device_id in self.get_physical_devices_ids()]

    def get_physical_devices_ids(self) -> list[str]:
        """Return the ids of the boards."""
        with ExceptionWrapper():
            return self._opened.get_physical_devices_ids()

    def create_infer_model(self, hef_source: str | bytes, name: str = "") -> InferModel:
        """Return a model of a file (path or bytes); ``name`` is a network group's."""
        self._require_own_process("create a model")
        if isinstance(hef_source, HEF):
            raise TypeError("create_infer_model takes a path or bytes: vdevice.create_infer_model(hef.path)")
        with ExceptionWrapper():
            if isinstance(hef_source, bytes):
                made = self._opened.create_infer_model_from_buffer(hef_source, name)
            else:
                made = self._opened.create_infer_model_from_file(os.fspath(hef_source), name)
        return InferModel(made, hef_source if isinstance(hef_source, bytes) else os.fspath(hef_source))

    @property
    def loaded_network_groups(self) -> list[ConfiguredNetwork]:
        """Everything that was configured."""
        return self._loaded_network_groups

    @property
    def _loaded_network_group(self) -> ConfiguredNetwork:
        if len(self._loaded_network_groups) == 1:
            return self._loaded_network_groups[0]
        raise HailoRTException("Access to network group is only allowed when there is a single loaded network group")

    __getattr__ = guided(VDEVICE)
