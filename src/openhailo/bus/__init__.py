"""How bytes reach a PCI function or a device file."""
