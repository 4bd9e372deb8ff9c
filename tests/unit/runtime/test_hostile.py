"""Files with absurd numbers in their layers and actions: typed errors, bounded time and memory."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openhailo.driver.link import LinkInfo
from openhailo.driver.results import HwConsts
from openhailo.errors import DmaMapError, DoesNotFit, OpenHailoError
from openhailo.hef import model as hm
from openhailo.hef import operations as ho
from openhailo.runtime.describe import describe
from openhailo.runtime.session import Session

CONSTS = HwConsts(8, 16383, 16384, 16376, 16384, 1, 2048)
MOST_BYTES = 64 << 20


class DryLink:
    """Takes everything, allocates little."""

    info = LinkInfo("dry", "dry")

    def alloc_buffer(self, size_bytes, direction):
        if size_bytes > MOST_BYTES:
            raise DmaMapError(detail="too much for a test", size_bytes=size_bytes)
        return SimpleNamespace(view=memoryview(bytearray(size_bytes)), close=lambda: None)

    def create_descriptor_list(self, count, page_size, *, circular):
        assert 2 <= count <= 65536
        return SimpleNamespace(dma_address=0x10000, count=count, page_size=page_size, close=lambda: None)

    def program(self, dlist, buffer, **how):
        return -(-how["size_bytes"] // dlist.page_size)

    def sync_buffer(self, *args):
        pass


FIRMWARE = SimpleNamespace(
    hw_consts=lambda: CONSTS,
    set_application_header=lambda fields: None,
    set_context_info_chunk=lambda kind, chunk, is_first, is_last: None,
)


def configure(file, **options):
    description = describe(file, None, 1, 0)
    session = Session(DryLink(), FIRMWARE, description, **options)
    session.configure()
    session.close()


def base():
    shape = hm.Shape(8, 8, 8)
    quant = hm.QuantInfo(0, 1, 0, 255)
    inner = hm.ContextSwitchInfo(hm.Connection.DDR, buffers=8, connected_contexts=(hm.ConnectedContext(0, "", 3),))
    back = replace(inner, connected_contexts=(hm.ConnectedContext(0, "", 2),))
    layers = (
        hm.EdgeLayer("in", hm.Direction.HOST_TO_DEVICE, shape, shape, 0, 1, 0, 64, 8, quant),
        hm.EdgeLayer("out", hm.Direction.DEVICE_TO_HOST, shape, shape, 1, 1, 1, 64, 8, quant),
        hm.EdgeLayer("ddr out", hm.Direction.DEVICE_TO_HOST, shape, shape, 0, 1, 2, 512, 1, quant, switch=inner),
        hm.EdgeLayer("ddr in", hm.Direction.HOST_TO_DEVICE, shape, shape, 0, 1, 3, 512, 1, quant, switch=back),
    )
    operations = (
        ho.Operation(
            ho.TriggerLcu(),
            (
                ho.WriteCcw(data=bytes(100)),
                ho.EnableLcu(),
                ho.EnableSequencer(),
                ho.AllowInputDataflow(sys_index=0),
                ho.WriteDataByType(),
                ho.EnableNms(number_of_classes=1, burst_size=1),
            ),
        ),
        ho.Operation(ho.TriggerAllDataWasSent(shmifo_index=1), (ho.DebugSleep(),)),
    )
    return layers, operations


def file_of(layers, operations, channels=1):
    metadata = hm.GroupMetadata("net", cfg_channels_count=channels)
    core_op = hm.CoreOp(metadata, (hm.Context(0, operations, layers),))
    group = hm.NetworkGroup(metadata, (hm.Op(core_op),), sorted_outputs_order=("out",))
    return hm.Hef(hm.HefHeader(), (group,), tuple(hm.Extension(n) for n in (3, 13, 26)), (hm.Extension(11),))


def test_the_unchanged_file_is_configured():
    configure(file_of(*base()))


NUMBERS = st.sampled_from([0, 1, 2, 7, 8, 255, 256, 511, 512, 65535, 65536, 2**31, 2**32 - 1]) | st.integers(
    0, 2**32 - 1
)
WHOLE = {
    "format_code": st.integers(0, 20),
    "data_bytes": st.integers(0, 3),
    "sys_index": NUMBERS,
    "core_bytes_per_buffer": NUMBERS,
    "core_buffers_per_frame": NUMBERS,
    "network_index": NUMBERS,
    "max_shmifo_size": NUMBERS,
    "transposed": st.booleans(),
    "shape": st.builds(hm.Shape, NUMBERS, NUMBERS, NUMBERS),
    "padded_shape": st.builds(hm.Shape, NUMBERS, NUMBERS, NUMBERS),
    "direction": st.sampled_from(hm.Direction),
    "nms": st.builds(hm.NmsInfo, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    "switch": st.builds(
        hm.ContextSwitchInfo,
        st.sampled_from(hm.Connection),
        buffers=NUMBERS,
        connected_contexts=st.tuples(st.builds(hm.ConnectedContext, NUMBERS, sys_index=NUMBERS)),
    ),
}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), batch_size=st.integers(0, 63), which=st.integers(0, 3))
def test_absurd_layers_raise_nothing_but_our_errors(data, batch_size, which):
    layers, operations = base()
    layers = list(layers)
    names = data.draw(st.lists(st.sampled_from(sorted(WHOLE)), min_size=1, max_size=3, unique=True))
    changes = {name: data.draw(WHOLE[name], label=name) for name in names}
    layers[which] = replace(layers[which], **changes)
    try:
        configure(file_of(tuple(layers), operations), batch_size=batch_size)
    except OpenHailoError as error:
        assert str(error)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_absurd_actions_raise_nothing_but_our_errors(data):
    layers, operations = base()
    operations = list(operations)
    place = data.draw(st.integers(0, 1))
    actions = list(operations[place].actions)
    which = data.draw(st.integers(0, len(actions) - 1))
    action = actions[which]
    changes = {
        f.name: data.draw(NUMBERS, label=f.name) for f in fields(action) if isinstance(getattr(action, f.name), int)
    }
    actions[which] = replace(action, **changes)
    operations[place] = replace(operations[place], actions=tuple(actions))
    try:
        configure(file_of(layers, tuple(operations)))
    except OpenHailoError as error:
        assert str(error)


def test_pointers_that_repeat_the_same_bytes_do_not_exhaust_memory():
    layers, operations = base()
    megabyte = bytes(1 << 20)
    writes = tuple(ho.WriteCcw(data=megabyte) for _ in range(2000))
    with pytest.raises(DoesNotFit, match="configuration bytes"):
        configure(file_of(layers, (ho.Operation(ho.TriggerNone(), writes), *operations)))


def test_a_configuration_of_no_bytes_gets_the_least_list():
    layers, _ = base()
    configure(file_of(layers, (ho.Operation(ho.TriggerNone(), (ho.WriteCcw(data=b""), ho.AllowInputDataflow(0))),)))
