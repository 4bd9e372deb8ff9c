"""A served twin and a raw client on the two ends of a socket pair; the test's own thread steps the server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from openhailo.testing.vfio_user_client import VfioUserClient
from openhailo.twin.clock import SteppedClock
from openhailo.twin.ports.vfio_user.device import ServedDevice
from openhailo.twin.ports.vfio_user.server import Server


class Bench:
    """A server of one device, whose clients come and go."""

    def __init__(self, **options):
        self.device = ServedDevice("bench", clock=SteppedClock(), **options)
        self.server = Server()
        self.clients = []

    def connect(self, *, negotiate=True):
        """A new client; the earlier one, if any, must be gone."""
        ours, theirs = socket.socketpair()
        self.server.adopt(self.device, ours)
        client = VfioUserClient(theirs, self.settle)
        self.clients.append(client)
        if negotiate:
            client.negotiate()
        return client

    def settle(self):
        """Serve until nothing is left to do."""
        for _ in range(8):
            self.server.step(0.0)

    def close(self):
        for client in self.clients:
            client.close()
        self.server.close()
        self.device.close()


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.close()
    assert made.server.failures == 0


@pytest.fixture
def client(bench):
    """A client that has negotiated."""
    return bench.connect()


@pytest.fixture
def open_fds():
    """Counts this process's descriptors."""
    return lambda: sum(1 for _ in Path("/proc/self/fd").iterdir())
