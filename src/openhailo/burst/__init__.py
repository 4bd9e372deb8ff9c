"""Spiking networks with FEAGI's semantics, bit for bit: arrays and engine, no device.

::

    neurons = Neurons.create(1000, threshold=10.0, leak=0.1)
    synapses = Synapses.from_edges(1000, source, target, weight=5, psp=10)
    engine = Engine(Network(neurons, synapses))
    fired = engine.step(([0, 1, 2], [20.0, 20.0, 20.0])).fired
"""

from openhailo.burst.core import BurstResult, RunResult, State
from openhailo.burst.engine import MODES, Engine, available_backends
from openhailo.burst.network import Areas, Network
from openhailo.burst.neurons import FATIGUE_AREA, FIRST_MEMORY_ID, NO_LIMIT, POWER_AREA, Neurons
from openhailo.burst.synapses import EXCITATORY, INHIBITORY, Synapses

__all__ = [
    "EXCITATORY",
    "FATIGUE_AREA",
    "FIRST_MEMORY_ID",
    "INHIBITORY",
    "MODES",
    "NO_LIMIT",
    "POWER_AREA",
    "Areas",
    "BurstResult",
    "Engine",
    "Network",
    "Neurons",
    "RunResult",
    "State",
    "Synapses",
    "available_backends",
]
