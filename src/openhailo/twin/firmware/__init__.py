"""The virtual firmware: answers controls, stores applications, runs context lists."""

from .config import FirmwareConfig
from .image import build_placeholder_image, parse_image
from .service import Firmware

__all__ = ["Firmware", "FirmwareConfig", "build_placeholder_image", "parse_image"]
