"""The logger."""
