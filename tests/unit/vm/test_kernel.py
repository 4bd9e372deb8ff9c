"""Taking a kernel out of its compressed image, on one made up of known parts."""

from __future__ import annotations

import struct
import sys

import pytest
from tests.vm.kernel import BadKernel, extract_vmlinux, payload_of

ZSTD = b"\x28\xb5\x2f\xfd"
#: Stands in for the tool: "decompresses" by dropping the magic.
TOOL = [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[4:])"]
BROKEN_TOOL = [sys.executable, "-c", "import sys; sys.exit('no')"]


def image(payload: bytes, *, sectors: int = 3, offset: int = 0x40, length: int | None = None) -> bytes:
    """A vmlinuz: setup sectors, then the payload somewhere behind them."""
    data = bytearray(((sectors or 4) + 1) * 512 + offset) + payload
    data[0x1F1] = sectors
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", data, 0x248, offset, len(payload) if length is None else length)
    return bytes(data) + b"signature"


@pytest.mark.parametrize("sectors", [0, 3, 39])
def test_the_payload_ends_before_its_length(sectors):
    assert payload_of(image(b"compressed" + b"\x39\0\0\0", sectors=sectors)) == b"compressed"


def test_the_kernel_comes_out():
    packed = ZSTD + b"\x7fELF and so on"
    assert extract_vmlinux(image(packed + b"size"), TOOL) == b"\x7fELF and so on"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no header"),
        (b"MZ" + bytes(0x300), "no header"),
        (image(b"payload", length=100_000), "a payload of 100000 bytes"),
        (image(b"", length=4), "a payload of 4 bytes"),
    ],
)
def test_other_files_are_refused(data, reason):
    with pytest.raises(BadKernel, match=reason):
        payload_of(data)


def test_other_compressions_are_refused():
    with pytest.raises(BadKernel, match="1f8b"):
        extract_vmlinux(image(b"\x1f\x8b\0\0 gzip" + bytes(4)), TOOL)


def test_a_tool_that_fails():
    with pytest.raises(BadKernel, match="gives no ELF file: no"):
        extract_vmlinux(image(ZSTD + b"\x7fELF" + bytes(8)), BROKEN_TOOL)
    with pytest.raises(BadKernel, match="gives no ELF file"):
        extract_vmlinux(image(ZSTD + b"text" + bytes(8)), TOOL)
