"""Clients that break the rules: they are refused or shown out, and nobody else notices."""

from __future__ import annotations

import hashlib
import os
import socket
import stat

import numpy as np
import pytest

from openhailo.errors import DeviceBusy, InputError, StateError, VersionUnsupported
from openhailo.hef import write
from openhailo.runtime.broker import messages as m
from openhailo.runtime.broker import wire
from openhailo.runtime.broker.client import Connection
from openhailo.runtime.broker.limits import Limits, Patience
from openhailo.runtime.broker.memory import SharedMemory
from openhailo.runtime.broker.place import Lock, runtime_dir
from openhailo.runtime.broker.server import BrokerServer
from openhailo.runtime.broker.virtual import open_shared
from openhailo.runtime.broker.wire import FramesKind, Kind
from openhailo.runtime.formats import FormatType
from openhailo.runtime.vdevice import VirtualDeviceOptions

from .conftest import WAIT_S, Broker, Peer, wish


@pytest.fixture(scope="module")
def file(net):
    content = write(net[0])
    return content, hashlib.sha256(content).hexdigest()


@pytest.fixture
def client(broker):
    with open_shared(broker.path, [], VirtualDeviceOptions(), start=False) as vdevice:
        yield vdevice


@pytest.fixture
def described(broker, net):
    """The description of the network as the broker has it."""
    with broker.vdevice.devices[0].load(net[0], host_ops=False) as network:
        return network.description


def works(vdevice, net):
    hef, frames, want = net
    with vdevice.create_infer_model(hef).configure() as model:
        got = model.submit(frames).result(WAIT_S)[model.outputs[0].name]
        np.testing.assert_array_equal(got.reshape(64, -1), want.reshape(64, -1))


def configured(peer, file, described, **changes):
    """Configure a network; return (memory, socket of frames), or the refusal."""
    peer.put(*file)
    wanted = wish(described, **{"digest": file[1], **changes})
    memory = SharedMemory.create(wish(described, file[1]).memory_bytes)
    reply = peer.ask(Kind.CONFIGURE, wanted, memory.fd)
    memory.forget_descriptor()
    return reply if isinstance(reply, m.Refusal) else (memory, socket.socket(fileno=reply.fd))


def test_frames_and_figures_of_a_client(client, net):
    works(client, net)
    hef, frames, _ = net
    with client.create_infer_model(hef, measure_latency=True).configure() as model:
        model.set_scheduler_priority(18)
        model.submit(frames).result(WAIT_S)
        figures = model.statistics()
        assert figures.frames == 64
        assert figures.turns > 0
        assert model.latency().frames > 0
        assert model.group.scheduling.priority == 18
    state = client.statistics()
    assert [device.name for device in state.devices] == ["twin:"]
    assert state.devices[0].in_flight == 0


def test_a_network_is_called_and_sensors_are_read(client, net):
    hef, frames, want = net
    device = client.devices[0]
    assert device.sensors().temperature_c > 0
    with device.load(hef) as network:
        np.testing.assert_array_equal(network(frames, raw=True)["first/y"].reshape(64, -1), want.reshape(64, -1))
        for call in (network.measure_core, network.action_lists, device.reset, device.reset_core):
            with pytest.raises(StateError, match="shared through a broker"):
                call()
    with pytest.raises(StateError, match="shared through a broker"):
        device.firmware.reset_applications()
    with pytest.raises(InputError, match="numerics"):
        device.load(hef, reference=lambda inputs, frame: {})


def test_formats_are_chosen(client, net):
    hef, frames, want = net
    model = client.create_infer_model(hef)
    model.output().set_format_type(FormatType.FLOAT32)
    with model.configure() as ready:
        got = ready.submit(frames[0]).result(WAIT_S)["first/y"]
        assert got.dtype == np.float32
        quantization = ready.outputs[0].quantization
        real = (want[0].astype(np.float32) - quantization.zero_point) * quantization.scale
        np.testing.assert_allclose(got.reshape(-1), real.reshape(-1), rtol=1e-6)


def test_the_same_network_of_two_clients_is_configured_once(broker, client, net):
    with open_shared(broker.path, [], VirtualDeviceOptions(), start=False) as other:
        works(client, net)
        works(other, net)
        for _ in range(40):  # firmware takes 32 networks until all of them are gone
            with other.create_infer_model(net[0]).configure():
                pass
        works(client, net)
    assert len(broker.vdevice.devices[0].networks) == 1


