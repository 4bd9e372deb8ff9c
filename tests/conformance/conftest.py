"""A device to run on, and networks made for it: integer graphs whose results are exact."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
import xxhash
from onnx import TensorProto, helper, numpy_helper

import openhailo
from openhailo.hef import model as hm
from openhailo.hef.operations import AllowInputDataflow, TriggerAllDataWasSent, TriggerNone
from openhailo.spec.program import IO_RECORD, PROGRAM_HEADER, ProgramRules

H2D, D2H = hm.Direction.HOST_TO_DEVICE, hm.Direction.DEVICE_TO_HOST
NHWC, NC = 1, 6


@pytest.fixture
def device():
    """A device of its own for each test: `OPENHAILO_DEVICE`, else a cold virtual chip."""
    with openhailo.open() as opened:
        yield opened


def mixing_model(inputs, outputs, seed=0):
    """uint8 graph: every output element is a weighted sum of picked input elements, modulo 256."""
    rng = np.random.default_rng(seed)
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(value, name))
        return name

    def node(kind, *args, name, **attributes):
        nodes.append(helper.make_node(kind, list(args), [name], **attributes))
        return name

    flat = {}
    for name, shape in inputs.items():
        count = int(np.prod(shape))
        wide = node("Cast", name, name=f"{name}/wide", to=TensorProto.INT32)
        flat[name] = node("Reshape", wide, constant(f"{name}/flat", np.array([-1, count])), name=f"{name}/flatten")
    for name, shape in outputs.items():
        count = int(np.prod(shape))
        total = ""
        for source, source_shape in inputs.items():
            picks = rng.integers(0, int(np.prod(source_shape)), count)
            gathered = node(
                "Gather", flat[source], constant(f"{name}/{source}/i", picks), name=f"{name}/{source}", axis=1
            )
            factor = constant(f"{name}/{source}/f", rng.integers(1, 9, (1,)).astype(np.int32))
            term = node("Mul", gathered, factor, name=f"{name}/{source}/m")
            total = node("Add", total, term, name=f"{name}/{source}/s") if total else term
        wrapped = node("Mod", total, constant(f"{name}/256", np.array([256], np.int32)), name=f"{name}/mod")
        narrow = node("Cast", wrapped, name=f"{name}/narrow", to=TensorProto.UINT8)
        node("Reshape", narrow, constant(f"{name}/shape", np.array([-1, *_tensor_shape(shape)])), name=name)
    graph = helper.make_graph(nodes, "mix", _infos(inputs), _infos(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


def _tensor_shape(shape):
    return shape[2:] if shape[:2] == (1, 1) else shape


def _infos(tensors):
    return [
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", *_tensor_shape(shape)])
        for name, shape in tensors.items()
    ]


def expected(model, arrays):
    """What ONNX Runtime computes."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    feed = {tensor.name: arrays[tensor.name].reshape(-1, *tensor.shape[1:]) for tensor in session.get_inputs()}
    return dict(zip((t.name for t in session.get_outputs()), session.run(None, feed), strict=True))


