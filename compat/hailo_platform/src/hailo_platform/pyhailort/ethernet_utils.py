"""Network interfaces of the host. Ethernet boards are another product; these only answer questions about the host."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct

SIOCGIFTXQLEN = 0x8942
SIOCGIFTXQLEN_FMT = "16sI"
_SIOCGIFADDR = 0x8915


class NoInterfaceError(Exception):
    """No interface of the host fits."""


def is_ip_in_network(network_ip: str, netmask: str, ip_in_question: str) -> bool:
    """Whether an address lies in a network."""
    network = ipaddress.ip_network(f"{network_ip}/{netmask}", strict=False)
    return ipaddress.ip_address(ip_in_question) in network


def get_interface_address(interface_name: str) -> str:
    """Return the IPv4 address of an interface. Raises `NoInterfaceError`."""
    request = struct.pack("256s", interface_name.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
        except OSError as error:
            raise NoInterfaceError(f"interface {interface_name} has no IPv4 address: {error.strerror}") from error
    return socket.inet_ntoa(answer[20:24])


def get_interface_from_ip(ip_address: str) -> str:
    """Return the interface that an address is reached through. Raises `NoInterfaceError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ip_address, 9))
        except OSError as error:
            raise NoInterfaceError(f"no interface leads to {ip_address}: {error.strerror}") from error
        own = probe.getsockname()[0]
    for _, name in socket.if_nameindex():
        try:
            if get_interface_address(name) == own:
                return name
        except NoInterfaceError:
            continue
    raise NoInterfaceError(f"no interface has the address {own}")
