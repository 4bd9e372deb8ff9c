"""The device's message as an eventfd of the client (vfio-user.md 4.5, 4.6, 7)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from openhailo.spec.vfio_user import Irq, IrqFlag, SetIrqs, VfioUserRules

from .protocol import Refusal

#: Plain numbers: the complement of a flag holds no bits without a name.
_DATA = int(SetIrqs.DATA_NONE | SetIrqs.DATA_BOOL | SetIrqs.DATA_EVENTFD)
_ACTION = int(SetIrqs.MASK | SetIrqs.UNMASK | SetIrqs.TRIGGER)
_ONE = (1).to_bytes(8, "little")


class Vectors:
    """The eventfds that the client gave for the vectors of MSI, the only index with any."""

    def __init__(self, rules: VfioUserRules, msi_vectors: int) -> None:
        self._rules = rules
        self._counts = {Irq.INTX: 0, Irq.MSI: msi_vectors, Irq.MSIX: 0}
        self._eventfds: list[int | None] = [None] * msi_vectors
        #: Told how many vectors have an eventfd, after every change.
        self.watch: Callable[[int], None] | None = None

    def info(self, index: int) -> tuple[int, int]:
        """Return (flags, vectors) of ``index``. Raises `Refusal`: an error keeps QEMU quiet about index 3 (4.5)."""
        if index not in self._counts:
            raise Refusal(errno.EINVAL, f"no interrupt index {index}", expected=index == Irq.ERROR)
        return (IrqFlag.EVENTFD | IrqFlag.NO_RESIZE if self._counts[Irq(index)] else 0), self._counts[Irq(index)]

    def set(self, flags: int, index: int, start: int, count: int, data: bytes, fds: list[int]) -> None:
        """Carry out SET_IRQS; takes the descriptors that it keeps out of ``fds``. Raises `Refusal`."""
        self._check(flags, index, start, count)
        if len(data) != (count if flags & SetIrqs.DATA_BOOL else 0):
            raise Refusal(errno.EINVAL, f"{len(data)} bytes of data for {count} vectors")
        if fds and (not flags & SetIrqs.DATA_EVENTFD or len(fds) != count):
            raise Refusal(errno.EINVAL, f"{len(fds)} descriptors for {count} vectors")
        if not flags & SetIrqs.TRIGGER:
            raise Refusal(errno.EINVAL, "these vectors cannot be masked")
        if count == 0:
            self._switch_off(index)
        elif flags & SetIrqs.DATA_EVENTFD:
            self._assign(start, count, fds)
        else:
            wanted = data if flags & SetIrqs.DATA_BOOL else b"\1" * count
            for vector in (start + i for i in range(count) if wanted[i]):
                self.signal(vector)

    def _check(self, flags: int, index: int, start: int, count: int) -> None:
        data, action = flags & _DATA, flags & _ACTION
        if flags & ~(_DATA | _ACTION) or data.bit_count() != 1 or action.bit_count() != 1:
            raise Refusal(errno.EINVAL, f"interrupt flags 0x{flags:X}")
        if index not in self._counts or start + count > self._counts[Irq(index)]:
            raise Refusal(errno.EINVAL, f"no vectors {start}+{count} of interrupt index {index}")
        if count == 0 and (start or flags != SetIrqs.DATA_NONE | SetIrqs.TRIGGER):
            raise Refusal(errno.EINVAL, "no vectors named")

    def _assign(self, start: int, count: int, fds: list[int]) -> None:
        for fd in fds:
            _check_eventfd(fd)
        for vector in range(start, start + count):
            self._drop(vector)
        for vector, fd in zip(range(start, start + count), fds, strict=False):  # none given: vectors taken away
            self._eventfds[vector] = fd
        fds.clear()
        self._changed()

    def _switch_off(self, index: int) -> None:
        if index == Irq.MSI:
            self.close()
            self._changed()

    def _changed(self) -> None:
        if self.watch is not None:
            self.watch(sum(fd is not None for fd in self._eventfds))

    def _drop(self, vector: int) -> None:
        fd, self._eventfds[vector] = self._eventfds[vector], None
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Let go of all eventfds. Idempotent."""
        for vector in range(len(self._eventfds)):
            self._drop(vector)

    def signal(self, vector: int = 0) -> bool:
        """Raise ``vector``; False where the client gave no eventfd: the event is lost, registers keep the state."""
        fd = self._eventfds[vector]
        if fd is None:
            return False
        with suppress(BlockingIOError):  # the counter is full, so the client has not looked at earlier ones either
            os.write(fd, _ONE)
        return True


def _check_eventfd(fd: int) -> None:
    """Only an eventfd cannot block or kill the writer, as a pipe would."""
    if str(Path(f"/proc/self/fd/{fd}").readlink()) != "anon_inode:[eventfd]":
        raise Refusal(errno.EINVAL, "the descriptor of a vector is no eventfd")
    os.set_blocking(fd, False)
