"""The Darknet importer against a forward pass in plain NumPy, written from the meaning of each section."""

from __future__ import annotations

import json
import struct

import numpy as np
import onnxruntime as ort
import pytest

from openhailo.compiler.darknet import build_darknet, load_darknet
from openhailo.errors import InputError, ModelInvalid, OpenHailoError, UnsupportedOp

CFG = """
[net]
width=9
height=7
channels=3
# training only
learning_rate=0.1

[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[maxpool]
size=2
stride=1

[convolutional]
filters=4
size=1
stride=1
pad=1
activation=logistic

[shortcut]
from=-2
activation=linear

[upsample]
stride=2

[route]
layers=-1

[convolutional]
filters=14
size=3
stride=2
pad=1
activation=linear

[route]
layers=-1,4

[route]
layers=-2

[yolo]
mask=0,1
anchors=10,14, 23,27, 37,58
classes=2
"""


def write_weights(rng, *, counter_bytes=8, truncate=0, extra=b""):
    """Pack weights of CFG in file order; return (bytes, arrays)."""
    conv1 = [rng.standard_normal(4), rng.uniform(0.5, 2, 4), rng.standard_normal(4), rng.uniform(0.1, 2, 4)]
    arrays = [*conv1, rng.standard_normal((4, 3, 3, 3)), rng.standard_normal(4), rng.standard_normal((4, 4, 1, 1))]
    arrays += [rng.standard_normal(14), rng.standard_normal((14, 4, 3, 3))]
    arrays = [a.astype(np.float32) for a in arrays]
    minor = 2 if counter_bytes == 8 else 1
    header = struct.pack("<iii", 0, minor, 0) + bytes(counter_bytes)
    body = b"".join(a.tobytes() for a in arrays)
    return header + body[: len(body) - truncate] + extra, arrays


def conv(x, w, b, stride):
    pad = w.shape[2] // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    k = w.shape[2]
    h, v = (x.shape[1] - k) // stride + 1, (x.shape[2] - k) // stride + 1
    out = np.empty((w.shape[0], h, v))
    for i in range(h):
        for j in range(v):
            out[:, i, j] = (w * x[None, :, i * stride : i * stride + k, j * stride : j * stride + k]).sum((1, 2, 3)) + b
    return out


def maxpool(x, size, stride):
    """Windows start at -(size-1)//2 and what lies outside never wins."""
    pad = size - 1
    h, v = (x.shape[1] + pad - size) // stride + 1, (x.shape[2] + pad - size) // stride + 1
    out = np.full((x.shape[0], h, v), -np.inf)
    for i in range(h):
        for j in range(v):
            for di in range(size):
                for dj in range(size):
                    r, c = i * stride + di - pad // 2, j * stride + dj - pad // 2
                    if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
                        out[:, i, j] = np.maximum(out[:, i, j], x[:, r, c])
    return out


def forward(x, arrays):
    bias, scale, mean, var, w1, b2, w2, b3, w3 = (a.astype(np.float64) for a in arrays)
    y = conv(x, w1, np.zeros(4), 1)
    col = (slice(None), None, None)
    y = scale[col] * (y - mean[col]) / (np.sqrt(var[col]) + 1e-6) + bias[col]
    y = np.where(y > 0, y, 0.1 * y)
    y = maxpool(y, 2, 2)
    pooled = maxpool(y, 2, 1)
    z = 1 / (1 + np.exp(-conv(pooled, w2, b2, 1)))
    z = z + pooled
    z = z.repeat(2, 1).repeat(2, 2)
    return conv(z, w3, b3, 2)


def run(model, x):
    return ort.InferenceSession(model.SerializeToString()).run(None, {"input": x[None].astype(np.float32)})


@pytest.mark.parametrize("counter_bytes", [4, 8])
def test_equals_numpy(counter_bytes):
    rng = np.random.default_rng(3)
    weights, arrays = write_weights(rng, counter_bytes=counter_bytes)
    model = build_darknet(CFG, weights)
    x = rng.random((3, 7, 9))
    (out,) = run(model, x)
    np.testing.assert_allclose(out[0], forward(x, arrays), rtol=1e-4, atol=1e-4)
    assert [o.name for o in model.graph.output] == ["yolo10"]


def test_metadata_tells_the_host_what_it_needs():
    model = build_darknet(CFG, write_weights(np.random.default_rng(0))[0])
    properties = {p.key: json.loads(p.value) for p in model.metadata_props}
    (head,) = properties["openhailo.yolo"]
    assert head["anchors"] == [[10, 14], [23, 27]]
    assert (head["output"], head["classes"]) == ("yolo10", 2)
    assert properties["openhailo.preprocess"] == {"mean": [0.0], "std": [255.0], "color": "rgb"}


def test_route_joins_and_splits_channels():
    cfg = "[net]\nwidth=4\nheight=4\nchannels=4\n[maxpool]\nsize=1\nstride=1\n[route]\nlayers=0\ngroups=2\ngroup_id=1\n"
    x = np.random.default_rng(0).random((4, 4, 4))
    header = struct.pack("<iiiq", 0, 2, 0, 0)
    (out,) = run(build_darknet(cfg, header), x)
    np.testing.assert_array_equal(out[0], x[2:].astype(np.float32))
    (out,) = run(build_darknet(cfg + "[route]\nlayers=0,-1\n", header), x)
    np.testing.assert_array_equal(out[0], np.concatenate([x, x[2:]]).astype(np.float32))


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("relu", lambda v: np.maximum(v, 0)),
        ("relu6", lambda v: np.clip(v, 0, 6)),
        ("tanh", np.tanh),
        ("mish", lambda v: v * np.tanh(np.log1p(np.exp(v)))),
        ("swish", lambda v: v / (1 + np.exp(-v))),
        ("elu", lambda v: np.where(v > 0, v, np.expm1(v))),
    ],
)
def test_activations(activation, function):
    cfg = f"[net]\nwidth=3\nheight=3\nchannels=1\n[convolutional]\nfilters=1\nsize=1\nactivation={activation}\n"
    weights = struct.pack("<iiiq", 0, 2, 0, 0) + np.array([0.25, 8.0], np.float32).tobytes()
    x = np.linspace(-1, 1, 9).reshape(1, 3, 3)
    (out,) = run(build_darknet(cfg, weights), x)
    np.testing.assert_allclose(out[0], function(8 * x + 0.25), rtol=1e-5, atol=1e-5)


