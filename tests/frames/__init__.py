"""Many frames in many ways at a time: `python -m tests.frames [--frames 100000]` counts what is lost or swapped."""
