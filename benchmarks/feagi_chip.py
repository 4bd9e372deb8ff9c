"""Spiking networks through the chip, against the engine alone; and a million neurons in real time.

`python -m benchmarks.feagi_chip` measures both, in turn, so that a machine that others use hits them alike;
`--realtime SECONDS` runs the burst loop at 1000 Hz through `Hailo8Accelerator`.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

import numpy as np
from tools.report import Row, write_report

from benchmarks.feagi_networks import Tokens, build_network, start_of
from openhailo.burst import Engine, Network
from openhailo.feagi.accelerator import Accelerator, EngineAccelerator
from openhailo.feagi.hailo8 import Hailo8Accelerator
from openhailo.feagi.hybrid import HybridCpuHailo, place
from openhailo.feagi.realtime import DEFAULT_HZ, BurstLoop

MILLION = Tokens(1_000_000)
ROUNDS = 40


def begin(accelerator: Accelerator, tokens: Tokens, network: Network) -> None:
    """Load the network and let the first neurons fire."""
    first = start_of(tokens)
    accelerator.upload_network(network)
    accelerator.upload_input_deltas(first, np.full(len(first), 50.0, np.float32))
    accelerator.process_burst()


def timed(accelerator: Accelerator, bursts: int = 1) -> float:
    """Seconds of a burst."""
    started = time.perf_counter()
    accelerator.process_burst_batch(bursts)
    return (time.perf_counter() - started) / bursts


def measure(tokens: Tokens, rounds: int = ROUNDS) -> tuple[float, float, float]:
    """Return the chip's median seconds of a burst, the engine's, and the median ratio of bursts next to each other."""
    network = build_network(tokens)
    with Hailo8Accelerator("twin:") as chip:
        engine = EngineAccelerator()
        for accelerator in (chip, engine):
            begin(accelerator, tokens, network)
        pairs = [(min(timed(chip) for _ in range(5)), min(timed(engine) for _ in range(5))) for _ in range(rounds)]
        assert np.array_equal(chip.download_fired_neurons(), engine.download_fired_neurons()), "the bits are the same"
    chip_s, engine_s = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    return chip_s, engine_s, statistics.median(ours / alone for ours, alone in pairs)


def measure_hybrid(tokens: Tokens, rounds: int = ROUNDS) -> tuple[float, float]:
    """Return median seconds of a burst with half of the neurons on the chip, and of the engine."""
    network, first = build_network(tokens), start_of(tokens)
    inputs, engine = (first, np.full(len(first), 50.0, np.float32)), Engine(network)
    with HybridCpuHailo(network, place(network, share=0.5), "twin:") as hybrid:
        times: list[list[float]] = [[], []]
        for step, taken in ((hybrid.process_burst, times[0]), (engine.step, times[1])):
            step(inputs)
            for _ in range(rounds):
                started = time.perf_counter()
                step()
                taken.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def rows() -> list[Row]:
    """One row per size; the batch interface with a thousand neurons; computer and chip together."""
    found = []
    for count, name in ((1_000, "1k"), (10_000, "10k"), (100_000, "100k"), (1_000_000, "1m")):
        chip_s, engine_s, ratio = measure(Tokens(count))
        found.append(
            Row(
                f"through_chip_{name}",
                ratio,
                "x",
                f"the engine's {engine_s * 1e3:.4f} ms",
                None,
                "2" if count > 1e5 else "",
            )
        )
        found.append(Row(f"chip_burst_{name}_ms", chip_s * 1e3, "ms"))
    tokens = Tokens(1_000)
    with Hailo8Accelerator("twin:") as chip:
        begin(chip, tokens, build_network(tokens))
        batch_s = min(timed(chip, 2000) for _ in range(10))
    found.append(Row("chip_batch_1k_us", batch_s * 1e6, "us"))
    hybrid_s, engine_s = measure_hybrid(Tokens(100_000))
    found.append(Row("hybrid_100k_ms", hybrid_s * 1e3, "ms", "engine", hybrid_s / engine_s))
    return found


def realtime_rows(seconds: float, rate_hz: float = DEFAULT_HZ) -> list[Row]:
    """Run the loop with a million neurons and ten million synapses."""
    with Hailo8Accelerator("twin:") as chip:
        begin(chip, MILLION, build_network(MILLION))
        for _ in range(100):
            chip.process_burst()
        loop = BurstLoop(lambda _: chip.process_burst(), rate_hz)
        seen = loop.run(
            seconds,
            report=lambda s: print(f"{s.elapsed_s:5.0f} s  {s.achieved_hz:7.1f} Hz  {s.missed} missed"),
            every_s=5,
        )
        streamed = chip.streamed_rows
    # Kilobytes on Linux.
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Row("realtime_1m_hz", seen.achieved_hz, "Hz", f"{rate_hz:g} Hz", seen.achieved_hz / rate_hz, f"{rate_hz:g}"),
        Row("realtime_missed", seen.missed, "bursts", "bursts", seen.missed / max(1, seen.bursts)),
        Row("realtime_skipped", seen.skipped, "bursts"),
        Row("realtime_fired", seen.fired, "neurons"),
        Row("realtime_burst_ms", seen.burst_s * 1e3, "ms"),
        Row("realtime_worst_ms", seen.worst_s * 1e3, "ms"),
        Row("realtime_jitter_ms", seen.jitter_s * 1e3, "ms"),
        Row("realtime_streamed_rows", streamed, "rows"),
        Row("realtime_rss_mb", memory_mb, "MB"),
    ]


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--realtime", type=float, metavar="SECONDS", help="run the burst loop instead")
    parser.add_argument("--report", type=Path, default=Path("build/report/feagi-chip.json"))
    arguments = parser.parse_args()
    write_report(arguments.report, realtime_rows(arguments.realtime) if arguments.realtime else rows())


if __name__ == "__main__":
    main()
