"""Hostile inputs for every surface that meets somebody else's bytes: files, devices, hosts, guests.

``python -m tests.fuzz --seconds 60`` runs them all; docs/security.md says what each one promises.
"""
