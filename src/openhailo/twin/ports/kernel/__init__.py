"""The virtual kernel driver: the ioctl semantics of nine releases over the twin's PCI function, in process."""
