"""See everything that crosses the link: registers, controls, descriptors, transfers and interrupts of one inference."""

import json
from collections import Counter

from small_model import OUTPUT, pictures, small_model

import openhailo

model, target = small_model(), OUTPUT / "trace.jsonl"
with target.open("w", encoding="utf-8") as stream, openhailo.open(trace=stream) as device:
    network = device.load(model, compile_options={"calibration": pictures(32)})
    network(pictures(3))

records = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
for kind, count in Counter(record["k"] for record in records).most_common():
    print(f"{count:6} {kind}")

print("\nwhat the firmware was asked:")
for record in records:
    if record["k"] == "control":
        print(f"  {record['us']:8} us  {record['name']} -> {record['status']}")
print(f"\nall of it: openhailo trace {target}")
