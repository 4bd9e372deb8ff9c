"""The byte container, and a mirror of a server that is one on the loopback."""

from __future__ import annotations

import base64
import http.server
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhailo.burst import Engine, Network, Neurons, Synapses
from openhailo.errors import DeviceNotFound, DeviceTimeout, InputError
from openhailo.feagi.agent import CONNECTOME_PATH, Mirror, download_connectome
from openhailo.feagi.connectome import Connectome, build_json, parse_json
from openhailo.feagi.container import (
    AreaPoints,
    Container,
    build_container,
    build_xyzp,
    parse_container,
    parse_xyzp,
)

EYE, HAND = b"ieye0000", b"ohand000"


def points(cortical_id: bytes, places: list[tuple[int, int, int]], p: float | list[float] = 30.0) -> AreaPoints:
    x, y, z = np.array(places, np.uint32).reshape(-1, 3).T
    return AreaPoints(cortical_id, x, y, z, np.broadcast_to(np.asarray(p, np.float32), len(places)))


def test_the_bytes_of_a_container_are_those_of_the_page() -> None:
    """Field by field from feagi.md 11, by hand."""
    structure = bytes([11, 1]) + struct.pack("<H", 1) + EYE + struct.pack("<II", 20, 32)
    structure += struct.pack("<2I2I2I2f", 1, 2, 3, 4, 5, 6, 0.5, -1.5)
    message = bytes([4, 0x34, 0x12, 1]) + b"agent_id" + struct.pack("<I", len(structure)) + structure
    area = points(EYE, [(1, 3, 5), (2, 4, 6)], [0.5, -1.5])
    assert build_xyzp([area]) == structure
    assert build_container(Container((structure,), b"agent_id", 0x1234)) == message
    container = parse_container(message)
    assert (container.agent_id, container.counter, container.structures) == (b"agent_id", 0x1234, (structure,))
    (again,) = parse_xyzp(container.structures[0])
    assert again.cortical_id == EYE
    assert [again.x.tolist(), again.y.tolist(), again.z.tolist()] == [[1, 2], [3, 4], [5, 6]]
    assert again.p.tolist() == [0.5, -1.5]


areas = st.lists(st.tuples(st.binary(min_size=8, max_size=8), st.integers(0, 5), st.integers(0, 2**32 - 1)), max_size=4)


