"""The rig of the conformance suite in a guest, without the guest: the same server and the same questions."""

from __future__ import annotations

import pytest
from tests.vm.inside.remote import RemoteRig, Session
from tests.vm.processes import Control, OpenServer
from tests.vm.serve_as import read_plan

from openhailo.bus.vfio_user import VfioUserFunction
from openhailo.errors import ControlFailed
from openhailo.testing.conformance import load
from openhailo.testing.rig import Lacking

CHECKS = {one.name: one for one in load()}


class Outside:
    """Stands for the channel out of the guest."""

    def __init__(self, control):
        self._control = control

    def ask(self, what, **question):
        assert what == "chip"
        return self._control.ask(None, **question)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    with OpenServer(folder / "s", folder / "control", folder / "log") as server:
        server.wait_for_files(server.socket, server.control)
        with Control(server.control) as control:
            function = VfioUserFunction(str(server.socket))
            yield Session(Outside(control), function)
            function.close()
    assert server.exit_code == 0
    assert "Traceback" not in server.output()


@pytest.mark.parametrize(
    "name",
    [
        "registers.configuration_space_identity",  # the bare function
        "boot.driver_refuses_bad_files",  # cold chips
        "controls.identity",
        "controls.feature_bits",  # configured to answer something else
        "inference.frames_by_byte",  # bound arithmetic, and waits that a busy machine must not end
        "mailbox.driver_checks_every_word",  # scripted answers
    ],
)
def test_checks(session, name):
    one = CHECKS[name]
    assert not one.missing(RemoteRig.capabilities)
    with RemoteRig(session) as rig:
        one.run(rig)


def test_faults_are_sent_as_they_change(session):
    with RemoteRig(session) as rig:
        rig.faults.control_status[0] = (1, 2)
        with pytest.raises(ControlFailed):
            rig.client.identify()
        rig.faults.control_status.clear()
        rig.client.identify()
        rig.faults.drop_answers = 3
        assert rig.faults.drop_answers == 3
        rig.faults.clear()
        rig.client.identify()


def test_time_passes_when_told_to(session):
    with RemoteRig(session) as rig:
        before = rig.now_s
        rig.advance(1000.0)
        assert rig.now_s - before >= 1000.0


def test_state_is_the_server_s(session):
    with RemoteRig(session) as rig:
        assert rig.state()["contexts"]["applications"] == []
        rig.log(0, b"hello")
        assert b"hello" in rig.link.read_log(0)


def test_one_chip_at_a_time(session):
    with RemoteRig(session) as rig:
        rig.client.identify()
        with rig.fresh(arch="hailo8l") as other:
            assert other.client.identify().architecture == 2
        rig.close_link()
        with pytest.raises(Lacking, match="second chip"):
            rig.client.identify()


@pytest.mark.parametrize("action", [lambda rig: rig.twin, lambda rig: rig.bind(lambda _: {})])
def test_what_cannot_be_had_outside(session, action):
    with RemoteRig(session) as rig, pytest.raises(Lacking):
        action(rig)


def test_what_the_server_refuses(session):
    with pytest.raises(AssertionError, match="os"):
        session.ask("bind", module="os", name="system")
    with pytest.raises(AttributeError, match="nonsense"):
        session.ask("nonsense")


def test_the_command_line_is_read_before_the_user_changes(tmp_path):
    plan = read_plan(["twin", "serve", "--socket", str(tmp_path / "s"), "--arch", "hailo8l", "--model-timing", "2ms"])
    assert (plan.arch, plan.sockets, plan.frame_ns) == ("hailo8l", [tmp_path / "s"], 2_000_000)
    assert not (tmp_path / "s").exists()
