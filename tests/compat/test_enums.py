"""Enumerations behave like those of a compiled module (pyhailort-api.md 4)."""

from __future__ import annotations

import copy
import pickle

import pytest

from hailo_platform import FormatType, HailoSchedulingAlgorithm, HailoStreamInterface
from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort.pyhailort import DeviceArchitectureTypes, FormatOrder


def test_text_and_number():
    assert str(FormatType.UINT8) == "FormatType.UINT8"
    assert str(FormatType.UINT8).split(".")[1].lower() == "uint8"
    assert repr(FormatType.UINT8) == "<FormatType.UINT8: 1>"
    assert (FormatType.FLOAT32.name, FormatType.FLOAT32.value, int(FormatType.FLOAT32)) == ("FLOAT32", 3, 3)
    assert FormatOrder.__members__["12_BIT_BAYER_RGB"] == getattr(FormatOrder, "12_BIT_BAYER_RGB") == 8


def test_equality_and_hash():
    assert FormatType(1) == FormatType.UINT8 == 1
    assert FormatType.UINT8 != FormatType.UINT16
    assert FormatType.UINT8 != FormatOrder.NHWC
    assert hash(FormatType.UINT16) == 2
    assert {FormatType.UINT8: "a"}[FormatType(1)] == "a"


def test_a_number_without_a_name():
    unknown = FormatType(77)
    assert (int(unknown), unknown.name, str(unknown)) == (77, "???", "FormatType.???")


def test_subclasses_of_the_python_part_are_empty():
    member = HailoSchedulingAlgorithm.ROUND_ROBIN
    assert type(member) is bound.SchedulingAlgorithm
    assert not isinstance(member, HailoSchedulingAlgorithm)
    assert isinstance(HailoSchedulingAlgorithm(1), HailoSchedulingAlgorithm)
    assert HailoSchedulingAlgorithm(1) == member


def test_members_travel():
    for clone in (pickle.loads(pickle.dumps(FormatOrder.NC)), copy.deepcopy(FormatOrder.NC), copy.copy(FormatOrder.NC)):
        assert clone == FormatOrder.NC
        assert type(clone) is FormatOrder


def test_members_do_not_change():
    with pytest.raises(AttributeError, match="cannot be changed"):
        FormatType.UINT8.value = 3


def test_a_wrong_spelling_is_explained():
    with pytest.raises(AttributeError, match=r"did you mean HailoStreamInterface\.PCIe"):
        HailoStreamInterface.PCIE  # noqa: B018
    assert not hasattr(HailoStreamInterface, "pcie") and hasattr(HailoStreamInterface, "PCIe")


def test_architectures_print_their_name():
    assert str(DeviceArchitectureTypes.HAILO8L) == "HAILO8L"
    assert DeviceArchitectureTypes.HAILO8 == 1
