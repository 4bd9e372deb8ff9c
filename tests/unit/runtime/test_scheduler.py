"""The scheduler's decisions: what it may never do, and who gets which turn."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openhailo.errors import InputError, StateError
from openhailo.runtime.scheduler import Dispatch, ModelParameters, Scheduler


def filled(*models, devices=1, **options):
    """A scheduler with models of capacity 8 and so many frames waiting in each."""
    scheduler = Scheduler(devices, **options)
    for frames, values in models:
        burst = values.pop("burst", 0)
        index = scheduler.add(capacity=8, burst=burst, parameters=ModelParameters(**values))
        if frames:
            scheduler.enqueue(index, frames, 0.0)
    return scheduler


def turns(scheduler, rounds, now=1.0, refill=()):
    """Carry out decisions at once and return the models of the switches, in order, and the frames of each model."""
    order, frames = [], {}
    for _ in range(rounds):
        for model in refill:
            scheduler.enqueue(model, max(0, 50 - scheduler.queued(model)), now)
        for found in scheduler.decide(now):
            if found.is_switch:
                order.append(found.model)
                scheduler.switched(found.device)
            frames[found.model] = frames.get(found.model, 0) + found.frames
            scheduler.complete(found.device, found.frames)
        now += 0.001
    return order, frames


def test_one_model_gets_its_frames_in_pieces_up_to_the_capacity():
    scheduler = filled((20, {}))
    assert scheduler.decide(0.0) == [Dispatch(0, 0, 2, True)]
    scheduler.switched(0)
    assert scheduler.decide(0.0) == [Dispatch(0, 0, 2, False)] * 3
    assert (scheduler.in_flight(0), scheduler.queued(0)) == (8, 12)
    assert scheduler.decide(0.0) == []
    scheduler.complete(0, 3)
    assert scheduler.decide(0.0) == [Dispatch(0, 0, 2, False), Dispatch(0, 0, 1, False)]


def test_equal_models_take_turns_of_a_burst():
    scheduler = filled((0, {"burst": 4}), (0, {"burst": 4}), (0, {"burst": 2}))
    order, frames = turns(scheduler, 60, refill=(0, 1, 2))
    assert order == [i % 3 for i in range(len(order))]
    assert len(order) > 6
    assert abs(frames[0] - frames[1]) <= 8
    assert abs(frames[0] - 2 * frames[2]) <= 8


def test_the_higher_priority_goes_first_and_the_lower_one_gets_the_rest():
    scheduler = filled((6, {"priority": 3}), (6, {"priority": 20}))
    order, frames = turns(scheduler, 20)
    assert order == [1, 0]
    assert frames == {0: 6, 1: 6}
    scheduler = filled((6, {"priority": 3}), (6, {"priority": 20}))
    order, frames = turns(scheduler, 40, refill=(1,))
    assert order == [1] and 0 not in frames


def test_a_model_below_its_threshold_waits_for_its_timeout_while_another_competes():
    scheduler = filled((3, {"threshold": 5, "timeout_s": math.inf}), (0, {}))
    order, frames = turns(scheduler, 30, refill=(1,))
    assert order == [1] and 0 not in frames
    scheduler = filled((0, {"threshold": 5, "timeout_s": 2.0, "burst": 8}), (0, {}))
    turns(scheduler, 5, now=0.0, refill=(0, 1))
    left = scheduler.queued(0)
    scheduler.withdraw(0, left)
    turns(scheduler, 5, now=0.1, refill=(1,))
    scheduler.enqueue(0, 1, 0.2)
    assert 0 not in turns(scheduler, 5, now=0.2, refill=(1,))[1]
    assert turns(scheduler, 5, now=3.0, refill=(1,))[1][0] == 1


def test_an_idle_device_runs_a_model_below_its_threshold_unless_told_not_to():
    assert turns(filled((3, {"threshold": 5, "timeout_s": math.inf})), 5)[1] == {0: 3}
    scheduler = filled((3, {"threshold": 5, "timeout_s": math.inf}), idle_optimization=False)
    assert turns(scheduler, 5) == ([], {})
    assert scheduler.waits_for_time and scheduler.next_deadline(1.0) is None
    scheduler.enqueue(0, 2, 1.0)
    assert turns(scheduler, 5)[1] == {0: 5}


def test_the_next_timeout_is_known():
    scheduler = filled((8, {"threshold": 5, "timeout_s": 2.0}), idle_optimization=False)
    assert turns(scheduler, 1, now=10.0)[1] == {0: 8}
    scheduler.enqueue(0, 4, 10.5)
    assert scheduler.next_deadline(11.0) == 12.0
    assert scheduler.decide(11.9) == []
    assert scheduler.decide(12.0) == [Dispatch(0, 0, 4, False)]
    assert scheduler.next_deadline(12.0) is None
    first = filled((1, {"threshold": 5, "timeout_s": 2.0}), idle_optimization=False)
    assert (first.decide(1.9), first.next_deadline(1.9)) == ([], 2.0)


def test_frames_are_shared_out_over_devices():
    scheduler = filled((6, {}), devices=3)
    found = scheduler.decide(0.0)
    assert sorted(d.device for d in found) == [0, 1, 2]
    assert all(d.is_switch for d in found)
    for device in range(3):
        scheduler.switched(device)
        scheduler.complete(device, 2)
    scheduler.enqueue(0, 1, 0.0)
    first = scheduler.decide(0.0)
    scheduler.enqueue(0, 1, 0.0)
    second = scheduler.decide(0.0)
    assert first[0].device != second[0].device


def test_two_models_settle_on_two_devices():
    """Once each has a device there is nothing to switch for."""
    scheduler = filled((0, {}), (0, {}), devices=2)
    order, frames = turns(scheduler, 100, refill=(0, 1))
    assert len(order) <= 4
    assert abs(frames[0] - frames[1]) <= 16


def test_a_model_in_cycles_gets_a_burst_when_the_device_is_idle():
    scheduler = Scheduler(1)
    model = scheduler.add(capacity=8, burst=3, in_cycles=True)
    scheduler.enqueue(model, 7, 0.0)
    assert scheduler.decide(0.0) == [Dispatch(0, 0, 3, True)]
    scheduler.switched(0)
    assert scheduler.decide(0.0) == []
    scheduler.complete(0, 3)
    assert scheduler.decide(0.0) == [Dispatch(0, 0, 3, False)]
    scheduler.complete(0, 3)
    assert scheduler.decide(0.0) == [Dispatch(0, 0, 1, False)]


def test_without_decisions_of_its_own_it_feeds_what_runs():
    scheduler = filled((4, {}), (4, {}), manual=True)
    assert scheduler.decide(0.0) == []
    scheduler.pause(0)
    scheduler.resume(0, current=1)
    assert scheduler.decide(0.0) == [Dispatch(0, 1, 2, False)] * 2
    assert scheduler.queued(0) == 4


def test_a_lost_or_paused_device_gets_nothing():
    scheduler = filled((8, {}), devices=2)
    scheduler.lose(0)
    scheduler.pause(1)
    assert scheduler.decide(0.0) == []
    scheduler.resume(1)
    assert {d.device for d in scheduler.decide(0.0)} == {1}
    assert scheduler.alive == [1]


def test_wrong_parameters():
    for wrong in ({"priority": 32}, {"priority": -1}, {"threshold": -1}, {"timeout_s": -0.1}, {"timeout_s": math.nan}):
        with pytest.raises(InputError, match="scheduler"):
            ModelParameters(**wrong)
    with pytest.raises(InputError, match="capacity"):
        Scheduler(1).add(capacity=0, burst=1)
    scheduler = filled((1, {}))
    with pytest.raises(StateError, match="under way"):
        scheduler.remove(0)
    scheduler.withdraw(0, 1)
    scheduler.remove(0)
    assert scheduler.decide(0.0) == []


def test_counters_say_what_a_model_got():
    scheduler = filled((3, {}))
    turns(scheduler, 5, now=2.0)
    counters = scheduler.counters(0)
    assert (counters.frames, counters.switches, scheduler.switches) == (3, 1, 1)
    assert counters.longest_wait_s == 2.0
    assert counters.bursts == 2


def test_models_of_one_network_need_no_switch_and_take_turns():
    scheduler = Scheduler(1)
    first = scheduler.add(capacity=4, burst=0)
    second = scheduler.add(capacity=4, burst=0, core=first)
    third = scheduler.add(capacity=4, burst=0, core=second)
    order, frames = turns(scheduler, 30, refill=(first, second, third))
    assert order == [first]
    assert max(frames.values()) - min(frames.values()) <= 4
    for model in (first, third):
        scheduler.withdraw(model, scheduler.queued(model))
        scheduler.remove(model)
    assert scheduler.current(0) == second
    assert turns(scheduler, 3) == ([], {second: 12})
    scheduler.withdraw(second, scheduler.queued(second))
    scheduler.remove(second)
    assert scheduler.current(0) is None


class SchedulerMachine(RuleBasedStateMachine):
    """Anything may happen in any order; the rules of the house hold all the same."""

    @initialize(
        devices=st.integers(1, 3),
        models=st.lists(
            st.tuples(
                st.integers(1, 9),
                st.integers(0, 9),
                st.integers(0, 12),
                st.sampled_from([0.0, 1.0, math.inf]),
                st.integers(0, 2),
                st.booleans(),
            ),
            min_size=1,
            max_size=4,
        ),
    )
    def begin(self, devices, models):
        self.scheduler = Scheduler(devices)
        self.capacity, self.cycles = {}, {}
        for capacity, burst, threshold, timeout, priority, in_cycles in models:
            parameters = ModelParameters(threshold, timeout, priority)
            index = self.scheduler.add(capacity=capacity, burst=burst, parameters=parameters, in_cycles=in_cycles)
            self.capacity[index], self.cycles[index] = capacity, in_cycles
        self.queued = dict.fromkeys(self.capacity, 0)
        self.flying = [0] * devices
        self.current = [None] * devices
        self.switching = [False] * devices
        self.paused = [False] * devices
        self.lost = [False] * devices
        self.now = 0.0
        self.is_settled = True

    @rule(data=st.data(), frames=st.integers(1, 30))
    def enqueue(self, data, frames):
        model = data.draw(st.sampled_from(sorted(self.capacity)))
        self.scheduler.enqueue(model, frames, self.now)
        self.queued[model] += frames
        self.is_settled = False

    @rule(data=st.data())
    def withdraw(self, data):
        model = data.draw(st.sampled_from(sorted(self.capacity)))
        frames = data.draw(st.integers(0, self.queued[model]))
        self.scheduler.withdraw(model, frames)
        self.queued[model] -= frames
        self.is_settled = False

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0]))
    def decide(self, seconds):
        self.now += seconds
        for found in self.scheduler.decide(self.now):
            device, model = found.device, found.model
            assert not (self.switching[device] or self.paused[device] or self.lost[device])
            assert 0 < found.frames <= self.queued[model]
            assert found.is_switch == (self.current[device] != model)
            if found.is_switch:
                assert self.flying[device] == 0
                self.switching[device] = True
            if self.cycles[model]:
                assert self.flying[device] == 0
            self.current[device] = model
            self.queued[model] -= found.frames
            self.flying[device] += found.frames
            assert self.flying[device] <= self.capacity[model]
        assert self.scheduler.decide(self.now) == []
        self.is_settled = True

    @precondition(lambda self: any(self.switching))
    @rule(data=st.data(), ok=st.booleans())
    def switched(self, data, ok):
        device = data.draw(st.sampled_from([d for d, s in enumerate(self.switching) if s]))
        self.scheduler.switched(device, ok=ok)
        self.switching[device] = False
        if not ok:
            self.scheduler.complete(device, self.flying[device])
            self.flying[device], self.current[device] = 0, None
        self.is_settled = False

    @precondition(lambda self: any(self.flying))
    @rule(data=st.data())
    def complete(self, data):
        device = data.draw(st.sampled_from([d for d, n in enumerate(self.flying) if n]))
        frames = data.draw(st.integers(1, self.flying[device]))
        self.scheduler.complete(device, frames)
        self.flying[device] -= frames
        self.is_settled = False

    @rule(data=st.data())
    def pause_or_resume(self, data):
        device = data.draw(st.integers(0, len(self.flying) - 1))
        if not self.paused[device]:
            self.scheduler.pause(device)
            self.paused[device] = True
        elif not self.flying[device] and not self.switching[device]:
            self.scheduler.resume(device, current=None)
            self.paused[device], self.current[device] = False, None
        self.is_settled = False

    @rule(data=st.data())
    def lose(self, data):
        if sum(self.lost) + 1 < len(self.lost):
            device = data.draw(st.integers(0, len(self.flying) - 1))
            self.scheduler.lose(device)
            self.lost[device] = True

    @invariant()
    def nothing_is_lost_or_made_up(self):
        for model, frames in self.queued.items():
            assert self.scheduler.queued(model) == frames
        for device, frames in enumerate(self.flying):
            assert self.scheduler.in_flight(device) == frames

    @invariant()
    def no_device_is_idle_while_frames_wait(self):
        if not self.is_settled or not any(self.queued.values()):
            return
        for device, frames in enumerate(self.flying):
            assert frames or self.switching[device] or self.paused[device] or self.lost[device]


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
