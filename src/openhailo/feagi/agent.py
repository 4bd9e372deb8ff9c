"""A mirror of a running FEAGI: its connectome over REST, its sensory messages in, motor messages out (feagi.md 11).

::

    mirror = Mirror(download_connectome("http://127.0.0.1:8000"))
    mirror.offer(message)                        # bytes of a sensory container, from whatever transport
    mirror.step()
    answer = mirror.motor([b"opu_____"])         # bytes of a container with what fired in that area

FEAGI carries these bytes over ZMQ or WebSocket; ports and topics are not among the known facts, so the transport is the
caller's. As in FEAGI only the latest message before a burst counts.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from openhailo.burst import BurstResult, Engine
from openhailo.burst.codes import precision_of
from openhailo.errors import DeviceNotFound, DeviceTimeout, InputError

from .connectome import Connectome, parse_json
from .container import (
    ID_BYTES,
    XYZP_TYPE,
    AreaPoints,
    Container,
    build_container,
    build_xyzp,
    parse_container,
    parse_xyzp,
)

CONNECTOME_PATH: Final = "/v1/connectome/download"  # feagi.md 11
MAX_REPLY_BYTES: Final = 1 << 30
MAX_COORDINATE: Final = 1 << 20
_PIECE: Final = 1 << 20
Ids = npt.NDArray[np.uint32]


def download_connectome(
    url: str, *, budget_s: float = 30.0, precision: str | None = None, max_bytes: int = MAX_REPLY_BYTES
) -> Connectome:
    """Fetch the connectome of the server at ``url`` (``http://host:port``).

    ``budget_s`` bounds the whole exchange, however slowly the server answers. ``precision`` as in `parse_json`.

    Raises:
        InputError: no URL of a server, a status other than 200, or an answer that is no connectome or too large.
        DeviceNotFound: nothing listens there, or it hangs up.
        DeviceTimeout: not done within ``budget_s``.
    """
    return parse_json(_get(url, CONNECTOME_PATH, budget_s, max_bytes), precision)


def _get(url: str, path: str, budget_s: float, max_bytes: int) -> bytes:
    connection, started, expired = _connection(url, budget_s), time.monotonic(), threading.Event()
    watch: threading.Timer | None = None
    try:
        connection.connect()
        watch = threading.Timer(budget_s - (time.monotonic() - started), _hang_up, (connection.sock, expired))
        watch.daemon = True
        watch.start()
        connection.request("GET", path, headers={"Accept": "application/json", "Connection": "close"})
        content = _read(url, connection.getresponse(), max_bytes)
        if expired.is_set():
            raise TimeoutError
    except (OSError, http.client.HTTPException) as error:
        elapsed_s = time.monotonic() - started
        if expired.is_set() or isinstance(error, TimeoutError):
            hint = "is FEAGI busy? give it more time"
            raise DeviceTimeout(what=url, budget_s=budget_s, elapsed_s=elapsed_s, hint=hint) from error
        raise DeviceNotFound(name=url, hint=f"{error}; start FEAGI there, or give its address") from error
    finally:
        if watch is not None:
            watch.cancel()
        connection.close()
    return content


def _hang_up(sock: socket.socket, expired: threading.Event) -> None:
    """End an exchange in the middle: the socket's own timeout starts again with every byte that drips in."""
    expired.set()
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _connection(url: str, budget_s: float) -> http.client.HTTPConnection:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(what="url", detail=f"{url!r}: {error}") from error
    if parts.scheme not in {"http", "https"} or not host or parts.path not in {"", "/"}:
        raise InputError(what="url", detail=f"{url!r}; http://host:port is needed")
    if not 0 < budget_s <= 86_400:
        raise InputError(what="budget_s", detail=f"{budget_s}; up to a day is possible")
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=budget_s, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=budget_s)


