"""The launch ring against a slow model that counts one descriptor at a time (driver.md 6.6, 6.7)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COUNT, PAGE = 16, 64

steps = st.lists(
    st.one_of(
        st.tuples(st.just("launch"), st.integers(1, 5 * PAGE)),
        st.tuples(st.just("device"), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=60,
)


class Model:
    """Every descriptor is a cell that belongs to a transfer or to nobody."""

    def __init__(self):
        self.queue, self.done, self.waiting, self.at = [], 0, [], 0

    def launch(self, size):
        used = -(-size // PAGE)
        if sum(n for n, _ in self.queue) + used > COUNT - 1:
            return None
        self.queue.append((used, size))
        self.at = (self.at + used) % COUNT
        return used

    def device(self):
        """The device works the oldest unworked transfer; the driver has not looked yet."""
        if self.done == len(self.queue):
            return None
        self.done += 1
        return self.queue[self.done - 1][1]

    def wait(self):
        finished, self.done = self.done, 0
        del self.queue[:finished]
        return finished


@pytest.mark.parametrize("release", ["4.17.1", "4.18.0", "4.20.1", "4.22.0", "4.23.0"])
def test_ring(make_client, make_ring, release):
    client = make_client(release)
    ring = make_ring(client, 2, count=COUNT, page=PAGE, pages=1)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=steps)
    def run(steps):
        ring.open()
        ring.next = 0
        client.enable(4)
        model = Model()
        for action, amount in steps:
            if action == "launch":
                launch(client, ring, model, amount)
            elif action == "device":
                work(ring, model, amount)
            elif action == "wait":
                collect(client, ring, model)
            else:
                client.disable(4)
                ring.open()
                client.enable(4)
                ring.next, model = 0, Model()
            state = client.driver.channels.states[2]
            assert (ring.available, state.num_available, len(state.ongoing)) == (model.at, model.at, len(model.queue))
        client.disable(4)
        assert set(ring.words[:, 0].tolist()) <= {0, PAGE << 8 | 2}, "all that was short or interrupts is restored"

    run()


def launch(client, ring, model, size):
    expected = model.launch(size)
    if expected is not None:
        assert ring.launch(size)[0] == expected


def work(ring, model, times):
    for _ in range(times):
        size = model.device()
        if size is not None:
            assert ring.pull(size) is not None


def collect(client, ring, model):
    client.twin.run_until_idle()
    if not client.driver.channels.is_due(4):
        assert model.done == 0
        return
    finished = model.wait()
    (entry,) = client.wait(4) or [None]
    if entry is None:
        assert finished == 0
    elif client.family == "A":
        processed = (model.at - sum(used for used, _ in model.queue)) % COUNT
        assert int.from_bytes(entry[3:5], "little") == processed
    else:
        assert entry[3 if client.family == "B" else 2] == finished
