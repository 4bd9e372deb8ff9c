"""The blocks of the virtual chip: one class each."""
