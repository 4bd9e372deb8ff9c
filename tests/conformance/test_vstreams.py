"""Virtual streams: frames that are sent and received one by one, by several threads, and in whole batches."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import openhailo
from openhailo.errors import DeviceTimeout, InputError, ShapeMismatch, StateError
from openhailo.runtime.formats import FormatOrder, FormatType
from openhailo.runtime.vdevice import VirtualDevice, VirtualDeviceOptions
from openhailo.runtime.vstreams import (
    InferVStreams,
    InputVStreams,
    OutputVStreams,
    VStreamParams,
    input_params,
    output_params,
)


def frames_of(shape, count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.fixture(params=[True, False], ids=["scheduler", "activation"])
def group(request, nets):
    """A network of two inputs and two outputs, ready to run."""
    net = nets.single({"a": (4, 4, 2), "b": (1, 1, 9)}, {"y": (2, 2, 3), "z": (1, 1, 11)})
    options = VirtualDeviceOptions(scheduler=request.param)
    with VirtualDevice([openhailo.open()], options) as vdevice:
        made = vdevice.configure(net.hef)
        if not request.param:
            made.activate()
        made.net = net
        yield made


def wanted(group, nets, count, seed=3):
    given = {"a": frames_of((4, 4, 2), count, seed), "b": frames_of((9,), count, seed + 1)}
    return given, nets.expected(group.net.model, given)


def test_frames_sent_one_by_one_by_a_thread_per_stream(group, nets):
    count, got, wrong = 200, {"net/y": [], "net/z": []}, []
    given, want = wanted(group, nets, count)

    def guarded(work):
        try:
            work()
        except BaseException as error:
            wrong.append(error)

    def send(stream):
        for frame in given[stream.name[-1]]:
            stream.send(frame)

    def receive(stream):
        got[stream.name] += [stream.recv() for _ in range(count)]

    with InputVStreams(group) as inputs, OutputVStreams(group) as outputs:
        assert [(s.name, s.shape) for s in inputs] == [("net/a", (4, 4, 2)), ("net/b", (9,))]
        assert [(s.name, s.shape) for s in outputs] == [("net/y", (2, 2, 3)), ("net/z", (11,))]
        work = [lambda s=s: send(s) for s in inputs] + [lambda s=s: receive(s) for s in outputs]
        threads = [threading.Thread(target=guarded, args=(each,)) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        inputs.get("a").flush()
        assert [stream.pending for stream in (*inputs, *outputs)] == [0, 0, 0, 0]
    assert not wrong
    np.testing.assert_array_equal(np.stack(got["net/y"]).reshape(want["y"].shape), want["y"])
    np.testing.assert_array_equal(np.stack(got["net/z"]).reshape(want["z"].shape), want["z"])


def test_whole_batches(group, nets):
    given, want = wanted(group, nets, 77)
    with InferVStreams(group) as pipeline:
        assert [edge.name for edge in pipeline.inputs] == ["net/a", "net/b"]
        for count in (77, 1, 40):
            got = pipeline.infer({"net/a": given["a"][:count], "net/b": given["b"][:count]})
            for name in ("y", "z"):
                np.testing.assert_array_equal(
                    got[f"net/{name}"].reshape(count, -1), want[name][:count].reshape(count, -1)
                )
        assert pipeline.infer({"net/a": given["a"][:0], "net/b": given["b"][:0]})["net/z"].shape == (0, 11)


def test_formats_and_a_choice_of_outputs(group, nets):
    given, want = wanted(group, nets, 3)
    reals = {f"net/{name}": array.astype(np.float32) for name, array in given.items()}
    params = {"net/z": VStreamParams(type=FormatType.FLOAT32)}
    with InferVStreams(group, input_params(group, type=FormatType.FLOAT32), params) as pipeline:
        got = pipeline.infer(reals)
    assert list(got) == ["net/z"]
    np.testing.assert_array_equal(got["net/z"], (want["z"].astype(np.float32) - 3) * np.float32(0.5))
    with InputVStreams(group) as inputs, OutputVStreams(group, params) as outputs:
        for index in range(3):
            inputs.get("net/a").send(given["a"][index])
            inputs.get("net/b").send(given["b"][index])
        np.testing.assert_array_equal([outputs.get().recv() for _ in range(3)], got["net/z"])


def test_nothing_is_launched_until_somebody_listens(group, nets):
    given, want = wanted(group, nets, 2)
    quick = input_params(group, timeout_s=0.0, queue_size=2)
    with InputVStreams(group, quick) as inputs:
        a, b = inputs
        a.send(given["a"])
        b.send(given["b"])
        with pytest.raises(DeviceTimeout, match="sending to net/a"):
            a.send(given["a"][0])
        with pytest.raises(DeviceTimeout, match="flushing"):
            a.flush()
        with OutputVStreams(group, output_params(group, queue_size=1)) as outputs:
            b_frame = given["b"][0]
            for index in range(2):
                np.testing.assert_array_equal(outputs.get("z").recv(), want["z"][index])
            with pytest.raises(DeviceTimeout, match="receiving"):
                outputs.get("z").params.timeout_s = 0.0
                outputs.get("z").recv()
            assert outputs.get("y").pending == 2
            b.send(b_frame)
            outputs.clear()
            assert [stream.pending for stream in (*inputs, *outputs)] == [0, 0, 0, 0]


def test_an_output_that_nobody_reads_stops_the_rest(group, nets):
    """The queues of the device and of the stream fill up, then inputs have no room."""
    given, want = wanted(group, nets, 60)
    params = input_params(group, timeout_s=0.0, queue_size=1)
    with InputVStreams(group, params) as inputs, OutputVStreams(group, output_params(group, queue_size=3)) as outputs:
        sent = 0
        with pytest.raises(DeviceTimeout):
            for index in range(60):
                inputs.get("a").send(given["a"][index])
                inputs.get("b").send(given["b"][index])
                sent += 1
        assert sent == group.queue_size + 3 + 1
        for index in range(sent):
            np.testing.assert_array_equal(outputs.get("z").recv(), want["z"][index])
            outputs.get("y").recv()


def test_wrong_use_is_refused(group, nets):
    given, _ = wanted(group, nets, 2)
    with pytest.raises(InputError, match="has no"):
        InputVStreams(group, {"net/c": VStreamParams()})
    with pytest.raises(InputError, match="queue"):
        OutputVStreams(group, output_params(group, queue_size=0))
    with pytest.raises(InputError, match="timeout"):
        OutputVStreams(group, output_params(group, timeout_s=-1.0))
    with pytest.raises(InputError), InputVStreams(group, input_params(group, order=FormatOrder.I420)):
        pytest.fail("an order that cannot be")
    with InputVStreams(group) as inputs, OutputVStreams(group) as outputs:
        with pytest.raises(ShapeMismatch):
            inputs.get("a").send(given["a"][:, :3])
        with pytest.raises(InputError, match="float32"):
            inputs.get("a").send(given["a"].astype(np.float32))
        with pytest.raises(InputError, match="there are"):
            inputs.get()
        with pytest.raises(StateError, match="open already"):
            OutputVStreams(group).open()
        stream, output = inputs.get("a"), outputs.get("y")
    for work in (lambda: stream.send(given["a"]), output.recv):
        with pytest.raises(StateError, match="closed"):
            work()
    pipeline = InferVStreams(group)
    with pytest.raises(StateError, match="not open"):
        pipeline.infer({})
    with pipeline:
        with pytest.raises(InputError, match="no frames for"):
            pipeline.infer({"net/a": given["a"]})
        with pytest.raises(InputError, match="number of frames"):
            pipeline.infer({"net/a": given["a"], "net/b": given["b"][:1]})
        with pytest.raises(InputError, match="leading axis"):
            pipeline.infer({"net/a": given["a"][0], "net/b": given["b"]})


def test_a_waiting_reader_hears_of_the_end(group):
    heard = []
    with OutputVStreams(group, output_params(group, timeout_s=60.0)) as outputs:
        begun = threading.Event()

        def read():
            begun.set()
            try:
                outputs.get("y").recv()
            except StateError as error:
                heard.append(str(error))

        reader = threading.Thread(target=read)
        reader.start()
        assert begun.wait(60)
        group.close()
        reader.join(60)
    assert len(heard) == 1 and "not active" in heard[0]


def test_streams_without_activation_say_so(nets):
    net = nets.single({"x": (4, 4, 2)}, {"y": (1, 1, 8)})
    frames = frames_of((4, 4, 2), 2)
    with VirtualDevice([openhailo.open()], VirtualDeviceOptions(scheduler=False)) as vdevice:
        group = vdevice.configure(net.hef)
        with InputVStreams(group) as inputs, OutputVStreams(group) as outputs, InferVStreams(group) as pipeline:
            for work in (
                lambda: inputs.get().send(frames),
                outputs.get().recv,
                lambda: pipeline.infer({"net/x": frames}),
            ):
                with pytest.raises(StateError, match="activate"):
                    work()
            group.activate()
            inputs.get().send(frames)
            want = nets.expected(net.model, {"x": frames})["y"]
            np.testing.assert_array_equal([outputs.get().recv() for _ in range(2)], want)
            group.deactivate()
            with pytest.raises(StateError, match="activate"):
                outputs.get().recv()