def test_a_file_is_sent_once(broker, client, net):
    device = client.devices[0]
    content = write(net[0])
    digest = device.offer(content)
    assert digest == hashlib.sha256(content).hexdigest()
    assert broker.server.models.knows(digest)
    assert not broker.server.models.knows("0" * 64)


def test_other_versions(broker, client, net):
    with pytest.raises(VersionUnsupported, match="everywhere, then end the broker"):
        Connection(broker.path, protocol=wire.PROTOCOL + 1)
    works(client, net)


def test_there_is_one_broker_per_socket(broker):
    with pytest.raises(DeviceBusy, match="a broker is there already"):
        BrokerServer(broker.vdevice, broker.path)


def test_who_may_enter(broker, folder):
    assert stat.S_IMODE(broker.path.stat().st_mode) == 0o600
    other = BrokerServer(broker.vdevice, folder / "g.sock", group=os.getegid())
    assert stat.S_IMODE((folder / "g.sock").stat().st_mode) == 0o660
    other.close()
    assert not (folder / "g.sock").exists()


def test_a_folder_that_others_may_enter_is_not_used(folder, monkeypatch):
    (folder / "openhailo").mkdir(mode=0o755)
    (folder / "openhailo").chmod(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with pytest.raises(Exception, match="0700"):
        runtime_dir()


def test_a_lock_has_one_owner(folder):
    first, second = Lock(folder / "l"), Lock(folder / "l")
    assert first.take(wait=False)
    assert not second.take(wait=False)
    first.release()
    assert second.take(wait=False)
    second.release()


def test_hello_comes_first(broker):
    peer = Peer(broker.path, greet=False)
    assert peer.ask(Kind.DEVICES, m.Nothing()).type == "MalformedMessage"
    assert peer.is_shown_out
    peer.close()


@pytest.mark.parametrize(
    ("kind", "body"),
    [(77, b"{}"), (Kind.DONE, b"{}"), (Kind.HAVE, b"{}"), (Kind.CONFIGURE, b'{"digest": 1}'), (Kind.PUT, b"\xff")],
)
def test_nonsense_ends_the_talk(peer, client, net, kind, body):
    assert peer.ask(kind, body).type == "MalformedMessage"
    assert peer.is_shown_out
    works(client, net)


def test_packets_that_are_no_messages_end_the_talk(peer, client, net):
    peer.socket.send(b"?" * 100)
    assert peer.is_shown_out
    works(client, net)


@pytest.mark.parametrize("broker", [{"refusals": 5, "refusals_per_s": 0.0}], indirect=True)
def test_too_many_refusals_end_the_talk(peer, client, net):
    for _ in range(5):
        assert peer.ask(Kind.RELEASE, m.Which(99)).type == "InputError"
    assert peer.is_shown_out
    works(client, net)


def test_patience_comes_back():
    now = [0.0]
    patience = Patience(Limits(refusals=3, refusals_per_s=1.0), lambda: now[0])
    assert [patience.spend() for _ in range(3)] == [True, True, False]
    now[0] = 2.5
    assert patience.spend()


def test_files_that_are_not_what_they_say(peer, file):
    assert peer.put(file[0], "0" * 64).type == "MalformedMessage"


def test_files_that_are_no_hef(peer, client, net):
    content = bytes(1000)
    assert peer.put(content, hashlib.sha256(content).hexdigest()).type == "NotAHef"
    works(client, net)


@pytest.mark.parametrize("request_hex", ["", "00" * 19, "zz", "00" * 12 + "00000007" + "00" * 4, "ff" * 20])
@pytest.mark.parametrize("device", [-1, 0, 5])
def test_controls_that_are_not_for_clients(peer, device, request_hex):
    reply = peer.ask(Kind.CONTROL, m.Control(device, 0, 1.0, request_hex))
    assert isinstance(reply, m.Refusal)


@pytest.mark.parametrize("broker", [{"models_per_client": 1}], indirect=True)
def test_a_client_has_so_many_models(peer, file, described):
    _, frames = configured(peer, file, described)
    assert "models of a client" in configured(peer, file, described).message
    frames.close()


@pytest.mark.parametrize("broker", [{"memory_per_client": 4096}], indirect=True)
def test_a_client_has_so_much_memory(peer, file, described):
    assert "bytes of shared memory" in configured(peer, file, described).message


@pytest.mark.parametrize("broker", [{"clients": 1}], indirect=True)
def test_there_are_so_many_clients(broker, peer):
    other = Peer(broker.path, greet=False)
    assert other.is_shown_out
    other.close()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"digest": "1" * 64}, "InputError"),
        ({"group": "nobody"}, "InputError"),
        ({"depth": 4}, "MalformedMessage"),
        ({"depth": 0}, "MalformedMessage"),
        ({"depth": 7}, "MalformedMessage"),
        ({"memory_bytes": 1 << 20}, "MalformedMessage"),
        ({"slots": ()}, "MalformedMessage"),
        ({"batch_size": 9999}, "InputError"),
        ({"queue_transfers": 0}, "InputError"),
        ({"timeout_s": 0.0}, "InputError"),
    ],
)
def test_wishes_that_do_not_fit(peer, client, net, file, described, changes, kind):
    reply = configured(peer, file, described, **changes)
    assert reply.type == kind, reply.message
    works(client, net)


