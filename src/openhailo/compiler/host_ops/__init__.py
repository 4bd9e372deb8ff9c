"""Leaves the last steps of a network to the host (hef.md 13).

`request` says what is wanted, `select` finds the tensors, `attach` makes the ops of the HEF.
"""
