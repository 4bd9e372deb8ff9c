"""The chip as data: registers, messages, actions and limits, each with the source of its fact; no behaviour."""
