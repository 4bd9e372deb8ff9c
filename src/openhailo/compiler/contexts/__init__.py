"""Splits a quantized graph into contexts: loads of the chip that run one after the other for each batch of frames."""
