"""Moved to `hailo_platform.pyhailort.pyhailort`."""

from __future__ import annotations

from hailo_platform.drivers._moved import take_over

take_over(globals(), "hailo_platform.pyhailort.pyhailort")
