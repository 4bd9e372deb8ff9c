"""What happens to frames between the user and the device (traces/README.md 5)."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from openhailo import hef
from openhailo.errors import InputError
from openhailo.runtime.configure.layers import H2D, Layer
from openhailo.runtime.describe import describe
from openhailo.runtime.formats import FormatOrder, FormatType
from openhailo.runtime.network import Network
from openhailo.runtime.transforms import plan_input, plan_output
from openhailo.spec.enums import DeviceArchitecture

from .compare import Check
from .recording import Recording, load_io
from .rig import sha256, user_bytes

Array = np.ndarray[Any, np.dtype[Any]]
Entry = Mapping[str, Any]

#: Values of ``infer_f32_out_of_range``.
EDGES = [-1000, -2, -1, -0.75, -0.5, -0.25, 0, 0.5, 1.5, 2.5, 254.5, 255, 255.25, 255.5, 255.75, 256, 257, 300, 511.5]
EDGES += [512, 1000, 70000, 1e9, -1e9, float("nan"), float("inf"), float("-inf")]


@cache
def io_entries(folder: Path) -> Mapping[str, Entry]:
    """Return the entries of ``io.json`` by scenario."""
    return {entry["scenario"]: entry for entry in load_io(folder)}


@cache
def layers_of(shared: Path, name: str) -> Mapping[str, Layer]:
    """Return the boundary layers of a HEF by name."""
    file = hef.read((shared / "hefs" / f"{name}.hef").read_bytes())
    return {layer.name: layer for layer in describe(file, None, DeviceArchitecture.HAILO8, 0).boundary}


def float_frame(scenario: str, values: Array, scale: float, zero_point: float) -> Array:
    """Return the float32 frame that the recording's program made of ``values``."""
    size, zero = np.float32(scale), np.float32(zero_point)
    if scenario == "infer_f32_out_of_range":
        with np.errstate(invalid="ignore"):
            return (np.resize(np.array(EDGES, np.float32), values.size) - zero) * size
    k = np.arange(values.size)
    extra = np.where(k % 5 == 0, np.float32(0.49) * size, np.where(k % 7 == 0, np.float32(0.5) * size, np.float32(0)))
    return (values.astype(np.float32) - zero) * size + extra.astype(np.float32)


def generated_bytes(count: int) -> Array:
    """Return the frame that the command line sends when it has no input file: Mersenne Twister, seed 0, upper bytes.

    Found by comparing with the recorded digests; the four files agree.
    """
    words = np.random.RandomState(0).randint(0, 1 << 32, size=count, dtype=np.uint32)
    return (words >> 24).astype(np.uint8)


def user_frame(recording: Recording, network: Network, frame: int) -> Array:
    """Return the frame that a scenario sends."""
    info = network.inputs[0]
    if not recording.name.startswith("infer_"):
        return generated_bytes(int(np.prod(info.shape))).reshape(info.shape)
    values = user_bytes(int(np.prod(info.shape)), frame)
    if recording.meta["command"].split()[3] == "f32":
        scale, zero = info.quantization.scale, info.quantization.zero_point
        values = float_frame(recording.name, values, scale, zero)
    return values.reshape(info.shape)


def compare_outputs(recording: Recording, shared: Path, outputs: Sequence[Mapping[str, Array]]) -> Check:
    """Compare what the host got from the network with what the recorded program got."""
    check = Check("output of the network")
    entries = io_entries(shared / "traces" / recording.group)
    same = (entry for entry in entries.values() if entry["command"] == recording.meta["command"])
    entry = entries.get(recording.name) or next(same, {})
    for output in entry.get("outputs", []):
        for recorded in output.get("frames", []):
            data = outputs[recorded["frame"]][output["name"]].tobytes()
            name = f"{output['name']}, frame {recorded['frame']}"
            check.expect(f"{name}, bytes", len(data), recorded["bytes"])
            check.expect(f"{name}, digest", sha256(data), recorded["sha256"])
    return check


# --- io.json --------------------------------------------------------------------------------------------------------


