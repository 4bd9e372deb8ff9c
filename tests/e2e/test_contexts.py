"""The demo models in two to four contexts: the bits of the uncut graph, on the chip and over the kernel driver."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest

import openhailo
from openhailo import hef
from openhailo.compiler import CompiledModel, compile_model
from openhailo.compiler.contexts.plan import plan_contexts
from openhailo.compiler.emit import build_hef
from openhailo.driver.kernel.link import KernelLink
from openhailo.errors import AssetUnavailable
from openhailo.pipeline.catalogue import MODELS
from openhailo.pipeline.models import demo_model
from openhailo.runtime.device import Device
from openhailo.spec.ioctl import RELEASES
from openhailo.twin.core import make_session_options
from openhailo.twin.facade import Twin
from openhailo.twin.ports.devfile import VirtualKernelDriver

pytestmark = pytest.mark.slow

#: One release of each family of the driver's interface.
FAMILIES = {release.family: name for name, release in RELEASES.items()}


@cache
def compiled(name: str) -> CompiledModel:
    try:
        return compile_model(demo_model(name), name=name, calibration="random:2")
    except AssetUnavailable as error:
        pytest.skip(f"demo files are neither cached nor reachable: {error}")


@cache
def split(name: str, contexts: int, ddr_above: int | None = None) -> bytes:
    """The HEF of a compiled model, cut again."""
    model = compiled(name)
    planned = plan_contexts(name, model.quantized_model, model.streams, contexts=contexts, ddr_above=ddr_above)
    assert planned is not None
    return hef.write(build_hef(name, b"", model.streams, contexts=planned.plans))


@cache
def wanted(name: str, count: int) -> tuple[Any, dict[str, Any]]:
    """Frames of noise, and what ONNX Runtime computes from them alone."""
    session = onnxruntime.InferenceSession(compiled(name).quantized_model.SerializeToString(), make_session_options())
    (entry,) = session.get_inputs()
    frames = np.random.default_rng(count).integers(0, 256, (count, *entry.shape[1:])).astype(np.uint8)
    results = [session.run(None, {entry.name: frame[None]}) for frame in frames]
    return frames, {o.name: np.concatenate([r[i] for r in results]) for i, o in enumerate(session.get_outputs())}


def check(device: Device, name: str, content: bytes, count: int, batch_size: int) -> None:
    frames, expected = wanted(name, count)
    with device.load(content, batch_size=batch_size) as network:
        seen = network(frames, raw=True)
    for output, array in expected.items():
        np.testing.assert_array_equal(seen[output].reshape(array.shape), array)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with openhailo.open("twin:") as device:
        yield device


@pytest.mark.parametrize("contexts", [2, 3, 4])
@pytest.mark.parametrize("name", MODELS)
def test_the_bits_of_the_uncut_graph(name: str, contexts: int, device: Device) -> None:
    content = split(name, contexts)
    assert hef.check(hef.read(content)) == []
    check(device, name, content, count=3, batch_size=2)


def test_with_buffers_inside_contexts(device: Device) -> None:
    content = split("yolov3-tiny", 2, ddr_above=200_000)
    layers = [layer for c in hef.read(content).network_groups[0].core_op_for().contexts for layer in c.edge_layers]
    assert any(layer.switch is not None and layer.switch.buffers for layer in layers)
    check(device, "yolov3-tiny", content, count=3, batch_size=2)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_over_every_family_of_the_kernel_driver(family: str) -> None:
    driver = VirtualKernelDriver(Twin(), release=FAMILIES[family])
    with Device(KernelLink(driver.open()), name=FAMILIES[family]) as device:
        check(device, "efficientnet-lite0", split("efficientnet-lite0", 3), count=3, batch_size=2)
