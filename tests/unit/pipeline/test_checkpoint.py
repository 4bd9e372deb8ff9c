"""The checkpoint reader: real layout, made by hand; and pickles that try to run something."""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.errors import InputError, ModelInvalid
from openhailo.pipeline.checkpoint import load_checkpoint, parse_checkpoint

MAGIC = 0x1950A86A20F9469CFC6C


class FloatStorage:
    """Pickled by name as ``torch.FloatStorage``."""


class LongStorage:
    """Pickled by name as ``torch.LongStorage``."""


def _rebuild_tensor_v2(*arguments):
    raise AssertionError("the writer does not call it")


class Tensor:
    """Pickles as PyTorch's tensors do."""

    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return _rebuild_tensor_v2, self.arguments


class Writer(pickle.Pickler):
    """Writes storages by reference."""

    def persistent_id(self, entry):
        if isinstance(entry, tuple) and entry and entry[0] == "STORAGE":
            _, kind, key, length = entry
            return ("storage", kind, key, "cpu", length, None)
        return None


@pytest.fixture(scope="module", autouse=True)
def torch_names():
    """While a test writes, the names that a checkpoint uses exist; the reader never imports them."""
    modules = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("torch._utils")}
    for kind in (FloatStorage, LongStorage):
        kind.__module__ = "torch"
        setattr(modules["torch"], kind.__name__, kind)
    _rebuild_tensor_v2.__module__ = "torch._utils"
    modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2
    sys.modules.update(modules)
    yield
    for name in modules:
        del sys.modules[name]


def checkpoint(content, storages, magic=MAGIC):
    out = io.BytesIO()
    for part in (magic, 1001, {"little_endian": True}):
        pickle.dump(part, out, protocol=2)
    Writer(out, protocol=2).dump(content)
    pickle.dump(list(storages), out, protocol=2)
    for values in storages.values():
        out.write(len(values).to_bytes(8, "little") + values.tobytes())
    return out.getvalue()


def good():
    values = np.arange(12, dtype=np.float32)
    counts = np.array([7], np.int64)
    content = OrderedDict(
        weight=Tensor(("STORAGE", FloatStorage, "1", 12), 0, (3, 4), (4, 1)),
        turned=Tensor(("STORAGE", FloatStorage, "1", 12), 2, (2, 3), (1, 4)),
        count=Tensor(("STORAGE", LongStorage, "2", 1), 0, (), ()),
        note="no tensor",
    )
    return checkpoint(content, {"1": values, "2": counts})


def test_tensors_come_out_with_their_strides():
    tensors = parse_checkpoint(good())
    assert sorted(tensors) == ["count", "turned", "weight"]
    assert tensors["weight"].tolist() == np.arange(12).reshape(3, 4).tolist()
    assert tensors["turned"].tolist() == [[2, 6, 10], [3, 7, 11]]
    assert tensors["count"] == 7
    assert tensors["turned"].flags.c_contiguous


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (3, 5), (5, 1)), (10, (3,), (1,)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (2, 2), (1,)), (0, (13,), (0,))],
)
def test_a_tensor_outside_its_storage_is_refused(offset, shape, strides):
    content = OrderedDict(a=Tensor(("STORAGE", FloatStorage, "1", 12), offset, shape, strides))
    with pytest.raises(ModelInvalid):
        parse_checkpoint(checkpoint(content, {"1": np.zeros(12, np.float32)}))


class Evil:
    """Runs a command when a careless reader loads it."""

    def __init__(self, function, *arguments):
        self.made = (function, arguments)

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize("function", [print, eval, __import__, getattr])
def test_nothing_but_tensors_is_called(function, capsys):
    with pytest.raises(ModelInvalid, match="which no checkpoint needs"):
        parse_checkpoint(checkpoint({"a": Evil(function, "1")}, {}))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02}r\xff\xff\xff\xff.", "memory slots"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.", "damaged"),
        (b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x00.", "instruction BYTEARRAY8"),
        (b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00idtR.", "os.system"),
    ],
)
def test_instructions_that_ask_for_memory_or_calls_are_refused(pickled, message):
    with pytest.raises(ModelInvalid, match=message):
        parse_checkpoint(pickled)


def test_other_files_and_cut_ones_are_refused():
    whole = good()
    for data in (b"", b"PK\x03\x04", whole[:-1], whole[:100], checkpoint({}, {}, magic=1), checkpoint([], {})):
        with pytest.raises(ModelInvalid):
            parse_checkpoint(data)
    wrong = checkpoint(
        OrderedDict(a=Tensor(("STORAGE", FloatStorage, "1", 3), 0, (2,), (1,))), {"1": np.zeros(2, np.float32)}
    )
    with pytest.raises(ModelInvalid, match="cut off"):
        parse_checkpoint(wrong)


@settings(max_examples=300, deadline=None)
@given(where=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_a_flipped_byte_gives_tensors_or_a_typed_error(where, byte):
    data = bytearray(good())
    data[where % len(data)] = byte
    try:
        parse_checkpoint(bytes(data))
    except ModelInvalid:
        return


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path / "missing.pth")
    (tmp_path / "good.pth").write_bytes(good())
    assert len(load_checkpoint(tmp_path / "good.pth")) == 3
