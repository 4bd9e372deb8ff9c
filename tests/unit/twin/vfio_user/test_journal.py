"""The journal: what the client did, in the words of the trace."""

from __future__ import annotations

import io
import json
import os

import pytest

from openhailo.testing.vfio_user_client import make_memory
from openhailo.twin.ports.vfio_user.journal import Journal

BAR0_MSI_AND_MASTER = 0x0406


@pytest.fixture
def journal(bench):
    stream = io.StringIO()
    made = Journal(bench.device, stream)
    made.lines = lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    yield made
    made.close()


def of_kind(journal, *kinds):
    return [record for record in journal.lines() if record["k"] in kinds]


def test_register_accesses_have_names(client, journal):
    client.write(7, 4, (0x0002).to_bytes(2, "little"))
    before = len(journal.lines())
    client.write32(0, 0x188, 0)
    client.read32(0, 0x18C)
    client.read32(2, 0x0)
    first, second, third = journal.lines()[before:]
    assert (first["k"], first["bar"], first["at"], first["v"]) == ("w", 0, 0x188, 0)
    assert first["name"] == "IMASK_HOST"
    assert (second["k"], second["at"]) == ("r", 0x18C)
    assert third["name"].startswith("channel 0 source")
    assert all(record["device"] == "bench" for record in (first, second, third))
    assert journal.counts["w0"] == 1
    assert journal.counts["r0"] == 1
    assert journal.counts["r2"] == 1


def test_memory_comes_and_goes(client, journal):
    fd, memory = make_memory(8192)
    client.map(0x10000, 8192, fd)
    client.map(0x20000, 4096)
    client.unmap(0, 1 << 40)
    got = [(r["op"], r["iova"], r["size"], r["file"]) for r in of_kind(journal, "dma")]
    assert got == [
        ("map", 0x10000, 8192, True),
        ("map", 0x20000, 4096, False),
        ("unmap", 0x10000, 8192, True),
        ("unmap", 0x20000, 4096, False),
    ]
    memory.close()
    os.close(fd)


def test_messages_and_who_listens(bench, client, journal):
    eventfd = os.eventfd(0, os.EFD_CLOEXEC)
    client.set_irqs(0x24, 1, 0, 1, fds=[eventfd])
    client.set_irqs(0x21, 1, 0, 0)
    os.close(eventfd)
    assert [record["armed"] for record in of_kind(journal, "vectors")] == [1, 0]
    bench.device.chip.msi.send()
    assert [record["sent"] for record in of_kind(journal, "msi")] == [False]
    assert journal.counts["msi lost"] == 1


def test_configuration_space(client, journal):
    client.read(7, 0, 4)
    client.write(7, 4, b"\x06\x00")
    read, write = of_kind(journal, "cr", "cw")
    assert (read["at"], read["width"], read["v"]) == (0, 4, 0x28641E60)
    assert (write["at"], write["width"], write["v"]) == (4, 2, 6)


def test_a_summary_ends_it(client, journal):
    client.read(7, 0, 4)
    journal.close()
    journal.close()
    client.read(7, 0, 4)
    *_, last = journal.lines()
    assert last["k"] == "summary"
    assert last["counts"] == {"cr": 1}
    assert len(of_kind(journal, "summary")) == 1


def test_events_of_the_chip_are_plain_values(bench, journal):
    chip = bench.device.chip
    chip.trace("notification", message=b"\x01\x02")
    chip.trace("control", cpu=1, request=b"\0" * 3, digest_ok=False)
    chip.trace("channel", channel=3, sizes=[1, 2], odd={1})
    chip.trace("descriptors", channel=1, first=0, count=2, sizes=[8, 8])
    notification, control, channel, descriptors = journal.lines()
    assert (descriptors["k"], descriptors["count"]) == ("descriptors", 2)
    assert journal.counts["descriptors"] == 1
    assert notification["message"] == "0102"
    assert (control["name"], control["cpu"], control["status"]) == ("?", 1, "asked")
    assert channel["sizes"] == [1, 2]
    assert channel["odd"] == "{1}"
