"""Devices on the board's own buses (pyhailort-api.md 20)."""

from __future__ import annotations

from typing import Any

from hailo_platform.common.logger.logger import default_logger

from ._pyhailort import Endianness

logger = default_logger()

NO_I2C_SWITCH = 5


class I2CSlavesException(Exception):
    """The switch of a bus did not take its setting."""


class I2CSlave:
    """A device, its bus and how its registers are addressed."""

    def __init__(
        self,
        name: str,
        bus_index: int,
        slave_address: int,
        switch_number: int = NO_I2C_SWITCH,
        register_address_size: int = 1,
        endianness: Endianness = Endianness.LITTLE_ENDIAN,
        should_hold_bus: bool = False,
    ) -> None:
        """Describe a device."""
        self._name = name
        self._bus_index = bus_index
        self._slave_address = slave_address
        self._switch_number = switch_number
        self._register_address_size = register_address_size
        self._endianness = endianness
        self._should_hold_bus = should_hold_bus

    def __repr__(self) -> str:
        return (
            f"I2CSlave(name={self._name!r}, bus={self._bus_index}, address=0x{self._slave_address:x}, "
            f"switch={self._switch_number}, reg={self._register_address_size}, {self._endianness.name}, "
            f"hold={self._should_hold_bus})"
        )

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    @property
    def bus_index(self) -> int:
        """The bus it is on."""
        return self._bus_index

    @property
    def slave_address(self) -> int:
        """Its address on the bus."""
        return self._slave_address

    @property
    def register_address_size(self) -> int:
        """Bytes of a register's address."""
        return self._register_address_size

    @property
    def switch_number(self) -> int:
        """The branch of the bus it is on; 5 without one."""
        return self._switch_number

    @property
    def endianness(self) -> Endianness:
        """Byte order of its registers."""
        return self._endianness

    @property
    def should_hold_bus(self) -> bool:
        """Whether the bus is held between address and data."""
        return self._should_hold_bus


I2C_SLAVE_MIPI_AVDD = I2CSlave("DVM_MIPI_AVDD", 0, 0x40)
I2C_SLAVE_USB_AVDD_IO = I2CSlave("DVM_USB_AVDD_IO", 0, 0x41)
I2C_SLAVE_VDD_CORE = I2CSlave("DVM_VDD_CORE", 0, 0x42)
I2C_SLAVE_VDD_TOP = I2CSlave("DVM_VDD_TOP", 0, 0x43)
I2C_SLAVE_MIPI_AVDD_H = I2CSlave("DVM_MIPI_AVDD_H", 0, 0x44)
I2C_SLAVE_USB_AVDD_IO_HV = I2CSlave("DVM_USB_AVDD_IO_HV", 0, 0x45)
I2C_SLAVE_VDD_IO = I2CSlave("DVM_VDD_IO", 0, 0x46)
I2C_SLAVE_AVDD_H = I2CSlave("DVM_AVDD_H", 0, 0x47)
I2C_SLAVE_SDIO_VDD_IO = I2CSlave("DVM_SDIO_VDD_IO", 0, 0x4D)
I2C_SLAVE_M_DOT_2_OVERCURREN_PROTECTION = I2CSlave("M_DOT_2_OVERCURREN_PROTECTION", 0, 0x40)
I2C_SLAVE_I2S_CODEC = I2CSlave("I2S_codec", 1, 0x18, should_hold_bus=True)
I2C_SLAVE_I2C_TO_GPIO = I2CSlave("I2C_to_GPIO", 0, 0x22)
I2C_SLAVE_SWITCH = I2CSlave("I2C_SWITCH", 1, 0x70)
I2C_SLAVE_TEMP_SENSOR_0 = I2CSlave("TEMP_sensor_0", 0, 0x29)
I2C_SLAVE_TEMP_SENSOR_1 = I2CSlave("TEMP_sensor_1", 0, 0x2A)
I2C_SLAVE_EEPROM = I2CSlave("EEPROM", 0, 0x50, register_address_size=2, endianness=Endianness.BIG_ENDIAN)
I2C_SLAVE_RASPICAM = I2CSlave("RaspiCam", 1, 0x36, 1, 2, Endianness.BIG_ENDIAN)
I2C_SLAVE_ONSEMI_CAMERA_AR0220 = I2CSlave("Onsemi", 1, 0x10, 0, 2, Endianness.BIG_ENDIAN)
I2C_SLAVE_ONSEMI_CAMERA_AS0149 = I2CSlave("Onsemi", 1, 0x48, 0, 2, Endianness.BIG_ENDIAN)


def set_i2c_switch(control_object: Any, slave: I2CSlave, slave_switch: I2CSlave | None = None) -> None:
    """Turn the switch to a device's branch, and check that it did. Raises `I2CSlavesException`."""
    if slave.switch_number == NO_I2C_SWITCH:
        return
    switch = slave_switch or I2C_SLAVE_SWITCH
    wanted = 1 << slave.switch_number
    control_object.i2c_write(switch, 0, bytes([wanted]))
    seen = control_object.i2c_read(switch, 0, 1)
    if seen[0] != wanted:
        raise I2CSlavesException(f"switch {switch.name} says 0x{seen[0]:02x} instead of 0x{wanted:02x}")
    logger.debug(f"I2C switch set to {slave.switch_number} for {slave.name}")
