#!/usr/bin/env python3
"""Two models under the scheduler, asynchronous: python async_two_models.py FIRST.hef SECOND.hef"""

import sys
from functools import partial
from threading import Event, Lock

import numpy as np

from hailo_platform import FormatType, HailoSchedulingAlgorithm, VDevice

TIMEOUT_MS = 10000
FRAMES = 60


class Model:
    """One network with a queue of results."""

    def __init__(self, vdevice, hef_path):
        self.infer_model = vdevice.create_infer_model(hef_path)
        self.infer_model.set_batch_size(2)
        self.infer_model.input().set_format_type(FormatType.UINT8)
        for output in self.infer_model.outputs:
            output.set_format_type(FormatType.FLOAT32)
        self.configured = self.infer_model.configure()
        self.results, self.lock, self.finished = {}, Lock(), Event()
        self.job = None

    def send(self, index, frame):
        output_buffers = {
            name: np.empty(self.infer_model.output(name).shape, dtype=np.float32)
            for name in self.infer_model.output_names
        }
        bindings = self.configured.create_bindings(output_buffers=output_buffers)
        bindings.input().set_buffer(frame)
        self.configured.wait_for_async_ready(timeout_ms=TIMEOUT_MS)
        self.job = self.configured.run_async([bindings], partial(self.callback, bindings=bindings, index=index))

    def callback(self, completion_info, bindings, index):
        if completion_info.exception:
            print(f"Inference error: {completion_info.exception}")
            return
        with self.lock:
            self.results[index] = bindings.output(bindings._output_names[0]).get_buffer()
            if len(self.results) == FRAMES:
                self.finished.set()


def main():
    params = VDevice.create_params()
    params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN
    params.group_id = "SHARED"
    with VDevice(params) as vdevice:
        models = [Model(vdevice, path) for path in sys.argv[1:3]]
        models[0].configured.set_scheduler_priority(17)
        shape = models[0].infer_model.input().shape
        frames = np.random.randint(0, 255, (FRAMES, *shape), dtype=np.uint8)
        for index, frame in enumerate(frames):
            for model in models:
                model.send(index, frame)
        for model in models:
            model.job.wait(TIMEOUT_MS)
            assert model.finished.wait(10)
            name = model.infer_model.hef.get_network_group_names()[0]
            in_order = list(model.results) == list(range(FRAMES))
            print(f"{name}: {len(model.results)} frames, in order: {in_order}, mean {np.mean(model.results[0]):.3f}")


if __name__ == "__main__":
    main()
