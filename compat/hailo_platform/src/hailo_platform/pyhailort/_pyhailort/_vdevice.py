"""One or more boards that networks run on (pyhailort-api.md 8, runtime-behaviour.md 5)."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import openhailo
from openhailo import hef as oh_hef
from openhailo.errors import DeviceBusy, OpenHailoError, UnsupportedHef
from openhailo.runtime.vdevice import VirtualDevice, VirtualDeviceOptions
from openhailo.spec.enums import DeviceArchitecture

from . import _boards, _monitor
from ._errors import Translating, fail
from ._hef import Hef
from ._infer_model import ConfiguredInferModel, InferModel
from ._network_group import ConfiguredNetworkGroup
from ._params import UNIQUE_GROUP, ConfigureParams, VDeviceParams

#: Names the numerics of networks compiled for silicon, which the virtual chip cannot compute: an ONNX file, or
#: ``group=file`` several times with ``:`` between.
REFERENCE_VARIABLE = "OPENHAILO_REFERENCE"


class _Shared:
    """Boards that are used as one device, by every `VDevice` of a group in this process."""

    def __init__(self, boards: list[_boards.Board], wanted: tuple[Any, ...], device: VirtualDevice) -> None:
        self.boards, self.wanted, self.users = boards, wanted, 1
        self.device = device
        ids, kinds = [board.id for board in boards], [board.device.identify().architecture for board in boards]
        self._monitor = _monitor.begin(self.device, ids, kinds)

    def close(self) -> None:
        _monitor.end(self._monitor)
        with suppress(OpenHailoError):
            self.device.close()
        for board in self.boards:
            _boards.give_back(board, exclusive=True)


_lock = threading.RLock()
_groups: dict[tuple[int, str], _Shared] = {}
_live: weakref.WeakSet[VDevice] = weakref.WeakSet()


class VDevice(Translating):
    """Boards used as one."""

    def __init__(self, params: VDeviceParams) -> None:
        """Use `create`."""
        self._params = params
        self._pid = os.getpid()
        self._shared: _Shared | None = _share(params)
        self._groups: list[ConfiguredNetworkGroup] = []
        self._models: weakref.WeakSet[ConfiguredInferModel] = weakref.WeakSet()
        _live.add(self)

    @staticmethod
    def create(params: VDeviceParams | Sequence[str] | None = None) -> VDevice:
        """Take boards as ``params`` say, or those with the given ids."""
        if params is None or isinstance(params, VDeviceParams):
            return VDevice(params or VDeviceParams.default())
        return VDevice.create_from_ids(params)

    @staticmethod
    def create_from_ids(device_ids: Sequence[str]) -> VDevice:
        """Take the boards with these ids, without a scheduler."""
        params = VDeviceParams.default()
        params.device_ids = list(device_ids)
        return VDevice(params)

    @property
    def _opened(self) -> _Shared:
        if self._shared is None:
            fail("INVALID_OPERATION", "the VDevice was released; make another one")
        return self._shared

    def get_physical_devices_ids(self) -> list[str]:
        """Return the ids of the boards."""
        return [board.id for board in self._opened.boards]

    # --- networks ---------------------------------------------------------------------------------------------------

    def configure(self, hef: Hef, params: Mapping[str, ConfigureParams]) -> list[ConfiguredNetworkGroup]:
        """Configure the network groups of a file, in their order."""
        names = hef.get_network_group_names()
        unknown = params.keys() - set(names)
        if unknown:
            fail("INVALID_ARGUMENT", f"no network group {sorted(unknown)}; this file has {', '.join(names)}")
        self._require_compatible(hef)
        chosen = params or dict.fromkeys(names, ConfigureParams())
        made: list[ConfiguredNetworkGroup] = []
        try:
            made += [self._configure(hef, name, chosen[name]) for name in names if name in chosen]
        except BaseException:
            for group in made:
                group.drop()
            raise
        self._groups += made
        return made

    def _configure(self, hef: Hef, name: str, params: ConfigureParams) -> ConfiguredNetworkGroup:
        batch_size = _batch_size(params, scheduled=not self._opened.device.is_manual)
        group = self._opened.device.configure(
            hef.file, group=name, batch_size=batch_size, performance=int(params.power_mode) == 0, **_reference(name)
        )
        return ConfiguredNetworkGroup(group, hef)

    def create_infer_model_from_file(self, path: str, name: str = "", **options: Any) -> InferModel:
        """Return a model of a file; ``options`` are those of openhailo's networks."""
        return self._infer_model(Hef.create_from_file(path), name, options)

    def create_infer_model_from_buffer(self, content: bytes, name: str = "", **options: Any) -> InferModel:
        """Return a model of a file that is in memory."""
        return self._infer_model(Hef.create_from_buffer(content), name, options)

    def _infer_model(self, hef: Hef, name: str, options: Mapping[str, Any]) -> InferModel:
        if name and name not in hef.get_network_group_names():
            fail("NOT_IMPLEMENTED", f"no network group {name!r}; there is {', '.join(hef.get_network_group_names())}")
        self._require_compatible(hef)
        group = name or hef.group().name
        model = self._opened.device.create_infer_model(hef.file, name=group, **_reference(group), **options)
        return InferModel(self, model, hef, name)

    def _require_compatible(self, hef: Hef) -> None:
        for board in self._opened.boards:
            try:
                oh_hef.compatible_with(hef.file, DeviceArchitecture(board.device.identify().architecture))
            except UnsupportedHef as error:
                message = str(error)
            else:
                continue
            fail("HEF_NOT_COMPATIBLE_WITH_DEVICE", message)

    def adopt(self, model: ConfiguredInferModel) -> None:
        """Remember a model that runs, so that it ends with the device."""
        self._models.add(model)

    def retire(self, model: Any) -> None:
        """Unload a model that nobody holds any more, unless the device ended it already."""
        if self._shared is not None and self._pid == os.getpid():
            with suppress(OpenHailoError):
                model.close()

    # --- life -------------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Drop the networks, then the boards. Idempotent."""
        shared, self._shared = self._shared, None
        if shared is None or self._pid != os.getpid():
            return
        for model in list(self._models):
            with suppress(Exception):
                model.release()
        while self._groups:
            with suppress(OpenHailoError):
                self._groups.pop().drop()
        with _lock:
            shared.users -= 1
            if shared.users:
                return
            for key in [key for key, value in _groups.items() if value is shared]:
                del _groups[key]
            shared.close()


