"""Frames through virtual devices: bindings, jobs, callbacks, futures, coroutines; on one device and on several."""

from __future__ import annotations

import asyncio
import copy
import threading

import numpy as np
import pytest
from tests.frames.devices import open_several

from openhailo.errors import Cancelled, DeviceTimeout, InputError, QueueFull, ShapeMismatch, StateError
from openhailo.runtime.formats import FormatOrder, FormatType
from openhailo.runtime.memory import aligned_empty, is_page_aligned

WAIT_S = 60.0


def frames_of(shape, count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


virtual_device = open_several


@pytest.fixture(params=[1, 2], ids=["one device", "two devices"])
def vdevice(request):
    with virtual_device(request.param) as made:
        yield made


@pytest.fixture
def small(nets):
    return nets.single({"x": (28, 28, 1)}, {"y": (1, 1, 10)})


def test_a_frame_in_buffers_of_the_callers(vdevice, small, nets):
    frames = frames_of((28, 28, 1), 5)
    want = nets.expected(small.model, {"x": frames})["y"]
    with vdevice.create_infer_model(small.hef).configure() as model:
        bindings = model.create_bindings()
        out = np.zeros(10, np.uint8)
        bindings.output().set_buffer(out)
        for frame, row in zip(frames, want, strict=True):
            bindings.input("x").set_buffer(frame)
            model.run(bindings)
            np.testing.assert_array_equal(out, row)
            assert bindings.output("net/y").get_buffer() is out


def test_callbacks_come_once_in_order_on_one_thread(vdevice, small, nets):
    frames = frames_of((28, 28, 1), 300)
    want = nets.expected(small.model, {"x": frames})["y"]
    outs, seen, threads = np.zeros((300, 10), np.uint8), [], set()

    def called(info, index):
        seen.append((index, info.exception))
        threads.add(threading.current_thread())

    with vdevice.create_infer_model(small.hef).configure() as model:
        for index, (frame, out) in enumerate(zip(frames, outs, strict=True)):
            model.wait_for_async_ready(WAIT_S)
            bindings = model.create_bindings({"net/x": frame}, {"net/y": out})
            job = model.run_async(bindings, lambda info, index=index: called(info, index))
        job.wait(WAIT_S)
    assert seen == [(index, None) for index in range(300)]
    assert len(threads) == 1 and threading.current_thread() not in threads
    np.testing.assert_array_equal(outs, want)


def test_a_job_of_several_frames_is_called_back_once(vdevice, small, nets):
    frames = frames_of((28, 28, 1), 9)
    outs, calls = np.zeros((9, 10), np.uint8), []
    with vdevice.create_infer_model(small.hef).configure() as model:
        bindings = [model.create_bindings({"x": f}, {"y": o}) for f, o in zip(frames, outs, strict=True)]
        model.run_async(bindings, calls.append).wait(WAIT_S)
        np.testing.assert_array_equal(outs, nets.expected(small.model, {"x": frames})["y"])
        assert [call.exception for call in calls] == [None]
        outs[:] = 0
        model.run(bindings, WAIT_S)
        np.testing.assert_array_equal(outs, nets.expected(small.model, {"x": frames})["y"])


def test_futures_and_coroutines(vdevice, small, nets):
    frames = frames_of((28, 28, 1), 150)
    want = nets.expected(small.model, {"x": frames})["y"]

    async def everything(model):
        return await asyncio.gather(*(model.infer(frame, WAIT_S) for frame in frames))

    with vdevice.create_infer_model(small.hef).configure() as model:
        futures = [model.submit({"x": frames[start : start + 7]}) for start in range(0, 28, 7)]
        got = np.concatenate([future.result(WAIT_S)["net/y"] for future in futures])
        np.testing.assert_array_equal(got, want[:28])
        np.testing.assert_array_equal(model.submit(frames[0]).result(WAIT_S)["net/y"], want[0])
        results = asyncio.run(everything(model))
    np.testing.assert_array_equal(np.stack([result["net/y"] for result in results]), want)


def test_coroutines_that_are_cancelled_leave_their_room_to_others(small, nets):
    frames = frames_of((28, 28, 1), 100)
    want = nets.expected(small.model, {"x": frames})["y"]

    async def some(vdevice, model):
        with vdevice.dispatcher.quiet(WAIT_S):
            tasks = [asyncio.create_task(model.infer(frame, WAIT_S)) for frame in frames]
            await asyncio.sleep(0)
            with pytest.raises(DeviceTimeout, match="infer"):
                await model.infer(frames[0], 0.0)
        for task in tasks[::3]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with virtual_device() as vdevice, vdevice.create_infer_model(small.hef).configure() as model:
        results = asyncio.run(some(vdevice, model))
        model.wait_for_async_ready(WAIT_S, model.async_queue_size)
    for index, (result, row) in enumerate(zip(results, want, strict=True)):
        if index % 3:
            np.testing.assert_array_equal(result["net/y"], row)
        else:
            assert isinstance(result, asyncio.CancelledError)


def test_coroutines_that_wait_for_room_hear_of_the_end(small):
    async def everything(vdevice, model):
        with vdevice.dispatcher.quiet(WAIT_S):
            tasks = [asyncio.create_task(model.infer(frame, WAIT_S)) for frame in frames_of((28, 28, 1), 50)]
            await asyncio.sleep(0)
            model.shutdown()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with virtual_device() as vdevice, vdevice.create_infer_model(small.hef).configure() as model:
        results = asyncio.run(everything(vdevice, model))
    assert [type(result) for result in results] == [Cancelled] * 32 + [StateError] * 18


def test_a_job_can_be_awaited(vdevice, small, nets):
    frame, out = frames_of((28, 28, 1), 1), np.zeros((1, 10), np.uint8)

    async def one(model):
        await model.run_async(model.create_bindings({"x": frame}, {"y": out}))

    with vdevice.create_infer_model(small.hef).configure() as model:
        asyncio.run(one(model))
    np.testing.assert_array_equal(out, nets.expected(small.model, {"x": frame})["y"])


FORMATS = [
    (FormatType.FLOAT32, FormatType.FLOAT32),
    (FormatType.FLOAT32, FormatType.AUTO),
    (FormatType.UINT8, FormatType.FLOAT32),
    (FormatType.UINT8, FormatType.UINT16),
]


@pytest.mark.parametrize(("in_type", "out_type"), FORMATS)
def test_types_are_chosen_before_configuring(vdevice, nets, in_type, out_type):
    net = nets.single({"x": (6, 5, 3)}, {"y": (4, 3, 8)}, in_quant=nets.quant)
    model = vdevice.create_infer_model(net.hef)
    model.input().set_format_type(in_type)
    model.output("y").set_format_type(out_type)
    assert model.output().shape == (4, 3, 8)
    assert model.output().frame_bytes == 96 * model.output().dtype.itemsize
    integers = frames_of((6, 5, 3), 4)
    given = (integers.astype(np.float32) - 3) * np.float32(0.5) if in_type is FormatType.FLOAT32 else integers
    want = nets.expected(net.model, {"x": integers})["y"].reshape(-1, 4, 3, 8)
    want = (want.astype(np.float32) - 3) * np.float32(0.5) if out_type is FormatType.FLOAT32 else want
    with model.configure() as configured:
        got = configured.submit(given).result(WAIT_S)["net/y"]
    assert got.dtype == model.output().dtype
    np.testing.assert_array_equal(got, want)


def test_an_order_is_chosen_before_configuring(vdevice, nets):
    """RGB4: rows of pixels, each filled up to four bytes."""
    net = nets.single({"x": (6, 5, 3)}, {"y": (1, 1, 8)})
    model = vdevice.create_infer_model(net.hef)
    model.input().set_format_order(FormatOrder.RGB4)
    assert model.input().shape == (6, 16)
    frames = frames_of((6, 5, 3), 4)
    rows = np.full((4, 6, 16), 77, np.uint8)
    rows[:, :, :15] = frames.reshape(4, 6, 15)
    with model.configure() as configured:
        got = configured.submit(rows).result(WAIT_S)["net/y"]
    np.testing.assert_array_equal(got, nets.expected(net.model, {"x": frames})["y"])


def test_formats_that_cannot_be_are_refused_and_leave_the_model_as_it_was(vdevice, small):
    model = vdevice.create_infer_model(small.hef)
    with pytest.raises(InputError, match="UINT16"):
        model.input().set_format_type(FormatType.UINT16)
    with pytest.raises(InputError):
        model.output().set_format_order(FormatOrder.NV12)
    with pytest.raises(InputError, match="no such one"):
        model.input("other")
    assert (model.input().type, model.output().order) == (FormatType.UINT8, FormatOrder.NC)
    model.configure().close()


@pytest.mark.parametrize("shape", [(64, 64, 3), (256, 256, 1)])
def test_page_aligned_buffers_are_used_in_place(vdevice, nets, shape):
    """The device reads and writes them; nothing shows in the slots of the ring."""
    net = nets.single({"x": shape}, {"y": (128, 128, 4)})
    frames = frames_of(shape, 40)
    want = nets.expected(net.model, {"x": frames})["y"].reshape(-1, 128, 128, 4)
    with vdevice.create_infer_model(net.hef).configure() as model:
        ready = [model.allocate_bindings() for _ in range(6)]
        assert all(is_page_aligned(each.input().frames) for each in ready)
        jobs = []
        for index, frame in enumerate(frames):
            bindings = ready[index % 6]
            if index >= 6:
                jobs[index - 6].wait(WAIT_S)
                np.testing.assert_array_equal(bindings.output().frames[0], want[index - 6])
            bindings.input().frames[:] = frame
            jobs.append(model.run_async(bindings))
        for job in jobs:
            job.wait(WAIT_S)
        for port in (*model.group.networks[0].input_ports, *model.group.networks[0].output_ports):
            assert not np.any(np.frombuffer(port.streams[0].slots.view, np.uint8))


def test_aligned_and_other_buffers_mix(vdevice, nets):
    net = nets.single({"x": (64, 64, 3)}, {"y": (128, 128, 4)})
    frames = frames_of((64, 64, 3), 30)
    want = nets.expected(net.model, {"x": frames})["y"].reshape(-1, 128, 128, 4)
    with vdevice.create_infer_model(net.hef).configure() as model:
        outs = [(aligned_empty if i % 3 else np.empty)((128, 128, 4), np.uint8) for i in range(30)]
        jobs = []
        for index, (frame, out) in enumerate(zip(frames, outs, strict=True)):
            given = aligned_empty(frame.shape, np.uint8) if index % 2 else np.empty_like(frame)
            given[:] = frame
            model.wait_for_async_ready(WAIT_S)
            jobs.append(model.run_async(model.create_bindings({"x": given}, {"y": out})))
        for job, out, row in zip(jobs, outs, want, strict=True):
            job.wait(WAIT_S)
            np.testing.assert_array_equal(out, row)


def test_the_queue_has_an_end_and_says_when_there_is_room(small):
    with virtual_device() as vdevice, vdevice.create_infer_model(small.hef).configure() as model:
        size = model.async_queue_size
        assert size == 32
        bindings = model.create_bindings({"x": frames_of((28, 28, 1), 1)}, {"y": np.zeros(10, np.uint8)})
        with vdevice.dispatcher.quiet(WAIT_S):
            job = model.run_async([bindings] * size)
            with pytest.raises(QueueFull, match="32"):
                model.run_async(bindings)
            with pytest.raises(DeviceTimeout, match="room"):
                model.wait_for_async_ready(0.0)
        job.wait(WAIT_S)
        model.wait_for_async_ready(WAIT_S, size)
        with pytest.raises(DeviceTimeout, match="takes 32"):
            model.wait_for_async_ready(WAIT_S, size + 1)
        with pytest.raises(QueueFull):
            model.run_async([bindings] * (size + 1))
        model.run(bindings)


def test_bindings_refuse_what_is_no_frame(vdevice, small):
    with vdevice.create_infer_model(small.hef).configure() as model:
        bindings = model.create_bindings()
        with pytest.raises(StateError, match="without a buffer"):
            model.run(bindings)
        with pytest.raises(ShapeMismatch, match="784 bytes"):
            bindings.input().set_buffer(np.zeros((28, 28, 3), np.uint8))
        with pytest.raises(InputError, match="float64"):
            bindings.input().set_buffer(np.zeros((28, 28), np.float64))
        with pytest.raises(InputError, match="gaps"):
            bindings.input().set_buffer(np.zeros((28, 56), np.uint8)[:, ::2])
        with pytest.raises(InputError, match="read-only"):
            bindings.output().set_buffer(np.frombuffer(bytes(10), np.uint8))
        with pytest.raises(InputError, match="list"):
            bindings.input().set_buffer([1, 2, 3])
        with pytest.raises(InputError, match="no such one"):
            model.create_bindings({"z": np.zeros(784, np.uint8)})
        with pytest.raises(InputError, match="one set of bindings"):
            model.run_async([])
        bindings.input().set_buffer(np.zeros((1, 784, 1), np.uint8))
        bindings.output().set_buffer(np.zeros((10, 1), np.int8))
        other = copy.copy(bindings)
        other.output().set_buffer(np.zeros(10, np.uint8))
        assert other.output().buffer is not bindings.output().buffer
        assert other.input().buffer is bindings.input().buffer
        model.run([bindings, other])


def test_a_model_that_was_shut_down_refuses_work(vdevice, small):
    model = vdevice.create_infer_model(small.hef).configure()
    bindings = model.create_bindings({"x": frames_of((28, 28, 1), 1)}, {"y": np.zeros(10, np.uint8)})
    model.run(bindings)
    model.shutdown()
    model.shutdown()
    with pytest.raises(StateError, match="shut down"):
        model.run(bindings)
    model.close()
    model.close()
    assert vdevice.network_groups == ()
    with vdevice.create_infer_model(small.hef).configure() as again:
        again.run(bindings)


def test_a_virtual_device_that_was_closed_refuses_work(small):
    with virtual_device() as vdevice:
        model = vdevice.create_infer_model(small.hef).configure()
        bindings = model.create_bindings({"x": frames_of((28, 28, 1), 1)}, {"y": np.zeros(10, np.uint8)})
    with pytest.raises(StateError, match="shut down"):
        model.run(bindings)
    with pytest.raises(StateError, match="closed"):
        vdevice.create_infer_model(small.hef)


def test_without_a_scheduler_models_are_activated(small, nets):
    other = nets.single({"x": (9, 9, 2)}, {"y": (1, 1, 5)}, name="other")
    with virtual_device(2, scheduler=False) as vdevice:
        first, second = (vdevice.create_infer_model(net.hef).configure() for net in (small, other))
        bindings = first.create_bindings({"x": frames_of((28, 28, 1), 1)}, {"y": np.zeros(10, np.uint8)})
        with pytest.raises(StateError, match="not activated"):
            first.run(bindings)
        first.activate()
        with pytest.raises(StateError, match="net is active"):
            second.activate()
        first.run([bindings] * 20)
        with pytest.raises(StateError, match="no scheduler"):
            first.set_scheduler_priority(3)
        first.deactivate()
        second.activate()
        frames = frames_of((9, 9, 2), 50)
        want = nets.expected(other.model, {"x": frames})["y"]
        np.testing.assert_array_equal(second.submit(frames).result(WAIT_S)["other/y"], want)


def test_two_contexts_take_frames_in_cycles(vdevice, nets):
    net = nets.two((8, 8, 8), (8, 16, 8), (1, 1, 16))
    frames = frames_of((8, 8, 8), 23)
    want = nets.expected(net.models[1], nets.expected(net.models[0], {"x": frames}))["y"]
    model = vdevice.create_infer_model(net.hef)
    model.batch_size = 4
    with model.configure() as configured:
        np.testing.assert_array_equal(configured.submit(frames).result(WAIT_S)["two/y"], want)
        outs = np.zeros((23, 16), np.uint8)
        made = [configured.create_bindings({"x": f}, {"y": o}) for f, o in zip(frames, outs, strict=True)]
        jobs = [configured.run_async(each) for each in made[:11]] + [configured.run_async(made[11:])]
        for job in jobs:
            job.wait(WAIT_S)
    np.testing.assert_array_equal(outs, want)
