"""Moved to `hailo_platform.pyhailort.i2c_slaves`."""

from __future__ import annotations

from hailo_platform.drivers._moved import take_over

take_over(globals(), "hailo_platform.pyhailort.i2c_slaves")
