"""The `openhailo` command: thin commands, one file each, that import what they need when they run."""
