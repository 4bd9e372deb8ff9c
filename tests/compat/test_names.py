"""Every name of the original is there and is what it was: kind, signature, defaults, values, bases."""

from __future__ import annotations

import warnings
from itertools import groupby

import pytest
from tools.hailo_platform_names import check, names


def owner(name):
    return ".".join(name.path.split(".")[:4])


with warnings.catch_warnings():
    GROUPS = {key: list(group) for key, group in groupby(sorted(names(), key=owner), key=owner)}


@pytest.mark.parametrize("key", list(GROUPS))
def test_names(key):
    wrong = {name.path: problem for name in GROUPS[key] if (problem := check(name))}
    assert not wrong


def test_the_list_is_whole():
    assert sum(map(len, GROUPS.values())) == 1590
