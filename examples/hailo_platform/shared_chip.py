#!/usr/bin/env python3
"""One of several processes that share one chip: python shared_chip.py MODEL.hef FRAMES VALUE (start several)"""

import sys

import numpy as np

from hailo_platform import (
    HEF,
    ConfigureParams,
    FormatType,
    HailoSchedulingAlgorithm,
    HailoStreamInterface,
    InferVStreams,
    InputVStreamParams,
    OutputVStreamParams,
    VDevice,
)


def main():
    hef = HEF(sys.argv[1])
    frames, value = int(sys.argv[2]), int(sys.argv[3])

    params = VDevice.create_params()
    params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN
    params.multi_process_service = True
    params.group_id = "SHARED"
    with VDevice(params) as vdevice:
        configure_params = ConfigureParams.create_from_hef(hef, interface=HailoStreamInterface.PCIe)
        network_group = vdevice.configure(hef, configure_params)[0]
        network_group.set_scheduler_timeout(10)
        input_params = InputVStreamParams.make_from_network_group(network_group, format_type=FormatType.UINT8)
        output_params = OutputVStreamParams.make_from_network_group(network_group, format_type=FormatType.FLOAT32)
        info = hef.get_input_vstream_infos()[0]
        images = np.full((frames, *info.shape), value, np.uint8)
        images[:, :, : info.shape[1] // 2] = 0
        with InferVStreams(network_group, input_params, output_params) as pipeline:
            for start in range(0, frames, 5):
                results = pipeline.infer({info.name: images[start : start + 5]})
        edges = results[hef.get_output_vstream_infos()[0].name]
        print(f"{network_group.name}: {frames} frames of {value}, strongest edge {np.abs(edges).max():.2f}")


if __name__ == "__main__":
    main()
