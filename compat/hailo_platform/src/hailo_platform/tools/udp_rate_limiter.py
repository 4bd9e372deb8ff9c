"""Rate limits of Ethernet boards: nothing here works with a Hailo-8 on PCIe, and every call says so."""

from __future__ import annotations

from typing import Any, NoReturn

from hailo_platform.pyhailort import _pyhailort
from hailo_platform.pyhailort.pyhailort import INPUT_DATAFLOW_BASE_PORT, ExceptionWrapper, NetworkRateLimiter

__all__ = ["INPUT_DATAFLOW_BASE_PORT", "BadTCCallError", "BadTCParamError", "RateLimiterException", "UDPRateLimiter"]

DEFAULT_MAX_KBPS = 850e3
BYTES_IN_Kbits = 125.0


class RateLimiterException(Exception):
    """A rate that cannot be."""


class BadTCParamError(Exception):
    """A parameter of ``tc`` that cannot be."""


class BadTCCallError(Exception):
    """A call of ``tc`` that failed."""


class RateLimiterWrapper:
    """Would limit the rates of a network's inputs."""

    def __init__(
        self, configured_network_group: Any, fps: float = 1, fps_factor: float = 1.0, remote_ip: str | None = None
    ) -> None:
        """Remember what to limit."""
        self._network_group, self._fps, self._fps_factor = configured_network_group, fps, fps_factor
        self._remote_ip = remote_ip

    def __enter__(self) -> None:
        rates = self._network_group.get_udp_rates_dict(int(self._fps * self._fps_factor), int(DEFAULT_MAX_KBPS))
        raise RateLimiterException(f"a Hailo-8 on PCIe has no rates to limit: {rates}")

    def __exit__(self, *args: object, **kwargs: object) -> None:
        """Nothing was limited."""


class UDPRateLimiter:
    """Would limit the rate of a port."""

    def __init__(self, remote_ip: str, port: int, rate_kbits_per_sec: float = 0) -> None:
        """Refuse: there is no Ethernet."""
        self._rate_limiter = NetworkRateLimiter(remote_ip, port, int(rate_kbits_per_sec * BYTES_IN_Kbits))

    def set_rate_limit(self) -> None:
        """Refuse: there is no Ethernet."""
        self._rate_limiter.set_rate_limit()

    def reset_rate_limit(self) -> None:
        """Refuse: there is no Ethernet."""
        self._rate_limiter.reset_rate_limit()

    @staticmethod
    def calc_udp_rate(
        hef: str,
        network_group_name: str,
        fps: float,
        fps_factor: float = 1,
        max_supported_kbps_rate: float = DEFAULT_MAX_KBPS,
    ) -> NoReturn:
        """Refuse: there is no Ethernet."""
        with ExceptionWrapper():
            most = int(max_supported_kbps_rate * BYTES_IN_Kbits)
            _pyhailort.Hef.create_from_file(hef).get_udp_rates_dict(network_group_name, int(fps * fps_factor), most)
        raise AssertionError("the call above raises")
