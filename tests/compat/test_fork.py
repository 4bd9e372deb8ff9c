"""Streams in forked children are those of the parent (hailo-platform-usage.md)."""

from __future__ import annotations

import os
import pickle
import signal

import numpy as np
import pytest

from hailo_platform import (
    HEF,
    FormatType,
    InputVStreamParams,
    InputVStreams,
    OutputVStreamParams,
    OutputVStreams,
    VDevice,
)
from hailo_platform.pyhailort import pyhailort as api


def in_child(work):
    """Run ``work`` in a forked child and return what it returned, or raise what it raised."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            answer = (None, work())
        except Exception as error:
            answer = (f"{type(error).__name__}: {error} {getattr(error, '__notes__', '')}", None)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        error, result = pickle.load(pipe)
    os.waitpid(child, 0)
    if error is not None:
        raise RuntimeError(error)
    return result


@pytest.fixture
def network(models):
    with VDevice() as vdevice:
        yield vdevice.configure(HEF(models.first))[0]


def stream(network, frames):
    ins = InputVStreamParams.make(network, format_type=FormatType.FLOAT32)
    outs = OutputVStreamParams.make(network, format_type=FormatType.FLOAT32)
    results = []
    with InputVStreams(network, ins) as inputs, OutputVStreams(network, outs) as outputs:
        for frame in frames:
            inputs.get().send(frame[None])
            results.append({each.name: each.recv() for each in outputs})
        inputs.get().flush()
        inputs.clear()
        assert inputs.get().shape == [8, 8, 1] and outputs.get("first/edges").dtype == np.float32
        with pytest.raises(api.HailoRTInvalidOperationException):
            outputs.get("first/edges").set_nms_score_threshold(0.5)
    return results


def test_a_child_streams(network, models):
    with network.activate():
        here = stream(network, models.pictures(3))
        for _ in range(2):
            there = in_child(lambda: stream(network, models.pictures(3)))
            for mine, theirs in zip(here, there, strict=True):
                for name, frame in mine.items():
                    np.testing.assert_array_equal(theirs[name], frame)


def test_errors_reach_the_child(network, models):
    with pytest.raises(RuntimeError, match="HailoRTTimeout"):
        in_child(lambda: network.wait_for_activation(1))
    with pytest.raises(RuntimeError, match=r"HailoRTNetworkGroupNotActivatedException.*activate the network group"):
        in_child(lambda: stream(network, models.pictures(1)))
    with pytest.raises(RuntimeError, match="HailoRTInvalidOperationException"):
        in_child(lambda: network.activate().__enter__())
    with network.activate():
        in_child(lambda: network.wait_for_activation(1000))


def test_a_child_that_dies_frees_its_streams(network, models):
    ins = InputVStreamParams.make(network, format_type=FormatType.FLOAT32)
    with network.activate():
        child = os.fork()
        if not child:
            InputVStreams(network, ins).__enter__()
            os._exit(0)
        os.waitpid(child, 0)
        for _ in range(3):
            assert in_child(lambda: len(stream(network, models.pictures(2)))) == 2


def test_the_parent_serves_no_more(network):
    network._configured_network.server.start()
    network._configured_network.server.close()
    network._configured_network.server.start = lambda: None
    with pytest.raises(RuntimeError, match=r"HailoCommunicationClosedException.*parent process is gone"):
        in_child(lambda: network.wait_for_activation(10))


def test_a_parent_that_dies_is_seen(models):
    """The parent of a child is killed while the child waits for a frame; a sibling lives on."""

    def parent():
        vdevice = VDevice()
        network = vdevice.configure(HEF(models.first))[0]
        outs = OutputVStreamParams.make(network)
        own = os.getpid()
        network.activate().__enter__()
        for role in ("sibling", "reader"):
            if not os.fork():
                if role == "sibling":
                    os.read(wait_reader, 1)
                    os._exit(0)
                with OutputVStreams(network, outs) as outputs:
                    os.kill(own, signal.SIGKILL)
                    try:
                        outputs.get("first/edges").recv()
                    except api.HailoCommunicationClosedException as error:
                        os.write(told_writer, error.__notes__[0].encode())
                os._exit(0)
        os.wait()

    wait_reader, wait_writer = os.pipe()
    told_reader, told_writer = os.pipe()
    child = os.fork()
    if not child:
        parent()
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(told_reader, 100) == b"the parent process is gone"
    os.write(wait_writer, b"x")
    for descriptor in (wait_reader, wait_writer, told_reader, told_writer):
        os.close(descriptor)
