"""The one place that imports OpenCV, which is an optional dependency."""

from __future__ import annotations

from types import ModuleType

from openhailo.errors import InputError


def find_opencv() -> ModuleType | None:
    """OpenCV if it is installed, else ``None``."""
    try:
        import cv2
    except ImportError:
        return None
    module: ModuleType = cv2
    return module


def require_opencv(what: str) -> ModuleType:
    """OpenCV, or an error that says how to get it; ``what`` is the work that needs it.

    Raises:
        InputError: OpenCV is not installed.
    """
    module = find_opencv()
    if module is None:
        raise InputError(what=what, detail="needs OpenCV: pip install 'openhailo[vision]'")
    return module
