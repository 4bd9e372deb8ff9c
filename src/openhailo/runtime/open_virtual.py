"""Opening several devices as one, and sharing a virtual device inside a process."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from openhailo.errors import DeviceBusy, DeviceNotFound, InputError, StateError
from openhailo.runtime.device import Device
from openhailo.runtime.job import DEFAULT_TIMEOUT_S
from openhailo.runtime.open import default_name, list_devices, open_device
from openhailo.runtime.vdevice import UNIQUE_GROUP, VirtualDevice, VirtualDeviceOptions

_LOCK = threading.Lock()
#: Group -> (what was asked for, the virtual device that its members share).
_SHARED: dict[str, tuple[tuple[object, ...], VirtualDevice]] = {}


def open_virtual_device(
    names: Sequence[str] | None = None,
    *,
    count: int = 1,
    scheduler: bool = True,
    idle_optimization: bool = True,
    group_id: str = UNIQUE_GROUP,
    shutdown_timeout_s: float = DEFAULT_TIMEOUT_S,
    multi_process_service: bool = False,
    **options: Any,
) -> VirtualDevice:
    """Open devices and use them as one.

    Args:
        names: what `openhailo.runtime.open.open_device` takes, one per device; without them ``count`` devices that are
            free, in the order of `list_devices`: as many virtual chips as are wanted, where there is no real device.
        count: number of devices, where no names are given.
        scheduler: whether models take turns by themselves, see `openhailo.runtime.vdevice.VirtualDeviceOptions`.
        idle_optimization: see there.
        group_id: the second virtual device of a group is the first one again; it is closed when all of them are.
        shutdown_timeout_s: see `openhailo.runtime.vdevice.VirtualDeviceOptions`.
        multi_process_service: share the devices with other processes that ask for the same ones: a broker has them,
            which is started if there is none (docs/broker.md).
        options: go to `open_device`; with ``multi_process_service`` only ``compile_model`` and those of
            `openhailo.runtime.broker.virtual.open_shared`.

    Raises what `open_device` raises, `DeviceNotFound` when fewer devices are free than wanted, `StateError` when a
    group is already open with other devices.
    """
    if (count if names is None else len(names)) < 1:
        raise InputError(what="virtual device", detail="needs one device or more")
    made = VirtualDeviceOptions(scheduler, idle_optimization, group_id, shutdown_timeout_s)
    with _LOCK:
        make = _shared if multi_process_service else _own
        if group_id == UNIQUE_GROUP:
            return make(names, count, made, options)
        wanted = (tuple(names) if names is not None else None, count, scheduler, multi_process_service)
        known, shared = _SHARED.get(group_id, (None, None))
        if shared is not None and shared.share():
            if known == wanted:
                return shared
            shared.close()
            raise StateError(
                what=f"opening group {group_id!r}",
                state="it is open with other devices or another scheduler",
                hint="use the same arguments, or another group_id",
            )
        vdevice = make(names, count, made, options)
        _SHARED[group_id] = (wanted, vdevice)
        return vdevice


def _own(names: Sequence[str] | None, count: int, made: VirtualDeviceOptions, options: dict[str, Any]) -> VirtualDevice:
    return VirtualDevice(_open_all(names, count, options), made)


def _shared(
    names: Sequence[str] | None, count: int, made: VirtualDeviceOptions, options: dict[str, Any]
) -> VirtualDevice:
    """Use the devices of a broker: the one that the environment names, or that of these devices, of this user."""
    from openhailo.runtime.broker.place import SOCKET_VARIABLE, socket_path
    from openhailo.runtime.broker.virtual import open_shared

    if not made.scheduler:
        raise InputError(what="multi_process_service", detail="processes take turns, so it needs a scheduler")
    found = device_names(names, count)
    given = os.environ.get(SOCKET_VARIABLE, "").strip()
    try:
        return open_shared(
            Path(given).absolute() if given else socket_path(found), found, made, start=not given, **options
        )
    except TypeError as error:
        raise InputError(
            what="multi_process_service", detail=f"an option that a broker does not take: {error}"
        ) from error


def device_names(names: Sequence[str] | None, count: int) -> list[str]:
    """Return the names of the devices that a broker would open. Raises `DeviceNotFound`."""
    if names is not None:
        return list(names)
    first = default_name()
    scheme = first.partition(":")[0]
    if scheme == "twin":
        return [first] * count
    found = list(dict.fromkeys([first, *(c.name for c in list_devices() if c.name.startswith(f"{scheme}:"))]))
    if len(found) < count:
        raise DeviceNotFound(name=f"{scheme}:", hint=f"{count} devices were asked for, there are {found}")
    return found[:count]


def _open_all(names: Sequence[str] | None, count: int, options: dict[str, Any]) -> list[Device]:
    with ExitStack() as undo:
        devices: list[Device] = []
        for device in _named(names, options) if names is not None else _free(count, options):
            undo.callback(device.close)
            devices.append(device)
        _tell_apart(devices)
        undo.pop_all()
        return devices


def _named(names: Sequence[str], options: dict[str, Any]) -> Any:
    return (open_device(name, **options) for name in names)


def _free(count: int, options: dict[str, Any]) -> Any:
    """Yield ``count`` devices; real ones that somebody uses are passed over (runtime-behaviour.md 5)."""
    first = default_name()
    scheme = first.partition(":")[0]
    if scheme == "twin":
        yield from _named([first] * count, options)
        return
    names = list(dict.fromkeys([first, *(c.name for c in list_devices() if c.name.startswith(f"{scheme}:"))]))
    found = 0
    for name in names:
        if found == count:
            return
        try:
            device = open_device(name, **options)
        except DeviceBusy:
            continue
        found += 1
        yield device
    if found < count:
        raise DeviceNotFound(name=f"{scheme}:", hint=f"{count} devices were asked for, {found} of {names} are free")


def _tell_apart(devices: Sequence[Device]) -> None:
    """Number devices that were opened by the same name: a virtual chip is a new one each time."""
    seen: dict[str, int] = {}
    for device in devices:
        number = seen[device.name] = seen.get(device.name, 0) + 1
        if number > 1:
            device.name = f"{device.name} #{number}"
