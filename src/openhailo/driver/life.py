"""What every link to a chip has in common: where it is in its life, how it ends, what it counts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, cast

from openhailo.driver.link import LinkStatistics
from openhailo.driver.state import LinkState, StateMachine
from openhailo.errors import StateError
from openhailo.spec.chip import ChipSpec

if TYPE_CHECKING:
    from openhailo.driver.watchdog import Recoverable, Recovery


class CountedChannel(Protocol):
    """What `sum_channels` reads of a channel: (transfers, descriptors) since the link was opened."""

    @property
    def from_device(self) -> bool:
        """Whether it carries data to the host."""
        ...

    @property
    def lifetime(self) -> tuple[int, int]:
        """Transfers and descriptors so far."""
        ...


class LinkLife(ABC):
    """A link that is open until `close`; ``_finalizer`` releases what it holds, also when it is forgotten."""

    _finalizer: Callable[[], object]

    def __init__(self, spec: ChipSpec, clock: Callable[[], float]) -> None:
        #: Seconds, from any beginning.
        self.clock = clock
        self.states = StateMachine()
        self.recovery_lock = threading.Lock()
        self._spec = spec
        self._open = True

    @property
    def state(self) -> LinkState:
        """Where the link is in its life."""
        return self.states.state

    @property
    def spec(self) -> ChipSpec:
        """The declaration this link goes by."""
        return self._spec

    @abstractmethod
    def drop_channels(self) -> None:
        """Disable every channel."""

    def fail(self) -> None:
        """Go to state ``ERROR``; only `soft_reset`, `recover` and `close` lead out of it."""
        if self.state is not LinkState.IDLE:
            self.states.move(LinkState.ERROR)

    def recover(self) -> Recovery:
        """Bring a stuck chip back (see `openhailo.driver.watchdog.recover`)."""
        from openhailo.driver.watchdog import recover

        self._require_open("recover")
        return recover(cast("Recoverable", self))

    def close(self) -> None:
        """Leave the chip quiet and free everything. Idempotent."""
        self._open = False
        self._finalizer()
        self.states.move(LinkState.IDLE)

    def __enter__(self) -> Self:
        """Return the link itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _require_open(self, what: str) -> None:
        if not self._open:
            raise StateError(what=what, state="closed", hint="open the device again")


def sum_channels(channels: Iterable[CountedChannel], *, controls: int, interrupts: int) -> LinkStatistics:
    """Add up what went over the channels of a link."""
    totals = {False: (0, 0), True: (0, 0)}
    for channel in channels:
        transfers, descriptors = channel.lifetime
        before = totals[channel.from_device]
        totals[channel.from_device] = (before[0] + transfers, before[1] + descriptors)
    return LinkStatistics(
        controls=controls,
        transfers_to_device=totals[False][0],
        transfers_from_device=totals[True][0],
        descriptors_to_device=totals[False][1],
        descriptors_from_device=totals[True][1],
        interrupts=interrupts,
    )
