"""Boxes found on the host: a toy YOLOv8 whose two maps see bright spots, with thresholds that change while it runs."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from small_model import OUTPUT, pictures

import openhailo
from openhailo.compiler import Nms, compile_model
from openhailo.runtime.formats import FormatOrder

BINS = 4  # each side of a box is a distribution over 0, 1, 2, 3 cells


def constant(name, *values):
    """Weights of a 1x1 convolution: one column of numbers."""
    return numpy_helper.from_array(np.array(values, np.float32).reshape(-1, 1, 1, 1), name)


def bias(name, *values):
    return numpy_helper.from_array(np.array(values, np.float32), name)


sides = [0, 0, 9, 0] * 4  # two cells to each side, nearly for sure
nodes = [
    helper.make_node("AveragePool", ["picture"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
    helper.make_node("Conv", ["cells", "brighter", "than"], ["bright"]),
    helper.make_node("Conv", ["cells", "none", "sides"], ["box"]),
]
weights = [constant("brighter", 12), bias("than", -8), constant("none", *[0] * 4 * BINS), bias("sides", *sides)]
tensors = {"picture": (1, 28), "bright": (1, 7), "box": (4 * BINS, 7)}
infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, s, s]) for n, (c, s) in tensors.items()]
graph = helper.make_graph(nodes, "spots", infos[:1], infos[1:], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
OUTPUT.mkdir(parents=True, exist_ok=True)
onnx.save(model, OUTPUT / "spots.onnx")

boxes = Nms("yolov8", classes=1, regression_length=BINS, iou_threshold=0.55, max_per_class=9)
compile_model(OUTPUT / "spots.onnx", calibration=pictures(32), nms=boxes).save(OUTPUT / "spots.hef")

with openhailo.open() as device:
    network = device.load(OUTPUT / "spots.hef")
    (output,) = network.outputs
    print(f"{output.name}: {output.shape}, {output.order.name}, {output.nms.frame_bytes} bytes a frame")
    for threshold in (0.1, 0.7, 0.9):
        output.nms.score_threshold = threshold
        found = network(pictures(4))[output.name]
        print(f"score at least {threshold}: {[len(frame[0]) for frame in found]} boxes in four pictures")
    output.nms.score_threshold = 0.5
    y_min, x_min, y_max, x_max, score = network(pictures(1)[0])[output.name][0][0] * [28, 28, 28, 28, 1]
    print(f"the best one: rows {y_min:.0f} to {y_max:.0f}, columns {x_min:.0f} to {x_max:.0f}, score {score:.2f}")
    ranked = device.load(OUTPUT / "spots.hef", output_orders={output.name: FormatOrder.HAILO_NMS_BY_SCORE})
    print("by score:", ranked(pictures(1)[0])[output.name]["score"].round(2).tolist())
    layers = device.load(OUTPUT / "spots.hef", host_ops=False)
    print("the layers themselves:", {layer.name: layer.shape for layer in layers.outputs})
