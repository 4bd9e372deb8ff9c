"""HEFs with host ops, and their ports on memory of our own instead of a device's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from tests.unit.runtime.host_ops.slow_ops import Map

from openhailo.hef import model as hm
from openhailo.hef import ops as o
from openhailo.hef.composer import StreamSpec, compose
from openhailo.runtime.describe import describe
from openhailo.runtime.formats import FormatType
from openhailo.runtime.host_ops.port import op_port
from openhailo.spec.enums import DeviceArchitecture
from openhailo.spec.program import FormatOrder

PIXELS = StreamSpec("net/in", (4, 4, 3))


def layer(name, shape, *, zero_point=0.0, scale=1 / 256, data_bytes=1, order=FormatOrder.NHCW, padded=None):
    quant = hm.QuantInfo(zero_point, scale, 0.0, 255 * scale)
    return StreamSpec(name, shape, order, data_bytes, quant, padded)


def file_of(body, outputs, *, name="net/op", wired=None, pad=None):
    """A HEF whose one op reads all of ``outputs`` (pads 1, 2, ...), or those in ``wired``."""
    sources = range(1, 1 + len(outputs)) if wired is None else wired
    inputs = tuple(o.Pad(100 + source) for source in sources)
    op = hm.Op(body, "op", inputs, (pad or o.Pad(200, name),))
    edges = [o.PadEdge(source, 100 + source) for source in sources]
    return compose("net", [PIXELS], outputs, [bytes(8)], host_ops=[op], pad_edges=edges)


def described(file):
    return describe(file, None, DeviceArchitecture.HAILO8, 0xFF)


def wire(spec, frames, *, shape):
    """Frames (n, rows, columns, channels) as they lie in slots: NHCW or NHWC, with rubbish for padding."""
    padded = shape
    dtype = np.uint8 if spec.data_bytes == 1 else np.uint16
    table = np.full((len(frames), *padded), 251, dtype)
    rows, columns, channels = frames.shape[1:]
    table[:, :rows, :columns, :channels] = frames
    if spec.order is FormatOrder.NHCW:
        table = table.transpose(0, 1, 3, 2)
    flat = np.ascontiguousarray(table).reshape(len(frames), -1).view(np.uint8)
    return np.pad(flat, ((0, 0), (0, -flat.shape[1] % 8)), constant_values=253)


def port_of(file, specs, frames, order=None):
    """Return the op's port, with slot ``i`` holding frame ``i`` of each layer."""
    description = described(file)
    (op,) = description.host_ops
    layouts = {each.name: each.layout for each in description.layers}
    streams = {}
    for spec in specs:
        layout = layouts[spec.name]
        padded = (layout.padded_height, layout.padded_width, layout.padded_features)
        slots = wire(spec, frames[spec.name], shape=padded)
        streams[spec.name] = SimpleNamespace(
            slots=SimpleNamespace(view=memoryview(bytearray(slots.tobytes())), stride=slots.shape[1])
        )
    return op_port(op, streams, order)


def run(port, count=1):
    """Read every stream as a pipeline does, and return the result of each frame."""
    sinks = port.begin(count, FormatType.FLOAT32)
    for out, read in sinks:
        read(out[0:count], 0, count)
    (results,) = port.finish([out for out, _ in sinks], count, True)
    return results


def slow_map(spec, frame):
    return Map(frame.tolist(), spec.quant.qp_zp, spec.quant.qp_scale)


def assert_boxes(got, want, tolerance=2e-5):
    """``got``: (n, 5) arrays per class; ``want``: slow boxes per class."""
    assert len(got) == len(want)
    for mine, theirs in zip(got, want, strict=True):
        assert mine.shape == (len(theirs), 5)
        assert mine.dtype == np.float32
        expected = np.array([[*box.corners, box.score] for box in theirs], np.float64).reshape(-1, 5)
        np.testing.assert_allclose(mine, expected, rtol=tolerance, atol=tolerance)
