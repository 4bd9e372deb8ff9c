"""Replays what the vendor's stack was recorded to do with our own stack, and compares byte for byte."""
