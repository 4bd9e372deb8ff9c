"""Put the network groups of several HEFs into one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from openhailo.errors import InputError, UnsupportedHef

from .compatibility import arch_name
from .model import Extension, Features, Hef

#: Switches that change nothing for a group that does not use what they announce (hef.md 3).
_HARMLESS = frozenset({"net_flow", "multi_context", "padded_ddr_buffers", "shared_config"})


def join(files: Sequence[Hef]) -> Hef:
    """Return one HEF with the network groups of all ``files``; the first one's is the default.

    Raises:
        InputError: no files, or two groups of one name.
        UnsupportedHef: files for different chips, or a switch that is on in one file and would change another.
    """
    if not files:
        raise InputError(what="joining", detail="there are no HEFs")
    first = files[0]
    groups = tuple(group for file in files for group in file.network_groups)
    twice = [name for name, count in Counter(group.name for group in groups).items() if count > 1]
    if twice:
        raise InputError(what="joining", detail=f"two networks are called {twice[0]!r}; compile one with another name")
    for file in files[1:]:
        _check_alike(first, file)
    return replace(
        first,
        network_groups=groups,
        extensions=_union(file.extensions for file in files),
        optional_extensions=_union(file.optional_extensions for file in files),
        container=None,
    )


def _check_alike(first: Hef, other: Hef) -> None:
    names = [arch_name(file.header.hw_arch) for file in (first, other)]
    if first.header.hw_arch is not other.header.hw_arch:
        hint = "compile all of them for the same chip: `openhailo compile MODEL --arch ...`"
        raise UnsupportedHef(feature=f"one HEF is for {names[0]}, another for {names[1]}", hint=hint)
    if (first.header.version > 0) != (other.header.version > 0) or any(
        file.external_resources or file.mapping or file.additional for file in (first, other)
    ):
        raise UnsupportedHef(feature="files of header version 0, or with more than a network in them, are not joined")
    for switch in (field.name for field in fields(Features)):
        if switch not in _HARMLESS and getattr(first.features, switch) != getattr(other.features, switch):
            hint = "keep them in files of their own; a device takes networks of several files"
            raise UnsupportedHef(feature=f"{switch} is on in one HEF and off in another", hint=hint)


def _union(lists: Iterable[Sequence[Extension]]) -> tuple[Extension, ...]:
    found: dict[int, Extension] = {}
    for extensions in lists:
        for extension in extensions:
            found.setdefault(extension.type_index, extension)
    # Features are looked up by number; the order says nothing (hef.md 3).
    return tuple(found[number] for number in sorted(found))
