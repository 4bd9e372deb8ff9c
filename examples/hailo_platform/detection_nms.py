#!/usr/bin/env python3
"""Detection on a photo, boxes suppressed by HailoRT: python detection_nms.py DETECTOR.hef PHOTO OUT.png [label]"""

import sys

import cv2
import numpy as np

from hailo_platform import HEF, FormatType, HailoSchedulingAlgorithm, VDevice
from hailo_platform.pyhailort.pyhailort import FormatOrder


def letterbox(image, width, height):
    scale = min(width / image.shape[1], height / image.shape[0])
    resized = cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)))
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - resized.shape[0]) // 2, (width - resized.shape[1]) // 2
    canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
    return canvas, scale, top, left


def main():
    hef_path, photo, target = sys.argv[1:4]
    label = sys.argv[4] if len(sys.argv) > 4 else "object"
    image = cv2.cvtColor(cv2.imread(photo), cv2.COLOR_BGR2RGB)
    height, width, _ = HEF(hef_path).get_input_vstream_infos()[0].shape
    frame, scale, top, left = letterbox(image, width, height)

    params = VDevice.create_params()
    params.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN
    with VDevice(params) as vdevice:
        infer_model = vdevice.create_infer_model(hef_path)
        infer_model.input().set_format_type(FormatType.UINT8)
        assert infer_model.output().format.order == FormatOrder.HAILO_NMS_BY_CLASS
        infer_model.output().set_nms_score_threshold(0.4)
        with infer_model.configure() as configured:
            bindings = configured.create_bindings()
            bindings.input().set_buffer(np.ascontiguousarray(frame))
            bindings.output().set_buffer(np.empty(infer_model.output().shape, np.float32))
            configured.run([bindings], 10000)
            detections = bindings.output().get_buffer()

    for class_id, boxes in enumerate(detections):
        for y_min, x_min, y_max, x_max, score in boxes:
            corners = np.array([x_min * width - left, y_min * height - top, x_max * width - left, y_max * height - top])
            x0, y0, x1, y1 = (int(value) for value in corners / scale)
            cv2.rectangle(image, (x0, y0), (x1, y1), (255, 80, 0), 2)
            print(f"class {class_id} {label} {score:.2f} at ({x0}, {y0}) to ({x1}, {y1})")
    cv2.imwrite(target, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