def replay_io(entry: Entry, shared: Path, group: str) -> list[Check]:
    """Transform the known frames of one entry and compare bit for bit."""
    layers = layers_of(shared, group)
    if entry.get("configure_status") or any(entry.get("completion_status", [])):
        return [_refused(entry, layers)]
    inputs, outputs = Check("input transformation"), Check("output transformation")
    for item in entry["inputs"]:
        _check_input(inputs, entry["scenario"], item, layers[item["name"]])
    for item in entry["outputs"]:
        _check_output(outputs, item, layers[item["name"]])
    return [inputs, outputs]


#: Element types as the recorded program spells them.
TYPES = {"auto": FormatType.AUTO, "u8": FormatType.UINT8, "u16": FormatType.UINT16, "f32": FormatType.FLOAT32}


def _refused(entry: Entry, layers: Mapping[str, Layer]) -> Check:
    """What the vendor refuses when frames arrive we refuse when the transformation is planned.

    The vendor's text names the side that came first; the other one may be impossible too.
    """
    check = Check("refusal")
    is_output = "output stream" in " ".join(entry.get("text", ()))
    kind, plan = ("outputs", plan_output) if is_output else ("inputs", plan_input)
    asked = entry if kind in entry else _asked(entry["command"], layers)
    for item in asked[kind]:
        try:
            _plan(plan, layers[item["name"]], item)
            refused = False
        except InputError:
            refused = True
        check.expect(f"{item['name']} refused", refused, True)
    return check


def _asked(command: str, layers: Mapping[str, Layer]) -> Entry:
    """Return the formats that a command of the recorded program asks for, where the recording does not list them."""
    words = command.split()
    kinds = {"inputs": TYPES[words[3]], "outputs": TYPES[words[4]]}
    found: dict[str, list[Entry]] = {"inputs": [], "outputs": []}
    for layer in layers.values():
        kind = "inputs" if layer.direction is H2D else "outputs"
        found[kind].append({"name": layer.name, "format": {"type": kinds[kind], "order": layer.user_order}})
    return found


def _plan(plan: Any, layer: Layer, item: Entry) -> Any:
    asked = item["format"]
    return plan(
        layer.layout, layer.quantization, order=FormatOrder(asked["order"]), user_type=FormatType(asked["type"])
    )


def _check_input(check: Check, scenario: str, item: Entry, layer: Layer) -> None:
    plan = _plan(plan_input, layer, item)
    for recorded in item["frames"]:
        frame = user_bytes(int(np.prod(item["shape"])), recorded["frame"])
        if item["format"]["type"] == FormatType.FLOAT32:
            frame = float_frame(scenario, frame, layer.quantization.scale, layer.quantization.zero_point)
        check.expect("the user's frame", sha256(frame.tobytes()), recorded["user_sha256"])
        slot = bytearray(plan.transfer_bytes)
        plan.bind(memoryview(slot), plan.transfer_bytes)(frame.reshape(1, *plan.shape), 0, 1)
        check.expect("bytes", len(slot), recorded["device_bytes"])
        for key in ("device_zlib_b64", "device_first4096_zlib_b64"):
            if key in recorded:
                known = zlib.decompress(base64.b64decode(recorded[key]))
                check.expect("first bytes", bytes(slot[: len(known)]), known)
        if "device_first27" in recorded:
            check.expect("edge values", list(slot[:27]), recorded["device_first27"])
        check.expect("digest", sha256(bytes(slot)), recorded["device_sha256"])


def _check_output(check: Check, item: Entry, layer: Layer) -> None:
    plan = _plan(plan_output, layer, item)
    for recorded in item["frames"]:
        channel, frame = recorded["matches_channel"], recorded["frame"]
        i = np.arange(plan.transfer_bytes)
        slot = bytearray(((7 * i + frame + 31 * (channel - 16)) % 256).astype(np.uint8).tobytes())
        out = np.empty((1, *plan.shape), plan.dtype)
        plan.bind(memoryview(slot), plan.transfer_bytes)(out, 0, 1)
        check.expect("bytes", out.nbytes, recorded["bytes"])
        if "raw" in recorded:
            check.expect("first bytes", out.tobytes().hex()[: len(recorded["raw"])], recorded["raw"])
        check.expect("digest", sha256(out.tobytes()), recorded["sha256"])
