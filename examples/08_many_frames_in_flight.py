"""Two models share two chips: buffers of your own, callbacks, coroutines, and virtual streams with a thread each."""

import asyncio
import threading

import numpy as np
from small_model import pictures, small_model

import openhailo

FRAMES = 100
path, frames = small_model(), pictures(FRAMES)
calibrated = {"calibration": pictures(32)}

with openhailo.open_virtual_device(["twin:", "twin:"]) as vdevice:
    model = vdevice.create_infer_model(path, compile_options=calibrated)
    model.input().set_format_type(openhailo.FormatType.FLOAT32)
    model.output("halves").set_format_type(openhailo.FormatType.FLOAT32)
    first = model.configure()
    second = vdevice.create_infer_model(path, compile_options={**calibrated, "name": "again"}).configure()
    second.set_scheduler_priority(20)
    print(f"{first.name} and {second.name} on {vdevice.device_ids}, up to {first.async_queue_size} frames in flight")

    # Buffers of your own; the callback comes once per job, in order.
    done = []
    jobs = []
    for frame in frames:
        bindings = first.create_bindings({"picture": frame})
        for edge in first.outputs:
            bindings.output(edge.name).set_buffer(np.empty(edge.shape, edge.dtype))
        first.wait_for_async_ready(timeout_s=10)
        jobs.append((first.run_async(bindings, done.append), bindings))
    for job, _ in jobs:
        job.wait(timeout_s=10)
    halves = [bindings.output("halves").get_buffer().ravel() for _, bindings in jobs]
    print(f"{len(done)} callbacks, all well: {all(info.exception is None for info in done)}")

    # Coroutines, while the other model wants the chips too.
    async def both():
        integers = (frames * 255).astype(np.uint8)
        mine = asyncio.gather(*(first.infer(frame) for frame in frames))
        others = asyncio.gather(*(second.infer(picture) for picture in integers))
        return await mine, await others

    results, _ = asyncio.run(both())
    same = all(np.array_equal(r[f"{first.name}/halves"].ravel(), h) for r, h in zip(results, halves, strict=True))
    print(f"{vdevice.statistics().switches} switches of models, the same results: {same}")

    # Virtual streams: whoever sends need not know whoever receives.
    group = second.group
    with openhailo.InputVStreams(group) as inputs, openhailo.OutputVStreams(group) as outputs:
        sender = threading.Thread(target=inputs.get().send, args=((frames * 255).astype(np.uint8),))
        sender.start()
        received = [[stream.recv() for stream in outputs] for _ in range(FRAMES)]
        sender.join()
    print(f"{len(received)} frames of {len(received[0])} streams at {second.statistics().fps:.0f} frames/s")
