"""The ways into the virtual chip: in-process PCI function, and others beside it."""
