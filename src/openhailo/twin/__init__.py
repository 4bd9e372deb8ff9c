"""The virtual chip."""
