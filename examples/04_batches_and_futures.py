"""Many frames: one call with a batch, futures that overlap your own work, and two networks on one chip."""

import time

import numpy as np
from small_model import pictures, small_model

import openhailo

FRAMES = 500
model = small_model()

with openhailo.open() as device:
    network = device.load(model, compile_options={"calibration": pictures(32)})
    frames = pictures(FRAMES)
    network(frames[0])  # the first call activates the network

    begin = time.perf_counter()
    for frame in frames:
        network(frame)
    one_by_one = time.perf_counter() - begin

    begin = time.perf_counter()
    batch = network(frames)
    together = time.perf_counter() - begin
    print(f"one by one {FRAMES / one_by_one:.0f} frames/s, as a batch {FRAMES / together:.0f} frames/s")

    # A future is there at once; its result when the device is done. Results keep their order.
    futures = [network.submit(frame) for frame in frames]
    for future, wanted in zip(futures, batch["edges/edges"], strict=True):
        np.testing.assert_array_equal(future.result()["edges/edges"], wanted)
    print(f"{len(futures)} futures gave what the batch gave")

    # Networks share the chip: calling one switches to it after the other's frames are done.
    second = device.load(model, compile_options={"calibration": pictures(32), "name": "again"})
    for turn in (network, second, network):
        brightness = next(value for name, value in turn(frames[0]).items() if name.endswith("/halves"))
        print(f"{turn.name}: brightness of both halves {brightness.reshape(-1).round(2)}")
