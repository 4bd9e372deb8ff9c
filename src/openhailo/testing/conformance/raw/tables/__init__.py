"""Literal requests, answers, actions and events."""
