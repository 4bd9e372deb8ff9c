"""The command ``hailo``: it starts ``hailortcli`` with the same arguments (pyhailort-api.md 21)."""