def program_of(payload, inputs, outputs):
    """Wrap a model into a program image; ``inputs`` and ``outputs`` are name -> (stream, shape)."""
    records = []
    for direction, tensors in ((0, inputs), (1, outputs)):
        for name, (stream, shape) in tensors.items():
            size = int(np.prod(shape))
            height, width, features = shape
            records.append(
                IO_RECORD.pack(
                    direction=direction,
                    stream_index=stream,
                    order=NC if shape[:2] == (1, 1) else NHWC,
                    data_bytes=1,
                    height=height,
                    width=width,
                    features=features,
                    padded_height=height,
                    padded_width=width,
                    padded_features=features,
                    transfer_bytes=-(-size // 8) * 8,
                    name=name.encode(),
                )
            )
    header = PROGRAM_HEADER.pack(
        magic=ProgramRules().magic,
        kind=1,
        io_count=len(records),
        payload_size=len(payload),
        payload_xxh3=xxhash.xxh3_64_intdigest(payload),
    )
    image = header + b"".join(records) + payload
    return image + bytes(-len(image) % 8)


QUANT = hm.QuantInfo(3.0, 0.5, -1.5, 126.0)
PLAIN = hm.QuantInfo(0.0, 1.0, 0.0, 255.0)


def edge(name, direction, stream, shape, quant=PLAIN, switch=None):
    """An edge layer in the order that our programs use."""
    height, width, features = shape
    code = 2 if shape[:2] == (1, 1) else 0
    padded = hm.Shape(*shape)
    core = (-(-width * features // 8) * 8, height)
    return hm.EdgeLayer(
        name, direction, hm.Shape(height, width, features), padded, code, 1, stream, *core, quant, switch=switch
    )


def ccw(image):
    return (hm.Operation(TriggerNone(), (hm.WriteCcw(data=image),)),)


def hef_of(name, contexts, preliminary=(), outputs=()):
    """Put contexts into a file of one network group; padding is left to the core (extension 11)."""
    metadata = hm.GroupMetadata(name)
    core_op = hm.CoreOp(metadata, tuple(contexts), preliminary)
    group = hm.NetworkGroup(metadata, (hm.Op(core_op),), sorted_outputs_order=tuple(outputs))
    return hm.Hef(hm.HefHeader(), (group,), (hm.Extension(13), hm.Extension(26)), (hm.Extension(11),))


def single_context(inputs, outputs, *, name="net", seed=0, in_quant=PLAIN, out_quant=QUANT, image=None):
    """A network of `mixing_model` in one context. ``image`` replaces the program."""
    model = mixing_model(inputs, outputs, seed)
    ins = {key: (stream, shape) for stream, (key, shape) in enumerate(inputs.items())}
    outs = {key: (len(inputs) + stream, shape) for stream, (key, shape) in enumerate(outputs.items())}
    if image is None:
        image = program_of(model, ins, outs)
    layers = [edge(f"{name}/{key}", H2D, stream, shape, in_quant) for key, (stream, shape) in ins.items()]
    layers += [edge(f"{name}/{key}", D2H, stream, shape, out_quant) for key, (stream, shape) in outs.items()]
    release = hm.Operation(TriggerNone(), tuple(AllowInputDataflow(sys_index=stream) for stream, _ in ins.values()))
    context = hm.Context(0, (release,), tuple(layers))
    file = hef_of(name, [context], ccw(image), [f"{name}/{key}" for key in outputs])
    return SimpleNamespace(hef=file, model=model, name=name, inputs=inputs, outputs=outputs)


def two_contexts(first, middle, last, *, name="two"):
    """A network in two contexts with a tensor in host memory between them."""
    models = [mixing_model({"x": first}, {"t": middle}, 1), mixing_model({"t": middle}, {"y": last}, 2)]
    images = [
        program_of(models[0], {"x": (0, first)}, {"t": (2, middle)}),
        program_of(models[1], {"t": (3, middle)}, {"y": (1, last)}),
    ]

    def link(context, stream):
        return hm.ContextSwitchInfo(
            hm.Connection.INTERMEDIATE, connected_contexts=(hm.ConnectedContext(context, sys_index=stream),)
        )

    def operations(image, allowed, sent):
        return (
            *ccw(image),
            hm.Operation(TriggerNone(), (AllowInputDataflow(sys_index=allowed),)),
            hm.Operation(TriggerAllDataWasSent(shmifo_index=sent), ()),
        )

    contexts = [
        hm.Context(
            0,
            operations(images[0], 0, 2),
            (edge(f"{name}/x", H2D, 0, first), edge(f"{name}/t0", D2H, 2, middle, switch=link(1, 3))),
        ),
        hm.Context(
            1,
            operations(images[1], 3, 1),
            (edge(f"{name}/t1", H2D, 3, middle, switch=link(0, 2)), edge(f"{name}/y", D2H, 1, last)),
        ),
    ]
    return SimpleNamespace(hef=hef_of(name, contexts, outputs=[f"{name}/y"]), models=models, name=name)


@pytest.fixture
def nets():
    """Makers of networks and of what they must compute."""
    return SimpleNamespace(
        single=single_context, two=two_contexts, expected=expected, quant=QUANT, plain=PLAIN, mixing=mixing_model
    )
