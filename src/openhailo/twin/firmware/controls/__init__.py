"""One module per family of controls; `openhailo.twin.firmware.service` joins them into one table by opcode name."""
