"""From a network group to what the firmware is given: channels, descriptor geometry, header and action lists.

Everything here is pure: values in, bytes out (context-switch.md). `openhailo.runtime.network` does the talking.
"""
