"""A spiking network sees edges, and what moves which way: a cat's eye travels over a cup of coffee.

Nothing is learned: neurons lie like the picture and are wired like a fly's eye. The same bursts run in the engine and,
exported as an integer ONNX graph and compiled, on the device.
"""

import numpy as np
from small_model import OUTPUT

import openhailo
from openhailo.burst import Engine
from openhailo.feagi.encoders import Activity, Retina, find_objects
from openhailo.feagi.export import export_step
from openhailo.feagi.structured import Projection, Sheet, Structured
from openhailo.pipeline.models import demo_photos
from openhailo.vision.images import load_image, save_image

OUTPUT.mkdir(parents=True, exist_ok=True)
ROWS, COLUMNS, BURSTS = 120, 160, 24
photos = {name: load_image(path) for name, path in demo_photos().items()}
scene, eye = photos["coffee"][20:380:3, 40:520:3], photos["chelsea"][40:180:4, 100:260:4]

forgets = {"charge_accumulation": False}
grey = [Sheet(f"grey{n}", (1, ROWS, COLUMNS), takes_input=True, threshold=n, **forgets) for n in (10, 20, 30, 40)]
change = Sheet("change", (2, ROWS, COLUMNS), takes_input=True, threshold=3, **forgets)
edges, past = Sheet("edges", (4, ROWS, COLUMNS), threshold=6, **forgets), Sheet("past", (2, ROWS, COLUMNS), **forgets)
motion = Sheet("motion", (2, ROWS, COLUMNS), threshold=20, **forgets)  # to the right, to the left
sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
ways = [Projection(sheet.name, "edges", [[sobel], [-sobel], [sobel.T], [-sobel.T]]) for sheet in grey]
ways.append(Projection("change", "past", np.eye(2).reshape(2, 2, 1, 1), psp=10))
ways.append(Projection("change", "motion", np.ones((2, 2, 1, 1)), psp=12))
ways.append(Projection("past", "motion", [[[[1, 0, -1]]] * 2, [[[-1, 0, 1]]] * 2], psp=12))
brain = Structured((*grey, change, edges, past, motion), ways)
step, engine = export_step(brain), Engine(brain.to_network())

light, event = Retina(ROWS, COLUMNS), Retina(ROWS, COLUMNS, channels=("on", "off"))
maps = {sheet.name: Activity(brain.ids(sheet.name), sheet.shape, decay=0.7) for sheet in (edges, motion)}
state, fired = step.initial_state(), 0
with openhailo.open() as device:
    network = device.load(step.compile("edge_motion").hef_bytes)
    for left in range(20, 20 + BURSTS):
        frame = scene.copy()
        frame[50:85, left : left + 40] = eye
        levels = np.hstack([light.encode_levels(frame)] * len(grey) + [event.encode_levels(frame)])
        result = engine.step(step.inputs(levels))
        sent = {"edge_motion/levels": levels, "edge_motion/state": state}
        sent = {name: values.reshape(1, 1, 1, -1) for name, values in sent.items()}
        state = network(sent, raw=True)["edge_motion/next"]
        assert step.fired(state).tolist() == result.fired.tolist()
        fired += len(result.fired)
        seen = {name: activity.update(result.fired) for name, activity in maps.items()}
    print(f"{brain.count} neurons fired {fired} times in {BURSTS} bursts, in the engine as on {device.name}")
right, left_going = seen["motion"]
found = find_objects(right - left_going, threshold=0.2, gap=4)[0]
print(f"something of {found.size} neurons moves to the right in {found.box}; it is in {(left, 50, left + 40, 85)}")
panels = [frame, np.dstack([seen["edges"].max(0)] * 3) * 255, np.dstack([left_going, right, 0 * right]) * 255]
picture = np.hstack(panels).clip(0, 255).astype(np.uint8).repeat(3, 0).repeat(3, 1)
save_image(OUTPUT / "edge_motion.png", picture)
print(f"{OUTPUT / 'edge_motion.png'} shows the frame, edges and motion")
