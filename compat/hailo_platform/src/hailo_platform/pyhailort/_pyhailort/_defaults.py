"""Constants of the compiled part, as functions like there (pyhailort-api.md 5, 23)."""

from __future__ import annotations

from ._params import UNIQUE_GROUP


class HailoRTDefaults:
    """Defaults."""

    @staticmethod
    def HAILO_INFINITE() -> int:  # noqa: N802 - the original's name
        """Milliseconds that mean "for ever"."""
        return 0xFFFFFFFF

    @staticmethod
    def BBOX_PARAMS() -> int:  # noqa: N802 - the original's name
        """Numbers of a box."""
        return 5

    @staticmethod
    def DEVICE_BASE_INPUT_STREAM_PORT() -> int:  # noqa: N802 - the original's name
        """First Ethernet port of inputs."""
        return 32401

    @staticmethod
    def DEVICE_BASE_OUTPUT_STREAM_PORT() -> int:  # noqa: N802 - the original's name
        """First Ethernet port of outputs."""
        return 32501

    @staticmethod
    def HAILO_DEFAULT_ETH_CONTROL_PORT() -> int:  # noqa: N802 - the original's name
        """Ethernet port of controls."""
        return 22401

    @staticmethod
    def PCIE_ANY_DOMAIN() -> int:  # noqa: N802 - the original's name
        """A PCI domain that fits any."""
        return 0xFFFFFFFF

    @staticmethod
    def HAILO_UNIQUE_VDEVICE_GROUP_ID() -> str:  # noqa: N802 - the original's name
        """The group of a device that is not shared."""
        return UNIQUE_GROUP


class HailoSocketDefs:
    """Limits of Ethernet frames, in bytes."""

    @staticmethod
    def MAX_UDP_PAYLOAD_SIZE() -> int:  # noqa: N802 - the original's name
        """Largest frame."""
        return 1456

    @staticmethod
    def MIN_UDP_PAYLOAD_SIZE() -> int:  # noqa: N802 - the original's name
        """Smallest frame."""
        return 24

    @staticmethod
    def MAX_UDP_PADDED_PAYLOAD_SIZE() -> int:  # noqa: N802 - the original's name
        """Largest frame with padding."""
        return 1448

    @staticmethod
    def MIN_UDP_PADDED_PAYLOAD_SIZE() -> int:  # noqa: N802 - the original's name
        """Smallest frame with padding."""
        return 24

    @staticmethod
    def MAX_ALIGNED_UDP_PAYLOAD_SIZE_RTP() -> int:  # noqa: N802 - the original's name
        """Largest frame over RTP."""
        return 1472
