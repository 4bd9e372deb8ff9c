"""Work that a HEF leaves to the host behind the chip: boxes out of maps, suppression, softmax, argmax (hef.md 13).

`describe_ops` makes `HostOp` objects of a HEF's network group; a network's outputs then are theirs. The steps of a box
op are split where the device's memory ends: `Level.gather` takes what may become a box out of a frame that still lies
in its slot, `Level.candidates` and everything after it works on that, with no lock held.
"""

from openhailo.runtime.host_ops.describe import HostOp, describe_ops
from openhailo.runtime.host_ops.layouts import DETECTION, MaskedDetections, pack, unpack
from openhailo.runtime.host_ops.settings import NmsSettings

__all__ = ["DETECTION", "HostOp", "MaskedDetections", "NmsSettings", "describe_ops", "pack", "unpack"]
