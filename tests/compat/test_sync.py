"""The older interface: vstreams and batches (pyhailort-api.md 11)."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import openhailo
from hailo_platform import (
    HEF,
    FormatType,
    HailoRTException,
    HailoSchedulingAlgorithm,
    InferVStreams,
    InputVStreamParams,
    InputVStreams,
    OutputVStreamParams,
    OutputVStreams,
    VDevice,
)
from hailo_platform.pyhailort import pyhailort as api

SOURCE, EDGES, HALVES = "first/picture", "first/edges", "first/halves"
F32 = FormatType.FLOAT32


@pytest.fixture
def network(models):
    with VDevice() as vdevice:
        made = vdevice.configure(HEF(models.first))[0]
        with made.activate():
            yield made


@pytest.fixture
def pipeline(network):
    ins, outs = InputVStreamParams.make(network, format_type=F32), OutputVStreamParams.make(network, format_type=F32)
    with InferVStreams(network, ins, outs) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(models):
    """What openhailo itself computes."""
    with openhailo.open("twin:") as device:
        return device.load(models.first)(models.pictures(6))


def test_parameters(network):
    ins = InputVStreamParams.make(network)
    assert list(ins) == [SOURCE]
    params = ins[SOURCE]
    assert (params.timeout_ms, params.queue_size) == (10000, 2)
    assert params.user_buffer_format.type == FormatType.AUTO
    assert (params.vstream_stats_flags, params.pipeline_elements_stats_flags) == (0, 0)
    outs = OutputVStreamParams.make_from_network_group(
        network, quantized=False, format_type=F32, timeout_ms=5, queue_size=7
    )
    assert list(outs) == [EDGES, HALVES]
    clone = pickle.loads(pickle.dumps(outs[EDGES]))
    assert (clone.timeout_ms, clone.queue_size, clone.user_buffer_format.type) == (5, 7, F32)
    assert api.VStreamParams().timeout_ms == 0
    assert list(InputVStreamParams.make_from_network_group(network, True, network_name="first/first")) == [SOURCE]
    groups = OutputVStreamParams.make_groups(network)
    assert [list(group) for group in groups] == [[EDGES], [HALVES]]


def test_a_batch(pipeline, models, expected):
    found = pipeline.infer({SOURCE: models.pictures(6)})
    assert list(found) == [EDGES, HALVES]
    for name, frames in expected.items():
        np.testing.assert_array_equal(found[name], frames)
        assert found[name].dtype == np.float32
    assert 0 < pipeline.get_hw_time() <= pipeline.get_total_time()


def test_one_input_needs_no_dict(pipeline, models, expected):
    np.testing.assert_array_equal(pipeline.infer(models.pictures(6))[EDGES], expected[EDGES])


def test_a_wrong_type_is_cast_in_the_callers_dict(pipeline, models, capsys):
    given = {SOURCE: models.pictures(2).astype(np.float64)}
    pipeline.infer(given)
    assert given[SOURCE].dtype == np.float32
    assert "different than inferred dtype" in capsys.readouterr().out


def test_gaps_are_closed(pipeline, models, expected, capsys):
    wide = np.repeat(models.pictures(6), 2, axis=2)[:, :, ::2]
    np.testing.assert_array_equal(pipeline.infer({SOURCE: wide})[HALVES], expected[HALVES])
    assert "C_CONTIGUOUS" in capsys.readouterr().out


def test_frames_of_another_shape_with_the_same_bytes(pipeline, models, expected):
    flat = models.pictures(6).reshape(6, 64)
    np.testing.assert_array_equal(pipeline.infer({SOURCE: flat})[EDGES], expected[EDGES])


def test_inputs_that_cannot_be(pipeline, models):
    with pytest.raises(KeyError, match="no input"):
        pipeline.infer({"nothing": models.pictures(1)})
    with pytest.raises(api.HailoRTInvalidArgumentException):
        pipeline.infer({SOURCE: np.zeros((1, 9, 9, 1), np.float32)})
    with pytest.raises(ValueError, match="empty"):
        pipeline.infer({})
    with pytest.raises(ValueError, match="empty"):
        pipeline.infer({SOURCE: np.float32(3)})
    with pytest.raises(ValueError, match="must be equal"):
        pipeline._get_number_of_frames({"a": np.zeros(2), "b": np.zeros(3)})
    assert pipeline.infer({SOURCE: np.zeros((0, 8, 8, 1), np.float32)})[EDGES].shape == (0, 8, 8, 2)


def test_integers_as_the_device_has_them(network, models, expected):
    ins = InputVStreamParams.make(network, format_type=FormatType.UINT8)
    outs = OutputVStreamParams.make(network, format_type=FormatType.UINT8)
    (source,) = network.get_input_vstream_infos()
    quant = source.quant_info
    raw = np.rint(models.pictures(6) / quant.qp_scale + quant.qp_zp).clip(0, 255).astype(np.uint8)
    with InferVStreams(network, ins, outs) as pipeline:
        found = pipeline.infer({SOURCE: raw})
        with pytest.raises(HailoRTException, match="item size"):
            pipeline._validate_input_data_format_type(SOURCE, {SOURCE: np.zeros(1, np.float32)})
    edges = network.get_output_vstream_infos()[0].quant_info
    real = (found[EDGES].astype(np.float32) - np.float32(edges.qp_zp)) * np.float32(edges.qp_scale)
    np.testing.assert_allclose(real, expected[EDGES], atol=1e-6)


def test_use_outside_of_its_context(network, models):
    ins, outs = InputVStreamParams.make(network), OutputVStreamParams.make(network)
    pipeline = InferVStreams(network, ins, outs)
    with pytest.raises(HailoRTException, match="outside of its context"):
        pipeline.infer(models.pictures(1))


def test_settings_of_boxes_where_there_are_none(pipeline, network, raises_status):
    for name, value in (
        ("set_nms_score_threshold", 0.5),
        ("set_nms_iou_threshold", 0.5),
        ("set_nms_max_proposals_per_class", 3),
        ("set_nms_max_accumulated_mask_size", 100),
    ):
        with raises_status(6):
            getattr(pipeline, name)(value)
        outputs = OutputVStreams(network, OutputVStreamParams.make(network))
        with outputs, pytest.raises(api.HailoRTInvalidOperationException):
            getattr(outputs.get(EDGES), name)(value)


# --- one frame at a time ----------------------------------------------------------------------------------------------


def test_streams(network, models, expected):
    ins, outs = InputVStreamParams.make(network, format_type=F32), OutputVStreamParams.make(network, format_type=F32)
    with InputVStreams(network, ins) as inputs, OutputVStreams(network, outs) as outputs:
        source, edges = inputs.get(), outputs.get(EDGES)
        assert (source.name, source.network_name, source.shape) == (SOURCE, "first/first", [8, 8, 1])
        assert (edges.name, edges.network_name, edges.shape) == (EDGES, "first/first", [8, 8, 2])
        assert source.dtype == edges.dtype == np.float32
        assert source.info.name == SOURCE and edges.info.shape == (8, 8, 2)
        assert edges.output_order == api.FormatOrder.NHWC
        for index, frame in enumerate(models.pictures(6)):
            for stream in inputs:
                stream.send(np.expand_dims(frame, axis=0).astype(np.float64))
            for stream in outputs:
                np.testing.assert_array_equal(stream.recv(), expected[stream.name][index])
        source.flush()
        with pytest.raises(KeyError):
            inputs.get("nothing")
        with pytest.raises(HailoRTException, match="more than one"):
            outputs.get()


def test_frames_need_an_axis(network, models, capsys):
    ins = InputVStreamParams.make(network, format_type=F32)
    with InputVStreams(network, ins) as inputs:
        with pytest.raises(api.HailoRTInvalidArgumentException) as caught:
            inputs.get(SOURCE).send(models.pictures(1)[0])
        assert "leading axis" in caught.value.__notes__[0]
    assert "expand_dims" in capsys.readouterr().out


def test_timeouts_and_clearing(network, models):
    ins = InputVStreamParams.make(network, format_type=F32, timeout_ms=1)
    outs = OutputVStreamParams.make(network, format_type=F32, timeout_ms=1)
    with OutputVStreams(network, outs) as outputs:
        with pytest.raises(api.HailoRTTimeout):
            outputs.get(EDGES).recv()
        with InputVStreams(network, ins) as inputs:
            with pytest.raises(api.HailoRTTimeout):
                inputs.get().send(models.pictures(200))
            inputs.clear()
            outputs.clear()
            inputs.get().send(models.pictures(1))


def test_streams_of_a_network_that_is_not_active(models):
    with VDevice() as vdevice:
        network = vdevice.configure(HEF(models.first))[0]
        ins, outs = InputVStreamParams.make(network), OutputVStreamParams.make(network)
        with InputVStreams(network, ins) as inputs, OutputVStreams(network, outs) as outputs:
            with pytest.raises(api.HailoRTNetworkGroupNotActivatedException):
                inputs.get().send(np.zeros((1, 8, 8, 1), np.uint8))
            with pytest.raises(api.HailoRTNetworkGroupNotActivatedException):
                outputs.get(EDGES).recv()
            vdevice.release()
            with pytest.raises(api.HailoRTStreamAborted):
                outputs.get(EDGES).recv()


def test_unknown_streams(network, raises_status):
    params = dict.fromkeys(["first/nothing"], api.VStreamParams())
    with raises_status(61), InputVStreams(network, params):
        pass
    with raises_status(61), InferVStreams(network, params, {}):
        pass


def test_under_a_scheduler(models, expected):
    params = VDevice.create_params()
    params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN
    with VDevice(params) as vdevice:
        network = vdevice.configure(HEF(models.first))[0]
        ins = InputVStreamParams.make(network, format_type=F32)
        outs = OutputVStreamParams.make(network, format_type=F32)
        with InputVStreams(network, ins) as inputs, OutputVStreams(network, outs) as outputs:
            inputs.get().send(models.pictures(2))
            for index in range(2):
                for stream in outputs:
                    np.testing.assert_array_equal(stream.recv(), expected[stream.name][index])


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_transformations():
    utils, quant = api.HailoRTTransformUtils, api.QuantInfo(10.0, 0.5, -5.0, 120.0)
    raw = np.array([0, 10, 30, 255], np.uint8)
    real = np.empty(4, np.float32)
    utils.dequantize_output_buffer(raw, real, 4, quant)
    np.testing.assert_array_equal(real, [-5, 0, 10, 122.5])
    back = np.empty(4, np.uint8)
    utils.quantize_input_buffer(np.array([-9, 0, 10.1, 999], np.float32), back, 4, quant)
    np.testing.assert_array_equal(back, [0, 10, 30, 250])
    place = np.zeros(4 * 4, np.uint8)
    place[:4] = raw
    utils.dequantize_output_buffer_in_place(place, np.float32, 4, quant)
    np.testing.assert_array_equal(place.view(np.float32), real)
    with pytest.raises(HailoRTException, match="5"):
        utils.dequantize_output_buffer_in_place(np.zeros(3, np.uint8), np.float32, 3, quant)
    with pytest.raises(api.HailoRTInvalidArgumentException):
        utils.quantize_input_buffer(raw, np.empty(4, np.uint16), 4, quant)
    with pytest.raises(api.HailoRTInvalidOperationException):
        utils.dequantize_output_buffer(raw, real, 4, api.QuantInfo())
    assert [utils.get_dtype(size).name for size in (1, 2, 4)] == ["uint8", "uint16", "float32"]
    for wrong in (lambda: utils.get_dtype(8), lambda: utils._get_format_type(np.int64)):
        with pytest.raises(HailoRTException, match="unsupported"):
            wrong()


def test_halves_are_rounded_to_even():
    raw = np.empty(4, np.uint8)
    plain = api.QuantInfo(0.0, 1.0, 0.0, 255.0)
    api.HailoRTTransformUtils.quantize_input_buffer(np.array([0.5, 1.5, 2.5, 3.49], np.float32), raw, 4, plain)
    np.testing.assert_array_equal(raw, [0, 2, 2, 3])
