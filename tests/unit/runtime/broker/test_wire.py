"""Packets: bounded, whole, with one descriptor at most."""

from __future__ import annotations

import array
import os
import socket
from pathlib import Path

import pytest

from openhailo.errors import MalformedMessage
from openhailo.runtime.broker import wire
from openhailo.runtime.broker.wire import FramesKind, Kind


@pytest.fixture
def pair():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one, other


def open_fds():
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_a_message_and_its_descriptor(pair):
    reader, writer = os.pipe()
    wire.send(pair[0], Kind.PUT, 7, b"body", writer)
    got = wire.receive(pair[1])
    os.write(got.fd, b"x")
    assert os.read(reader, 1) == b"x"
    assert (got.kind, got.ident, got.body) == (Kind.PUT, 7, b"body")
    assert not os.get_inheritable(got.fd)
    for fd in (reader, writer, got.fd):
        os.close(fd)


def test_the_end(pair):
    pair[0].close()
    assert wire.receive(pair[1]) is None


@pytest.mark.parametrize(
    "packet",
    [
        b"o",
        b"ohbk",
        b"nope" + bytes(8),
        b"ohbk" + b"\1\0" + b"\1\0" + bytes(4),
        wire.build_packet(1, 1, b"") + bytes(wire.MAX_BODY_BYTES + 1),
        wire.build_packet(1, 1, b"") + bytes(wire.MAX_BODY_BYTES + 5000),
    ],
)
def test_packets_that_are_refused(pair, packet):
    pair[0].send(packet)
    with pytest.raises(MalformedMessage):
        wire.receive(pair[1])


@pytest.mark.parametrize("count", [2, 3, 60])
def test_surplus_descriptors_are_refused_and_closed(pair, count):
    before = open_fds()
    fds = array.array("i", [pair[0].fileno()] * count)
    pair[0].sendmsg([wire.build_packet(1, 1, b"")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    with pytest.raises(MalformedMessage):
        wire.receive(pair[1])
    assert open_fds() == before


def test_the_descriptor_of_a_packet_that_is_refused_is_closed(pair):
    before = open_fds()
    pair[0].sendmsg([b"?"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
    with pytest.raises(MalformedMessage):
        wire.receive(pair[1])
    assert open_fds() == before


def test_messages_about_frames():
    assert wire.parse_frames(wire.build_frames(FramesKind.DONE, 3, 9) + b"why") == (FramesKind.DONE, 3, 9, b"why")


@pytest.mark.parametrize("packet", [b"", b"ohbk", b"nope" + bytes(12), b"ohbk" + b"\x09" + bytes(11)])
def test_messages_about_frames_that_are_refused(packet):
    with pytest.raises(MalformedMessage):
        wire.parse_frames(packet)
