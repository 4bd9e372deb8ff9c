"""The latency meter, on a clock that the test moves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from openhailo.errors import InputError
from openhailo.runtime.latency import Latency, LatencyMeter, Measured


@pytest.fixture
def clock():
    return SimpleNamespace(now=100.0)


def meter(clock, outputs=(16, 17), stamps=None):
    return LatencyMeter([Measured(1, 3, 16)], [Measured(c, 1, 8) for c in outputs], lambda: clock.now, stamps)


def test_it_counts_from_the_end_of_the_input_to_the_end_of_the_last_output(clock):
    made = meter(clock)
    assert made.read() is None
    made.on_event(1, 2)
    clock.now += 3
    made.on_event(16, 2)
    assert made.read() is None
    clock.now += 1
    made.on_event(17, 1)
    clock.now += 4
    made.on_event(17, 1)
    assert made.read() == Latency(2, 6.0, 4.0, 8.0)
    assert made.read(clear=True) == Latency(2, 6.0, 4.0, 8.0)
    assert made.read() is None


def test_several_frames_are_in_flight(clock):
    made = meter(clock, (16,))
    for _ in range(3):
        made.on_event(1, 1)
        clock.now += 1
    made.on_event(16, 3)
    assert made.read() == Latency(3, 2.0, 1.0, 3.0)


def test_an_input_and_its_output_in_one_interrupt_took_no_time(clock):
    made = meter(clock, (16,))
    made.on_event(16, 1)
    made.on_event(1, 1)
    assert made.read() == Latency(1, 0.0, 0.0, 0.0)


def test_a_restart_forgets_what_is_in_flight(clock):
    made = meter(clock, (16,))
    made.on_event(1, 5)
    made.restart()
    clock.now += 50
    made.on_event(1, 1)
    clock.now += 2
    made.on_event(16, 1)
    assert made.read() == Latency(1, 2.0, 2.0, 2.0)


def test_several_inputs_have_no_common_start(clock):
    with pytest.raises(InputError, match="has 2"):
        LatencyMeter([Measured(1, 1, 8), Measured(2, 1, 8)], [Measured(16, 1, 8)], lambda: clock.now)


def test_latencies_of_several_devices_add_up():
    assert Latency.merged([]) is None
    merged = Latency.merged([Latency(1, 4.0, 4.0, 4.0), Latency(3, 8.0, 2.0, 9.0)])
    assert merged == Latency(4, 7.0, 2.0, 9.0)


def test_the_interrupts_own_times_are_taken_where_the_driver_notes_them(clock):
    """Input frames take 3 of 16 descriptors, output frames 1 of 8; positions wrap."""
    noted = {1: [(1_000_000_000, 3), (2_000_000_000, 6)], 16: [(4_000_000_000, 1), (9_000_000_000, 2)]}
    made = meter(clock, (16,), lambda channel: noted.pop(channel, []))
    made.on_event(1, 2)
    made.on_event(16, 2)
    assert made.read(clear=True) == Latency(2, 5.0, 3.0, 7.0)
    # One interrupt for three inputs that go round the ring, two for their outputs.
    noted |= {1: [(20_000_000_000, 15)], 16: [(21_000_000_000, 4), (24_000_000_000, 5)]}
    made.on_event(1, 3)
    made.on_event(16, 3)
    assert made.read(clear=True) == Latency(3, 2.0, 1.0, 4.0)
    noted |= {1: [(30_000_000_000, 2)], 16: [(30_500_000_000, 6)]}
    made.on_event(1, 1)
    made.on_event(16, 1)
    assert made.read(clear=True) == Latency(1, 0.5, 0.5, 0.5)


def test_a_frame_whose_interrupt_was_not_noted_is_left_out(clock):
    noted = {1: [(1_000_000_000, 3)], 16: []}
    made = meter(clock, (16,), lambda channel: noted.pop(channel, []))
    made.on_event(1, 1)
    made.on_event(16, 1)
    assert made.read() is None
