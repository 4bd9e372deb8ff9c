"""Devices, networks and frames: what an application uses.

`openhailo.runtime.open` opens a device; `openhailo.runtime.device.Device` loads networks;
`openhailo.runtime.network.Network` runs frames.
"""
