"""Streams in forked children: they are the parent's, reached over a UNIX socket (hailo-platform-usage.md, streaming).

Official examples configure a network, fork a sender and a receiver, and activate in the parent. A child cannot use the
parent's device, so its streams call the parent: one connection, and one thread there, per group of streams. The socket
lies in a directory that only the user can enter.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import weakref
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._errors import HailoRTStatusException, as_status, fail, status_error
from ._structs import HailoFormat, VStreamInfo

Array = NDArray[Any]

_servers: weakref.WeakSet[Server] = weakref.WeakSet()


class Server:
    """Serves the streams of one network group to children of this process. It begins with the first fork."""

    def __init__(self, owner: Any) -> None:
        """Serve ``owner``, a configured network group."""
        self._owner = weakref.ref(owner)
        self._lock = threading.Lock()
        self._folder = ""
        self._listener: socket.socket | None = None
        self._connections: set[Connection] = set()
        self._pid = os.getpid()

    # --- in the parent ----------------------------------------------------------------------------------------------

    @property
    def _path(self) -> str:
        return str(Path(self._folder, "streams"))

    def start(self) -> None:
        """Listen. Idempotent."""
        with self._lock:
            if self._listener is not None or os.getpid() != self._pid:
                return
            self._folder = tempfile.mkdtemp(prefix="hailo-fork-")
            listener = self._listener = socket.socket(socket.AF_UNIX)
            listener.bind(self._path)
            listener.listen()
        threading.Thread(target=self._accept, args=(listener,), name="hailo fork", daemon=True).start()

    def close(self) -> None:
        """Stop listening. Idempotent."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is None or os.getpid() != self._pid:
            return
        # Connecting wakes the thread that accepts, which a close would not.
        with suppress(OSError), socket.socket(socket.AF_UNIX) as knock:
            knock.connect(self._path)
        listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def forget_in_child(self) -> None:
        """Close what a child inherited, so that it sees when the parent is gone."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        connections, self._connections = self._connections, set()
        for connection in connections:
            connection.close()

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                accepted, _ = listener.accept()
            except OSError:  # it was closed
                return
            connection = Connection(accepted.detach())
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="hailo fork", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        streams: list[Any] = []
        with connection, suppress(EOFError, OSError):
            while True:
                call, *arguments = connection.recv()
                try:
                    connection.send((None, self._answer(streams, call, arguments)))
                except Exception as error:
                    status = as_status(error)
                    connection.send((status.args[0], "; ".join(getattr(status, "__notes__", ()))))
        self._connections.discard(connection)
        for opened in streams:
            opened.__exit__()

    def _answer(self, streams: list[Any], call: str, arguments: list[Any]) -> Any:
        owner = self._owner()
        if owner is None:
            fail("STREAM_ABORT", "the network was released")
        if call == "wait":
            return owner.wait_for_activation(*arguments)
        if call == "open":
            return self._open(owner, streams, *arguments)
        if call == "clear":
            return streams[0].clear()
        name, *rest = arguments
        every = streams[0].get_all_outputs if hasattr(streams[0], "get_all_outputs") else streams[0].get_all_inputs
        return getattr(every()[name], call)(*rest)

    def _open(self, owner: Any, streams: list[Any], is_output: bool, params: Any) -> dict[str, Any]:
        opened = owner.OutputVStreams(params) if is_output else owner.InputVStreams(params)
        streams.append(opened)
        found = opened.get_all_outputs() if is_output else opened.get_all_inputs()
        return {
            name: (each.info, each.shape, each.dtype, each.get_user_buffer_format()) for name, each in found.items()
        }

    # --- in a child -------------------------------------------------------------------------------------------------

    def connect(self) -> Link:
        """Return a connection to the parent. Status 62 when it is gone."""
        if not self._folder:
            fail("COMMUNICATION_CLOSED", "the parent did not serve this child; fork with os.fork or multiprocessing")
        own = socket.socket(socket.AF_UNIX)
        try:
            own.connect(self._path)
        except OSError as error:
            own.close()
            message = f"the parent process is gone: {error}"
        else:
            return Link(Connection(own.detach()))
        return fail("COMMUNICATION_CLOSED", message)

    def open_in_child(self, params: Any, *, is_output: bool) -> ChildVStreams:
        """Open streams of the parent."""
        return ChildVStreams(self.connect(), dict(params), is_output=is_output)

    def wait_in_child(self, timeout_ms: int) -> None:
        """Wait until the parent has activated the network."""
        with self.connect() as link:
            link.call("wait", timeout_ms)


class Link:
    """One connection to the parent. For several threads, one after the other."""

    def __init__(self, connection: Connection) -> None:
        """Own the connection."""
        self._connection, self._lock = connection, threading.Lock()

    def call(self, *request: Any) -> Any:
        """Have the parent do something, and return or raise what it did."""
        try:
            with self._lock:
                self._connection.send(request)
                status, answer = self._connection.recv()
        except (OSError, EOFError):
            raise status_error("COMMUNICATION_CLOSED", "the parent process is gone") from None
        if status is not None:
            error = HailoRTStatusException(status)
            error.add_note(str(answer))
            raise error
        return answer

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *args: object) -> None:
        self._connection.close()


class ChildVStream:
    """A stream of the parent: an input or an output."""

    def __init__(
        self, link: Link, info: VStreamInfo, shape: list[int], dtype: np.dtype[Any], user_format: HailoFormat
    ) -> None:
        """Use `ChildVStreams`."""
        self._link, self.info, self.shape, self.dtype, self._format = link, info, shape, dtype, user_format

    def get_user_buffer_format(self) -> HailoFormat:
        """The format of a frame's buffer."""
        return self._format

    def send(self, frame: Array) -> None:
        """Queue one frame."""
        self._link.call("send", self.info.name, frame)

    def flush(self) -> None:
        """Wait until every frame was taken."""
        self._link.call("flush", self.info.name)

    def recv(self) -> Array:
        """Return the next frame."""
        found: Array = self._link.call("recv", self.info.name)
        return found

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("set_nms_"):
            raise AttributeError(name)
        return lambda value: self._link.call(name, self.info.name, value)


class ChildVStreams:
    """Opened streams of the parent."""

    def __init__(self, link: Link, params: dict[str, Any], *, is_output: bool) -> None:
        """Open them there."""
        self._link = link
        found = link.call("open", is_output, params)
        self._streams = {name: ChildVStream(link, *what) for name, what in found.items()}

    def get_all_inputs(self) -> dict[str, ChildVStream]:
        """Return them by name."""
        return dict(self._streams)

    get_all_outputs = get_all_inputs

    def clear(self) -> None:
        """Forget frames on their way."""
        self._link.call("clear")

    def __exit__(self, *args: object) -> None:
        self._link.__exit__()


def serve_children_of(owner: Any) -> Server:
    """Return what will serve the streams of ``owner`` once this process forks."""
    server = Server(owner)
    _servers.add(server)
    return server


def _before_fork() -> None:
    for server in list(_servers):
        server.start()


def _in_child() -> None:
    for server in list(_servers):
        server.forget_in_child()


os.register_at_fork(before=_before_fork, after_in_child=_in_child)
