"""Make the HEF files that the other examples run: those would come from the vendor's compiler, these from openhailo's.

Usage: python make_models.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from openhailo.compiler import compile_model
from openhailo.compiler.host_ops.request import Nms
from openhailo.pipeline.models import demo_calibration, demo_model


def edge_model(kernel: list[list[float]]) -> onnx.ModelProto:
    """Return a network that finds edges in a picture of 32x32x3."""
    weights = np.repeat(np.array(kernel, np.float32)[None, None] / 3, 3, axis=1)
    node = helper.make_node("Conv", ["image", "kernel"], ["edges"], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [node],
        "edges",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("edges", TensorProto.FLOAT, [1, 1, 32, 32])],
        [numpy_helper.from_array(weights, "kernel")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def face_model() -> onnx.ModelProto:
    """Return CenterFace with its heads put together as YOLOX has them: place and size, object, class."""
    model = onnx.load(demo_model("centerface"))
    weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    heads = {
        name: (weights[f"head.{name}_conv.weight"], weights[f"head.{name}_conv.bias"]) for name in ("pos", "reg", "off")
    }
    order = [1, 0]  # CenterFace gives y before x
    (off, off_bias), (size, size_bias), (pos, pos_bias) = heads["off"], heads["reg"], heads["pos"]
    boxes = np.concatenate([off[order], size[order]]), np.concatenate([off_bias[order] + 0.5, size_bias[order]])
    made = {"boxes": boxes, "object": (pos, pos_bias), "face": (np.zeros_like(pos), np.full_like(pos_bias, 8))}
    source = next(node for node in model.graph.node if node.output[0] == "size").input[0]
    kept = [node for node in model.graph.node if not set(node.output) & {o.name for o in model.graph.output}]
    kept = [node for node in kept if "head.pos_conv.weight" not in node.input]
    for name, (weight, bias) in made.items():
        model.graph.initializer.extend(
            [numpy_helper.from_array(weight, f"{name}/w"), numpy_helper.from_array(bias, f"{name}/b")]
        )
        kept.append(helper.make_node("Conv", [source, f"{name}/w", f"{name}/b"], [name], name=name))
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, len(weight), 160, 160])
        for name, (weight, _) in made.items()
    ]
    used = {name for node in kept for name in node.input}
    initializers = [each for each in model.graph.initializer if each.name in used]
    graph = helper.make_graph(kept, "centerface", list(model.graph.input), outputs, initializers)
    rebuilt = helper.make_model(graph, opset_imports=model.opset_import, ir_version=9)
    rebuilt.metadata_props.extend(model.metadata_props)
    return rebuilt


def main(folder: Path) -> None:
    """Write vertical.hef, horizontal.hef and faces.hef."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.float32)
    for name, kernel in (("vertical", [[-1, 0, 1]] * 3), ("horizontal", [[-1] * 3, [0] * 3, [1] * 3])):
        result = compile_model(edge_model(kernel), name=name, calibration=pixels, mean=0, std=255)
        result.save(folder / f"{name}.hef")
    nms = Nms("yolox", classes=1, score_threshold=0.4, iou_threshold=0.3, max_per_class=20)
    faces = compile_model(face_model(), name="faces", nms=nms, calibration=demo_calibration("centerface"))
    faces.save(folder / "faces.hef")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
