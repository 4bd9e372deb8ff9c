"""The control socket's client against a server that says what a script says."""

from __future__ import annotations

import json
import socket
import threading

import pytest
from tests.vm.qmp import Qmp, QmpError

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\n'
DONE = b'{"return": {}}\n'


@pytest.fixture
def serve(tmp_path):
    """Serve one client: the greeting, then one entry of the script after each line it sends."""
    threads, received = [], []

    def start(script, greeting=GREETING):
        listening = socket.socket(socket.AF_UNIX)
        path = tmp_path / "qmp"
        listening.bind(str(path))
        listening.listen()

        def work():
            with listening, listening.accept()[0] as client, client.makefile("rb") as lines:
                client.sendall(greeting)
                for answer in script:
                    received.append(json.loads(lines.readline()))
                    client.sendall(answer)

        threads.append(threading.Thread(target=work))
        threads[0].start()
        return path, received

    yield start
    for thread in threads:
        thread.join()


def test_a_command(serve):
    path, received = serve([DONE, b'{"return": {"running": true}}\n'])
    with Qmp(path) as qmp:
        assert qmp.execute("query-status") == {"running": True}
    assert received == [{"execute": "qmp_capabilities"}, {"execute": "query-status"}]


def test_arguments_and_events(serve):
    event = b'{"event": "DEVICE_DELETED", "data": {"device": "h0"}}\n'
    path, received = serve([DONE, b'{"event": "OTHER"}\n' + event + DONE])
    with Qmp(path) as qmp:
        qmp.execute("device_del", id="h0")
        assert qmp.wait_event("DEVICE_DELETED") == {"device": "h0"}
    assert received[1] == {"execute": "device_del", "arguments": {"id": "h0"}}


def test_a_refusal(serve):
    path, _ = serve([DONE, b'{"error": {"class": "GenericError", "desc": "no such device"}}\n'])
    with Qmp(path) as qmp, pytest.raises(QmpError, match="device_del: no such device"):
        qmp.execute("device_del", id="x")


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [(b"", "closed"), (b"hello\n", "not JSON"), (b"[]\n", "not a message"), (b"{}\n", "does not greet")],
)
def test_what_is_no_control_socket(serve, greeting, reason):
    path, _ = serve([], greeting)
    with pytest.raises(QmpError, match=reason):
        Qmp(path)


def test_nobody_listens(tmp_path):
    with pytest.raises(QmpError, match="no control socket"):
        Qmp(tmp_path / "none")


def test_qemu_ends(serve):
    path, _ = serve([DONE])
    with Qmp(path) as qmp, pytest.raises(QmpError, match=r"closed|broke|query-status: "):
        qmp.execute("query-status")
