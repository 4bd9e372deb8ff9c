"""The newer interface: models, bindings, jobs, callbacks (pyhailort-api.md 13)."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial

import numpy as np
import pytest

import openhailo
from hailo_platform import FormatType, HailoPowerMode, HailoRTException, HailoSchedulingAlgorithm, VDevice
from hailo_platform.pyhailort import pyhailort as api

SOURCE, EDGES, HALVES = "first/picture", "first/edges", "first/halves"
F32 = FormatType.FLOAT32


@pytest.fixture
def vdevice():
    params = VDevice.create_params()
    params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN
    with VDevice(params) as opened:
        yield opened


def real_numbers(model):
    for stream in (*model.inputs, *model.outputs):
        stream.set_format_type(F32)
    return model


@pytest.fixture
def model(vdevice, models):
    return real_numbers(vdevice.create_infer_model(models.first))


@pytest.fixture
def configured(model):
    with model.configure() as made:
        yield made


@pytest.fixture(scope="module")
def expected(models):
    with openhailo.open("twin:") as device:
        return device.load(models.first)(models.pictures(40))


def bind(configured, model, frame):
    buffers = {stream.name: np.empty(stream.shape, np.float32) for stream in model.outputs}
    bindings = configured.create_bindings(output_buffers=buffers)
    bindings.input().set_buffer(frame)
    return bindings


def test_what_a_model_is(vdevice, models):
    model = vdevice.create_infer_model(models.first)
    assert model.hef.get_network_group_names() == ["first"] and model.hef is model.hef
    assert (model.input_names, model.output_names) == ([SOURCE], [EDGES, HALVES])
    source, edges = model.input(), model.output("edges")
    assert (source.name, edges.name) == (SOURCE, EDGES)
    assert (source.shape, edges.shape) == ([8, 8, 1], [8, 8, 2])
    assert (source.format.type, source.format.order) == (FormatType.UINT8, api.FormatOrder.NHWC)
    assert not source.is_nms and len(source.quant_infos) == 1
    edges.set_format_type(FormatType.FLOAT32)
    assert model.output(EDGES).format.type == FormatType.FLOAT32
    edges.set_format_order(api.FormatOrder.NHWC)
    assert edges.shape == [8, 8, 2] and edges.format.order == api.FormatOrder.NHWC
    same = vdevice.create_infer_model((models.folder / "first.hef").read_bytes(), "first")
    assert same.hef.path is None and same.input_names == [SOURCE]


def test_edges_by_name(model):
    for call in (lambda: model.input("nothing"), lambda: model.output("nothing")):
        with pytest.raises(api.HailoRTNotFoundException):
            call()
    with pytest.raises(api.HailoRTInvalidOperationException):
        model.output()


def test_unknown_group(vdevice, models):
    with pytest.raises(HailoRTException, match="7"):
        vdevice.create_infer_model(models.first, "nothing")


def test_one_frame(configured, model, models, expected):
    bindings = bind(configured, model, models.pictures(1)[0])
    configured.run([bindings], 10_000)
    np.testing.assert_array_equal(bindings.output(EDGES).get_buffer(), expected[EDGES][0])
    np.testing.assert_array_equal(bindings.output("halves").get_buffer(), expected[HALVES][0])
    configured.run([bindings], timeout=timedelta(seconds=10))
    assert bindings._output_names == [EDGES, HALVES] and bindings._input_names == [SOURCE]
    assert bindings.get().input().name == SOURCE
    assert configured.get_async_queue_size() == 32


def test_buffers_are_used_in_place_whatever_their_shape(configured, model, models, expected):
    edges = np.zeros((1, 8, 8, 2), np.float32)
    halves = np.zeros(2 * 4, np.uint8)
    frame = models.pictures(1)
    bindings = configured.create_bindings({SOURCE: frame}, {EDGES: edges, HALVES: halves})
    configured.run([bindings], 10_000)
    np.testing.assert_array_equal(edges[0], expected[EDGES][0])
    np.testing.assert_array_equal(halves.view(np.float32), expected[HALVES][0].reshape(-1))
    assert bindings.output(EDGES).get_buffer() is edges
    assert bindings.output(EDGES).get_buffer(tf_format=None) is edges
    assert bindings.output(EDGES) is bindings.output(EDGES)


def test_many_frames_with_callbacks(configured, model, models, expected):
    pictures, results, done = models.pictures(40), {}, threading.Event()

    def callback(completion_info, bindings, index):
        assert completion_info.exception is None
        results[index] = {name: bindings.output(name).get_buffer() for name in bindings._output_names}
        if len(results) == len(pictures):
            done.set()

    for index, frame in enumerate(pictures):
        bindings = bind(configured, model, frame)
        configured.wait_for_async_ready(timeout_ms=10_000)
        job = configured.run_async([bindings], partial(callback, bindings=bindings, index=index))
    job.wait(10_000)
    assert done.wait(10) and list(results) == list(range(40))
    for index, found in results.items():
        np.testing.assert_array_equal(found[EDGES], expected[EDGES][index])


def test_several_bindings_in_one_job(configured, model, models, expected):
    called = []
    several = [bind(configured, model, frame) for frame in models.pictures(4)]
    configured.run_async(several, lambda completion_info: called.append(completion_info.exception)).wait(10_000)
    assert called == [None]
    for index, bindings in enumerate(several):
        np.testing.assert_array_equal(bindings.output(HALVES).get_buffer(), expected[HALVES][index])


def test_the_callback_takes_a_keyword(configured, model, models, caplog):
    bindings = bind(configured, model, models.pictures(1)[0])
    configured.run_async([bindings], lambda info: None).wait(10_000)
    assert "completion_info" in caplog.text


def test_missing_and_wrong_buffers(configured, model, models):
    bindings = bind(configured, model, models.pictures(1)[0])
    with pytest.raises(api.HailoRTInvalidOperationException) as caught:
        configured.run_async([configured.create_bindings()])
    assert "set_buffer" in caught.value.__notes__[0]
    bindings.input().set_buffer(np.zeros(5, np.float32))
    with pytest.raises(api.HailoRTInvalidOperationException):
        configured.run([bindings], 1000)
    with pytest.raises(HailoRTException, match="C_CONTIGUOUS"):
        bindings.input().set_buffer(np.zeros((8, 8, 2), np.float32)[..., :1])
    with pytest.raises(api.HailoRTNotFoundException):
        configured.create_bindings({"nothing": np.zeros(1)})
    with pytest.raises(api.HailoRTInvalidOperationException):
        configured.create_bindings().output().set_buffer(np.zeros(1))
    # The original's model is dead after a wrong buffer; this one goes on.
    bindings.input().set_buffer(models.pictures(1))
    configured.run([bindings], 10_000)


def test_more_frames_than_the_queue_takes(configured):
    with pytest.raises(api.HailoRTTimeout):
        configured.wait_for_async_ready(timeout_ms=1, frames_count=33)
    configured.wait_for_async_ready(frames_count=32)


def test_shutdown(model, models):
    configured = model.configure()
    bindings = bind(configured, model, models.pictures(1)[0])
    configured.run([bindings], 10_000)
    configured.shutdown()
    with pytest.raises(api.HailoRTStreamAborted):
        configured.run([bindings], 10_000)
    configured.__exit__(None, None, None)
    with pytest.raises(HailoRTException, match="with block"):
        configured.get_async_queue_size()


def test_a_model_outlives_its_variable(vdevice, models, expected):
    configured = real_numbers(vdevice.create_infer_model(models.first)).configure()
    again = real_numbers(vdevice.create_infer_model(models.first))
    del configured
    for _ in range(10):  # there are eight places on a chip: those that nobody holds are given back
        made = again.configure()
        bindings = bind(made, again, models.pictures(1)[0])
        made.run([bindings], 10_000)
        np.testing.assert_array_equal(bindings.output(EDGES).get_buffer(), expected[EDGES][0])
        del made


def test_release_ends_the_models(models):
    vdevice = VDevice()
    configured = real_numbers(vdevice.create_infer_model(models.first)).configure()
    configured.activate()
    vdevice.release()
    with pytest.raises(HailoRTException):
        configured.run([configured.create_bindings()], 1000)


def test_scheduling(configured):
    configured.set_scheduler_timeout(50)
    configured.set_scheduler_threshold(1)
    configured.set_scheduler_priority(20)
    with pytest.raises(api.HailoRTInvalidArgumentException):
        configured.set_scheduler_priority(32)
    for call in (configured.activate, configured.deactivate):
        with pytest.raises(api.HailoRTInvalidOperationException):
            call()


def test_without_a_scheduler(models, expected):
    with VDevice() as vdevice:
        model = real_numbers(vdevice.create_infer_model(models.first))
        with model.configure() as configured:
            bindings = bind(configured, model, models.pictures(1)[0])
            with pytest.raises(api.HailoRTNetworkGroupNotActivatedException):
                configured.run([bindings], 1000)
            configured.activate()
            configured.run([bindings], 10_000)
            np.testing.assert_array_equal(bindings.output(EDGES).get_buffer(), expected[EDGES][0])
            configured.deactivate()
            with pytest.raises(api.HailoRTInvalidOperationException):
                configured.set_scheduler_threshold(1)


def test_two_models_take_turns(vdevice, models, expected):
    made = [real_numbers(vdevice.create_infer_model(path)) for path in (models.first, models.second)]
    made[0].set_batch_size(4)
    made[0].set_power_mode(HailoPowerMode.ULTRA_PERFORMANCE)
    with made[0].configure() as one, made[1].configure() as other:
        jobs = []
        for frame in models.pictures(10):
            for model, configured in zip(made, (one, other), strict=True):
                bindings = bind(configured, model, frame)
                jobs.append((configured.run_async([bindings]), model, bindings))
        for job, _, _ in jobs:
            job.wait(10_000)
    found = [bindings.output(EDGES).get_buffer() for _, model, bindings in jobs if model is made[0]]
    np.testing.assert_array_equal(found, expected[EDGES][:10])


def test_choices_are_checked_when_it_is_configured(vdevice, models):
    model = vdevice.create_infer_model(models.first)
    model.output(EDGES).set_nms_score_threshold(0.5)
    with pytest.raises(api.HailoRTInvalidArgumentException):
        model.configure()
    model = vdevice.create_infer_model(models.first)
    model.input().set_nms_iou_threshold(0.5)
    with pytest.raises(api.HailoRTInvalidOperationException):
        model.configure()
    model = vdevice.create_infer_model(models.first)
    model.input().set_format_order(api.FormatOrder.BAYER_RGB)
    with pytest.raises(api.HailoRTInvalidArgumentException):
        model.configure()
    model.input().set_format_order(api.FormatOrder.NHWC)
    model.set_batch_size(64)
    with pytest.raises(api.HailoRTInvalidArgumentException):
        model.configure()
    model.set_batch_size(1)
    model.configure().__exit__(None, None, None)


def test_frames_that_fail_are_told(configured, model, models, monkeypatch):
    told = []
    pipeline = configured._configured_infer_model._model.group.networks[0].pipeline
    monkeypatch.setattr(pipeline, "enqueue", _lost)
    bindings = bind(configured, model, models.pictures(1)[0])
    job = configured.run_async([bindings], lambda completion_info: told.append(completion_info.exception))
    job.wait(10_000)  # says nothing about it, like the original's
    assert isinstance(told[0], api.HailoRTDriverOperationFailedException)
    assert "gone" in told[0].__notes__[0]
    with pytest.raises(api.HailoRTDriverOperationFailedException):
        configured.run([bindings], 10_000)


def _lost(*_args, **_options):
    raise openhailo.errors.DeviceLost(name="the card", detail="pulled out")
