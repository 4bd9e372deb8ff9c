"""Frames through the driver and the chip: exact results, many in flight, several networks, honest failures."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

import openhailo
from openhailo.errors import DeviceError, DeviceTimeout, InputError, NoReference, ShapeMismatch, StateError


def frames_of(shape, count, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def check(network, net, nets, count, seed=3):
    """Run a batch and compare every output with ONNX Runtime."""
    arrays = {name: frames_of(shape, count, seed + i) for i, (name, shape) in enumerate(net.inputs.items())}
    want = nets.expected(net.model, arrays)
    got = network({f"{net.name}/{name}": array for name, array in arrays.items()}, raw=True)
    assert list(got) == [f"{net.name}/{name}" for name in net.outputs]
    for name in net.outputs:
        np.testing.assert_array_equal(got[f"{net.name}/{name}"], want[name].reshape(got[f"{net.name}/{name}"].shape))


SHAPES = [
    ({"x": (1, 1, 1)}, {"y": (1, 1, 1)}),
    ({"x": (7, 13, 3)}, {"y": (1, 1, 10)}),
    ({"x": (28, 28, 1)}, {"y": (1, 1, 1000)}),
    ({"x": (3, 5, 7)}, {"y": (5, 3, 2), "z": (1, 1, 11)}),
    ({"a": (4, 4, 2), "b": (1, 1, 9)}, {"y": (2, 2, 3)}),
    ({"a": (1, 1, 3), "b": (2, 9, 1), "c": (8, 8, 3), "d": (5, 1, 1)}, {f"o{i}": (i + 1, 3, 5) for i in range(4)}),
    ({"x": (416, 416, 3)}, {"y": (13, 13, 255)}),
]


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("count", [1, 3, 16])
def test_results_are_exact(device, nets, inputs, outputs, count):
    net = nets.single(inputs, outputs)
    with device.load(net.hef) as network:
        check(network, net, nets, count)
        check(network, net, nets, count, seed=99)


def test_more_frames_than_slots_and_descriptor_rings_that_wrap(device, nets):
    net = nets.single({"x": (28, 28, 1)}, {"y": (1, 1, 10)})
    network = device.load(net.hef)
    for count in (1000, 5, 333):
        check(network, net, nets, count, seed=count)


def test_one_frame_in_one_frame_out(device, nets):
    net = nets.single({"x": (28, 28, 1)}, {"y": (1, 1, 10)})
    network = device.load(net.hef)
    frame = frames_of((28, 28, 1), 1)
    want = nets.expected(net.model, {"x": frame})["y"]
    for shaped in (frame[0], frame[0, :, :, 0], np.asfortranarray(frame[0])):
        np.testing.assert_array_equal(network(shaped, raw=True)["net/y"], want[0])
    np.testing.assert_array_equal(network(frame, raw=True)["net/y"], want)
    assert network(frame[:0], raw=True)["net/y"].shape == (0, 10)


def test_floats_are_quantised_and_results_dequantised(device, nets):
    net = nets.single({"x": (6, 6, 3)}, {"y": (1, 1, 10)}, in_quant=nets.quant)
    network = device.load(net.hef)
    integers = frames_of((6, 6, 3), 4)
    reals = (integers.astype(np.float32) - 3) * np.float32(0.5)
    want = (nets.expected(net.model, {"x": integers})["y"].astype(np.float32) - 3) * np.float32(0.5)
    for value in (reals, reals.astype(np.float64), integers):
        got = network(value)["net/y"]
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, want)
    assert [info.shape for info in (*network.inputs, *network.outputs)] == [(6, 6, 3), (10,)]


def test_futures_keep_order_and_mix_with_calls(device, nets):
    net = nets.single({"x": (28, 28, 1)}, {"y": (1, 1, 10)})
    network = device.load(net.hef)
    frames = frames_of((28, 28, 1), 200)
    want = nets.expected(net.model, {"x": frames})["y"]
    futures = [network.submit(frame, raw=True) for frame in frames]
    np.testing.assert_array_equal(network(frames[:7], raw=True)["net/y"], want[:7])
    for future, row in zip(futures, want, strict=True):
        np.testing.assert_array_equal(future.result(30)["net/y"], row)
    batch = network.submit(frames, raw=True).result(30)
    np.testing.assert_array_equal(batch["net/y"], want)


def test_several_threads_use_two_networks(device, nets):
    made = [nets.single({"x": (9, 9, 2)}, {"y": (1, 1, 5)}, name=f"n{i}", seed=i) for i in range(2)]
    networks = [device.load(net.hef) for net in made]
    wrong = []

    def work(seed):
        for turn in range(6):
            which = (seed + turn) % 2
            try:
                check(networks[which], made[which], nets, 9, seed=seed * 100 + turn)
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_switching_waits_for_frames_in_flight(device, nets):
    first, second = (nets.single({"x": (9, 9, 2)}, {"y": (1, 1, 5)}, name=f"n{i}", seed=i) for i in range(2))
    one, two = device.load(first.hef), device.load(second.hef)
    frames = frames_of((9, 9, 2), 40)
    futures = [one.submit(frame, raw=True) for frame in frames]
    check(two, second, nets, 3)
    assert device.active is two
    want = nets.expected(first.model, {"x": frames})["y"]
    for future, row in zip(futures, want, strict=True):
        np.testing.assert_array_equal(future.result(0)["n0/y"], row)


@pytest.mark.parametrize("batch_size", [0, 1, 4])
@pytest.mark.parametrize("count", [1, 4, 10])
def test_two_contexts_with_a_tensor_in_host_memory(device, nets, batch_size, count):
    net = nets.two((8, 8, 8), (8, 16, 8), (1, 1, 16))
    network = device.load(net.hef, batch_size=batch_size)
    frames = frames_of((8, 8, 8), count)
    middle = nets.expected(net.models[0], {"x": frames})
    want = nets.expected(net.models[1], middle)["y"]
    np.testing.assert_array_equal(network(frames, raw=True)["two/y"], want)
    np.testing.assert_array_equal(network(frames, raw=True)["two/y"], want)


def test_networks_come_and_go(device, nets):
    net = nets.single({"x": (4, 4, 2)}, {"y": (1, 1, 8)})
    for turn in range(40):
        with device.load(net.hef) as network:
            check(network, net, nets, 2, seed=turn)
    assert device.networks == ()
    with pytest.raises(StateError, match="unloaded"):
        network(frames_of((4, 4, 2), 1))


def test_wrong_inputs_are_refused_before_anything_runs(device, nets):
    net = nets.single({"a": (4, 4, 2), "b": (1, 1, 8)}, {"y": (1, 1, 8)})
    network = device.load(net.hef)
    a, b = frames_of((4, 4, 2), 2), frames_of((8,), 2)
    with pytest.raises(ShapeMismatch, match=r"\(4, 4, 2\)"):
        network({"net/a": a[:, :3], "net/b": b})
    with pytest.raises(InputError, match="several inputs"):
        network(a)
    with pytest.raises(InputError, match="its inputs are"):
        network({"net/a": a})
    with pytest.raises(InputError, match="number of frames"):
        network({"net/a": a, "net/b": b[:1]})
    with pytest.raises(InputError, match="int64"):
        network({"net/a": a.astype(np.int64), "net/b": b})
    assert device.active is None


def test_a_soft_reset_loses_networks_and_the_device_goes_on(device, nets):
    net = nets.single({"x": (4, 4, 2)}, {"y": (1, 1, 8)})
    network = device.load(net.hef)
    check(network, net, nets, 2)
    device.reset()
    with pytest.raises(StateError, match="unloaded"):
        network(frames_of((4, 4, 2), 1))
    check(device.load(net.hef), net, nets, 2)


def float_model(path, in_shape, out_count):
    """y = sum of the pixels of each column block, in float32; channels first, as models come from trainers."""
    height, width, features = in_shape
    weights = np.random.default_rng(5).uniform(-0.01, 0.01, (height * width * features, out_count)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        ],
        "float",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, features, height, width])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, out_count])],
        [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return weights


def test_a_network_for_silicon_runs_only_with_its_reference(device, nets, tmp_path):
    net = nets.single({"x": (6, 5, 3)}, {"y": (1, 1, 10)}, in_quant=nets.quant, image=bytes(range(256)))
    network = device.load(net.hef)
    frame = frames_of((6, 5, 3), 2)
    if network.needs_reference:
        with pytest.raises(NoReference, match="net"):
            network(frame)
    network.close()

    weights = float_model(tmp_path / "float.onnx", (6, 5, 3), 10)
    network = device.load(net.hef, reference=tmp_path / "float.onnx")
    reals = (frame.astype(np.float32) - 3) * np.float32(0.5)
    scores = reals.transpose(0, 3, 1, 2).reshape(2, -1) @ weights
    want = np.clip(np.rint(scores / np.float32(0.5) + np.float32(3)), 0, 255).astype(np.uint8)
    got = network(frame, raw=True)["net/y"]
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
    assert got.std() > 0


def test_an_onnx_file_is_compiled_once(nets, tmp_path, monkeypatch):
    from openhailo import hef
    from openhailo.runtime.open import open_device

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    net = nets.single({"x": (4, 4, 2)}, {"y": (1, 1, 8)})
    model = tmp_path / "model.onnx"
    model.write_bytes(net.model)
    asked = []

    def compile_model(path, options):
        asked.append((path, dict(options)))
        return hef.write(net.hef)

    with open_device("twin:", compile_model=compile_model) as device:
        check(device.load(model), net, nets, 2)
        check(device.load(model), net, nets, 2)
        assert asked == [(model, {"arch": "hailo8"})]
        device.load(model, compile_options={"calibration": 7})
        assert len(asked) == 2
    with open_device("twin:") as device, pytest.raises(InputError, match="no compiler"):
        device.load(model)


def test_a_silent_chip_is_a_timeout_and_the_next_call_starts_afresh(nets):
    from openhailo.runtime.open import open_device
    from openhailo.twin import Twin

    twin = Twin()
    net = nets.single({"x": (4, 4, 2)}, {"y": (1, 1, 8)})
    with open_device("twin:", twin=twin) as device:
        network = device.load(net.hef, timeout_s=0.2)
        check(network, net, nets, 2)
        twin.faults.stalled_channels = {1}
        with pytest.raises(DeviceTimeout, match="net"):
            network(frames_of((4, 4, 2), 1))
        twin.faults.clear()
        check(network, net, nets, 2)


def test_a_failed_channel_is_an_error_and_the_next_call_starts_afresh(nets):
    from openhailo.runtime.open import open_device
    from openhailo.twin import Twin

    twin = Twin()
    net = nets.single({"x": (4, 4, 2)}, {"y": (1, 1, 8)})
    with open_device("twin:", twin=twin) as device:
        network = device.load(net.hef)
        check(network, net, nets, 2)
        twin.faults.descriptor_errors = {1: 3}
        with pytest.raises(DeviceError, match="channel"):
            network(frames_of((4, 4, 2), 8))
        check(network, net, nets, 2)
        twin.faults.descriptor_errors = {16: 3}
        future = network.submit(frames_of((4, 4, 2), 8))
        with pytest.raises(DeviceError, match="channel"):
            future.result(30)
        check(network, net, nets, 2)


def test_a_list_that_the_firmware_cannot_run_is_an_error_with_its_reason(device, nets):
    net = nets.single({"x": (4, 4, 2)}, {"y": (1, 1, 8)}, image=None)
    (group,) = net.hef.network_groups
    context = group.core_op.contexts[0]
    wrong = replace(context.edge_layers[0], core_bytes_per_buffer=0)
    context = replace(context, edge_layers=(wrong, *context.edge_layers[1:]))
    ops = (replace(group.ops[0], body=replace(group.core_op, contexts=(context,))),)
    network = device.load(replace(net.hef, network_groups=(replace(group, ops=ops),)))
    with pytest.raises(DeviceError, match=r"RUN_TIME_ERROR.*BYTES_PER_BUFFER"):
        network(frames_of((4, 4, 2), 1))
    check(device.load(net.hef), net, nets, 2)


def test_the_device_says_what_it_is(device):
    assert str(device.identify().version).count(".") == 2
    reading = device.sensors()
    assert -40 < reading.temperature_c < 125
    assert device.health().throttling_levels
    assert set(device.read_logs()) == {"app", "core"}
    assert device.read_notification() is None
    assert "networks" in repr(device)


def test_a_closed_device_refuses_work(nets):
    device = openhailo.open("twin:")
    network = device.load(nets.single({"x": (4, 4, 2)}, {"y": (1, 1, 8)}).hef)
    device.close()
    device.close()
    with pytest.raises(StateError, match="unloaded"):
        network(frames_of((4, 4, 2), 1))
    with pytest.raises(StateError, match="closed"):
        device.load(b"")
