"""Program images made by hand, byte for byte."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import xxhash
from onnx import TensorProto, helper, numpy_helper


class Images:
    """Builders of models and images."""

    @staticmethod
    def record(
        direction: int,
        stream: int,
        order: int,
        shape: tuple[int, int, int],
        transfer: int,
        name: str,
        padded: tuple[int, int, int] | None = None,
        data_bytes: int = 1,
    ) -> bytes:
        head = struct.pack("<4B7I", direction, stream, order, data_bytes, *shape, *(padded or shape), transfer)
        return head + name.encode().ljust(128, b"\0") + bytes(32)

    @staticmethod
    def image(records: list[bytes], payload: bytes, kind: int = 1) -> bytes:
        digest = xxhash.xxh3_64_intdigest(payload)
        header = b"OHPROG\0\1" + struct.pack("<IIQQ", kind, len(records), len(payload), digest) + bytes(32)
        image = header + b"".join(records) + payload
        return image + bytes(-len(image) % 8)

    @staticmethod
    def model(
        inputs: dict[str, list[Any]],
        outputs: dict[str, list[Any]],
        nodes: list[Any],
        dtype: int = TensorProto.UINT8,
        **constants: Any,
    ) -> bytes:
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, dtype, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        return bytes(model.SerializeToString())

    def identity(self, shape: list[Any], dtype: int = TensorProto.UINT8) -> bytes:
        node = helper.make_node("Identity", ["x"], ["y"])
        return self.model({"x": shape}, {"y": shape}, [node], dtype)


@pytest.fixture(scope="session")
def images() -> Images:
    return Images()
