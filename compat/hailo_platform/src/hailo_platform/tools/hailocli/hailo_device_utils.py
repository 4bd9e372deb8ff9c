"""Options that name a device."""

from __future__ import annotations

import argparse
from enum import Enum
from typing import Any

from hailo_platform.pyhailort.hw_object import EthernetDevice, PcieDevice
from hailo_platform.pyhailort.pyhailort import PcieDeviceInfo

from .base_utils import CmdUtilsBaseUtil, CmdUtilsBaseUtilError


class HailoCLITargets(Enum):
    """Kinds of devices."""

    udp = "udp"
    pcie = "pcie"


class HailoDeviceCmdUtil(CmdUtilsBaseUtil):
    """A command on a device."""

    def __init__(self, args_parser: argparse.ArgumentParser, set_target_args: bool = True) -> None:
        """Add the options that name a device."""
        if set_target_args:
            self.add_target_args(args_parser)
        super().__init__(args_parser)

    def add_target_args(self, args_parser: argparse.ArgumentParser) -> None:
        """Add the options that name a device."""
        args_parser.add_argument("--target", type=str, choices=[kind.value for kind in HailoCLITargets], default=None)
        args_parser.add_argument("--ip", type=str, default=None, help="address of an Ethernet board")
        args_parser.add_argument(
            "-s", "--board-location", type=PcieDeviceInfo.argument_type, help=PcieDeviceInfo.BOARD_LOCATION_HELP_STRING
        )

    def get_target_type(self, args: argparse.Namespace) -> HailoCLITargets:
        """Return the kind of device: PCIe, unless an address was given."""
        if args.target is not None:
            return HailoCLITargets(args.target)
        return HailoCLITargets.udp if args.ip is not None else HailoCLITargets.pcie

    def validate_args(self, args: argparse.Namespace) -> None:
        """Refuse options that contradict each other."""
        if self.get_target_type(args) is HailoCLITargets.udp and args.board_location is not None:
            raise CmdUtilsBaseUtilError("an Ethernet board has no PCI address: give --ip or --board-location")

    def get_target(self, args: argparse.Namespace) -> Any:
        """Open the device."""
        self.validate_args(args)
        if self.get_target_type(args) is HailoCLITargets.udp:
            return EthernetDevice(args.ip)
        return PcieDevice(args.board_location)
