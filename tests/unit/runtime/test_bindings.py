"""Finding inputs and outputs by name, and what buffers may be."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openhailo.errors import InputError, ShapeMismatch, StateError
from openhailo.runtime.bindings import Bindings, BufferBinding, find
from openhailo.runtime.description import TensorInfo
from openhailo.runtime.formats import FormatOrder, FormatType, Quantization
from openhailo.runtime.frame_plan import Edge


def edge(name="net/x", shape=(4, 6), dtype=np.float32):
    info = TensorInfo(name, shape, np.dtype(dtype), FormatOrder.NHW, Quantization())
    return Edge(info, shape, np.dtype(dtype))


def test_names_may_be_short_or_left_out():
    one, two = {"net/x": 1}, {"net/x": 1, "other/x": 2, "net/y": 3}
    assert find(one, "", "input") == find(one, "x", "input") == find(one, "net/x", "input") == 1
    assert find(two, "y", "input") == 3
    with pytest.raises(InputError, match="there are 3: net/x, other/x, net/y"):
        find(two, "", "input")
    with pytest.raises(InputError, match="no such one"):
        find(two, "x", "input")


def test_an_edge_says_what_a_frame_is():
    made = edge()
    assert (made.name, made.type, made.frame_bytes, made.is_boxes) == ("net/x", FormatType.FLOAT32, 96, False)
    assert made.now is made
    assert made.empty(3).shape == (3, 4, 6)


@given(
    shape=st.sampled_from([(4, 6), (24,), (1, 4, 6), (2, 12), (3, 4), (4, 6, 1), (96,), (0,)]),
    dtype=st.sampled_from([np.float32, np.uint8, np.int8, np.uint16, np.float64, np.int32]),
    is_output=st.booleans(),
)
def test_a_buffer_has_the_bytes_of_a_frame_and_its_type_or_none(shape, dtype, is_output):
    binding = BufferBinding(edge(), is_output=is_output)
    array = np.zeros(shape, dtype)
    fits = array.nbytes == 96 and dtype in (np.float32, np.uint8, np.int8)
    if not fits:
        with pytest.raises((ShapeMismatch, InputError), match="net/x"):
            binding.set_buffer(array)
        with pytest.raises(StateError, match="without a buffer"):
            _ = binding.frames
        return
    binding.set_buffer(array)
    assert binding.buffer is array
    assert (binding.frames.shape, binding.frames.dtype) == ((1, 4, 6), np.float32)
    binding.frames[0, 1, 2] = 7.0
    assert array.reshape(-1).view(np.float32)[8] == 7.0


def test_a_copy_of_bindings_has_buffers_of_its_own():
    bindings = Bindings([edge()], [edge("net/y")])
    bindings.input().set_buffer(np.zeros((4, 6), np.float32))
    other = copy.copy(bindings)
    other.input().set_buffer(np.ones((4, 6), np.float32))
    assert bindings.input().buffer[0, 0] == 0 and other.input().buffer[0, 0] == 1
    with pytest.raises(StateError):
        _ = other.output("y").buffer
