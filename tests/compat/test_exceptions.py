"""Which exception a program gets, with what text (pyhailort-api.md 3)."""

from __future__ import annotations

import pytest

from hailo_platform import HEF, ConfigureParams, Device, HailoRTException, HailoStreamInterface, VDevice
from hailo_platform.pyhailort import _pyhailort as bound
from hailo_platform.pyhailort import pyhailort as api
from openhailo import errors as oh

CLASSES = {
    2: "HailoRTInvalidArgumentException",
    4: "HailoRTTimeout",
    6: "HailoRTInvalidOperationException",
    15: "InvalidProtocolVersionException",
    18: "HailoRTFirmwareControlFailedException",
    19: "HailoRTEthException",
    21: "UdpRecvError",
    25: "HailoRTInvalidFrameException",
    26: "HailoRTInvalidHEFException",
    36: "HailoRTDriverOperationFailedException",
    48: "HailoRTUnsupportedOpcodeException",
    61: "HailoRTNotFoundException",
    62: "HailoCommunicationClosedException",
    63: "HailoRTStreamAborted",
    69: "HailoRTNetworkGroupNotActivatedException",
    93: "HailoRTHEFNotCompatibleWithDevice",
}


@pytest.mark.parametrize("status", range(1, 94))
def test_status_to_exception(status):
    original = bound.HailoRTStatusException(str(status))
    original.add_note("the reason")
    with pytest.raises(HailoRTException) as caught, api.ExceptionWrapper():
        raise original
    assert type(caught.value).__name__ == CLASSES.get(status, "HailoRTException")
    name = bound.get_status_message(status)
    assert str(caught.value) == f"libhailort failed with error: {status} ({name})"
    assert caught.value.__cause__ is original
    assert caught.value.__notes__ == ["the reason"]
    assert type(api.ExceptionWrapper.create_exception_from_status(status)) is type(caught.value)
    assert type(caught.value).__module__ == "hailo_platform.pyhailort.pyhailort"


def test_other_exceptions_pass():
    with pytest.raises(KeyError), api.ExceptionWrapper():
        raise KeyError("mine")
    with pytest.raises(bound.HailoRTStatusException, match="words"), api.ExceptionWrapper():
        raise bound.HailoRTStatusException("words")


def test_the_binding_has_a_tree_of_its_own():
    for kind in (bound.HailoRTException, bound.HailoRTStatusException, bound.HailoRTCustomException):
        assert kind.__bases__ == (Exception,)
    assert api.HailoRTPCIeDriverException is api.HailoRTDriverOperationFailedException


def test_status_messages():
    assert api.get_status_message(4) == "HAILO_TIMEOUT"
    assert bound.get_status_message(94) == bound.get_status_message(-1) == ""
    with pytest.raises(api.HailoStatusInvalidValueException, match="94 is not a valid status"):
        api.get_status_message(94)


ERRORS = [
    (oh.DeviceNotFound(name="x"), 2),
    (oh.BrokerLost(name="x", detail="y"), 77),
    (oh.AccessDenied(name="x", hint="y"), 36),
    (oh.DeviceBusy(name="x", detail="y"), 73),
    (oh.DeviceLost(name="x", detail="y"), 36),
    (oh.DmaMapError(detail="x"), 3),
    (oh.VersionUnsupported(component="d", version="1", supported="2"), 76),
    (oh.DeviceTimeout(what="x", budget_s=1, elapsed_s=1), 4),
    (oh.ControlFailed(opcode=1, opcode_name="x", major=1, minor=2), 18),
    (oh.ControlFailed(opcode=1, opcode_name="x", major=1, minor=2, major_name="A_UNSUPPORTED_OPCODE"), 48),
    (oh.MalformedReply(what="x", detail="y"), 17),
    (oh.BadImage(detail="x"), 23),
    (oh.BadChecksum(kind="md5", expected="1", seen="2"), 91),
    (oh.UnsupportedHef(feature="x"), 92),
    (oh.NotAHef(detail="x"), 26),
    (oh.DoesNotFit(resource="x", need=2, have=1), 71),
    (oh.ShapeMismatch(name="x", expected=(1,), seen=(2,)), 2),
    (oh.QueueFull(name="x", depth=1), 82),
    (oh.Cancelled(what="x", reason="y"), 63),
    (oh.NoReference(name="x"), 79),
    (oh.StateError(what="x", state="y", hint="z"), 6),
    (oh.InputError(what="x", detail="y"), 2),
    (ValueError("anything else"), 8),
]


@pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda value: type(value).__name__)
def test_errors_of_openhailo_have_a_status(error, status):
    assert bound.status_of(error) == status


def test_hefs_that_cannot_be_used(models, tmp_path):
    with pytest.raises(HailoRTException, match=r"13 \(HAILO_OPEN_FILE_FAILURE\)"):
        HEF(str(tmp_path / "missing.hef"))
    with pytest.raises(api.HailoRTInvalidHEFException):
        HEF(b"this is no HEF")
    damaged = bytearray((models.folder / "first.hef").read_bytes())
    damaged[-1] ^= 1
    with pytest.raises(HailoRTException, match=r"91 \(HAILO_HEF_FILE_CORRUPTED\)"):
        HEF(bytes(damaged))
    with VDevice() as vdevice:
        # The other way round works: a Hailo-8 runs what was compiled for a Hailo-8L.
        assert vdevice.configure(HEF(models.small8l))


def test_a_hef_for_another_chip(models, monkeypatch):
    monkeypatch.setenv("OPENHAILO_DEVICE", "twin:hailo8l")
    hef = HEF(models.first)
    with VDevice() as vdevice:
        with pytest.raises(api.HailoRTHEFNotCompatibleWithDevice) as caught:
            vdevice.configure(hef, ConfigureParams.create_from_hef(hef, HailoStreamInterface.PCIe))
        assert "openhailo compile" in caught.value.__notes__[0]
        with pytest.raises(api.HailoRTHEFNotCompatibleWithDevice):
            vdevice.create_infer_model(models.first)


def test_raw_statuses_that_the_original_leaks(models, raises_status):
    hef = HEF(models.first)
    for call in (hef.get_input_vstream_infos, hef.get_output_stream_infos, hef.get_all_vstream_infos):
        with raises_status(61):
            call("no such network")
    with raises_status(2):
        Device("0000:99:00.0")
    with VDevice() as vdevice:
        network = vdevice.configure(hef)[0]
        with raises_status(6):
            network.set_scheduler_threshold(1)
    with raises_status(8):
        _ = network.name
