"""The guest's kernel and its modules, out of the package (vm-rig.md 5)."""

from __future__ import annotations

import lzma
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

#: In the order of insertion. VFIO is made of modules in Debian's kernels; virtiofs is built into the cloud flavour.
VFIO_MODULES = (
    "virt/lib/irqbypass",
    "drivers/vfio/vfio",
    "drivers/vfio/vfio_iommu_type1",
    "drivers/vfio/pci/vfio-pci-core",
    "drivers/vfio/pci/vfio-pci",
)
_SECTOR = 512
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class BadKernel(Exception):
    """The file is not a kernel that this rig can take apart."""


def payload_of(image: bytes) -> bytes:
    """Return the compressed kernel inside a ``vmlinuz``, without the length behind it. Raises `BadKernel`.

    Byte 0x1F1: setup sectors (0 means 4); u32 at 0x248, 0x24C: offset and length of the payload, counted from behind
    them; the payload ends with its uncompressed length in 4 bytes (vm-rig.md 5.1).
    """
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise BadKernel("the file has no header of a Linux kernel")
    start = (image[0x1F1] or 4) * _SECTOR + _SECTOR
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[start + offset : start + offset + length]
    if length < 8 or len(payload) != length:
        raise BadKernel(f"a payload of {length} bytes at {start + offset}, the file has {len(image)}")
    return payload[:-4]


def extract_vmlinux(image: bytes, zstd: Sequence[str]) -> bytes:
    """Return the ELF file inside a ``vmlinuz``; ``zstd`` is the command of that tool. Raises `BadKernel`."""
    payload = payload_of(image)
    if payload[:4] != _ZSTD_MAGIC:
        raise BadKernel(f"the kernel is not compressed with zstd (it begins with {payload[:4].hex()})")
    done = subprocess.run([*zstd, "-dcq"], input=payload, capture_output=True, check=False)
    if done.returncode or done.stdout[:4] != b"\x7fELF":
        raise BadKernel(f"zstd gives no ELF file: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def read_module(folder: Path, name: str) -> bytes:
    """Return module ``name`` (a path without ending), decompressed. It keeps its signature. Raises `BadKernel`."""
    plain, packed = folder / f"{name}.ko", folder / f"{name}.ko.xz"
    try:
        return lzma.decompress(packed.read_bytes()) if packed.is_file() else plain.read_bytes()
    except (OSError, lzma.LZMAError) as error:
        raise BadKernel(f"module {name}: {error}") from error
