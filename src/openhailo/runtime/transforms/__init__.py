"""Host transformations: reorder, pad, transpose, quantise and dequantise frames (hef.md 7 to 10)."""

from openhailo.runtime.transforms.plan import FramesCopy, InputTransform, OutputTransform, plan_input, plan_output

__all__ = ["FramesCopy", "InputTransform", "OutputTransform", "plan_input", "plan_output"]
