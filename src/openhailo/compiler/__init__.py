"""Compiles ONNX and Darknet models into HEFs that carry a program for the virtual chip."""
