"""What a program tells ``hailortcli monitor`` when HAILO_MONITOR=1 (runtime-behaviour.md 22).

One file per process, written anew every second, and renamed into its place so that no reader sees half of it; the
message is protobuf, of a handful of fields, written by hand here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from openhailo.runtime.statistics import ModelStatistics, VirtualDeviceStatistics, device_statistics

from ._enums import DeviceArchitecture

SWITCH_VARIABLE, INTERVAL_VARIABLE = "HAILO_MONITOR", "HAILO_MONITOR_TIME_INTERVAL"
FOLDER, UTILIZATION_FOLDER = Path("/tmp/hmon_files"), Path("/tmp/nnc_utilization")
_DEFAULT_MS = 1000.0
_NO_SAMPLE = -1

_lock = threading.Lock()
_monitored: list[Monitor] = []


class Monitor:
    """Writes the files of one virtual device, from a thread."""

    def __init__(self, vdevice: Any, ids: list[str], architectures: list[int], interval_s: float) -> None:
        """Begin to write about ``vdevice``, whose boards have these ids and architectures."""
        self._vdevice, self._ids, self._interval_s = vdevice, ids, interval_s
        self._architectures = [DeviceArchitecture(number).name for number in architectures]
        self._ended = threading.Event()
        self._path = _make_file(FOLDER, str(os.getpid()))
        self._utilization_path = _make_file(UTILIZATION_FOLDER, "nnc_utilization_")
        self._frames: dict[str, int] = {}
        self._busy_s = [0.0] * len(ids)
        self._when = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="hailo monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, and take the files away. Idempotent."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        for path in (self._path, self._path.with_name(f"{self._path.name}.tmp"), self._utilization_path):
            path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            with contextlib.suppress(OSError):
                self.write()

    def write(self) -> None:
        """Write what happened since the last time."""
        now, figures = time.monotonic(), device_statistics(self._vdevice)
        elapsed_s = max(now - self._when, 1e-6)
        busy = [device.busy_s for device in figures.devices]
        shares = [100 * (b - before) / elapsed_s for b, before in zip(busy, self._busy_s, strict=True)]
        frames = [max(m.frames - self._frames.get(m.name, 0), 0) for m in figures.models]
        _replace(self._path, self._message(figures, shares, frames, elapsed_s))
        _replace(self._utilization_path, f"{min(shares[-1], 100.0):.6f}\n".encode())
        self._when, self._busy_s = now, busy
        self._frames = {model.name: model.frames for model in figures.models}

    def _message(
        self, figures: VirtualDeviceStatistics, shares: list[float], frames: list[int], elapsed_s: float
    ) -> bytes:
        parts = [field(1, str(os.getpid()).encode())]
        # Time is not booked by network: it goes by the frames that each had.
        mean, every = sum(shares) / len(shares), max(sum(frames), 1)
        for model, count in zip(figures.models, frames, strict=True):
            share = min(mean * count / every, 100.0)
            parts.append(field(2, field(1, model.name.encode()) + field(2, count / elapsed_s) + field(3, share)))
        parts += [field(3, _queues(model)) for model in figures.models]
        for device_id, architecture, share in zip(self._ids, self._architectures, shares, strict=True):
            device = field(1, device_id.encode()) + field(2, min(share, 100.0)) + field(3, architecture.encode())
            parts.append(field(4, device))
        return b"".join(parts)


def _queues(model: ModelStatistics) -> bytes:
    parts = [field(1, model.name.encode())]
    for stream in model.streams:
        least, most = (_NO_SAMPLE if value is None else value for value in (stream.least, stream.most))
        mean = float(_NO_SAMPLE) if stream.mean is None else stream.mean
        parts.append(
            field(
                2,
                field(1, stream.name.encode())
                + field(2, int(stream.is_output))
                + field(3, stream.capacity)
                + field(4, stream.pending)
                + field(5, least)
                + field(6, most)
                + field(7, mean),
            )
        )
    return b"".join(parts)


def field(number: int, value: Any) -> bytes:
    """Return one protobuf field: a length-delimited one, a double, or a varint."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 1) + struct.pack("<d", value)
    return _varint(number << 3) + _varint(int(value) & (1 << 64) - 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _make_file(folder: Path, prefix: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=prefix, dir=folder)
    os.close(descriptor)
    return Path(name)


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.tmp")
    with fresh.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(content)
    fresh.replace(path)


def begin(vdevice: Any, ids: list[str], architectures: list[int]) -> Monitor | None:
    """Begin to write when the environment asks for it; of several devices of a process only the first is told about."""
    if os.environ.get(SWITCH_VARIABLE) != "1":
        return None
    try:
        interval_s = float(os.environ.get(INTERVAL_VARIABLE) or _DEFAULT_MS) / 1000
    except ValueError:
        interval_s = _DEFAULT_MS / 1000
    with _lock:
        if _monitored:
            return None
        try:
            made = Monitor(vdevice, ids, architectures, max(interval_s, 0.01))
        except OSError:
            return None
        _monitored.append(made)
        return made


def end(monitor: Monitor | None) -> None:
    """End what `begin` began."""
    if monitor is None:
        return
    with _lock:
        if monitor in _monitored:
            _monitored.remove(monitor)
    monitor.close()
