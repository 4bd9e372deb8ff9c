"""Older import paths; each module warns when it is imported."""
