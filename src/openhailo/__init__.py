"""openhailo: the open software stack for the Hailo-8/8L AI accelerator."""

__version__ = "0.1.0"
