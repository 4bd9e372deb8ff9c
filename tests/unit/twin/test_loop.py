"""The twin's time, waiting hosts, and work outside the lock."""

from __future__ import annotations

import threading

import pytest

from openhailo.twin.board import ChannelFault
from openhailo.twin.clock import SteppedClock, WallClock
from openhailo.twin.loop import EventLoop


@pytest.fixture
def loop():
    return EventLoop(SteppedClock())


def never():
    return False


def test_events_run_in_order_of_time_then_of_arrival(loop):
    seen = []
    for name, delay in (("c", 30), ("a", 10), ("b1", 20), ("b2", 20)):
        loop.schedule(delay, lambda name=name: seen.append((name, loop.clock.now_ns())))
    assert loop.run_until_idle() == 3
    assert seen == [("a", 10), ("b1", 20), ("b2", 20), ("c", 30)]


def test_accesses_pass_time(loop):
    seen = []
    loop.schedule(2_500, lambda: seen.append(1))
    for _ in range(2):
        loop.on_access(reading=True)
    assert seen == []
    loop.on_access(reading=True)
    assert seen == [1]


def test_events_may_schedule_events(loop):
    seen = []
    loop.schedule(1, lambda: (seen.append(1), loop.schedule(0, lambda: seen.append(2))))
    loop.on_access(reading=False)
    assert seen == [1, 2]


def test_an_access_inside_an_event_does_not_run_events(loop):
    seen = []

    def nested():
        loop.schedule(0, lambda: seen.append("inner"))
        loop.on_access(reading=True)
        seen.append("outer")

    loop.schedule(0, nested)
    loop.run_until_idle()
    assert seen == ["outer", "inner"]


def test_wait_jumps_to_the_event_that_ends_it(loop):
    done = []
    loop.schedule(700_000_000, lambda: done.append(1))
    assert loop.wait(lambda: bool(done), 1.0)
    assert loop.clock.now_ns() == 700_000_000


def test_wait_gives_up_in_virtual_time(loop):
    loop.schedule(3_000_000_000, lambda: None)
    assert not loop.wait(never, 1.0)
    assert loop.clock.now_ns() == 1_000_000_000
    assert not loop.wait(never, 0)


def test_wake_ends_the_next_wait_only(loop):
    done = []
    loop.schedule(10, lambda: done.append(1))
    loop.wake()
    assert not loop.wait(lambda: bool(done), 1.0)
    assert loop.wait(lambda: bool(done), 1.0)


def test_channel_faults_end_the_event_only(loop):
    seen = []

    def fail():
        raise ChannelFault(channel=1, code=2, reason="x")

    loop.schedule(1, fail)
    loop.schedule(2, lambda: seen.append(1))
    loop.offload(lambda: 1, lambda _r: fail())
    loop.offload(lambda: 2, seen.append)
    loop.run_until_idle()
    assert seen == [2, 1]


