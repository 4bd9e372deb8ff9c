"""What programs ask a HEF (pyhailort-api.md 7, 9, 12)."""

from __future__ import annotations

import pickle

import pytest

from hailo_platform import HEF, ConfigureParams, FormatType, HailoRTException, HailoStreamInterface
from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort.pyhailort import (
    FormatOrder,
    HailoFormatFlags,
    HailoPowerMode,
    HailoRTNotFoundException,
    HailoStreamDirection,
)


@pytest.fixture
def hef(models):
    return HEF(models.first)


def test_path_and_bytes(models, hef):
    assert hef.path == models.first
    same = HEF((models.folder / "first.hef").read_bytes())
    assert same.path is None
    assert same.get_network_group_names() == hef.get_network_group_names() == ["first"]


def test_names(hef):
    assert hef.get_networks_names() == hef.get_networks_names("first") == ["first/first"]
    assert hef.get_sorted_output_names() == ["first/edges", "first/halves"]
    assert hef.get_sorted_output_names("first") is hef.get_sorted_output_names("first")
    (info,) = hef.get_network_groups_infos()
    assert (info.name, info.is_multi_context) == ("first", False)
    assert hef._get_external_resources() == {}
    with pytest.raises(HailoRTNotFoundException):
        hef.get_networks_names("nothing")


def test_names_of_layers(hef):
    assert hef.get_stream_names_from_vstream_name("first/edges") == ["first/edges"]
    assert hef.get_vstream_names_from_stream_name("first/edges", "first") == ["first/edges"]
    originals = hef.get_original_names_from_vstream_name("first/edges")
    assert originals and hef.get_vstream_name_from_original_name(originals[0]) == "first/edges"
    for call in (
        hef.get_vstream_name_from_original_name,
        hef.get_original_names_from_vstream_name,
        hef.get_vstream_names_from_stream_name,
        hef.get_stream_names_from_vstream_name,
    ):
        with pytest.raises(HailoRTNotFoundException):
            call("nothing")


def test_bottleneck(models, hef, monkeypatch):
    with pytest.raises(HailoRTException, match="bottleneck_fps is zero"):
        hef.bottleneck_fps("first")
    monkeypatch.setattr(hef._hef, "get_bottleneck_fps", lambda name: 42.5)
    assert hef.bottleneck_fps() == 42.5


def test_vstream_infos(hef):
    (source,) = hef.get_input_vstream_infos()
    assert repr(source) == 'VStreamInfo("first/picture")'
    assert (source.name, source.network_name, source.shape) == ("first/picture", "first/first", (8, 8, 1))
    assert source.direction == HailoStreamDirection.H2D
    assert (source.format.type, source.format.order) == (FormatType.UINT8, FormatOrder.NHWC)
    assert source.format.flags == HailoFormatFlags.NONE
    assert source.quant_info.qp_scale > 0
    assert source.quant_info.limvals_max > source.quant_info.limvals_min
    edges, halves = hef.get_output_vstream_infos("first/first")
    assert (edges.shape, halves.shape) == ((8, 8, 2), (1, 2, 1))
    assert [info.name for info in hef.get_all_vstream_infos("first")] == [source.name, edges.name, halves.name]
    with pytest.raises(bound.HailoRTCustomException):
        _ = source.nms_shape
    with pytest.raises(AttributeError):
        source.name = "other"


def test_stream_infos(hef):
    source, edges, halves = hef.get_all_stream_infos()
    assert repr(source) == 'StreamInfo("first/picture")'
    assert [info.name for info in hef.get_input_stream_infos()] == [source.name]
    assert [info.name for info in hef.get_output_stream_infos()] == [edges.name, halves.name]
    assert (source.data_bytes, source.format.type) == (1, FormatType.UINT8)
    assert len({source.sys_index, edges.sys_index, halves.sys_index}) == 3
    assert source.shape == (8, 8, 1)
    with pytest.raises(bound.HailoRTCustomException):
        _ = edges.nms_shape
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(source)


