"""Socket files: private, replaced when stale, never taken from somebody (vfio-user.md 1.1)."""

from __future__ import annotations

import socket

import pytest

from openhailo.errors import AccessDenied, DeviceBusy, InputError
from openhailo.twin.ports.vfio_user.server import Listener


def test_a_stale_socket_is_replaced(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = Listener(path)
    assert path.is_socket()
    listener.close()
    listener.close()
    assert not path.exists()


def test_a_socket_in_use_is_left_alone(tmp_path):
    path = tmp_path / "s"
    first = Listener(path)
    with pytest.raises(DeviceBusy):
        Listener(path)
    assert path.exists()
    first.close()


def test_a_file_is_left_alone(tmp_path):
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(InputError, match="no socket"):
        Listener(path)
    assert path.read_text() == "mine"


def test_a_socket_that_somebody_replaced_is_left_alone(tmp_path):
    path = tmp_path / "s"
    ours = Listener(path)
    path.rename(tmp_path / "moved")
    theirs = Listener(path)
    ours.close()
    assert path.exists()
    theirs.close()


@pytest.mark.parametrize("name", ["x" * 120, "missing/s"])
def test_paths_that_cannot_be(tmp_path, name):
    with pytest.raises(InputError, match="socket path"):
        Listener(tmp_path / name)


def test_a_folder_without_permission(tmp_path, monkeypatch):
    def denied(*_args):
        raise PermissionError("no")

    monkeypatch.setattr(Listener, "_bind", denied)
    with pytest.raises(AccessDenied):
        Listener(tmp_path / "s")
