"""`--allow-unknown-driver`: what reaches the kernel driver's backend, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from openhailo.cli.main import app
from openhailo.errors import VersionUnsupported
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver

COMMANDS = ("identify", "sensors", "run", "benchmark", "trace", "demo")


class NewerDriver:
    """A node whose driver says 4.24.0."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def ioctl(self, request: int, argument: bytearray) -> int:
        result: int = self._file.ioctl(request, argument)
        if request == 0x400C6702:
            argument[:] = struct.pack("<3I", 4, 24, 0)
        return result


@pytest.fixture
def newer_driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``kernel:/dev/hailo0`` is a twin behind a kernel driver that is newer than all that are known."""
    with VirtualKernelDriver(Twin(), "4.23.0") as driver:
        monkeypatch.setattr("openhailo.driver.kernel.endpoint.CharDevice", lambda path: NewerDriver(driver.open()))
        yield


@pytest.mark.usefixtures("newer_driver")
def test_a_newer_driver_is_refused_and_the_option_is_named() -> None:
    done = CliRunner().invoke(app, ["identify", "-d", "kernel:/dev/hailo0"])
    assert isinstance(done.exception, VersionUnsupported)
    assert "4.24.0" in str(done.exception)
    assert "--allow-unknown-driver" in str(done.exception)


@pytest.mark.usefixtures("newer_driver")
@pytest.mark.parametrize("command", ["identify", "sensors"])
def test_a_newer_driver_can_be_tried(command: str) -> None:
    done = CliRunner().invoke(app, [command, "-d", "kernel:/dev/hailo0", "--allow-unknown-driver", "--json"])
    assert done.exit_code == 0, done.exception
    assert '"device": "kernel:/dev/hailo0"' in done.stdout


def test_other_devices_do_not_hear_of_it() -> None:
    done = CliRunner().invoke(app, ["identify", "-d", "twin:", "--allow-unknown-driver", "--json"])
    assert done.exit_code == 0, done.exception


def test_without_a_name_the_default_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from openhailo.cli._devices import open_device

    seen: list[tuple[str | None, dict[str, Any]]] = []
    monkeypatch.setattr("openhailo.open", lambda name, **options: seen.append((name, options)))
    monkeypatch.setattr("openhailo.runtime.open.default_name", lambda: "kernel:/dev/hailo2")
    open_device(None, allow_unknown_driver=True)
    open_device(None)
    assert seen == [("kernel:/dev/hailo2", {"allow_unknown_driver": True}), (None, {})]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_opens_a_device_has_the_option(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert "--allow-unknown-driver" in done.stdout
