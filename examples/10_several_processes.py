"""Three programs share one chip: a broker owns it, and starts when the first of them asks for it."""

import os
import signal
import subprocess
import sys

import numpy as np
from small_model import pictures, small_model

import openhailo
from openhailo.errors import BrokerLost

FRAMES = 200
frames = pictures(FRAMES)


def work(name: str) -> None:
    """Run frames on the shared chip, like any other program: nothing but `multi_process_service` is new."""
    with openhailo.open_virtual_device(["twin:"], multi_process_service=True) as vdevice:
        model = vdevice.create_infer_model(small_model(), compile_options={"calibration": pictures(32)}).configure()
        results = model.submit((frames * 255).astype(np.uint8)).result(timeout=60)
        shapes = {output: array.shape for output, array in sorted(results.items())}
        print(f"{name}: {len(shapes)} outputs of {FRAMES} frames through broker {vdevice.broker_pid}", flush=True)


if len(sys.argv) > 1:
    work(sys.argv[1])
    sys.exit()

with openhailo.open_virtual_device(["twin:"], multi_process_service=True) as vdevice:
    broker = vdevice.broker_pid
    others = [subprocess.Popen([sys.executable, __file__, f"program {n}"]) for n in (1, 2)]
    model = vdevice.create_infer_model(small_model(), compile_options={"calibration": pictures(32)}).configure()
    picture = (frames[0] * 255).astype(np.uint8)
    want = model.submit(picture).result(timeout=60)
    print(f"all programs ended well: {all(other.wait(60) == 0 for other in others)}")

    # A broker that dies: what was under way fails with a clear error, the next call starts it again.
    os.kill(broker, signal.SIGSTOP)
    future = model.submit(picture)
    os.kill(broker, signal.SIGKILL)
    try:
        future.result(timeout=60)
    except BrokerLost as error:
        print(f"BrokerLost: {error}")
    again = model.submit(picture).result(timeout=60)
    same = all(np.array_equal(again[name], want[name]) for name in want)
    print(f"another broker: {vdevice.broker_pid != broker}, the same results: {same}")