def test_other_errors_reach_the_driving_thread(loop):
    loop.schedule(1, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        loop.step()
    loop.offload(lambda: 1 // 0, lambda _r: None)
    with pytest.raises(ZeroDivisionError):
        loop.step()
    assert not loop.step(), "the loop goes on"


def test_offloaded_work_keeps_its_order(loop):
    seen = []
    for n in range(5):
        loop.offload(lambda n=n: n * n, seen.append)
    loop.run_until_idle()
    assert seen == [0, 1, 4, 9, 16]


def test_a_polling_host_gets_its_results_by_reading(loop):
    seen = []
    loop.offload(lambda: 1, seen.append)
    with loop.lock:
        loop.on_access(reading=False)
        assert seen == []
        loop.on_access(reading=True)
    assert seen == [1]


def test_compute_runs_without_the_lock(loop):
    free = []

    def compute():
        thread = threading.Thread(target=lambda: free.append(loop.lock.acquire(timeout=5)) or loop.lock.release())
        thread.start()
        thread.join()

    loop.offload(compute, lambda _r: None)
    assert loop.step()
    assert free == [True]


def test_drop_all_also_drops_the_result_under_way(loop):
    seen = []
    loop.offload(loop.drop_all, lambda _r: seen.append("first"))
    loop.offload(lambda: 1, lambda _r: seen.append("second"))
    loop.schedule(1, lambda: seen.append("event"))
    assert loop.step()
    assert not loop.step()
    assert seen == []


def test_endless_timers_are_noticed(loop, monkeypatch):
    monkeypatch.setattr("openhailo.twin.loop.MAX_EVENTS", 1000)

    def again():
        loop.schedule(1, again)

    again()
    with pytest.raises(RuntimeError, match="never becomes idle"):
        loop.run_until_idle()


# --- threads ----------------------------------------------------------------------------------------------------


def run(target):
    results = []
    thread = threading.Thread(target=lambda: results.append(target()), daemon=True)
    thread.start()
    return thread, results


def wait_until_waiting(loop, barrier):
    while True:
        with loop.lock:
            if barrier():
                return


def test_an_idle_wait_blocks_until_another_thread_brings_work():
    loop, done = EventLoop(WallClock()), []
    thread, results = run(lambda: loop.wait(lambda: bool(done), 60))
    wait_until_waiting(loop, lambda: loop._waiting == 1)
    with loop.lock:
        loop.schedule(3_000_000_000, lambda: done.append(1))
    thread.join(30)
    assert results == [True]
    assert loop.clock.now_ns() >= 3_000_000_000, "it jumped"


def test_wake_from_another_thread():
    loop = EventLoop(WallClock())
    thread, results = run(lambda: loop.wait(never, 60))
    wait_until_waiting(loop, lambda: loop._waiting == 1)
    loop.wake()
    thread.join(30)
    assert results == [False]


def test_the_waiting_thread_computes_and_the_reading_one_does_not():
    loop, computed_by = EventLoop(WallClock()), []
    thread, results = run(lambda: loop.wait(lambda: bool(computed_by), 60))
    wait_until_waiting(loop, lambda: loop._waiting == 1)
    with loop.lock:
        loop.offload(threading.get_ident, computed_by.append)
        loop.on_access(reading=True)
        assert computed_by == []
    thread.join(30)
    assert results == [True]
    assert computed_by == [thread.ident]


def test_a_second_waiter_waits_for_the_computation_of_the_first():
    loop, release, seen = EventLoop(SteppedClock()), threading.Event(), []
    loop.offload(lambda: release.wait(30), lambda _r: seen.append(1))
    first, first_result = run(lambda: loop.wait(lambda: bool(seen), 60))
    wait_until_waiting(loop, lambda: loop._computing)
    second, second_result = run(lambda: loop.wait(lambda: bool(seen), 60))
    wait_until_waiting(loop, lambda: loop._waiting == 2)
    release.set()
    first.join(30)
    second.join(30)
    assert (first_result, second_result) == ([True], [True])


def test_a_wall_clock_that_does_not_jump_sits_it_out():
    loop, done = EventLoop(WallClock(jumps=False)), []
    with loop.lock:
        loop.schedule(2_000_000, lambda: done.append(loop.clock.now_ns()))
    assert loop.wait(lambda: bool(done), 30)
    assert done[0] >= 2_000_000
    assert not loop.wait(never, 0.001)


def test_quiet_waits_leave_chip_and_clock_alone():
    loop, done = EventLoop(SteppedClock()), []
    with loop.lock:
        loop.schedule(5_000, lambda: done.append("event"))
    assert not loop.wait_quietly(never, 0.0)
    assert (done, loop.clock.now_ns()) == ([], 0)
    woken = threading.Event()
    waiter = threading.Thread(target=lambda: loop.wait_quietly(lambda: bool(done)) and woken.set())
    waiter.start()
    loop.step_until(4_000)
    assert (done, loop.clock.now_ns()) == ([], 4_000)
    loop.step_until(9_000)
    assert (done, loop.clock.now_ns()) == (["event"], 5_000)
    with loop.lock:
        loop.notify()
    assert woken.wait(10)
    waiter.join()


def test_steps_do_what_was_put_off_before_time_passes():
    loop, seen = EventLoop(SteppedClock()), []
    with loop.lock:
        loop.offload(lambda: 7, seen.append)
    loop.step_until(1_000)
    assert (seen, loop.clock.now_ns()) == ([7], 0)


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_stepped_clock():
    clock = SteppedClock(start_ns=5)
    assert clock.tick() == 1005
    clock.advance_to(900)
    assert clock.now_ns() == 1005, "never backward"
    clock.advance_to(2000)
    assert clock.now_ns() == 2000


def test_wall_clock_skips():
    clock = WallClock()
    clock.advance_to(10**15)
    assert clock.now_ns() >= 10**15
    before = clock.tick()
    clock.advance_to(0)
    assert clock.now_ns() >= before
