"""Several devices for a test, where there are so many."""

from __future__ import annotations

from typing import Any

import pytest

import openhailo
from openhailo.errors import DeviceBusy, DeviceNotFound
from openhailo.runtime.vdevice import VirtualDevice


def open_several(count: int = 1, **options: Any) -> VirtualDevice:
    """Open ``count`` devices as one; the test is skipped where a machine has fewer."""
    try:
        return openhailo.open_virtual_device(count=count, **options)
    except (DeviceBusy, DeviceNotFound) as error:
        if count == 1:
            raise
        pytest.skip(f"{count} devices are needed: {error}")
