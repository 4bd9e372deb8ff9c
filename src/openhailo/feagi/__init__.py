"""Spiking networks of FEAGI on a Hailo-8: data, accelerators, partitions, real time."""
