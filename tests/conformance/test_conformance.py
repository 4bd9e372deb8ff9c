"""Every check of the conformance suite, on the device asked for and on twins of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from openhailo.errors import OpenHailoError
from openhailo.testing.check import Check, Mismatch, check, expect, expect_error, expect_true
from openhailo.testing.conformance import load
from openhailo.testing.conformance.boot import image_file
from openhailo.testing.plugin import device_name, is_twin
from openhailo.testing.rig import ALL, Lacking, Rig, TwinRig, TwinSetup, open_rig

CHECKS = load()
SETUPS = {
    "hailo8": TwinSetup(),
    # What came from power-on and an image must be as good as what runs already.
    "cold": TwinSetup(booted=False, image=image_file()),
}


@pytest.fixture(scope="session")
def board(request: pytest.FixtureRequest) -> Iterator[Rig | None]:
    name = device_name(request.config)
    if is_twin(name):
        yield None
        return
    with open_rig(name) as rig:
        yield rig


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A twin has no node of a kernel driver; `test_releases` asks those that have."""
    if metafunc.function is test_device:
        twin = is_twin(device_name(metafunc.config))
        chosen = [one for one in CHECKS if not twin or "device_file" not in one.needs]
        metafunc.parametrize("one", chosen, ids=[one.name for one in chosen])


def run(one: Check, rig: Rig) -> None:
    missing = one.missing(rig.capabilities)
    if missing:
        pytest.skip(missing)
    one.run(rig)


def test_device(one: Check, board: Rig | None) -> None:
    if board is None:
        with TwinRig() as twin:
            run(one, twin)
        return
    board.reset()
    run(one, board)


#: Checks of a link alone, which also a chip that was just loaded must pass.
LINK_ONLY = [one for one in CHECKS if set(one.needs) <= {"link"}]


@pytest.mark.parametrize("one", LINK_ONLY, ids=[one.name for one in LINK_ONLY])
def test_cold_twin(one: Check) -> None:
    with TwinRig(SETUPS["cold"]) as twin:
        run(one, twin)


@pytest.mark.parametrize("name", ["controls.identity", "controls.hw_consts", "inference.frames_through_the_driver"])
@pytest.mark.parametrize("arch", ["hailo8", "hailo8l"])
def test_architectures(name: str, arch: str) -> None:
    one = next(one for one in CHECKS if one.name == name)
    with TwinRig(TwinSetup(arch=arch)) as twin:
        run(one, twin)


def test_a_board_gets_what_it_can_run() -> None:
    """A link without anything else still has checks; the others say what they miss."""
    plain = frozenset({"link"})
    runnable = [one for one in CHECKS if not one.missing(plain)]
    assert len(runnable) >= 20
    assert all(one.missing(plain).startswith("needs ") for one in CHECKS if one not in runnable)
    assert all(not one.missing(ALL | {"device_file"}) for one in CHECKS)


def test_every_check_on_a_plain_link_is_honest_about_its_needs() -> None:
    """What says that a link is enough runs on a rig that has nothing else."""
    for one in LINK_ONLY:
        with TwinRig() as twin:
            one.run(Rig(twin.link))


@pytest.mark.parametrize(
    "use",
    [
        lambda rig: rig.link,
        lambda rig: rig.open_function(),
        lambda rig: rig.raw_host(),
        lambda rig: rig.open_file(),
        lambda rig: rig.fresh(),
        lambda rig: rig.expected,
        lambda rig: rig.faults,
        lambda rig: rig.sensors,
        lambda rig: rig.state(),
        lambda rig: rig.twin,
        lambda rig: rig.emit("X"),
        lambda rig: rig.watch_boots(),
        lambda rig: rig.log(0, b""),
        lambda rig: rig.bind(dict),
        lambda rig: rig.advance(1.0),
        lambda rig: rig.now_s,
        lambda rig: rig.close_link(),
    ],
)
def test_a_plain_rig_lacks_everything_else(use) -> None:
    with pytest.raises(Lacking, match="this rig has no "):
        use(Rig(None))


def test_expectations() -> None:
    expect("equal", 1, 1)
    expect_true("true", [1])
    with pytest.raises(Mismatch, match="a thing: 1 instead of 2"):
        expect("a thing", 1, 2)
    with pytest.raises(Mismatch, match="at 1: 3 instead of 2"):
        expect("lists", [1, 3], [1, 2])
    with pytest.raises(Mismatch, match="lengths 1 and 2"):
        expect("bytes", b"a", b"ab")
    with pytest.raises(Mismatch, match="at 'b': None instead of 2"):
        expect("dicts", {"a": 1}, {"a": 1, "b": 2})
    with pytest.raises(Mismatch, match="does not hold"):
        expect_true("false", 0)
    assert expect_error("an error", ZeroDivisionError, lambda: 1 // 0).args
    with pytest.raises(Mismatch, match="gave 1, should have raised ZeroDivisionError"):
        expect_error("no error", ZeroDivisionError, lambda: 1)


def test_two_checks_cannot_share_a_name() -> None:
    with pytest.raises(AssertionError, match=r"boot\.cold_state"):

        @check("boot")
        def cold_state(rig: Rig) -> None:
            """Never declared."""


def test_a_broken_device_is_noticed() -> None:
    """The suite fails on a twin that drops every answer."""
    with TwinRig() as twin:
        twin.faults.drop_answers = -1
        one = next(one for one in CHECKS if one.name == "controls.identity")
        with pytest.raises(OpenHailoError):
            one.run(twin)
