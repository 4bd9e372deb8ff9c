"""Host transformations against what the vendor's stack did with the same frames (traces/README.md section 5)."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib

import numpy as np
import pytest

from openhailo import hef
from openhailo.errors import InputError
from openhailo.runtime.describe import describe
from openhailo.runtime.formats import FormatOrder, FormatType
from openhailo.runtime.transforms import plan_input, plan_output
from openhailo.spec.enums import DeviceArchitecture

pytestmark = pytest.mark.facts

HEFS = [
    "mnist_cnn_28x28_h8_dfc3.27_v0",
    "mnist_cnn_32x32_h8_dfc3.27_v0",
    "arcface_mobilefacenet_h8_v2",
    "skillcheck_mobilenet_v2_224_h8_v2",
]
EDGES = [-1000, -2, -1, -0.75, -0.5, -0.25, 0, 0.5, 1.5, 2.5, 254.5, 255, 255.25, 255.5, 255.75, 256, 257, 300, 511.5]
EDGES += [512, 1000, 70000, 1e9, -1e9, float("nan"), float("inf"), float("-inf")]


def user_bytes(count, frame):
    k = np.arange(count, dtype=np.uint64)
    return ((k * 2654435761 + frame * 40503) % 2**32 >> 24).astype(np.uint8)


def user_frame(scenario, entry, quant, frame):
    """Rebuild the frame that the recording program sent."""
    count = int(np.prod(entry["shape"]))
    values = user_bytes(count, frame)
    if entry["format"]["type"] != FormatType.FLOAT32:
        return values
    scale, zero_point = np.float32(quant.scale), np.float32(quant.zero_point)
    if scenario == "infer_f32_out_of_range":
        cycle = np.resize(np.array(EDGES, np.float32), count)
        with np.errstate(invalid="ignore"):
            return (cycle - zero_point) * scale
    k = np.arange(count)
    half = np.float32(0.5) * scale
    extra = np.where(k % 5 == 0, np.float32(0.49) * scale, np.where(k % 7 == 0, half, np.float32(0)))
    return (values.astype(np.float32) - zero_point) * scale + extra.astype(np.float32)


def layers_of(shared_dir, name):
    file = hef.read((shared_dir / "hefs" / f"{name}.hef").read_bytes())
    return {layer.name: layer for layer in describe(file, None, DeviceArchitecture.HAILO8, 0).boundary}


def scenarios(shared_dir, name):
    return json.loads((shared_dir / "traces" / name / "io.json").read_text())


def plan_of(layer, entry, plan):
    asked = entry["format"]
    return plan(
        layer.layout, layer.quantization, order=FormatOrder(asked["order"]), user_type=FormatType(asked["type"])
    )


def check_input(scenario, entry, layer):
    plan = plan_of(layer, entry, plan_input)
    for recorded in entry["frames"]:
        frame = user_frame(scenario, entry, layer.quantization, recorded["frame"])
        assert frame.nbytes == recorded["user_bytes"]
        assert hashlib.sha256(frame.tobytes()).hexdigest() == recorded["user_sha256"], "the test's own frame"
        slot = bytearray(plan.transfer_bytes)
        plan.bind(memoryview(slot), plan.transfer_bytes)(frame.reshape(1, *plan.shape), 0, 1)
        assert len(slot) == recorded["device_bytes"]
        if "device_first27" in recorded:
            assert list(slot[:27]) == recorded["device_first27"]
        for key in ("device_zlib_b64", "device_first4096_zlib_b64"):
            if key in recorded:
                expected = zlib.decompress(base64.b64decode(recorded[key]))
                assert bytes(slot[: len(expected)]) == expected
        assert hashlib.sha256(slot).hexdigest() == recorded["device_sha256"]


def check_output(entry, layer):
    plan = plan_of(layer, entry, plan_output)
    for recorded in entry["frames"]:
        channel, frame = recorded["matches_channel"], recorded["frame"]
        i = np.arange(plan.transfer_bytes)
        slot = bytearray(((7 * i + frame + 31 * (channel - 16)) % 256).astype(np.uint8).tobytes())
        out = np.empty((1, *plan.shape), plan.dtype)
        plan.bind(memoryview(slot), plan.transfer_bytes)(out, 0, 1)
        assert out.nbytes == recorded["bytes"] == entry["frame_size"]
        if "raw" in recorded:
            assert out.tobytes().hex()[: len(recorded["raw"])] == recorded["raw"]
        assert hashlib.sha256(out.tobytes()).hexdigest() == recorded["sha256"]


def refused(entries, layers):
    """Plan every stream of a scenario that failed; tell how many were refused."""
    count = 0
    for kind, plan in (("inputs", plan_input), ("outputs", plan_output)):
        for entry in entries.get(kind, []):
            try:
                plan_of(layers[entry["name"]], entry, plan)
            except InputError:
                count += 1
    return count


@pytest.mark.parametrize("name", HEFS)
def test_every_recorded_frame_is_transformed_bit_for_bit(shared_dir, name):
    layers = layers_of(shared_dir, name)
    checked = 0
    for scenario in scenarios(shared_dir, name):
        if scenario.get("configure_status") or any(scenario.get("completion_status", [])):
            continue
        for entry in scenario["inputs"]:
            check_input(scenario["scenario"], entry, layers[entry["name"]])
        for entry in scenario["outputs"]:
            check_output(entry, layers[entry["name"]])
        checked += 1
    assert checked >= 8


@pytest.mark.parametrize("name", HEFS)
def test_what_the_vendor_refuses_is_refused(shared_dir, name):
    layers = layers_of(shared_dir, name)
    failed = [s for s in scenarios(shared_dir, name) if any(s.get("completion_status", []))]
    assert failed
    for scenario in failed:
        assert refused(scenario, layers), scenario["scenario"]
    source = next(layer for layer in layers.values() if layer.direction.name == "HOST_TO_DEVICE")
    with pytest.raises(InputError, match="UINT16"):
        plan_input(source.layout, source.quantization, order=FormatOrder.NHWC, user_type=FormatType.UINT16)