def _read(url: str, response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    if response.status != http.client.OK:
        raise InputError(what=url, detail=f"answers {response.status} {response.reason[:80]}")
    content = bytearray()
    while piece := response.read(_PIECE):
        content += piece
        if len(content) > max_bytes:
            raise InputError(what=url, detail=f"answers with more than {max_bytes} bytes")
    return bytes(content)


class Mirror:
    """A connectome that runs here and speaks FEAGI's messages.

    Args:
        connectome: from `download_connectome` or a file.
        engine: steps it; by default an `Engine` in mode "npu", as a server's.
        agent_id: 8 bytes that stand in the messages made here.

    Raises:
        InputError: a connectome without coordinates, or an id that is none.
    """

    def __init__(
        self,
        connectome: Connectome,
        *,
        engine: Engine | None = None,
        agent_id: bytes = bytes(ID_BYTES),
    ) -> None:
        neurons = connectome.network.neurons
        coordinates = _coordinates(connectome)
        if len(agent_id) != ID_BYTES:
            raise InputError(what="agent_id", detail=f"{len(agent_id)} bytes, needed {ID_BYTES}")
        self._engine = engine or Engine(connectome.network)
        self._decode: Callable[[npt.ArrayLike], npt.NDArray[np.float32]] = precision_of(neurons.precision).decode
        self._coordinates, self._area = coordinates, neurons.area
        self._areas = {_cortical_id(name): number for number, name in connectome.area_names.items()}
        self._places = {number: _Places(self._coordinates, neurons.area, number) for number in self._areas.values()}
        self._agent_id, self._counter = agent_id, 0
        self._pending: tuple[AreaPoints, ...] | None = None
        self._last: BurstResult | None = None
        self._lock = threading.Lock()
        self.dropped = 0

    @property
    def cortical_ids(self) -> tuple[bytes, ...]:
        """Ids of the areas, 8 bytes each."""
        return tuple(self._areas)

    def offer(self, message: bytes | memoryview) -> None:
        """Take a sensory message for the next burst; one that is still waiting is dropped. Any thread may call.

        Raises:
            InputError: not a container, or a damaged XYZP structure. Structures of other types are left alone.
        """
        structures = parse_container(message).structures
        points = tuple(area for part in structures if part[0] == XYZP_TYPE for area in parse_xyzp(part))
        with self._lock:
            self._pending = points

    def step(self) -> BurstResult:
        """One burst with the latest message. ``dropped`` counts points of areas or places that are not there."""
        with self._lock:
            points, self._pending = self._pending, None
        self._last = self._engine.step(self._place(points) if points else None)
        return self._last

    def motor(self, cortical_ids: Sequence[bytes] | None = None) -> bytes:
        """What fired in the last burst as a container with one XYZP structure; ``p`` is the potential at firing.

        ``cortical_ids`` chooses areas; None takes all. Areas without a spike are left out.

        Raises:
            InputError: an area that is not there.
        """
        chosen = self.cortical_ids if cortical_ids is None else cortical_ids
        for cortical_id in chosen:
            if cortical_id not in self._areas:
                raise InputError(what="cortical id", detail=f"{cortical_id!r} is not in the connectome")
        areas = [points for cortical_id in chosen if len(points := self._fired_in(cortical_id))]
        message = build_container(Container((build_xyzp(areas),), self._agent_id, self._counter))
        self._counter = (self._counter + 1) & 0xFFFF
        return message

    def _place(self, points: Sequence[AreaPoints]) -> tuple[Ids, npt.NDArray[np.float32]]:
        ids, values = [np.zeros(0, np.uint32)], [np.zeros(0, np.float32)]
        for area in points:
            number = self._areas.get(area.cortical_id)
            if number is None:
                self.dropped += len(area)
                continue
            found, which = self._places[number].find(area)
            self.dropped += len(area) - len(np.unique(which))
            ids.append(found)
            values.append(area.p[which])
        return np.concatenate(ids), np.concatenate(values)

    def _fired_in(self, cortical_id: bytes) -> AreaPoints:
        fired = self._last.fired if self._last is not None else np.zeros(0, np.uint32)
        inside = self._area[fired] == self._areas[cortical_id]
        x, y, z = self._coordinates[fired[inside]].T
        stored: Any = self._last.potentials[inside] if self._last is not None else np.zeros(0, np.int8)
        return AreaPoints(cortical_id, x, y, z, self._decode(stored))


def _coordinates(connectome: Connectome) -> npt.NDArray[np.int64]:
    """Coordinates (neurons, 3) from the flat list of the snapshot."""
    count, rows = len(connectome.network.neurons), connectome.extra.get("neurons", {})
    try:
        flat = np.asarray(rows.get("coordinates", ()))
    except (ValueError, OverflowError, AttributeError) as error:
        raise InputError(what="connectome", detail=f"its coordinates are no numbers: {error}") from error
    if flat.size != 3 * count or (count and flat.dtype.kind not in "iu"):
        raise InputError(what="connectome", detail=f"{count} neurons without a place each; messages need coordinates")
    if count and not 0 <= flat.min() <= flat.max() < MAX_COORDINATE:
        raise InputError(what="connectome", detail=f"coordinates of 0..{MAX_COORDINATE - 1} are possible")
    return flat.astype(np.int64).reshape(-1, 3)


def _cortical_id(name: str) -> bytes:
    """The 8 bytes behind a name in the connectome: base64 of them, or themselves."""
    plain = name.encode("utf-8", "replace")
    try:
        decoded = base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        decoded = plain
    for candidate in (decoded, plain):
        if len(candidate) == ID_BYTES:
            return candidate
    raise InputError(what="connectome", detail=f"area {name[:40]!r} has no id of {ID_BYTES} bytes")


class _Places:
    """Neurons of one area by coordinate."""

    def __init__(self, coordinates: npt.NDArray[np.int64], area: npt.NDArray[np.uint16], number: int) -> None:
        ids = np.flatnonzero(area == number)
        places = coordinates[ids]
        self._extent = places.max(axis=0, initial=0) + 1
        keys = self._keys(places)
        order = np.argsort(keys, kind="stable")
        self._sorted, self._ids = keys[order], ids[order].astype(np.uint32)

    def _keys(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        keys: npt.NDArray[np.int64] = (places[:, 0] * self._extent[1] + places[:, 1]) * self._extent[2] + places[:, 2]
        return keys

    def find(self, area: AreaPoints) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Neurons at the points of ``area``, and which point each is for.

        GUESS: where a place has several neurons each gets the potential; the page only says that places are looked up.
        """
        places = np.stack([area.x, area.y, area.z], axis=1).astype(np.int64)
        inside = np.flatnonzero((places < self._extent).all(axis=1))
        keys = self._keys(places[inside])
        first = np.searchsorted(self._sorted, keys, "left")
        lengths = np.searchsorted(self._sorted, keys, "right") - first
        starts = np.repeat(first - np.cumsum(lengths) + lengths, lengths)
        return self._ids[starts + np.arange(int(lengths.sum()))], np.repeat(inside, lengths)
