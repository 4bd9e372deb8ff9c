#!/usr/bin/env python3
"""Streaming from two processes, one that sends and one that receives: python fork_streaming.py MODEL.hef"""

import sys
from multiprocessing import Process, Queue, set_start_method

import numpy as np

from hailo_platform import (
    HEF,
    ConfigureParams,
    FormatType,
    HailoStreamInterface,
    InputVStreamParams,
    InputVStreams,
    OutputVStreamParams,
    OutputVStreams,
    VDevice,
)


def send(configured_network, num_frames):
    configured_network.wait_for_activation(1000)
    vstreams_params = InputVStreamParams.make(configured_network, format_type=FormatType.UINT8)
    with InputVStreams(configured_network, vstreams_params) as vstreams:
        vstream_to_buffer = {vstream: np.ndarray([1, *vstream.shape], dtype=vstream.dtype) for vstream in vstreams}
        for index in range(num_frames):
            for vstream, buff in vstream_to_buffer.items():
                buff[:] = index
                vstream.send(buff)
        for vstream in vstreams:
            vstream.flush()


def recv(configured_network, vstreams_params, num_frames, results):
    configured_network.wait_for_activation(1000)
    with OutputVStreams(configured_network, vstreams_params) as vstreams:
        for _ in range(num_frames):
            for vstream in vstreams:
                data = vstream.recv()
                results.put((vstream.name, data.shape, float(np.abs(data).max())))


def main():
    set_start_method("fork")
    num_frames = 50
    hef = HEF(sys.argv[1])
    results = Queue()
    with VDevice(device_ids=None) as target:
        configure_params = ConfigureParams.create_from_hef(hef, HailoStreamInterface.PCIe)
        configured_network = target.configure(hef, configure_params)[0]
        groups = OutputVStreamParams.make_groups(configured_network, format_type=FormatType.FLOAT32)
        processes = [Process(target=send, args=(configured_network, num_frames))]
        processes += [Process(target=recv, args=(configured_network, group, num_frames, results)) for group in groups]
        with configured_network.activate(configured_network.create_params()):
            for process in processes:
                process.start()
            received = [results.get(timeout=60) for _ in range(num_frames * len(groups))]
            for process in processes:
                process.join()
        name, shape, _ = received[0]
        print(f"{name}: received {len(received)} frames of {shape}")
        print(f"exit codes: {[process.exitcode for process in processes]}")


if __name__ == "__main__":
    main()
