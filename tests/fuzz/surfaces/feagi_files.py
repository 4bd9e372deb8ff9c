"""Files of spiking networks: neuron records, synapse blocks, connectomes (JSON and binary), archives."""

from __future__ import annotations

from functools import cache
from random import Random

from openhailo.errors import AcceleratorError, InputError
from openhailo.feagi.builders import build_random
from openhailo.feagi.connectome import Connectome, build_json, parse_binary, parse_json
from openhailo.feagi.files import build_archive, parse_archive
from openhailo.feagi.formats import build_neurons, build_synapses, parse_neurons, parse_synapses
from openhailo.feagi.lz4 import decode_block
from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.surface import Surface, require


@cache
def _seeds() -> tuple[bytes, ...]:
    network = build_random(12, 3, weight=5, psp=5)
    binary = (
        b"FEAGI" + bytes.fromhex("03000000 01 2000000000000000 02000000") + b"{}" + bytes(8) + b"\xf0\x11" + bytes(32)
    )
    return (
        build_neurons(network.neurons),
        build_synapses(network.synapses),
        build_json(Connectome(network)),
        binary,
        build_archive(network),
        b"\x1fx\x01\x00\x20\x15ab\x02\x00\x10!",
    )


def make_case(rng: Random) -> bytes:
    """One of the formats, damaged."""
    kind = rng.randrange(len(_seeds()))
    return bytes([kind]) + mutate_bytes(rng, _seeds()[kind])


def run(case: bytes) -> int:
    """Read it; what is read can be written."""
    kind, data = case[0] if case else 0, case[1:]
    if kind == 0:
        require(len(build_neurons(parse_neurons(data))) == len(data), "neurons of another size")
    elif kind == 1:
        require(len(build_synapses(parse_synapses(data))) == len(data), "synapses of another size")
    elif kind == 2:
        build_json(parse_json(data))
    elif kind == 3:
        parse_binary(data)
    elif kind == 4:
        build_archive(parse_archive(data))
    else:
        require(len(decode_block(data, 300)) == 300, "another size than announced")
    return 1


SURFACE = Surface("feagi_files", make_case, run, (InputError, AcceleratorError))
