"""What a hostile file may cost: the walk over the wire format, and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hef_samples import minimal_hef, proto_of, seal_bytes

from openhailo.errors import InvalidHef
from openhailo.hef import read, wire
from openhailo.hef.schema import hef_pb2 as pb
from openhailo.hef.wire import scan_proto

HOSTILE = Path(__file__).with_name("hostile.py")

VERDICTS = {
    "network groups": "count",
    "partial groups": "count",
    "ops": "op kind",
    "nms ops": "op output",
    "contexts": "read",
    "actions": "read",
    "edge layers": "streams",
    "partial core ops": "core op",
    "numbers": "read",
    "row ratios": "mux",
    "extensions": "read",
    "names": "core op",
    "unknown fields": "read",
    "too many fields": "protobuf",
    "too many numbers": "protobuf",
}


def test_files_made_to_cost_memory_are_judged_in_little_of_it() -> None:
    run = subprocess.run([sys.executable, str(HOSTILE)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    verdicts = dict(line.split(": ", 1) for line in run.stdout.splitlines())
    assert set(verdicts) == set(VERDICTS)
    for name, verdict in VERDICTS.items():
        assert verdicts[name].endswith("read" if verdict == "read" else f"[{verdict}]"), (name, verdicts[name])


def test_the_walk_counts_fields_and_packed_numbers() -> None:
    message = pb.ProtoHEFHef()
    assert scan_proto(message.SerializeToString()) == 0
    message.header.version = 1
    assert scan_proto(message.SerializeToString()) == 2
    quant = message.network_groups.add().contexts.add().metadata.edge_layers.add().layer_info.numeric_info
    quant.qp_zps.extend([0.5] * 100)
    assert scan_proto(message.SerializeToString()) == 2 + 7 + 100
    message.mapping = bytes(1000)
    assert scan_proto(message.SerializeToString()) == 2 + 7 + 100 + 1


def test_a_protobuf_part_beyond_any_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_PROTO_BYTES", 100)
    with pytest.raises(InvalidHef, match="protobuf size"):
        read(seal_bytes(proto_of(minimal_hef()).SerializeToString(), version=0))