def test_memory_that_is_not_sealed(peer, file, described):
    peer.put(*file)
    wanted = wish(described, file[1])
    fd = os.memfd_create("bad")
    os.ftruncate(fd, wanted.memory_bytes)
    assert "sealed" in peer.ask(Kind.CONFIGURE, wanted, fd).message
    os.close(fd)


@pytest.mark.parametrize(
    "packet",
    [
        b"x",
        wire.build_frames(FramesKind.RUN, 0, 9),
        wire.build_frames(FramesKind.RUN, 0, 0),
        wire.build_frames(FramesKind.RUN, 1, 1),
        wire.build_frames(FramesKind.DONE, 0, 1),
        wire.build_frames(FramesKind.RUN, 0, 1) + b"x",
    ],
)
def test_rings_that_are_overrun_end_the_talk(peer, client, net, file, described, packet):
    _, frames = configured(peer, file, described)
    frames.send(packet)
    assert peer.is_shown_out
    frames.close()
    works(client, net)


def test_a_client_that_does_not_read_is_shown_out(peer, client, net, file, described):
    """News of frames must not fill the broker's memory: what does not fit into the socket ends the talk."""
    _, frames = configured(peer, file, described)
    frames.setblocking(True)
    frames.settimeout(WAIT_S)
    run = wire.build_frames(FramesKind.RUN, 0, 1)
    try:
        for number in range(5000):
            if number >= 8:
                wait_for_a_frame(client)
            frames.send(run)
    except OSError:
        pass
    assert peer.is_shown_out
    frames.close()
    works(client, net)


def wait_for_a_frame(client):
    """Wait until the broker is done with what it has: asking takes longer than a frame."""
    while any(device.in_flight for device in client.statistics().devices):
        pass


def test_rings_begin_anew(peer, file, described, net):
    _, frames = configured(peer, file, described)
    frames.settimeout(WAIT_S)
    for epoch in range(3):
        frames.send(wire.build_frames(FramesKind.RUN, epoch, 8))
        done = 0
        while done < 8:
            kind, seen, count, _ = wire.parse_frames(frames.recv(100))
            assert (kind, seen) == (FramesKind.DONE, epoch)
            done += count
        assert m.from_bytes(m.Restarted, peer.ask(Kind.RESTART, m.Which(1)).body).epoch == epoch + 1
    frames.send(wire.build_frames(FramesKind.RUN, 1, 8))
    frames.send(wire.build_frames(FramesKind.RUN, 3, 1))
    kind, seen, count, _ = wire.parse_frames(frames.recv(100))
    assert (kind, seen, count) == (FramesKind.DONE, 3, 1)
    frames.close()


def test_priorities_count_at_the_next_broker_too(broker, net, folder):
    """Another broker has the socket now; the model is configured there with the next frames, as it was."""
    hef, frames, _ = net
    with (
        open_shared(broker.path, [], VirtualDeviceOptions(), start=False) as vdevice,
        vdevice.create_infer_model(hef).configure() as model,
    ):
        model.set_scheduler_priority(25)
        broker.close()
        other = Broker(broker.path)
        try:
            model.submit(frames).result(WAIT_S)
            known = [group.scheduling.priority for group in other.vdevice.network_groups]
            assert sorted(known) == [16, 25]
        finally:
            vdevice.close()
            other.close()
