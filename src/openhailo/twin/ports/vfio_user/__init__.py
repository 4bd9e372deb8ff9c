"""The twin as a PCI function of a virtual machine: a vfio-user server (vfio-user.md)."""
