"""How fast: control round trips, register accesses, frames; and what one inference costs on the bus."""

from __future__ import annotations

import statistics
import time

from openhailo.bus.registry import open_endpoint

from .bus import Function
from .frames import Case

#: BAR0: the id register, and the interrupt mask (driver.md 5.1).
ID, MASK = 0x98, 0x188
#: Frames per call of the stream measurements.
STREAM = 32
#: What is logged: name, frames per call, calls.
LOGGED = (("one", 1, 1), ("single", 1, STREAM), ("stream", STREAM, 4))


def steps(outside, settings):
    """Return the steps; the second function keeps a log, which would slow down the first."""
    plain, logged = (Function(port) for port in settings["ports"][:2])
    tiny, large = Case(settings["tiny"]), Case(settings["large"])

    def registers():
        for function in (plain, logged):
            function.bind()
        function = open_endpoint(plain.name).function
        window = function.window(0)
        found = {
            "read_p50_us": p50_us(lambda: window.read32(ID), 1000),
            "write_p50_us": p50_us(lambda: window.write32(MASK, 0), 1000),
        }
        function.close()
        return found

    def controls():
        return measure_controls(plain.open)

    def frames():
        return measure_frames(plain.open, tiny, large)

    def accesses():
        """Marks in the log of the second function; what lies between two is what was done between them."""
        with logged.open() as device, tiny.load(device) as network:
            tiny.run(network, 0, STREAM)
            for name, count, calls in LOGGED:
                outside.ask("mark", name=f"{name} begins")
                for _ in range(calls):
                    tiny.run(network, 0, count)
                outside.ask("mark", name=f"{name} ends", frames=calls * count)

    return [(step.__name__, step) for step in (registers, controls, frames, accesses)]


def measure_controls(open_device):
    """Measure control round trips on the device that ``open_device()`` opens."""
    with open_device() as device:
        return {"control_p50_us": p50_us(device.firmware.identify, 200)}


def measure_frames(open_device, tiny, large):
    """Measure frames per second: 28x28 in a stream and one at a time, 416x416x3 in calls of a few."""
    with open_device() as device, tiny.load(device) as network:
        found = {
            "tiny_fps": rate(lambda: tiny.run(network, 0, STREAM), 2.0),
            "tiny_single_fps": rate(lambda: tiny.run(network, 0, 1), 1.0),
        }
    with open_device() as device, large.load(device) as network:
        return {**found, "large_fps": rate(lambda: large.run(network), 2.0)}


def p50_us(work, count: int) -> float:
    """Return the median microseconds of ``count`` calls."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return round(statistics.median(times) * 1e6, 1)


def rate(work, seconds: float) -> float:
    """Return how many units per second ``work`` does, which returns how many it did."""
    work()
    started = time.perf_counter()
    done = 0
    while (spent := time.perf_counter() - started) < seconds:
        done += work()
    return round(done / spent, 2)
