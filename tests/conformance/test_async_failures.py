"""What goes wrong with frames under way: devices that vanish or fall silent, shutdowns in flight, hostile callers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from openhailo.errors import (
    Cancelled,
    ControlFailed,
    DeviceError,
    DeviceLost,
    DeviceTimeout,
    OpenHailoError,
    QueueFull,
    StateError,
)
from openhailo.runtime.open import open_device
from openhailo.runtime.vdevice import VirtualDevice, VirtualDeviceOptions
from openhailo.runtime.vstreams import InputVStreams, OutputVStreams
from openhailo.twin import Twin

WAIT_S = 60.0
SHAPE = (8, 8, 2)


def frames_of(count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


@pytest.fixture
def net(nets):
    return nets.single({"x": SHAPE}, {"y": (1, 1, 10)})


@contextmanager
def virtual_device(count: int = 1, **options: object) -> Iterator[tuple[VirtualDevice, list[Twin]]]:
    twins = [Twin() for _ in range(count)]
    devices = [open_device("twin:", twin=twin) for twin in twins]
    with VirtualDevice(devices, VirtualDeviceOptions(**options)) as made:  # type: ignore[arg-type]
        yield made, twins


def made_bindings(model, frames):
    outs = np.zeros((len(frames), 10), np.uint8)
    return outs, [model.create_bindings({"x": f}, {"y": o}) for f, o in zip(frames, outs, strict=True)]


def test_a_callback_that_raises_is_logged_and_hurts_nobody(net, nets, caplog):
    frames = frames_of(5)
    with virtual_device() as (vdevice, _), vdevice.create_infer_model(net.hef).configure() as model:
        outs, bindings = made_bindings(model, frames)

        def bad(info):
            raise ValueError("not my day")

        with caplog.at_level(logging.ERROR, "openhailo"):
            for each in bindings:
                model.run_async(each, bad).wait(WAIT_S)
        assert caplog.text.count("ValueError: not my day") == 5
        np.testing.assert_array_equal(outs, nets.expected(net.model, {"x": frames})["y"])


def test_a_callback_may_run_more_frames_and_wait_for_them(net, nets):
    """Each callback starts the next frame: synchronously, asynchronously, or in a batch."""
    frames = frames_of(60)
    want = nets.expected(net.model, {"x": frames})["y"]
    with virtual_device(2) as (vdevice, _), vdevice.create_infer_model(net.hef).configure() as model:
        outs, bindings = made_bindings(model, frames)
        done = threading.Event()

        def go_on(index):
            if index == len(frames):
                done.set()
            elif index % 3 == 0:
                model.run(bindings[index], WAIT_S)
                go_on(index + 1)
            elif index % 3 == 1:
                model.wait_for_async_ready(WAIT_S)
                model.run_async(bindings[index], lambda info: go_on(index + 1))
            else:
                outs[index] = model.submit(frames[index]).result(WAIT_S)["net/y"]
                go_on(index + 1)

        model.run_async(bindings[0], lambda info: go_on(1))
        assert done.wait(WAIT_S)
        np.testing.assert_array_equal(outs, want)


def test_closing_in_a_callback_is_refused(net):
    with virtual_device() as (vdevice, _), vdevice.create_infer_model(net.hef).configure() as model:
        _, (bindings,) = made_bindings(model, frames_of(1))
        seen = []

        def close(info):
            for work in (model.close, vdevice.close):
                try:
                    work()
                except StateError as error:
                    seen.append("in a callback" in str(error))

        model.run_async(bindings, close).wait(WAIT_S)
        assert seen == [True, True]
        model.run(bindings)


def test_a_callback_of_a_future_may_hand_in_frames_but_not_wait(net, nets):
    """It runs on the thread that hands over results: waiting there would last for ever."""
    frames = frames_of(3)
    want = nets.expected(net.model, {"x": frames})["y"]
    with virtual_device() as (vdevice, _), vdevice.create_infer_model(net.hef).configure() as model:
        outs, bindings = made_bindings(model, frames)
        errors, more = [], []

        def called(future):
            more.append(model.submit(frames[1]))
            job = model.run_async(bindings[2])
            for work in (lambda: model.run(bindings[0]), lambda: job.wait(WAIT_S), model.close, vdevice.close):
                try:
                    work()
                except StateError as error:
                    errors.append("callback" in str(error))
            done.set()

        done = threading.Event()
        with vdevice.dispatcher.quiet(WAIT_S):
            future = model.submit(frames[0])
            future.add_done_callback(called)
        np.testing.assert_array_equal(future.result(WAIT_S)["net/y"], want[0])
        assert done.wait(WAIT_S)
        assert errors == [True] * 4
        np.testing.assert_array_equal(more[0].result(WAIT_S)["net/y"], want[1])
        model.wait_for_async_ready(WAIT_S, model.async_queue_size)
        np.testing.assert_array_equal(outs[2], want[2])


def test_a_silent_chip_fails_its_frames_in_order_and_the_next_ones_run(net, nets):
    frames = frames_of(6)
    with (
        virtual_device() as (vdevice, (twin,)),
        vdevice.configure(net.hef, timeout_s=0.2),
        vdevice.create_infer_model(net.hef, timeout_s=0.2).configure() as model,
    ):
        outs, bindings = made_bindings(model, frames)
        model.run(bindings)
        twin.faults.stalled_channels = {1}
        seen = []
        jobs = [
            model.run_async(each, lambda info, i=i: seen.append((i, type(info.exception))))
            for i, each in enumerate(bindings)
        ]
        with pytest.raises(DeviceTimeout, match="waiting for a frame"):
            jobs[-1].wait(WAIT_S)
        assert seen == [(index, DeviceTimeout) for index in range(6)]
        twin.faults.clear()
        outs[:] = 0
        model.run(bindings, WAIT_S)
        np.testing.assert_array_equal(outs, nets.expected(net.model, {"x": frames})["y"])


def test_a_wait_that_is_given_up_leaves_the_frame_to_go_on(net, nets):
    frame = frames_of(1)
    with virtual_device() as (vdevice, _), vdevice.create_infer_model(net.hef).configure() as model:
        outs, (bindings,) = made_bindings(model, frame)
        with vdevice.dispatcher.quiet(WAIT_S):
            with pytest.raises(DeviceTimeout, match="run"):
                model.run(bindings, 0.0)
            job = model.run_async(bindings)
            with pytest.raises(DeviceTimeout, match="job"):
                job.wait(0.0)
        job.wait(WAIT_S)
        np.testing.assert_array_equal(outs, nets.expected(net.model, {"x": frame})["y"])


def test_an_error_of_a_channel_reaches_the_frames_in_flight_only(net, nets):
    frames = frames_of(8)
    with virtual_device() as (vdevice, (twin,)), vdevice.create_infer_model(net.hef).configure() as model:
        outs, bindings = made_bindings(model, frames)
        model.run(bindings)
        twin.faults.descriptor_errors = {1: 3}
        job = model.run_async(bindings)
        with pytest.raises(DeviceError, match="channel 1"):
            job.wait(WAIT_S)
        assert isinstance(job.exception, DeviceError)
        outs[:] = 0
        model.run(bindings, WAIT_S)
        np.testing.assert_array_equal(outs, nets.expected(net.model, {"x": frames})["y"])


def test_frames_of_a_lost_device_fail_and_the_others_run_on_the_rest(net, nets):
    """Frames that were launched on it are lost; what it had not begun with runs elsewhere, in order."""
    frames = frames_of(60)
    want = nets.expected(net.model, {"x": frames})["y"]
    with virtual_device(2) as (vdevice, twins), vdevice.create_infer_model(net.hef).configure() as model:
        outs, bindings = made_bindings(model, frames)
        model.run(bindings[:20], WAIT_S)
        outs[:] = 0
        order = []
        jobs = []
        twins[0].faults.link_down = True
        for index, each in enumerate(bindings):
            model.wait_for_async_ready(WAIT_S)
            jobs.append(model.run_async(each, lambda info, i=index: order.append((i, info.exception))))
        jobs[-1].wait_done(WAIT_S)
        assert [index for index, _ in order] == list(range(60))
        failed = [index for index, error in order if error is not None]
        assert all(isinstance(order[index][1], DeviceLost) for index in failed)
        assert len(failed) <= model.async_queue_size // 2
        for index in set(range(60)) - set(failed):
            np.testing.assert_array_equal(outs[index], want[index])
        assert vdevice.dispatcher.scheduler.alive == [1]
        np.testing.assert_array_equal(model.submit(frames).result(WAIT_S)["net/y"], want)


def test_when_the_only_device_is_lost_everything_ends_typed(net):
    frames = frames_of(30)
    with virtual_device() as (vdevice, (twin,)), vdevice.create_infer_model(net.hef).configure() as model:
        _, bindings = made_bindings(model, frames)
        model.run(bindings)
        twin.faults.link_down = True
        with pytest.raises(DeviceLost):
            model.run_async(bindings).wait(WAIT_S)
        with pytest.raises(DeviceLost, match="gone"):
            model.run(bindings[0])
        with pytest.raises(DeviceLost, match="gone"):
            model.submit(frames)


@pytest.mark.parametrize("count", [1, 2])
def test_shutdown_with_frames_in_flight(net, count):
    """What is queued is cancelled, what devices began with comes to its end; nothing is called twice or never."""
    frames = frames_of(32)
    with virtual_device(count) as (vdevice, _):
        model = vdevice.create_infer_model(net.hef).configure()
        _, bindings = made_bindings(model, frames)
        model.run(bindings[0])
        seen = []
        with vdevice.dispatcher.quiet(WAIT_S):
            jobs = [
                model.run_async(each, lambda info, i=i: seen.append((i, info.exception)))
                for i, each in enumerate(bindings)
            ]
            model.shutdown()
        for job in jobs:
            assert job.wait_done(WAIT_S)
        assert [index for index, _ in seen] == list(range(32))
        assert all(isinstance(error, Cancelled) for _, error in seen)
        model.close()


def test_shutdown_stops_a_device_that_does_not_finish(net):
    with virtual_device(shutdown_timeout_s=0.1) as (vdevice, (twin,)):
        model = vdevice.create_infer_model(net.hef).configure()
        _, bindings = made_bindings(model, frames_of(4))
        model.run(bindings)
        twin.faults.stalled_channels = {1}
        job = model.run_async(bindings)
        model.shutdown(0.1)
        with pytest.raises(Cancelled, match="deactivated"):
            job.wait(WAIT_S)
        twin.faults.clear()
        with vdevice.create_infer_model(net.hef).configure() as again:
            again.run(again.create_bindings({"x": frames_of(1)}, {"y": np.zeros(10, np.uint8)}))


def test_deactivation_cancels_frames_in_flight(net):
    with virtual_device(scheduler=False) as (vdevice, (twin,)):
        model = vdevice.create_infer_model(net.hef).configure()
        model.activate()
        _, bindings = made_bindings(model, frames_of(4))
        model.run(bindings)
        twin.faults.stalled_channels = {1}
        job = model.run_async(bindings)
        model.deactivate()
        with pytest.raises(Cancelled):
            job.wait(WAIT_S)
        twin.faults.clear()
        model.activate()
        model.run(bindings)


def test_a_model_that_cannot_be_activated_fails_its_own_frames_only(net, nets):
    """The firmware refuses one model; the other one runs."""
    silicon = nets.single({"x": SHAPE}, {"y": (1, 1, 10)}, name="silicon", image=bytes(range(256)))
    frames = frames_of(9)
    with virtual_device() as (vdevice, _):
        good, bad = (vdevice.create_infer_model(each.hef).configure() for each in (net, silicon))
        wrong = [bad.submit(frame) for frame in frames]
        right = [good.submit(frame) for frame in frames]
        for future in wrong:
            with pytest.raises(OpenHailoError, match="silicon"):
                future.result(WAIT_S)
        got = np.stack([future.result(WAIT_S)["net/y"] for future in right])
        np.testing.assert_array_equal(got, nets.expected(net.model, {"x": frames})["y"])


def test_buffers_may_vanish_or_change_while_frames_are_under_way(net):
    """The job keeps them; a resize is refused as long as it does."""
    with virtual_device() as (vdevice, _), vdevice.create_infer_model(net.hef).configure() as model:
        bindings = model.allocate_bindings()
        job = model.run_async(bindings)
        del bindings
        job.wait(WAIT_S)
        bindings = model.create_bindings()
        bindings.input().set_buffer(np.zeros(SHAPE, np.uint8))
        bindings.output().set_buffer(np.zeros(10, np.uint8))
        with vdevice.dispatcher.quiet(WAIT_S):
            job = model.run_async(bindings)
            bindings.input().set_buffer(np.ones(SHAPE, np.uint8))
            bindings.output().set_buffer(np.ones(10, np.uint8))
        job.wait(WAIT_S)
        np.testing.assert_array_equal(bindings.output().buffer, 1)


def test_errors_of_frames_reach_every_reader_of_virtual_streams(net, nets):
    frames = frames_of(4)
    with virtual_device() as (vdevice, (twin,)):
        group = vdevice.configure(net.hef, timeout_s=0.2)
        with InputVStreams(group) as inputs, OutputVStreams(group) as outputs:
            inputs.get().send(frames)
            for row in nets.expected(net.model, {"x": frames})["y"]:
                np.testing.assert_array_equal(outputs.get().recv(), row)
            twin.faults.stalled_channels = {1}
            inputs.get().send(frames[0])
            with pytest.raises(DeviceTimeout, match="waiting for a frame"):
                outputs.get().recv()
            twin.faults.clear()
            inputs.get().send(frames[0])
            outputs.get().recv()


def test_loading_another_model_waits_for_frames_in_flight(net, nets):
    other = nets.single({"x": SHAPE}, {"y": (1, 1, 10)}, name="other", seed=5)
    frames = frames_of(25)
    with virtual_device(2) as (vdevice, _), vdevice.create_infer_model(net.hef).configure() as model:
        futures = [model.submit(frame) for frame in frames]
        with vdevice.create_infer_model(other.hef).configure() as second:
            more = [second.submit(frame) for frame in frames]
            for futs, each in ((futures, net), (more, other)):
                want = nets.expected(each.model, {"x": frames})["y"]
                got = np.stack([future.result(WAIT_S)[f"{each.name}/y"] for future in futs])
                np.testing.assert_array_equal(got, want)


def test_a_device_that_is_reset_underneath_fails_typed(net):
    with virtual_device() as (vdevice, _), vdevice.create_infer_model(net.hef).configure() as model:
        _, (bindings,) = made_bindings(model, frames_of(1))
        model.run(bindings)
        vdevice.devices[0].reset()
        with pytest.raises(StateError, match="unloaded"):
            model.run(bindings)
        with vdevice.create_infer_model(net.hef, timeout_s=9.0).configure() as again:
            again.run(again.create_bindings({"x": frames_of(1)}, {"y": np.zeros(10, np.uint8)}))


def test_calls_of_a_network_beside_the_scheduler(net, nets):
    """Somebody uses a device directly: both get what is theirs."""
    other = nets.single({"x": SHAPE}, {"y": (1, 1, 10)}, name="other", seed=5)
    frames = frames_of(60)
    want, direct = (nets.expected(each.model, {"x": frames})["y"] for each in (net, other))
    with virtual_device(2) as (vdevice, _):
        network = vdevice.devices[0].load(other.hef)
        with vdevice.create_infer_model(net.hef).configure() as model:
            futures = []
            for turn in range(12):
                five = slice(5 * turn, 5 * turn + 5)
                futures.append(model.submit(frames[five]))
                np.testing.assert_array_equal(network(frames[five], raw=True)["other/y"], direct[five])
            got = np.concatenate([future.result(WAIT_S)["net/y"] for future in futures])
            np.testing.assert_array_equal(got, want)


def test_a_device_is_lost_while_threads_run_frames(net, nets):
    """Every frame has its own result or fails with `DeviceLost`; the rest of the frames runs on the other device."""
    frames = frames_of(64)
    want = nets.expected(net.model, {"x": frames})["y"]
    right, lost, wrong, lock = [], [], [], threading.Lock()
    with virtual_device(2) as (vdevice, twins), vdevice.create_infer_model(net.hef).configure() as model:

        def work(number):
            for turn in range(100):
                index = (number * 31 + turn * 7) % 64
                if number == 0 and turn == 30:
                    twins[1].faults.link_down = True
                try:
                    model.wait_for_async_ready(WAIT_S)
                    result = model.submit(frames[index]).result(WAIT_S)["net/y"]
                    with lock:
                        (right if np.array_equal(result, want[index]) else wrong).append(index)
                except DeviceLost:
                    lost.append(index)
                except QueueFull:
                    continue
                except BaseException as error:
                    wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert not wrong
        assert len(lost) <= 4
        assert len(right) > 300
        figures = model.statistics()
        assert (figures.frames, figures.failed) == (len(right), len(lost))


#: Opcodes CHANGE_CONTEXT_SWITCH_STATUS and CONTEXT_SWITCH_SET_NETWORK_GROUP_HEADER, and a status of the firmware.
ACTIVATION, HEADER, REFUSED = 37, 32, (0x40130006, 0)


def test_what_one_device_refuses_is_not_left_on_the_others(net):
    """Configuring: on all devices or on none."""
    with virtual_device(2) as (vdevice, twins):
        twins[1].faults.control_status = {HEADER: REFUSED}
        with pytest.raises(ControlFailed):
            vdevice.create_infer_model(net.hef).configure()
        assert [device.networks for device in vdevice.devices] == [(), ()]
        assert vdevice.network_groups == ()
        twins[1].faults.clear()
        with vdevice.create_infer_model(net.hef).configure() as model:
            model.submit(frames_of(20)).result(WAIT_S)


def test_an_activation_that_one_device_refuses_is_undone_on_the_others(net):
    with virtual_device(2, scheduler=False) as (vdevice, twins):
        model = vdevice.create_infer_model(net.hef).configure()
        twins[1].faults.control_status = {ACTIVATION: REFUSED}
        with pytest.raises(ControlFailed):
            model.activate()
        assert [device.active for device in vdevice.devices] == [None, None]
        with pytest.raises(StateError, match="not activated"):
            model.submit(frames_of(1))
        twins[1].faults.clear()
        model.activate()
        model.submit(frames_of(20)).result(WAIT_S)


def test_a_switch_that_the_firmware_refuses_fails_its_frames_and_is_tried_again(net, nets):
    other = nets.single({"x": SHAPE}, {"y": (1, 1, 10)}, name="other", seed=5)
    frames = frames_of(8)
    with virtual_device() as (vdevice, (twin,)):
        first, second = (vdevice.create_infer_model(each.hef).configure() for each in (net, other))
        first.submit(frames).result(WAIT_S)
        twin.faults.control_status = {ACTIVATION: REFUSED}
        with pytest.raises(ControlFailed):
            second.submit(frames).result(WAIT_S)
        twin.faults.clear()
        for model, each in ((second, other), (first, net)):
            want = nets.expected(each.model, {"x": frames})["y"]
            np.testing.assert_array_equal(model.submit(frames).result(WAIT_S)[f"{each.name}/y"], want)
