"""How the host drives a chip: user-space PCIe driver, typed firmware client, and the link everything above uses."""
