"""Programs that run inside the guest, with the Python and the packages of the machine outside."""