def _share(params: VDeviceParams) -> _Shared:
    """Return the boards that ``params`` ask for: those of the group, if it has some."""
    _check(params)
    ids = tuple(map(_boards.resolve, params.device_ids))
    wanted = (ids, params.device_count, params.scheduling_algorithm, params.multi_process_service)
    key = (os.getpid(), params.group_id)
    with _lock:
        shared = _groups.get(key) if params.group_id != UNIQUE_GROUP else None
        if shared is not None:
            if shared.wanted != wanted:
                fail(
                    "INVALID_OPERATION", f"group {params.group_id!r} is in use with other devices or another scheduler"
                )
            shared.users += 1
            return shared
        boards, device = _of_broker(params) if params.multi_process_service else _own(params)
        shared = _Shared(boards, wanted, device)
        if params.group_id != UNIQUE_GROUP:
            _groups[key] = shared
        return shared


def _check(params: VDeviceParams) -> None:
    if params.device_count < 1:
        fail("INVALID_ARGUMENT", f"{params.device_count} devices; one or more are needed")
    if params.scheduling_algorithm not in (0, 1):
        fail("INVALID_ARGUMENT", f"there is no scheduling algorithm {params.scheduling_algorithm}")
    if params.multi_process_service and not params.scheduling_algorithm:
        hint = "params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN"
        fail("INVALID_ARGUMENT", f"sharing with other processes needs a scheduler: {hint}")


def _own(params: VDeviceParams) -> tuple[list[_boards.Board], VirtualDevice]:
    boards = _take(params)
    options = VirtualDeviceOptions(scheduler=bool(params.scheduling_algorithm))
    return boards, VirtualDevice([board.device for board in boards], options, owns_devices=False)


def _of_broker(params: VDeviceParams) -> tuple[list[_boards.Board], VirtualDevice]:
    """Use boards together with other processes: a broker has them, which is started when there is none."""
    ids = [_boards.resolve(each) for each in params.device_ids] or _boards.scan()[: params.device_count]
    if len(ids) < params.device_count:
        fail("OUT_OF_PHYSICAL_DEVICES", f"{params.device_count} wanted; the scan finds {', '.join(ids) or 'none'}")
    device = openhailo.open_virtual_device([_boards.name_of(each) for each in ids], multi_process_service=True)
    return [_boards.lend(each, one) for each, one in zip(ids, device.devices, strict=True)], device


def _take(params: VDeviceParams) -> list[_boards.Board]:
    taken: list[_boards.Board] = []
    free = params.device_ids or [each for each in _boards.scan() if not _boards.is_taken(each)]
    if len(free) < params.device_count:
        found = ", ".join(_boards.scan()) or "none"
        hint = "release other VDevices, or give them the same params.group_id"
        fail(
            "OUT_OF_PHYSICAL_DEVICES", f"{params.device_count} wanted, {len(free)} free; the scan finds {found}; {hint}"
        )
    try:
        for device_id in free[: params.device_count]:
            taken.append(_boards.take(device_id, exclusive=True))  # noqa: PERF401 - what was taken is given back
        if len(taken) > 1 and any(_is_8l(board) for board in taken):
            fail("INVALID_OPERATION", "a Hailo-8L cannot be one of several devices")
    except BaseException as error:
        for board in taken:
            _boards.give_back(board, exclusive=True)
        if isinstance(error, DeviceBusy) and not params.device_ids:
            message = str(error)
        else:
            raise
    else:
        return taken
    return fail("OUT_OF_PHYSICAL_DEVICES", message)


def _is_8l(board: _boards.Board) -> bool:
    return board.device.identify().architecture == DeviceArchitecture.HAILO8L


def _batch_size(params: ConfigureParams, *, scheduled: bool) -> int:
    """Return the batch of a group: its own, or the one that its networks have in common (runtime-behaviour.md 6)."""
    batches = {network.batch_size for network in params.network_params_by_name.values()}
    if params.batch_size and batches - {0}:
        fail("INVALID_OPERATION", "set batch_size of the group or of its networks, not of both")
    if len(batches) > 1 and scheduled:
        fail("INVALID_OPERATION", "under a scheduler all networks of a group have the same batch_size")
    return params.batch_size or max(batches, default=0)


def _reference(group: str) -> dict[str, str]:
    """Return the option that names a network's numerics, if the environment does."""
    for entry in os.environ.get(REFERENCE_VARIABLE, "").split(os.pathsep):
        name, equals, path = entry.partition("=")
        if entry and (not equals or name == group):
            return {"reference": path if equals else entry}
    return {}


@atexit.register
def _release_all() -> None:
    """Release what a program left, while threads still run: frames in flight can end then."""
    for vdevice in list(_live):
        with suppress(Exception):
            vdevice.release()
    _boards.close_all()
