"""HEF files: read, checked, described, written again and configured on a link that takes everything."""

from __future__ import annotations

import struct
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any

import xxhash

from openhailo import hef
from openhailo.driver.link import LinkInfo
from openhailo.driver.results import HwConsts
from openhailo.errors import DmaMapError, HefError, OpenHailoError
from openhailo.runtime.describe import describe
from openhailo.runtime.session import Session
from tests.fuzz.materials import load_test_module, real_hefs
from tests.fuzz.messages import mutate_message
from tests.fuzz.mutate import edge, mutate_bytes
from tests.fuzz.surface import Surface, require

_CONSTS = HwConsts(8, 16383, 16384, 16376, 16384, 1, 2048)
_MOST_BUFFER_BYTES = 64 << 20
_SIZES = {0: 32, 1: 28, 2: 44, 3: 56}  # header bytes by version (hef.md 1)
_FIELDS = (0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52)
#: The reader alone must stay far below what a process may have.
_GAIN_BYTES = 1 << 30


class _DryLink:
    """Takes everything, allocates little."""

    info = LinkInfo("dry", "dry")

    def alloc_buffer(self, size_bytes: int, _direction: Any) -> Any:
        if size_bytes > _MOST_BUFFER_BYTES:
            raise DmaMapError(detail="too much for this link", size_bytes=size_bytes)
        return SimpleNamespace(view=memoryview(bytearray(size_bytes)), close=lambda: None)

    def create_descriptor_list(self, count: int, page_size: int, *, circular: bool) -> Any:
        require(2 <= count <= 65536, f"a list of {count} descriptors")
        require(64 <= page_size <= 4096, f"descriptors of {page_size} bytes")
        return SimpleNamespace(
            dma_address=0x10000, count=count, page_size=page_size, circular=circular, close=lambda: None
        )

    def program(self, dlist: Any, _buffer: Any, **how: Any) -> int:
        return -(-int(how["size_bytes"]) // int(dlist.page_size))

    def sync_buffer(self, *_args: Any) -> None:
        return


_FIRMWARE = SimpleNamespace(
    hw_consts=lambda: _CONSTS,
    set_application_header=lambda _fields: None,
    set_context_info_chunk=lambda _kind, _chunk, is_first, is_last: None,
)


@cache
def _seeds() -> tuple[tuple[bytes, bytes, bytes], ...]:
    """Return (protobuf part, configuration bytes, file) of every sample, small ones first."""
    samples = load_test_module("hef/hef_samples.py").SAMPLES
    files = [hef.write(make(), 2, verify=False) for make in samples.values()]
    files += real_hefs(200_000)
    return tuple(_take_apart(file) for file in files)


def _take_apart(file: bytes) -> tuple[bytes, bytes, bytes]:
    _, version, size = struct.unpack_from(">3I", file)
    start = _SIZES[version]
    if version == 0:
        return file[start : start + size], b"", file
    (ccws,) = struct.unpack_from(">Q", file, 16 if version == 1 else 20)
    return file[start : start + size], file[len(file) - ccws :] if version < 3 else file[start + size :], file


@cache
def _large() -> tuple[bytes, ...]:
    return real_hefs(1 << 30)


def make_case(rng: Random) -> bytes:
    """Damage a file: anywhere, in its header, or inside its messages with the hashes made right again."""
    if rng.random() < 0.002 and _large():
        return _damage_header(rng, rng.choice(_large()))
    proto, ccws, file = rng.choice(_seeds())
    kind = rng.random()
    if kind < 0.12:
        return mutate_bytes(rng, file, other=rng.choice(_seeds())[2])
    if kind < 0.24:
        return _damage_header(rng, file)
    proto = mutate_bytes(rng, proto, other=rng.choice(_seeds())[0]) if kind < 0.34 else mutate_message(rng, proto)
    if rng.random() < 0.1:
        ccws = ccws[: rng.randrange(len(ccws) + 1)]
    return _seal(rng, proto, ccws)


def _seal(rng: Random, proto: bytes, ccws: bytes) -> bytes:
    version = rng.choice((1, 2, 2, 2, 3)) if ccws else rng.choice((0, 2, 2, 3))
    additional = rng.randbytes(rng.randrange(20)) if version == 3 and rng.random() < 0.2 else b""
    file: bytes = load_test_module("hef/hef_samples.py").seal_bytes(proto, ccws, version, additional)
    return file


def _damage_header(rng: Random, file: bytes) -> bytes:
    """Change a length, a version or the like, and sometimes make the hash right for what the header now says."""
    out = bytearray(file)
    at = rng.choice(_FIELDS)
    code, bits = rng.choice(((">I", 32), (">Q", 64)))
    if at + bits // 8 <= len(out):
        (value,) = struct.unpack_from(code, out, at)
        value = edge(rng, bits) if rng.random() < 0.5 else (value + rng.choice((1, -1, 8, -8))) % (1 << bits)
        struct.pack_into(code, out, at, value)
    if rng.random() < 0.3:
        out = out[: rng.randrange(len(out) + 1)]
    version = int.from_bytes(out[4:8], "big")
    if version in (2, 3) and len(out) > _SIZES[version] and rng.random() < 0.7:
        struct.pack_into(">Q", out, 12, xxhash.xxh3_64_intdigest(bytes(out[_SIZES[version] :])))
    return bytes(out)


def run(case: bytes) -> int:
    """Read and use; a file that was read may still be refused by everything that follows."""
    file = hef.read(case)
    findings = hef.check(file)
    require(all(str(finding) for finding in findings), "a finding without words")
    _touch(file)
    try:
        again = hef.write(file, 2, verify=False)
    except HefError:
        again = b""
    if again:
        require(hef.write(hef.read(again), 2, verify=False) == again, "a file changes when it is written twice")
    _configure(file)
    return 1


def _touch(file: hef.Hef) -> None:
    """Use every accessor."""
    repr((file.features, file.version, file.extension(3), file.optional_extension(11)))
    for group in file.network_groups:
        for name in ("name", "core_op", "host_ops", "network_names", "output_order"):
            _attempt(lambda group=group, name=name: getattr(group, name))
        for name in ("input_streams", "output_streams", "input_vstreams", "output_vstreams", "vstreams"):
            _attempt(lambda group=group, name=name: getattr(group, name))
        _attempt(lambda group=group: group.core_op_for(0xFF))


def _attempt(what: Any) -> None:
    try:
        what()
    except OpenHailoError:
        return


def _configure(file: hef.Hef) -> None:
    """Describe it for both chips and make the action lists of what could be run."""
    for architecture in (1, 2):
        try:
            description = describe(file, None, architecture, 0xFF)
            session = Session(_DryLink(), _FIRMWARE, description)  # type: ignore[arg-type]
            session.configure()
            session.close()
        except OpenHailoError:
            continue


SURFACE = Surface("hef_files", make_case, run, (HefError,), gain_bytes=_GAIN_BYTES)
