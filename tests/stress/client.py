"""One client process: runs frames of two models in every way there is, checks each, and says how many were right.

It writes a line per slice: ``right N``, or ``wrong TEXT``. It ends when its standard input is closed.
"""

from __future__ import annotations

import argparse
import random
import select
import sys
from pathlib import Path

from openhailo.runtime.broker.virtual import open_shared
from openhailo.runtime.vdevice import VirtualDeviceOptions
from tests.frames.hammer import Pool, hammer
from tests.frames.nets import tagged

MODELS = (("first", (12, 12, 3), 1), ("second", (28, 28, 1), 2))
_SLICE, _LONGEST_PAUSE_S = 150, 0.02


def main() -> None:
    """Run until the parent has enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--device", action="append", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with open_shared(arguments.socket, arguments.device, VirtualDeviceOptions()) as vdevice:
        pools = []
        for name, shape, seed in MODELS:
            hef, frames, want = tagged(shape, name, seed)
            pools.append(Pool(vdevice.create_infer_model(hef).configure(), frames, want))
        # Pauses: the parent's end is waited for meanwhile, so nobody sleeps.
        while not select.select([sys.stdin], [], [], rng.random() * _LONGEST_PAUSE_S)[0]:
            score = hammer(pools, frames=_SLICE, threads=arguments.threads, seed=rng.randrange(1 << 30))
            print(f"right {score.right}", flush=True)
            for line in score.wrong:
                print(f"wrong {line}", flush=True)


if __name__ == "__main__":
    main()
