"""Tools to test a device, and code that uses one: the conformance suite and a pytest plugin."""
