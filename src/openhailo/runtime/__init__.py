"""Devices, networks and frames: what an application uses.

`openhailo.runtime.open` opens a device; `openhailo.runtime.device.Device` loads networks;
`openhailo.runtime.network.Network` runs frames. `openhailo.runtime.vdevice.VirtualDevice` lets several models share
several devices: with buffers of the caller's (`openhailo.runtime.infer_model`), or frame by frame
(`openhailo.runtime.vstreams`).
"""
