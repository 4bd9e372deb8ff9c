"""Bends every number of the chip's declaration, one at a time, and asks who notices."""
