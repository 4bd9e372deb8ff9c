"""Boards that networks run on: parameters, sharing, refusals, configured networks (pyhailort-api.md 8 to 10)."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from hailo_platform import (
    HEF,
    ConfigureParams,
    Device,
    FormatType,
    HailoRTException,
    HailoSchedulingAlgorithm,
    HailoStreamInterface,
    InferVStreams,
    InputVStreamParams,
    OutputVStreamParams,
    VDevice,
)
from hailo_platform.pyhailort import pyhailort as api
from openhailo import hef as oh_hef

ROUND_ROBIN = HailoSchedulingAlgorithm.ROUND_ROBIN


def scheduled(**values):
    params = VDevice.create_params()
    params.scheduling_algorithm = ROUND_ROBIN
    for name, value in values.items():
        setattr(params, name, value)
    return params


def infer(network, frames):
    ins = InputVStreamParams.make(network, format_type=FormatType.FLOAT32)
    outs = OutputVStreamParams.make(network, format_type=FormatType.FLOAT32)
    with InferVStreams(network, ins, outs) as pipeline:
        return pipeline.infer({network.get_input_vstream_infos()[0].name: frames})


def test_default_parameters():
    params = VDevice.create_params()
    assert (params.device_count, params.scheduling_algorithm, params.group_id) == (1, 0, "UNIQUE")
    assert (params.multi_process_service, params.device_ids) == (False, [])
    params.scheduling_algorithm = ROUND_ROBIN
    assert params.scheduling_algorithm == 1 and type(params.scheduling_algorithm) is int
    params.device_ids = ["a", "b"]
    assert (params.device_count, params.device_ids) == (2, ["a", "b"])
    assert api.VDeviceParams.default().device_count == 1


def test_ids_and_physical_devices():
    with VDevice(device_ids=Device.scan()) as vdevice:
        assert vdevice.get_physical_devices_ids() == ["ffff:01:00.0"]
        (device,) = vdevice.get_physical_devices()
        assert device.device_id == "ffff:01:00.0"
        assert vdevice.loaded_network_groups == []


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"device_count": 0}, "2 (HAILO_INVALID_ARGUMENT)"),
        ({"device_count": 2}, "74 (HAILO_OUT_OF_PHYSICAL_DEVICES)"),
        ({"device_ids": ["0000:77:00.0"]}, "2 (HAILO_INVALID_ARGUMENT)"),
        ({"scheduling_algorithm": 5}, "2 (HAILO_INVALID_ARGUMENT)"),
        ({"scheduling_algorithm": 0, "multi_process_service": True}, "2 (HAILO_INVALID_ARGUMENT)"),
    ],
)
def test_parameters_that_cannot_be(values, status):
    with pytest.raises(HailoRTException) as caught:
        VDevice(scheduled(**values))
    assert str(caught.value) == f"libhailort failed with error: {status}"


def test_a_board_has_one_owner():
    with VDevice() as vdevice:
        with pytest.raises(HailoRTException, match="74"):
            VDevice()
        with pytest.raises(HailoRTException, match="73"):
            VDevice(device_ids=vdevice.get_physical_devices_ids())
        assert Device().control.identify()
    VDevice().release()


def test_boards_are_named_once():
    params = VDevice.create_params()
    params.device_ids = Device.scan()
    with pytest.raises(api.HailoRTInvalidOperationException):
        VDevice(params, device_ids=Device.scan())


def test_a_group_is_shared(models):
    with VDevice(scheduled(group_id="SHARED")) as one, VDevice(scheduled(group_id="SHARED")) as other:
        first, second = one.configure(HEF(models.first))[0], other.configure(HEF(models.second))[0]
        assert infer(first, models.pictures(2))["first/edges"].shape == (2, 8, 8, 2)
        one.release()
        assert infer(second, models.pictures(2))["second/edges"].shape == (2, 8, 8, 2)
        with pytest.raises(api.HailoRTInvalidOperationException):
            VDevice(scheduled(group_id="SHARED", device_count=2))


def test_several_boards_share_the_frames(models, monkeypatch):
    monkeypatch.setenv("OPENHAILO_DEVICE", "twin:")
    with VDevice(scheduled()) as vdevice:
        expected = infer(vdevice.configure(HEF(models.first))[0], models.pictures(40))
    monkeypatch.setenv("OPENHAILO_DEVICE", "twin:,twin:")
    with VDevice(scheduled(device_count=2)) as vdevice:
        assert len(vdevice.get_physical_devices_ids()) == 2
        found = infer(vdevice.configure(HEF(models.first))[0], models.pictures(40))
    for name, frames in expected.items():
        np.testing.assert_array_equal(found[name], frames)


def test_several_boards_of_the_smaller_kind(monkeypatch):
    monkeypatch.setenv("OPENHAILO_DEVICE", "twin:hailo8l,twin:hailo8l")
    with pytest.raises(api.HailoRTInvalidOperationException):
        VDevice(scheduled(device_count=2))


def test_release_is_final(models):
    vdevice = VDevice()
    network = vdevice.configure(HEF(models.first))[0]
    vdevice.release()
    vdevice.release()
    with pytest.raises(HailoRTException, match="released"):
        vdevice.configure(HEF(models.first))
    with pytest.raises(HailoRTException, match="8"), api.ExceptionWrapper():
        _ = network.name


def test_another_process_may_not_configure(models):
    with VDevice() as vdevice:
        child = os.fork()
        if not child:
            refused = 0
            for call in (
                lambda: vdevice.configure(HEF(models.first)),
                lambda: vdevice.create_infer_model(models.first),
            ):
                try:
                    call()
                except HailoRTException as error:
                    refused += "process" in str(error)
            os._exit(refused)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
        assert vdevice.configure(HEF(models.first))


# --- configured networks ----------------------------------------------------------------------------------------------


def test_a_configured_network(models):
    hef = HEF(models.first)
    with VDevice() as vdevice:
        params = ConfigureParams.create_from_hef(hef, interface=HailoStreamInterface.PCIe)
        params["first"].batch_size = 2
        (network,) = vdevice.configure(hef, params)
        assert vdevice.loaded_network_groups == [network]
        assert vdevice._loaded_network_group is network
        assert (network.name, network.get_networks_names()) == ("first", ["first/first"])
        assert network.get_sorted_output_names() == ["first/edges", "first/halves"]
        assert network.get_output_shapes() == ((8, 8, 2), (1, 2, 1))
        assert network.get_all_vstream_infos("first/first")[0].name == "first/picture"
        assert len(network.get_all_stream_infos()) == 3
        assert len(network.get_input_stream_infos()) == len(network.get_input_vstream_infos()) == 1
        assert len(network.get_output_stream_infos()) == len(network.get_output_vstream_infos()) == 2
        assert network.get_stream_names_from_vstream_name("first/edges") == ["first/edges"]
        assert network.get_vstream_names_from_stream_name("first/edges") == ["first/edges"]
        assert network._configured_network.get_default_streams_interface() == HailoStreamInterface.PCIe


def test_parameters_of_unknown_groups(models):
    hef = HEF(models.first)
    (params,) = ConfigureParams.create_from_hef(hef, HailoStreamInterface.PCIe).values()
    with VDevice(scheduled()) as vdevice:
        with pytest.raises(api.HailoRTInvalidArgumentException):
            vdevice.configure(hef, {"other": params})
        params.batch_size = 2
        params.network_params_by_name["first/first"].batch_size = 3
        with pytest.raises(api.HailoRTInvalidOperationException):
            vdevice.configure(hef, {"first": params})
        params.batch_size = 0
        assert vdevice.configure(hef, {"first": params})


def test_activation(models):
    with VDevice() as vdevice:
        first, second = vdevice.configure(HEF(models.first))[0], vdevice.configure(HEF(models.second))[0]
        with pytest.raises(api.HailoRTTimeout):
            first.wait_for_activation(timeout_ms=1)
        with pytest.raises(api.HailoRTNetworkGroupNotActivatedException):
            infer(first, models.pictures(1))
        with first.activate(first.create_params()) as activated:
            first.wait_for_activation()
            assert activated.name == "first"
            assert activated.get_sorted_output_names() == first.get_sorted_output_names()
            assert activated.get_number_of_invalid_frames() == 0
            activated.validate_all_frames_are_valid()
            with pytest.raises(api.HailoRTInvalidOperationException), second.activate():
                pass
            with pytest.raises(HailoRTException, match="79"):
                activated._get_intermediate_buffer(0, 0)
            infer(first, models.pictures(1))
        with second.activate():
            infer(second, models.pictures(1))


def test_under_a_scheduler_nothing_is_activated(models, capsys):
    with VDevice(scheduled()) as vdevice:
        network = vdevice.configure(HEF(models.first))[0]
        with network.activate(network.create_params()) as nothing:
            assert nothing is None
            infer(network, models.pictures(1))
        assert "deprecated" in capsys.readouterr().out
        with pytest.raises(api.HailoRTInvalidOperationException):
            network.wait_for_activation(1)


def test_scheduling(models, raises_status):
    with VDevice(scheduled()) as vdevice:
        network = vdevice.configure(HEF(models.first))[0]
        network.set_scheduler_timeout(100)
        network.set_scheduler_timeout(0, "first/first")
        network.set_scheduler_threshold(1)
        network.set_scheduler_priority(31)
        with raises_status(2):
            network.set_scheduler_priority(32)
        with raises_status(7):
            network.set_scheduler_timeout(1, "first/other")
    with VDevice() as vdevice:
        network = vdevice.configure(HEF(models.first))[0]
        for call in (network.set_scheduler_timeout, network.set_scheduler_threshold, network.set_scheduler_priority):
            with raises_status(6):
                call(1)


def test_two_models_take_turns(models):
    with VDevice(scheduled()) as vdevice:
        networks = [vdevice.configure(HEF(path))[0] for path in (models.first, models.second)]
        alone = [infer(network, models.pictures(3)) for network in networks]
        for _ in range(3):
            for network, expected in zip(networks, alone, strict=True):
                for name, frames in infer(network, models.pictures(3)).items():
                    np.testing.assert_array_equal(frames, expected[name])


def test_no_network_has_a_cache(models, raises_status):
    with VDevice() as vdevice:
        network = vdevice.configure(HEF(models.first))[0]
        assert network.get_cache_ids() == []
        with raises_status(6):
            network.init_cache(0)
        with raises_status(6):
            network.update_cache_offset(1)
        with raises_status(61):
            network.read_cache_buffer(0)
        with raises_status(61):
            network.write_cache_buffer(0, b"")


@pytest.mark.facts
def test_numerics_of_a_silicon_network(models, monkeypatch, shared_dir):
    """A HEF compiled for silicon needs a reference on the virtual chip, which the environment can name."""
    path = str(shared_dir / "hefs/mnist_cnn_28x28_h8_dfc3.27_v0.hef")
    with VDevice(scheduled()) as vdevice:
        network = vdevice.configure(HEF(path))[0]
        with pytest.raises(HailoRTException) as caught:
            infer(network, np.zeros((1, 28, 28, 1), np.float32))
        assert "--reference" in str(caught.value.__notes__)
    monkeypatch.setenv("OPENHAILO_REFERENCE", "MNIST_CNN=missing.onnx")
    with VDevice(scheduled()) as vdevice, pytest.raises(HailoRTException) as caught:
        vdevice.configure(HEF(path))
    assert "missing.onnx" in str(caught.value.__notes__)


def test_a_program_that_releases_nothing_ends_at_once(models, tmp_path):
    program = tmp_path / "app.py"
    program.write_text(
        "import sys, numpy as np\n"
        "from hailo_platform import *\n"
        "params = VDevice.create_params()\n"
        "params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN\n"
        "vdevice = VDevice(params)\n"
        "model = vdevice.create_infer_model(sys.argv[1])\n"
        "configured = model.configure()\n"
        "buffers = {o.name: np.empty(o.shape, np.uint8) for o in model.outputs}\n"
        "bindings = configured.create_bindings({model.input_names[0]: np.zeros((8, 8, 1), np.uint8)}, buffers)\n"
        "jobs = [configured.run_async([bindings]) for _ in range(20)]\n"
        "class Ring: pass\n"
        "ring = Ring(); ring.ring = ring; ring.vdevice = vdevice\n"
    )
    # An exit that waits for threads that are gone takes ten seconds.
    done = subprocess.run(
        [sys.executable, "-W", "error", program, models.first], capture_output=True, timeout=9, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_file_of_several_groups(models, tmp_path):
    files = [oh_hef.read((models.folder / f"{name}.hef").read_bytes()) for name in ("first", "second")]
    (tmp_path / "both.hef").write_bytes(oh_hef.write(oh_hef.join(files)))
    hef = HEF(str(tmp_path / "both.hef"))
    names = hef.get_network_group_names()
    assert sorted(names) == ["first", "second"]
    assert [info.name for info in hef.get_input_vstream_infos("second")] == ["second/picture"]
    with VDevice(scheduled()) as vdevice:
        params = ConfigureParams.create_from_hef(hef, interface=HailoStreamInterface.PCIe)
        networks = vdevice.configure(hef, params)
        assert [network.name for network in networks] == names
        for network in networks:
            assert infer(network, models.pictures(2))[f"{network.name}/edges"].shape == (2, 8, 8, 2)
        with pytest.raises(HailoRTException, match="single loaded network group"):
            _ = vdevice._loaded_network_group
    with VDevice(scheduled()) as vdevice:
        with pytest.raises(api.HailoRTInvalidArgumentException) as caught:
            vdevice.create_infer_model(hef.path).configure()
        assert "first" in caught.value.__notes__[0]
        model = vdevice.create_infer_model(hef.path, "second")
        assert model.input_names == ["second/picture"]
        with model.configure() as configured:
            configured.wait_for_async_ready()
        (only,) = vdevice.configure(hef, {"first": params["first"]})
        assert only.name == "first"


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_chip_that_is_shared_with_other_processes(models, broker):
    with VDevice(scheduled()) as own:
        expected = infer(own.configure(HEF(models.first))[0], models.pictures(4))
    shared = scheduled(multi_process_service=True, group_id="SHARED")
    with VDevice(shared) as one, VDevice(scheduled(multi_process_service=True)) as other:
        assert one.get_physical_devices_ids() == ["ffff:01:00.0"]
        assert one.get_physical_devices()[0].control.identify().device_architecture == 1
        found = infer(one.configure(HEF(models.first))[0], models.pictures(4))
        for name, frames in expected.items():
            np.testing.assert_array_equal(found[name], frames)
        model = other.create_infer_model(models.first)
        model.input().set_format_type(FormatType.FLOAT32)
        for output in model.outputs:
            output.set_format_type(FormatType.FLOAT32)
        with model.configure() as configured:
            buffers = {output.name: np.empty(output.shape, np.float32) for output in model.outputs}
            bindings = configured.create_bindings({"first/picture": models.pictures(1)}, buffers)
            configured.run_async([bindings]).wait(10_000)
            np.testing.assert_array_equal(bindings.output("edges").get_buffer(), expected["first/edges"][0])
    with pytest.raises(HailoRTException, match="2"):
        VDevice(scheduled(multi_process_service=True, device_ids=["0000:55:00.0"]))
