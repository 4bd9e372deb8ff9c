"""One measurement in a process of its own: `python -m benchmarks.feagi_case KIND '{"count": 1000}'` prints JSON.

Every kind lets the same tokens go round in the same connections and reports seconds per burst: the best and the median
of many short chunks, and how many neurons fired in the last burst.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.feagi_tokens import KICK, LEAK, THRESHOLD, Tokens, start_of, targets_of, weights_of

CHUNK_S, TOTAL_S = 0.02, 2.0


def main() -> None:
    """Measure the kind named on the command line."""
    kind, options = sys.argv[1], json.loads(sys.argv[2])
    special = {name: options.pop(name) for name in ("threads", "backend", "batch") if name in options}
    print(json.dumps(KINDS[kind](Tokens(**options), **special)))


def _chunks(run: Callable[[int], None]) -> dict[str, float]:
    """Time ``run(bursts)`` in chunks of about ``CHUNK_S``."""
    run(3)
    began = time.perf_counter()
    run(3)
    bursts = max(1, int(CHUNK_S / max((time.perf_counter() - began) / 3, 1e-7)))
    times, end = [], time.perf_counter() + TOTAL_S
    while time.perf_counter() < end or len(times) < 5:
        began = time.perf_counter()
        run(bursts)
        times.append((time.perf_counter() - began) / bursts)
    return {"best_s": min(times), "median_s": float(np.median(times))}


def _long_runs(run: Callable[[int], None], bursts: int) -> dict[str, float]:
    """Time ``run(bursts)`` three times: for a simulator that prepares each run anew."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        run(bursts)
        times.append((time.perf_counter() - began) / bursts)
    return {"best_s": min(times), "median_s": float(np.median(times))}


def engine(tokens: Tokens, threads: int = 1, backend: str | None = None, batch: bool = False) -> dict[str, Any]:
    """Our engine, burst by burst or through the batch call; memory before and after in MiB."""
    from benchmarks.feagi_networks import build_network, start
    from openhailo.burst import Engine

    before = _rss_mb()
    core = Engine(build_network(tokens), threads=threads, backend=backend)
    start(core, tokens)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what building the network has left to the allocator is not the engine's

    def single(bursts: int) -> None:
        for _ in range(bursts):
            core.step()

    times = _chunks(core.run if batch else single)  # type: ignore[arg-type]
    result = core.step()
    memory = {"rss_mb": _rss_mb(), "rss_before_mb": before}
    return {**times, **memory, "fired": len(result.fired), "candidates": result.candidates}


def _rss_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def scipy(tokens: Tokens) -> dict[str, Any]:
    """NumPy and a scipy CSR matrix, f32: rows of what fired are sliced out and summed, then all neurons are updated."""
    from scipy.sparse import csr_matrix

    count = tokens.count
    starts = np.arange(0, count * tokens.fan_out + 1, tokens.fan_out)
    matrix = csr_matrix((weights_of(tokens).reshape(-1), targets_of(tokens).reshape(-1), starts), (count, count))
    state = {"v": np.zeros(count, np.float32), "fired": start_of(tokens)}

    def run(bursts: int) -> None:
        v = state["v"]
        for _ in range(bursts):
            rows = matrix[state["fired"]]
            v += np.bincount(rows.indices, rows.data, count)
            fired = np.flatnonzero(v >= THRESHOLD)
            v *= np.float32(1 - LEAK)
            v[fired] = 0
            state["fired"] = fired

    return {**_chunks(run), "fired": len(state["fired"])}


def brian2(tokens: Tokens, standalone: bool = False) -> dict[str, Any]:
    """brian2, Cython or C++ standalone: exponential decay, a threshold, synapses without delay of their own."""
    import brian2 as b2

    b2.prefs.codegen.target = "cython"
    bursts = max(50, min(20_000, int(1e9 / tokens.count / tokens.fan_out)))
    if standalone:
        b2.set_device("cpp_standalone", directory=f"build/feagi-peers/standalone-{os.getpid()}", build_on_run=True)
    group = b2.NeuronGroup(tokens.count, "dv/dt = -v / tau : 1", threshold="v >= 10", reset="v = 0", method="exact",
                           namespace={"tau": 1 / np.log(2) * b2.ms}, dt=1 * b2.ms)  # fmt: skip
    synapses = b2.Synapses(group, group, "w : 1", on_pre="v_post += w", dt=1 * b2.ms)
    synapses.pre.when = "after_resets"
    source = np.repeat(np.arange(tokens.count), tokens.fan_out)
    synapses.connect(i=source, j=targets_of(tokens).reshape(-1).astype(np.int64))
    synapses.w = weights_of(tokens).reshape(-1)
    kick = np.zeros(tokens.count)
    kick[start_of(tokens)] = 2 * KICK
    group.v = kick
    counter = b2.PopulationRateMonitor(group)
    network = b2.Network(group, synapses, counter)
    if standalone:
        network.run(bursts * b2.ms)
        seconds = b2.device._last_run_time / bursts
        times = {"best_s": seconds, "median_s": seconds}
    else:
        network.run(3 * b2.ms)  # compiles
        times = _long_runs(lambda count: network.run(count * b2.ms), bursts)
    fired = float(counter.rate[-1] / b2.Hz) * 0.001 * tokens.count
    return {**times, "fired": round(fired)}


def nest(tokens: Tokens) -> dict[str, Any]:
    """NEST: iaf_psc_delta, one-to-one connections from arrays, a step and a delay of 1 ms."""
    import nest as nst

    nst.ResetKernel()
    nst.SetKernelStatus({"resolution": 1.0, "local_num_threads": 1, "print_time": False})
    nst.set_verbosity("M_ERROR")
    parameters = {"E_L": 0.0, "V_th": THRESHOLD, "V_reset": 0.0, "t_ref": 0.0, "V_m": 0.0, "tau_m": 1 / np.log(2)}
    nodes = nst.Create("iaf_psc_delta", tokens.count, parameters)
    first = int(nodes[0].global_id)
    source = np.repeat(np.arange(tokens.count), tokens.fan_out) + first
    target = targets_of(tokens).reshape(-1).astype(np.int64) + first
    weight, delay = weights_of(tokens).reshape(-1).astype(float), np.ones(source.size)
    nst.Connect(source, target, conn_spec="one_to_one", syn_spec={"weight": weight, "delay": delay})
    kick = np.zeros(tokens.count)
    kick[start_of(tokens)] = 4 * KICK
    nodes.set(V_m=kick)
    nst.Prepare()
    times = _chunks(lambda bursts: nst.Run(float(bursts)))
    nst.Run(1.0)
    return {**times, "fired": int(nst.GetKernelStatus("local_spike_counter"))}


def floors(tokens: Tokens) -> dict[str, Any]:
    """What the machine allows: a stream through memory, one dependent load after the other, adds to random places."""
    from openhailo_native import measure

    cells = max(tokens.count, 1)
    return {
        "read_gb_s": measure.read_gb_s(256 << 20),
        "latency_ns": measure.latency_ns(256 << 20),
        "scatter_ns": measure.scatter_ns(cells, max(1000, tokens.firing * tokens.fan_out)),
    }


KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "engine": engine,
    "scipy": scipy,
    "brian2_cython": brian2,
    "brian2_cpp": lambda tokens: brian2(tokens, standalone=True),
    "nest": nest,
    "floors": floors,
}

if __name__ == "__main__":
    main()
