"""Language and speech models of HailoRT 5: not for this chip, and importing says so."""

from hailo_platform.pyhailort import _hints

raise ImportError(_hints.PACKAGE["genai"])
