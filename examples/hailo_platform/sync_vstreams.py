#!/usr/bin/env python3
"""Blocking inference with virtual streams, as in the HailoRT tutorials: python sync_vstreams.py MODEL.hef"""

import sys

import numpy as np

from hailo_platform import (
    HEF,
    ConfigureParams,
    FormatType,
    HailoStreamInterface,
    InferVStreams,
    InputVStreamParams,
    OutputVStreamParams,
    VDevice,
)

hef = HEF(sys.argv[1])

with VDevice() as target:
    configure_params = ConfigureParams.create_from_hef(hef, interface=HailoStreamInterface.PCIe)
    network_group = target.configure(hef, configure_params)[0]
    network_group_params = network_group.create_params()

    input_vstreams_params = InputVStreamParams.make(network_group, quantized=False, format_type=FormatType.FLOAT32)
    output_vstreams_params = OutputVStreamParams.make(network_group, quantized=True, format_type=FormatType.UINT8)

    input_vstream_info = hef.get_input_vstream_infos()[0]
    output_vstream_info = hef.get_output_vstream_infos()[0]
    image_height, image_width, channels = input_vstream_info.shape
    num_of_images = 10
    low, high = 2, 20

    dataset = np.random.randint(low, high, (num_of_images, image_height, image_width, channels)).astype(np.float32)

    with InferVStreams(network_group, input_vstreams_params, output_vstreams_params) as infer_pipeline:
        input_data = {input_vstream_info.name: dataset}
        with network_group.activate(network_group_params):
            infer_results = infer_pipeline.infer(input_data)
            print(f"Stream output shape is {infer_results[output_vstream_info.name].shape}")

    dtype = str(output_vstream_info.format.type).split(".")[1].lower()
    scale, zero_point = output_vstream_info.quant_info.qp_scale, output_vstream_info.quant_info.qp_zp
    values = (infer_results[output_vstream_info.name].astype(np.float32) - zero_point) * scale
    print(f"{output_vstream_info.name}: {dtype}, values {values.min():.2f} to {values.max():.2f}")
