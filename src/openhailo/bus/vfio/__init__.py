"""A PCI function through the kernel's VFIO interface: ``pci:0000:01:00.0``."""
