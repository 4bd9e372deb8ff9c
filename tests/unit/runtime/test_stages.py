"""The time of stages, on a clock that only the functions of a call move."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from openhailo.runtime import stages
from openhailo.runtime.stages import Stage, StageTimes

_spec = importlib.util.spec_from_file_location("pipeline_echo", Path(__file__).with_name("test_pipeline.py"))
assert _spec is not None and _spec.loader is not None
echo = sys.modules["pipeline_echo"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(echo)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when somebody says so."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(stages, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def taking(clock, seconds, function):
    def slow(*arguments):
        clock.now += seconds
        return function(*arguments)

    return slow


def test_the_time_of_a_function_counts_also_when_it_raises(clock):
    times = StageTimes()
    assert times.timed(Stage.LAUNCH, taking(clock, 2.0, lambda value: value + 1))(1) == 2
    with pytest.raises(ZeroDivisionError):
        times.timed(Stage.LAUNCH, taking(clock, 3.0, lambda: 1 / 0))()
    assert times.seconds[Stage.LAUNCH] == 5.0
    assert sum(times.seconds.values()) == 5.0


def test_stages_of_a_call_while_somebody_measures(clock):
    link, pipeline, source, sink = echo.make(per_wait=1)
    link.wait_channels = taking(clock, 100.0, link.wait_channels)
    source._unmeasured = source._launch_many = taking(clock, 10.0, link.launch_many)

    def job(count):
        made = echo.job_of(source, sink, echo.frames_of(count))
        made.writers = [taking(clock, 1.0, made.writers[0])]
        made.readers = [taking(clock, 1000.0, made.readers[0])]
        return made

    echo.run(pipeline, job(2))
    with pipeline.measure() as times:
        for _ in range(2):
            done = job(3)
            echo.run(pipeline, done)
            np.testing.assert_array_equal(done.outputs[0], done.inputs[0] + 1)
    expected = {Stage.INPUT: 2.0, Stage.LAUNCH: 20.0, Stage.DEVICE: 600.0, Stage.OUTPUT: 6000.0}
    assert times.seconds == expected
    echo.run(pipeline, job(5))
    assert times.seconds == expected
    pipeline.close()
