"""A HEF compiled for silicon on the virtual chip: it configures and moves frames, an ONNX model does the arithmetic.

    python examples/07_silicon_hef_with_reference.py [file.hef [model.onnx]]

The instruction set of the chip is not public, so the virtual chip cannot execute such a file by itself and says so.
Without arguments a stand-in is made on the spot: real layers, and 256 bytes that mean nothing to anybody.
"""

import sys
from pathlib import Path

import numpy as np
from small_model import OUTPUT, small_model

import openhailo
from openhailo import hef
from openhailo.hef.layers import QuantInfo


def stand_in() -> Path:
    """Write a HEF with the small model's input and outputs, and opaque configuration bytes."""
    inputs = [hef.StreamSpec("edges/picture", (28, 28, 1), quant=QuantInfo(0.0, 1 / 255, 0.0, 1.0))]
    outputs = [
        hef.StreamSpec("edges/edges", (28, 28, 2), quant=QuantInfo(0.0, 3 / 255, 0.0, 3.0)),
        hef.StreamSpec("edges/halves", (1, 2, 1), quant=QuantInfo(0.0, 1 / 255, 0.0, 1.0)),
    ]
    path = OUTPUT / "silicon.hef"
    path.write_bytes(hef.write(hef.compose("edges", inputs, outputs, [bytes(range(256))])))
    return path


if len(sys.argv) == 2:
    sys.exit("give the ONNX model that the file was compiled from as well")
model = Path(sys.argv[2]) if len(sys.argv) > 2 else small_model()
file = Path(sys.argv[1]) if len(sys.argv) > 1 else stand_in()

with openhailo.open("twin:") as device:
    network = device.load(file)
    frame = np.random.default_rng(0).integers(0, 256, network.inputs[0].shape).astype(np.uint8)
    try:
        network(frame)
    except openhailo.errors.NoReference as error:
        print(f"without numerics: {error}\n")
    network.close()

    network = device.load(file, reference=model)
    for info in network.outputs:
        raw = network(frame, raw=True)[info.name]
        print(f"{info.name} {info.shape}: {raw.dtype} {raw.min()}..{raw.max()}, scale {info.quantization.scale:.5f}")
    print("the frames went through the driver, the descriptor rings and the chip's DMA engines")
