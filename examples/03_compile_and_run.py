"""Your own model: compile an ONNX file, look at the result, run it, and compare it with the float original."""

import numpy as np
import onnxruntime
from small_model import OUTPUT, pictures, small_model

import openhailo
from openhailo import hef
from openhailo.compiler import compile_model

source = small_model()
compiled = compile_model(source, calibration=pictures(32))
compiled.save(OUTPUT / "edges.hef")
print(compiled.report.to_text())

file = hef.read(OUTPUT / "edges.hef")
for stream in file.network_group().vstreams:
    shape, scale = tuple(stream.shape), stream.quant.qp_scale
    print(f"{stream.direction.name:15} {stream.name:14} {shape} {stream.order.name}, scale {scale:.5f}")
print("findings of the check:", [finding.rule for finding in hef.check(file)] or "none")

frames = pictures(5)
with openhailo.open() as device:
    outputs = device.load(OUTPUT / "edges.hef")(frames)

session = onnxruntime.InferenceSession(source)
for name, got in outputs.items():
    wanted = np.stack(
        [session.run([name.rpartition("/")[2]], {"picture": f.transpose(2, 0, 1)[None]})[0][0] for f in frames]
    )
    worst = np.abs(got - wanted.transpose(0, 2, 3, 1)).max()
    print(f"{name}: 8 bits are at most {worst:.4f} away from float32, which goes up to {wanted.max():.2f}")
