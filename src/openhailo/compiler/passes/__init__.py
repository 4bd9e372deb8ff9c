"""Rewrites of ONNX graphs, one a module; each takes a model and returns another, and never changes its argument."""
