"""Peers that know only bytes: literal requests, literal answers, literal register addresses.

Nothing in here reads `openhailo.spec` or uses `openhailo.driver`, so a number that is wrong on both sides shows.
"""