def test_spatial_pyramid_pooling_keeps_the_size():
    cfg = "[net]\nwidth=6\nheight=5\nchannels=2\n[maxpool]\nsize=5\nstride=1\n"
    x = np.random.default_rng(0).standard_normal((2, 5, 6))
    (out,) = run(build_darknet(cfg, struct.pack("<iiiq", 0, 2, 0, 0)), x)
    np.testing.assert_allclose(out[0], maxpool(x, 5, 1), rtol=1e-6)


@pytest.mark.parametrize("truncate", [4, 2, 400, 2000])
def test_truncated_weights(truncate):
    data, _ = write_weights(np.random.default_rng(0), truncate=truncate)
    with pytest.raises(ModelInvalid, match="truncated"):
        build_darknet(CFG, data)


def test_weights_of_another_network():
    data, _ = write_weights(np.random.default_rng(0), extra=bytes(8))
    with pytest.raises(ModelInvalid, match=r"8 bytes .* left over"):
        build_darknet(CFG, data)


@pytest.mark.parametrize(
    ("section", "name"),
    [("[lstm]\noutput=3\n", "lstm"), ("[upsample]\nstride=2\nscale=2\n", "scale"), ("[softmax]\ngroups=2\n", "groups")],
)
def test_unsupported_sections_are_named(section, name):
    cfg = "[net]\nwidth=4\nheight=4\nchannels=4\n" + section
    with pytest.raises(UnsupportedOp, match=name):
        build_darknet(cfg, struct.pack("<iiiq", 0, 2, 0, 0))


@pytest.mark.parametrize(
    "cfg",
    [
        "",
        "[net]\n",
        "nonsense",
        "[net]\nwidth=4\n[maxpool]\n",
        "[net]\nwidth=4\nheight=4\nchannels=99999\n[maxpool]\n",
        "[net]\nwidth=4\nheight=4\nchannels=1\n[maxpool]\nsize=x\n",
        "[net]\nwidth=4\nheight=4\nchannels=1\n[route]\nlayers=5\n",
        "[net]\nwidth=4\nheight=4\nchannels=1\n[route]\nlayers=-1\n",
        "[net]\nwidth=4\nheight=4\nchannels=1\n[convolutional]\nsize=9\n",
        "[net]\nwidth=4\nheight=4\nchannels=3\n[convolutional]\ngroups=2\n",
        "[net]\nwidth=4\nheight=4\nchannels=8\n[yolo]\nmask=0,7\nanchors=1,2\nclasses=3\n",
        "[net]\nwidth=4\nheight=4\nchannels=8\n[yolo]\nmask=0\nanchors=1,inf\nclasses=3\n",
        "[net]\nwidth=4\nheight=4\nchannels=8\n[yolo]\nmask=0\nanchors=1,2\nclasses=99\n",
        "[net]\nwidth=16384\nheight=16384\nchannels=8\n[upsample]\nstride=64\n",
        "[net]\nwidth=4\nheight=4\nchannels=8\n[upsample]\nscale=x\n",
        "[net]\nwidth=4\nheight=4\nchannels=8\n[yolo]\nmask=0\nanchors=1,2\nclasses=3\nscale_x_y=\n",
        "[net]\n" * 3000,
    ],
)
def test_bad_cfg(cfg):
    with pytest.raises(ModelInvalid):
        build_darknet(cfg, struct.pack("<iiiq", 0, 2, 0, 0) + bytes(4000))


def test_random_damage_gives_typed_errors():
    rng = np.random.default_rng(9)
    weights = write_weights(rng)[0]
    survived = 0
    for _ in range(200):
        text = bytearray(CFG.encode())
        for position in rng.integers(0, len(text), 2):
            text[position] = rng.integers(32, 127)
        try:
            build_darknet(text.decode(), weights)
            survived += 1
        except OpenHailoError:
            pass
    assert survived < 200


def test_files(tmp_path):
    (tmp_path / "tiny.cfg").write_text(CFG)
    (tmp_path / "tiny.weights").write_bytes(write_weights(np.random.default_rng(0))[0])
    model = load_darknet(tmp_path / "tiny.cfg", tmp_path / "tiny.weights")
    assert model.graph.name == "tiny"
    with pytest.raises(InputError, match=r"missing\.weights"):
        load_darknet(tmp_path / "tiny.cfg", tmp_path / "missing.weights")


def test_statistics_that_give_infinite_weights_are_refused():
    """A variance of zero and a huge scale are each fine, together they are beyond float32."""
    weights, _ = write_weights(np.random.default_rng(0))
    data = bytearray(weights)
    struct.pack_into("<f", data, 20 + 4 * 4, 1e38)
    struct.pack_into("<f", data, 20 + 12 * 4, 0.0)
    with pytest.raises(ModelInvalid, match="beyond float32"):
        build_darknet(CFG, bytes(data))
