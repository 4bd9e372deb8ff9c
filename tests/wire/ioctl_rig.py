"""Our runtime over the kernel driver's interface, with every request of the link written down as in the recordings."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from openhailo.bus.protocols import DeviceFile
from openhailo.driver.control import FirmwareClient
from openhailo.driver.kernel.link import KernelLink
from openhailo.driver.kernel.resources import KernelOptions
from openhailo.runtime.device import Device
from openhailo.spec.ioctl import RELEASES, Ioctl
from openhailo.twin.ports.devfile import VirtualKernelDriver

from .recording import Recording
from .rig import Rig

#: The release that was recorded.
RELEASE = "4.23.0"
#: Requests that block in the kernel, in threads of their own; the recordings have a line when they begin and end.
BLOCKING = frozenset({"VDMA_INTERRUPTS_WAIT", "READ_NOTIFICATION"})
#: Module parameters, as the virtual driver calls them.
PARAMETERS: Mapping[str, Mapping[str, Any]] = {"force_allocation_from_driver=2": {"allocation_mode": 1}}
OPCODE_AT = slice(12, 16)


class LoggedFile:
    """An open of the device node that keeps what was asked, in the form of the recordings."""

    def __init__(self, file: DeviceFile) -> None:
        self._file, self.name = file, file.name
        self._lock = threading.Lock()
        self._calls = {call.number: call for call in RELEASES[RELEASE].ioctls.values()}
        self._threads: dict[int, int] = {}
        self.records: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def ioctl(self, number: int, argument: bytearray) -> int:
        """Pass a request on; note its arguments afterwards, and how it ended."""
        call = self._calls[number]
        record = self._begin(call, argument)
        outcome: dict[str, Any] = {}
        try:
            outcome["ret"] = self._file.ioctl(number, argument)
            return int(outcome["ret"])
        except OSError as error:
            outcome = {"ret": -1, "errno": error.errno}
            raise
        finally:
            if call.name in BLOCKING:
                record = self._begin(call, argument)
                record["phase"] = "return"
            record |= outcome
            if call.name != "FW_CONTROL":
                record["f"] = _fields(call, argument)

    def _begin(self, call: Ioctl, argument: bytearray) -> dict[str, Any]:
        with self._lock:
            thread = self._threads.setdefault(threading.get_ident(), len(self._threads))
            record: dict[str, Any] = {"k": "ioctl", "io": call.name, "tid": thread, "f": _fields(call, argument)}
            if call.name in BLOCKING:
                record["phase"] = "enter"
            if call.name == "FW_CONTROL":
                self.records.append(self._control(record))
            self.records.append(record)
        return record

    def _control(self, record: dict[str, Any]) -> dict[str, Any]:
        fields = record.pop("f")
        request = bytes(fields.pop("buffer")[: fields["buffer_len"]])
        number = sum(other["k"] == "control" for other in self.records)
        record |= {**fields, "c": number, "expected_md5": bytes(fields["expected_md5"]).hex()}
        opcode = int.from_bytes(request[OPCODE_AT], "big")
        return {"k": "control", "c": number, "op": opcode, "req": request.hex(), "rsp": "", "cpu": fields["cpu_id"]}


class IoctlRig(Rig):
    """The recording's device behind a virtual kernel driver."""

    def __init__(self, recording: Recording, **options: Any) -> None:
        super().__init__(recording, real_time=True, **options)
        parameters = recording.meta.get("driver_parameters") or ""
        more = PARAMETERS.get(parameters) or _page_size(parameters)
        self.driver = VirtualKernelDriver(self.twin, release=RELEASE, **more)
        self.journal.controls.clear()
        self.file: LoggedFile | None = None

    def kernel_link(self) -> KernelLink:
        """Open the node with our link."""
        self.file = LoggedFile(self.driver.open())
        enabled: Mapping[str, Any] = next(self.recording.ioctls("VDMA_ENABLE_CHANNELS"), {"f": {}})
        stamps = bool(enabled["f"].get("enable_timestamps_measure"))
        link = KernelLink(self.file, options=KernelOptions(measure_timestamps=stamps))
        self._link = link  # type: ignore[assignment]
        return link

    def client(self) -> FirmwareClient:
        """Open the node and return the client of the firmware."""
        return FirmwareClient(self.kernel_link())

    def device(self, **options: Any) -> Device:
        """Open the runtime's device on the node."""
        return Device(self.kernel_link(), **options)

    def seen(self) -> Recording:
        """Return what was asked of the driver, as a recording."""
        assert self.file is not None, "a link was opened"
        meta = {"counts": {}, "command": self.recording.meta["command"]}
        return Recording("ours", self.recording.name, meta, tuple(self.file.records), {}, None)


def _fields(call: Ioctl, argument: bytearray) -> dict[str, Any]:
    """Return a request's fields as the recordings write them."""
    fields = call.struct.unpack(argument) if call.struct.size else {}
    if "channels_bitmap_per_engine" in fields:
        fields["channels_bitmap_per_engine"] = [hex(bitmap) for bitmap in fields["channels_bitmap_per_engine"]]
    return fields


def _page_size(parameters: str) -> Mapping[str, Any]:
    name, _, value = parameters.partition("=")
    return {name: int(value)} if name == "force_desc_page_size" else {}
