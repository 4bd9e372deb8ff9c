"""A virtual device whose devices are a broker's, so that several processes share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openhailo.runtime.broker.device import Broker, SharedDevice
from openhailo.runtime.broker.dispatch import SharedDispatcher
from openhailo.runtime.broker.messages import DeviceStates, Nothing
from openhailo.runtime.broker.start import IDLE_TIMEOUT_S, connect
from openhailo.runtime.broker.wire import Kind
from openhailo.runtime.compiled import CompileModel
from openhailo.runtime.network import Network
from openhailo.runtime.statistics import DeviceStatistics, VirtualDeviceStatistics, model_statistics
from openhailo.runtime.vdevice import VirtualDevice, VirtualDeviceOptions

if TYPE_CHECKING:
    from openhailo.hef.model import Hef


class SharedVirtualDevice(VirtualDevice):
    """Devices of a broker, used as one (see `openhailo.runtime.vdevice.VirtualDevice`).

    Models of all processes take turns. When the broker ends, frames under way fail with `BrokerLost`, and the next call
    starts it again. A forked child has to open its own.
    """

    def __init__(
        self, broker: Broker, options: VirtualDeviceOptions | None = None, *, compile_model: CompileModel | None = None
    ) -> None:
        """Use the devices of ``broker``, and let go of it in the end."""
        self._broker = broker
        devices = [SharedDevice(broker, index, compile_model=compile_model) for index in range(len(broker.names))]
        super().__init__(devices, options, dispatcher=SharedDispatcher(devices[0]))

    @property
    def broker_pid(self) -> int:
        """Process id of the broker, which is started again if it was lost."""
        return self._broker.connection.welcome.pid

    def _load(
        self, content: bytes | Hef, group: str | None, batch_size: int, options: Mapping[str, Any]
    ) -> list[Network]:
        """Have the broker configure it, on all of its devices."""
        return [self.devices[0].load(content, group=group, batch_size=batch_size, **options)]

    def _may_share(self, networks: Sequence[Network]) -> bool:
        """Return False: the broker sees itself what is the same, and gives each a turn of its own."""
        return False

    def statistics(self) -> VirtualDeviceStatistics:
        """Return the figures of every device, for all processes, and of every model of this one."""
        found = self._broker.connection.ask(Kind.DEVICES, Nothing(), DeviceStates)
        devices = [
            DeviceStatistics(each.name, each.model or None, each.in_flight, each.busy_s, each.is_lost)
            for each in found.devices
        ]
        models = tuple(model_statistics(group) for group in self.network_groups)
        return VirtualDeviceStatistics(tuple(devices), models, found.switches, found.switch_s)

    def close(self) -> None:
        """Shut down every model of this process, and let go of the broker. Idempotent.

        In a forked child there is nothing to close: it is the parent's.
        """
        if not self._broker.owner.is_us:
            self._closed = True
            return
        super().close()
        if self._closed:
            self._broker.close()


def open_shared(
    path: Path,
    names: Sequence[str],
    options: VirtualDeviceOptions,
    *,
    start: bool = True,
    idle_timeout_s: float = IDLE_TIMEOUT_S,
    compile_model: CompileModel | None = None,
) -> SharedVirtualDevice:
    """Return the devices of the broker at ``path``, which is started for ``names`` if it is not there.

    Raises what `openhailo.runtime.broker.start.connect` raises.
    """
    broker = Broker(path, partial(connect, path, names, start=start, idle_timeout_s=idle_timeout_s))
    try:
        return SharedVirtualDevice(broker, options, compile_model=compile_model)
    except BaseException:
        broker.close()
        raise
