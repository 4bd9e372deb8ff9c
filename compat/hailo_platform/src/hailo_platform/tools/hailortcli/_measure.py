"""Running networks and measuring them: frames per second, latency, power, temperature."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hailo_platform.pyhailort import pyhailort as api

#: Time between two readings of a sensor, and longest wait for a frame.
_SAMPLE_S = 0.1
_TIMEOUT_MS = 10_000


@dataclass
class Result:
    """What a network did: ``frames`` in ``seconds``; bytes of a frame each way; latencies in milliseconds."""

    name: str
    frames: int = 0
    seconds: float = 0.0
    sent_bytes: int = 0
    received_bytes: int = 0
    hw_latency_ms: float | None = None
    overall_latency_ms: float | None = None

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def send_mbit(self) -> float:
        """Mbit/s to the device."""
        return self.fps * self.sent_bytes * 8 / 1e6

    @property
    def recv_mbit(self) -> float:
        """Mbit/s from the device."""
        return self.fps * self.received_bytes * 8 / 1e6


@dataclass
class Samples:
    """Readings of one quantity."""

    values: list[float] = field(default_factory=list)

    def summary(self) -> tuple[float, float, float]:
        """Return minimum, average, maximum; NaN without readings."""
        if not self.values:
            return (math.nan,) * 3
        return min(self.values), sum(self.values) / len(self.values), max(self.values)


class Model:
    """A configured model with as many sets of buffers as its queue takes."""

    def __init__(
        self,
        vdevice: api.VDevice,
        path: str,
        *,
        group: str = "",
        batch_size: int = 0,
        ultra: bool = False,
        latency: bool = False,
    ) -> None:
        """Take a file and a network group; ``latency`` measures the hardware's."""
        with api.ExceptionWrapper():
            made = vdevice._opened.create_infer_model_from_file(path, group, measure_latency=latency)
        self._model = api.InferModel(made, path)
        if batch_size:
            self._model.set_batch_size(batch_size)
        if ultra:
            self._model.set_power_mode(api.HailoPowerMode.ULTRA_PERFORMANCE)
        self.name = self._model._infer_model.model.name

    def open(self, types: dict[str, Any], files: Sequence[bytes], *, only_inputs: bool = True) -> None:
        """Choose element types by edge name ("" is all inputs, or all edges) and configure."""
        streams = [*self._model.inputs, *([] if only_inputs else self._model.outputs)]
        for stream in streams:
            kind = types.get(stream.name, types.get(""))
            if kind is not None:
                stream.set_format_type(kind)
        self.configured = self._model.configure()
        depth = max(self.configured.get_async_queue_size(), 1)
        self._bindings = [self._bind(files, index) for index in range(depth)]

    def _bind(self, files: Sequence[bytes], index: int) -> Any:
        rng = np.random.default_rng(index)
        bindings = self.configured.create_bindings()
        raw = bindings.get()
        for place, name in enumerate(self._model.input_names):
            edge = raw.input(name).edge
            size = edge.frame_bytes
            given = files[place % len(files)] if files else b""
            frames = max(len(given) // size, 1)
            start = index % frames * size
            noise = rng.integers(0, 256, size // edge.dtype.itemsize).astype(edge.dtype).tobytes()
            content = given[start : start + size] if len(given) >= size else noise
            bindings.input(name).set_buffer(np.frombuffer(content, np.uint8))
        for name in self._model.output_names:
            bindings.output(name).set_buffer(np.empty(raw.output(name).edge.frame_bytes, np.uint8))
        return bindings

    def run(self, seconds: float | None, frames: int | None, framerate: float = 0.0) -> Result:
        """Run for a time, or a number of frames, as many at a time as the queue takes."""
        result = self._result()
        failures: list[Exception] = []

        def told(completion_info: api.AsyncInferCompletionInfo) -> None:
            if completion_info.exception is not None:
                failures.append(completion_info.exception)

        begin, sent, job = time.perf_counter(), 0, None
        while not failures and (sent < frames if frames is not None else time.perf_counter() - begin < (seconds or 0)):
            if framerate:
                time.sleep(max(begin + sent / framerate - time.perf_counter(), 0))
            self.configured.wait_for_async_ready(_TIMEOUT_MS)
            job = self.configured.run_async([self._bindings[sent % len(self._bindings)]], told)
            sent += 1
        if job is not None:
            job.wait(_TIMEOUT_MS)
        if failures:
            raise failures[0]
        result.frames, result.seconds = sent, time.perf_counter() - begin
        return result

    def run_alone(self, seconds: float) -> Result:
        """Let the chip run without the host, again and again for a time; nothing may be active.

        Time is the chip's own (`openhailo.runtime.hw_only`). Raises `StateError` where other processes share the chip,
        `DoesNotFit` when the rings do not hold a batch.
        """
        result, begin = self._result(), time.perf_counter()
        network = self.configured._model._model.group.networks[0]
        while not result.frames or time.perf_counter() - begin < seconds:
            speed = network.measure_core()
            result.frames += speed.frames
            result.seconds += speed.seconds
        return result

    def latency_ms(self, seconds: float | None, frames: int | None) -> Result:
        """Run one frame at a time; the mean of a frame's time."""
        result = self._result()
        begin, done = time.perf_counter(), 0
        while done < frames if frames is not None else time.perf_counter() - begin < (seconds or 0):
            self.configured.run([self._bindings[0]], _TIMEOUT_MS)
            done += 1
        result.frames, result.seconds = done, time.perf_counter() - begin
        result.overall_latency_ms = result.seconds / max(done, 1) * 1e3
        result.hw_latency_ms = self.configured._model.hw_latency_ms()
        return result

    def _result(self) -> Result:
        raw = self._bindings[0].get()
        sent = sum(raw.input(name).edge.frame_bytes for name in self._model.input_names)
        received = sum(raw.output(name).edge.frame_bytes for name in self._model.output_names)
        return Result(self.name, sent_bytes=sent, received_bytes=received)

    def close(self) -> None:
        """Unload it."""
        self.configured.__exit__(None, None, None)


class Sampler:
    """Reads power (W), current (mA) and temperature (C) of a device while a network runs."""

    def __init__(self, device_id: str, *, power: bool, current: bool, temperature: bool) -> None:
        """Open the device when something is to be read."""
        self.device_id = device_id
        self.power, self.current, self.temperature = Samples(), Samples(), Samples()
        self._wanted = (power, current, temperature)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._device = api.Device(device_id) if any(self._wanted) else None

    def __enter__(self) -> Sampler:
        if self._device is not None:
            self._thread = threading.Thread(target=self._read, name="hailortcli sensors", daemon=True)
            self._thread.start()
        return self

    def _read(self) -> None:
        assert self._device is not None, "the thread was started because it is open"
        control = self._device.control
        power, current, temperature = self._wanted
        kinds = api.PowerMeasurementTypes
        while True:
            if power:
                self.power.values.append(control.power_measurement(measurement_type=kinds.POWER))
            if current:
                self.current.values.append(control.power_measurement(measurement_type=kinds.CURRENT))
            if temperature:
                read = control.get_chip_temperature()
                self.temperature.values.append((read.ts0_temperature + read.ts1_temperature) / 2)
            if self._ended.wait(_SAMPLE_S):
                return

    def __exit__(self, *args: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._device is not None:
            self._device.release()


def input_files(names: str | None) -> list[bytes]:
    """Return the content of files, ``a.bin`` or ``input=a.bin,other=b.bin``, in the order given."""
    if not names:
        return []
    return [Path(entry.partition("=")[2] or entry).read_bytes() for entry in names.split(",")]
