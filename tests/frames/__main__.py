"""Run very many frames over three models and two devices, and write how many were right."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.report import Row, write_report

import openhailo
from tests.frames.hammer import Pool, hammer, settled
from tests.frames.nets import tagged


def main() -> int:
    """Run; the exit status is 1 when a frame was lost, doubled or swapped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=6)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=Path("build/report/frames.json"))
    arguments = parser.parse_args()
    with openhailo.open_virtual_device(count=arguments.devices) as vdevice:
        pools = []
        for name, shape, seed in (("first", (12, 12, 3), 1), ("second", (28, 28, 1), 2)):
            hef, frames, want = tagged(shape, name, seed)
            pools.append(Pool(vdevice.create_infer_model(hef).configure(), frames, want))
        hef, frames, want = tagged((9, 5, 4), "streamed", 3)
        streamed = Pool(vdevice.create_infer_model(hef).configure(), frames, want)
        score = hammer(
            pools, frames=arguments.frames, threads=arguments.threads, seed=arguments.seed, streamed=streamed
        )
        switches, balanced = vdevice.dispatcher.scheduler.switches, settled(vdevice)
    for line in score.wrong[:20]:
        print(line, file=sys.stderr)
    write_report(
        arguments.report,
        [
            Row("frames_checked", score.right, "frames", aim=f">= {arguments.frames}"),
            Row("frames_wrong", len(score.wrong), "frames", aim="0"),
            Row("model_switches", switches, "switches"),
        ],
    )
    return 0 if not score.wrong and balanced and score.right >= arguments.frames else 1


if __name__ == "__main__":
    sys.exit(main())