@given(areas, st.booleans(), st.integers(0, 65535), st.lists(st.binary(min_size=2, max_size=9), max_size=3))
def test_what_is_written_is_read(given_areas, from_data: bool, counter: int, others: list[bytes]) -> None:
    made = [points(name, [(seed, seed // 3, 7)] * count, seed / 7) for name, count, seed in given_areas]
    structures = (build_xyzp(made, from_data=from_data), *others)
    container = parse_container(build_container(Container(structures, b"12345678", counter)))
    assert container == Container(structures, b"12345678", counter)
    for wanted, got in zip(made, parse_xyzp(container.structures[0]), strict=True):
        assert wanted.cortical_id == got.cortical_id
        for name in "xyzp":
            assert getattr(wanted, name).tobytes() == getattr(got, name).tobytes()


@given(st.binary(max_size=80), st.integers(0, 90))
@settings(max_examples=400)
def test_noise_is_refused_or_read_completely(noise: bytes, cut: int) -> None:
    good = build_container(Container((build_xyzp([points(EYE, [(1, 2, 3)])]),)))
    for data in (noise, b"\x04" + noise, good[:cut], good + noise):
        try:
            container = parse_container(data)
        except InputError:
            assert data != good
        else:
            assert build_container(container) == data


GOOD = build_xyzp([points(EYE, [(1, 2, 3)]), points(HAND, [(0, 0, 0)] * 2)])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda: parse_container(b"\x03" + bytes(11)), "version 3"),
        (lambda: parse_container(bytes([4, 0, 0, 200]) + bytes(8)), "lengths of 200"),
        (lambda: parse_container(bytes([4, 0, 0, 1]) + bytes(8) + b"\1\0\0\0\x0b"), "add up"),
        (lambda: parse_container(bytes([4, 0, 0, 1]) + bytes(8) + b"\xff\xff\xff\xff"), "add up"),
        (lambda: parse_xyzp(b"\x0c" + GOOD[1:]), "no XYZP"),
        (lambda: parse_xyzp(GOOD[:30]), "heads of 2 areas"),
        (lambda: parse_xyzp(GOOD + b"\0"), "1 bytes behind"),
        (lambda: parse_xyzp(GOOD[:12] + struct.pack("<I", 37) + GOOD[16:]), "expected at 36"),
        (lambda: parse_xyzp(GOOD[:16] + struct.pack("<I", 15) + GOOD[20:]), "15 bytes at 36"),
        (lambda: parse_xyzp(GOOD[:16] + struct.pack("<I", 0xFFFFFFF0) + GOOD[20:]), "4294967280 bytes"),
        (lambda: build_container(Container((b"\0",))), "2 bytes"),
        (lambda: build_container(Container((), b"short")), "id of 8"),
        (lambda: build_container(Container((), bytes(8), 65536)), "counter"),
        (lambda: build_container(Container((b"ab",) * 256)), "255"),
        (lambda: points(b"short", []), "cortical id"),
        (lambda: AreaPoints(EYE, np.array([1.5]), np.array([1]), np.array([1]), np.array([1.0])), "whole"),
        (lambda: AreaPoints(EYE, np.array([-1]), np.array([1]), np.array([1]), np.array([1.0])), "whole"),
        (lambda: AreaPoints(EYE, np.array([1]), np.array([1, 2]), np.array([1]), np.array([1.0])), "equally long"),
    ],
)
def test_damage_is_named(damage, words: str) -> None:
    with pytest.raises(InputError, match=words):
        damage()


def small_brain() -> Connectome:
    """Four neurons of an eye, each wired to one of a hand; two share a place."""
    neurons = Neurons.create(8, threshold=10.0, leak=0.0, area=np.repeat([3, 4], 4))
    synapses = Synapses.from_edges(8, np.arange(4), np.arange(4, 8), weight=4, psp=5)
    coordinates = [0, 0, 0, 1, 0, 0, 1, 2, 0, 1, 2, 0, 5, 0, 0, 6, 0, 0, 7, 0, 1, 8, 0, 2]
    names = {3: base64.b64encode(EYE).decode(), 4: base64.b64encode(HAND).decode()}
    return Connectome(Network(neurons, synapses), 7, names, {"neurons": {"coordinates": coordinates}})


@contextmanager
def server(answer: bytes, status: int = 200, drip: threading.Event | None = None) -> Iterator[tuple[str, list[str]]]:
    """A server on the loopback that gives ``answer`` to everything; with ``drip`` it stops in the middle until then."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if drip is not None:
                self.wfile.write(answer[:5])
                self.wfile.flush()
                drip.wait(60)
                return
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_port}", asked
        finally:
            if drip is not None:
                drip.set()
            made.shutdown()
            thread.join()


def test_a_mirror_of_a_server_fires_what_an_engine_fires() -> None:
    with server(build_json(small_brain())) as (url, asked):
        connectome = download_connectome(url)
    assert asked == [CONNECTOME_PATH]
    assert connectome.burst_count == 7
    mirror, engine = Mirror(connectome, agent_id=b"mirror01"), Engine(small_brain().network)
    assert mirror.cortical_ids == (EYE, HAND)
    message = build_container(
        Container((b"\x01\x01other", build_xyzp([points(EYE, [(0, 0, 0), (1, 2, 0), (9, 9, 9)])])))
    )
    mirror.offer(build_container(Container((build_xyzp([points(EYE, [(1, 0, 0)])]),))))
    mirror.offer(message)
    assert mirror.step().fired.tolist() == engine.step(([0, 2, 3], [30.0] * 3)).fired.tolist() == [0, 2, 3]
    assert mirror.dropped == 1
    (eye,) = parse_xyzp(parse_container(mirror.motor()).structures[0])
    assert (eye.cortical_id, eye.x.tolist(), eye.y.tolist()) == (EYE, [0, 1, 1], [0, 2, 2])
    assert mirror.step().fired.tolist() == engine.step().fired.tolist() == [4, 6, 7]
    container = parse_container(mirror.motor([HAND]))
    assert (container.agent_id, container.counter) == (b"mirror01", 1)
    (hand,) = parse_xyzp(container.structures[0])
    assert [hand.x.tolist(), hand.z.tolist()] == [[5, 7, 8], [0, 1, 2]]
    np.testing.assert_allclose(hand.p, 203 / 254 * 150 - 100, rtol=1e-5)  # 20.0 is code 76 (feagi.md 3)
    assert parse_xyzp(parse_container(mirror.motor([EYE])).structures[0]) == ()


def test_areas_and_places_that_are_not_there_are_counted() -> None:
    mirror = Mirror(small_brain())
    areas = [points(b"nowhere0", [(0, 0, 0)] * 3), points(EYE, [(2**32 - 1, 0, 0), (0, 0, 0)])]
    mirror.offer(build_container(Container((build_xyzp(areas),))))
    assert mirror.step().fired.tolist() == [0]
    assert mirror.dropped == 4


def test_damaged_messages_leave_the_mirror_alone() -> None:
    mirror = Mirror(small_brain())
    mirror.offer(build_container(Container((build_xyzp([points(EYE, [(0, 0, 0)])]),))))
    with pytest.raises(InputError):
        mirror.offer(b"\x04")
    assert mirror.step().fired.tolist() == [0]
    with pytest.raises(InputError, match="not in the connectome"):
        mirror.motor([b"nowhere0"])


def test_errors_of_a_server_are_typed() -> None:
    with server(b"no", 404) as (url, _), pytest.raises(InputError, match="404"):
        download_connectome(url)
    with server(b"{}") as (url, _), pytest.raises(InputError):
        download_connectome(url)
    with server(b"[" * 5000) as (url, _), pytest.raises(InputError, match="more than 100"):
        download_connectome(url, max_bytes=100)
    with pytest.raises(DeviceNotFound, match="start FEAGI"):
        download_connectome(url)


def test_a_server_that_drips_is_given_up() -> None:
    drip = threading.Event()
    with server(b"x" * 100, drip=drip) as (url, _), pytest.raises(DeviceTimeout, match="busy"):
        download_connectome(url, budget_s=0.2)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "http://[::1", "http://h:99999", "h:1", "http://h/x"])
def test_only_addresses_of_servers_are_taken(url: str) -> None:
    with pytest.raises(InputError, match="url"):
        download_connectome(url)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"neurons": {}}, "place each"),
        ({"neurons": {"coordinates": [0.5] * 24}}, "place each"),
        ({"neurons": {"coordinates": [1 << 30] * 24}}, "1048575"),
        ({"neurons": {"coordinates": [-1] * 24}}, "1048575"),
        ({"neurons": {"coordinates": [[1], 2] * 12}}, "no numbers"),
    ],
)
def test_connectomes_without_places_are_refused(change: dict, words: str) -> None:
    brain = small_brain()
    brain.extra = change
    with pytest.raises(InputError, match=words):
        Mirror(brain)


def test_ids_that_are_none_are_refused() -> None:
    brain = small_brain()
    brain.area_names[3] = "eye"
    with pytest.raises(InputError, match="no id of 8"):
        Mirror(brain)
    with pytest.raises(InputError, match="agent_id"):
        Mirror(small_brain(), agent_id=b"x")


@pytest.mark.facts
@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_a_mirror_of_a_real_server_s_connectome(shared_dir: Path, name: str) -> None:
    data = (shared_dir / "data" / f"feagi_connectome_{name}.json").read_bytes()
    with server(data) as (url, _):
        mirror = Mirror(download_connectome(url))
    names = json.loads(data)["cortical_area_names"]
    area = base64.b64decode(names["3"])
    assert area in mirror.cortical_ids
    mirror.offer(build_container(Container((build_xyzp([points(area, [(0, 0, 0), (1, 1, 0)], 40.0)]),))))
    first, second = mirror.step().fired.tolist(), mirror.step().fired.tolist()
    engine = Engine(parse_json(data).network)
    stimulated = [3, 6]  # the voxels (0, 0, 0) and (1, 1, 0) of area 3 in the file
    assert first == engine.step((stimulated, [40.0, 40.0])).fired.tolist()
    assert set(stimulated) <= set(first)
    assert second == engine.step().fired.tolist()
