"""Things that several parts use."""
