"""What the broker knows of networks: their files by content, and those that are configured."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from contextlib import suppress

from openhailo import hef as hef_floor
from openhailo.errors import InputError, MalformedMessage, OpenHailoError
from openhailo.hef.model import Hef
from openhailo.runtime.broker.limits import Limits, require
from openhailo.runtime.broker.memory import read_sealed
from openhailo.runtime.broker.messages import Configure, Content
from openhailo.runtime.network_group import NetworkGroup
from openhailo.runtime.streams import OutputRefill
from openhailo.runtime.vdevice import VirtualDevice

_Options = tuple[object, ...]


class Models:
    """Files and networks of all clients. For several threads.

    Networks stay configured for a while when nobody uses them any more: firmware forgets single networks never
    (`openhailo.runtime.device.Device.release`), so the same one must not be configured again and again.
    """

    def __init__(self, vdevice: VirtualDevice, limits: Limits) -> None:
        """Configure on ``vdevice``."""
        self._vdevice, self._limits = vdevice, limits
        self._lock = threading.Lock()
        self._files: OrderedDict[str, tuple[int, Hef]] = OrderedDict()
        self._kept: OrderedDict[_Options, NetworkGroup] = OrderedDict()

    def knows(self, digest: str) -> bool:
        """Whether a file is there."""
        with self._lock:
            if digest in self._files:
                self._files.move_to_end(digest)
            return digest in self._files

    def put(self, told: Content, fd: int) -> None:
        """Take a file. Raises `MalformedMessage`, `DoesNotFit`, `HefError`."""
        require("bytes of a HEF", told.size_bytes, self._limits.content_bytes)
        content = read_sealed(fd, told.size_bytes)
        # Clients share files by digest, so nobody may give another file the digest of somebody else's.
        if hashlib.sha256(content).hexdigest() != told.digest:
            raise MalformedMessage(what="HEF", detail="its SHA-256 is another one")
        made = hef_floor.read(content)
        with self._lock:
            self._files[told.digest] = (told.size_bytes, made)
            self._shrink()

    def _shrink(self) -> None:
        """Forget the files that were not asked for the longest."""
        limits = self._limits
        while len(self._files) > 1 and (
            len(self._files) > limits.content_files
            or sum(size for size, _ in self._files.values()) > limits.content_bytes
        ):
            self._files.popitem(last=False)

    def configure(self, wanted: Configure) -> NetworkGroup:
        """Return a group of the file's network, with a queue and a turn of its own. Raises what configuring raises."""
        with self._lock:
            file = self._files.get(wanted.digest)
        if file is None:
            raise InputError(what="HEF", detail="the broker does not have it (any more); send it again")
        made = self._configure(file[1], wanted)
        if not wanted.measure_latency:
            self._keep(file[1], wanted)
        return made

    def _configure(self, file: Hef, wanted: Configure) -> NetworkGroup:
        return self._vdevice.configure(
            file,
            group=wanted.group,
            batch_size=wanted.batch_size,
            timeout_s=wanted.timeout_s,
            queue_transfers=wanted.queue_transfers,
            performance=wanted.performance,
            dynamic_batch_size=wanted.dynamic_batch_size,
            measure_latency=wanted.measure_latency,
            output_refill=OutputRefill.PAIRED if wanted.in_place else OutputRefill.HALF,
            host_ops=False,
        )

    def _keep(self, file: Hef, wanted: Configure) -> None:
        """Have a group of our own on the same network, which is never run and costs nothing."""
        key = (
            wanted.digest,
            wanted.group,
            wanted.batch_size,
            wanted.timeout_s,
            wanted.queue_transfers,
            wanted.performance,
            wanted.dynamic_batch_size,
            wanted.in_place,
        )
        with self._lock:
            known = key in self._kept
            if known:
                self._kept.move_to_end(key)
        surplus = None
        if not known:
            made = self._configure(file, wanted)
            with self._lock:
                surplus = self._kept.pop(key, None)  # of a client that came at the same time
                self._kept[key] = made
                if len(self._kept) > self._limits.kept_networks:
                    surplus = self._kept.popitem(last=False)[1]
        if surplus is not None:
            with suppress(OpenHailoError):
                surplus.close()
