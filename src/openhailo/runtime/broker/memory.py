"""Memory that two processes share: anonymous files whose size is sealed, so that no page can vanish under the other."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat

from openhailo.errors import DmaMapError, MalformedMessage

#: Without these the other side could shorten the file, and every access of ours beyond its end would be a SIGBUS.
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class SharedMemory:
    """A mapping of ``size_bytes``; ``fd`` is there until `forget_descriptor`."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        """Map and own ``fd``. Raises `OSError`, `ValueError`."""
        self.size_bytes, self.fd = size_bytes, fd
        self.view = memoryview(mmap.mmap(fd, size_bytes))

    @staticmethod
    def create(size_bytes: int) -> SharedMemory:
        """Return zeroed memory to share. Raises `DmaMapError`."""
        try:
            fd = os.memfd_create("openhailo frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                os.ftruncate(fd, size_bytes)
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
                return SharedMemory(fd, size_bytes)
            except BaseException:
                os.close(fd)
                raise
        except (OSError, ValueError) as error:
            raise DmaMapError(detail=f"no memory to share ({error})", size_bytes=size_bytes) from error

    @staticmethod
    def adopt(fd: int, size_bytes: int) -> SharedMemory:
        """Map what another process sent, after checks; ``fd`` is closed in any case. Raises `MalformedMessage`."""
        try:
            check_sealed(fd, size_bytes)
            memory = SharedMemory(fd, size_bytes)
        except (OSError, ValueError) as error:
            os.close(fd)
            raise MalformedMessage(what="shared memory", detail=f"cannot be mapped ({error})") from None
        except BaseException:
            os.close(fd)
            raise
        memory.forget_descriptor()
        return memory

    def forget_descriptor(self) -> None:
        """Close the descriptor; the mapping stays. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def check_sealed(fd: int, size_bytes: int) -> None:
    """Check that ``fd`` is an anonymous file of ``size_bytes`` and stays so. Raises `MalformedMessage`, `OSError`."""
    if fd < 0:
        raise MalformedMessage(what="shared memory", detail="none was sent")
    state = os.fstat(fd)
    if not stat.S_ISREG(state.st_mode) or state.st_size != size_bytes or size_bytes <= 0:
        raise MalformedMessage(what="shared memory", detail=f"not a file of {size_bytes} bytes")
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    if seals & SEALS != SEALS:
        raise MalformedMessage(what="shared memory", detail="its size is not sealed (F_SEAL_SHRINK, F_SEAL_GROW)")
    if os.fstatvfs(fd).f_bsize != mmap.PAGESIZE:
        raise MalformedMessage(what="shared memory", detail="huge pages may be missing when they are touched")


def read_sealed(fd: int, size_bytes: int) -> bytes:
    """Return the content of a sealed file that another process sent. Raises `MalformedMessage`, `OSError`."""
    check_sealed(fd, size_bytes)
    content = os.pread(fd, size_bytes, 0)
    if len(content) != size_bytes:
        raise MalformedMessage(what="shared memory", detail=f"{len(content)} bytes, {size_bytes} announced")
    return content