def test_infos_of_boxes(models):
    (boxes,) = HEF(models.boxes).get_output_vstream_infos()
    assert boxes.format.order == FormatOrder.HAILO_NMS_BY_CLASS
    assert boxes.format.type == FormatType.FLOAT32
    assert boxes.shape == (models.classes, 5, 6)
    assert (boxes.nms_shape.number_of_classes, boxes.nms_shape.max_bboxes_per_class) == (models.classes, 6)
    assert len(HEF(models.boxes).get_output_stream_infos()) == 4
    (masks,) = HEF(models.masks).get_output_vstream_infos()
    assert masks.format.order == FormatOrder.HAILO_NMS_WITH_BYTE_MASK
    assert masks.nms_shape.max_accumulated_mask_size == 2 * 32 * 32
    with pytest.raises(bound.HailoRTCustomException):
        _ = masks.shape


def test_infos_travel(hef, models):
    for info in (*hef.get_all_vstream_infos(), *HEF(models.boxes).get_all_vstream_infos()):
        clone = pickle.loads(pickle.dumps(info))
        assert (clone.name, clone.shape, clone.direction) == (info.name, info.shape, info.direction)
        assert clone.format.equals(info.format) and clone != info


def test_configure_params(hef):
    (params,) = ConfigureParams.create_from_hef(hef=hef, interface=HailoStreamInterface.PCIe).values()
    assert (params.batch_size, params.power_mode) == (0, HailoPowerMode.PERFORMANCE)
    assert set(params.stream_params_by_name) == {"first/picture", "first/edges", "first/halves"}
    source = params.stream_params_by_name["first/picture"]
    assert source.stream_interface == HailoStreamInterface.PCIe
    assert source.direction == HailoStreamDirection.H2D
    assert source.pcie_input_params is not None
    source.pcie_input_params = bound.PcieInputStreamParams()
    params.batch_size = 4
    assert params.batch_size == 4


def test_another_variant_is_refused(hef, raises_status):
    (params,) = ConfigureParams.create_from_hef(hef, HailoStreamInterface.PCIe).values()
    source = params.stream_params_by_name["first/picture"]
    for name in (
        "pcie_output_params",
        "integrated_input_params",
        "integrated_output_params",
        "eth_input_params",
        "eth_output_params",
        "mipi_input_params",
    ):
        with raises_status(6):
            getattr(source, name)
    source.stream_interface = bound.StreamInterface.ETH
    assert source.eth_input_params.max_payload_size == 1456


def test_maps_are_copies_of_references(hef):
    (params,) = ConfigureParams.create_from_hef(hef, HailoStreamInterface.PCIe).values()
    params.network_params_by_name["first/first"].batch_size = 3
    assert params.network_params_by_name["first/first"].batch_size == 3
    copied = params.network_params_by_name
    copied.clear()
    assert params.network_params_by_name
    params.network_params_by_name = copied
    params.stream_params_by_name = {}
    assert params.network_params_by_name == params.stream_params_by_name == {}


def test_values_of_the_binding():
    assert bound.HailoFormat().equals(bound.HailoFormat())
    info = bound.QuantInfo(1.0, 2.0, 3.0, 4.0)
    assert (info.qp_zp, info.qp_scale, info.limvals_min, info.limvals_max) == (1, 2, 3, 4)
    assert pickle.loads(pickle.dumps(info)).qp_scale == 2
    shape = bound.ImageShape(1, 2, 3)
    assert (shape.height, shape.width, pickle.loads(pickle.dumps(shape)).features) == (1, 2, 3)
    assert bound.NmsInfo().bbox_size == 0
    assert pickle.loads(pickle.dumps(bound.NmsShape(1, 2, 3))).max_bboxes_per_class == 2
    assert bound.TransformParams().transform_mode == bound.TransformMode.NO_TRANSFORM
    assert bound.MipiIspParams().img_out_data_type == bound.MipiIspImageOutDataType.RGB_888
    assert bound.EthOutputStreamParams().host_address.sin_port == 0
