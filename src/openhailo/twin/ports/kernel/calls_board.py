"""Requests about the board: version, controls, notifications, logs, memory, ownership (driver.md 3, 4, 7.5).

Each takes (file, members of the structure, its bytes) and returns what the ioctl returns; errors are `OSError`. The
blocking ones are called without the lock, the others with it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from openhailo.twin.violation import TwinViolation

from .interrupts import MAX_NOTIFICATION
from .registers import ACCESS_BAR, Registers, failure

if TYPE_CHECKING:
    from .driver import VirtualKernelDriver
    from .files import VirtualDeviceFile

Handler = Callable[["VirtualDeviceFile", Mapping[str, Any], bytearray], int]

REQUEST, RESPONSE, DOORBELL = 0x000, 0x640, 0x1684
CORE_CPU, APP_DOORBELL, CORE_DOORBELL = 1, 1, 2
MESSAGE_HEADER, MAX_MESSAGE = 20, 1500
LOGS, LOG_HEADER, LOG_RING, MAX_LOG = (0x2000, 0x3000), 8, 4088, 512
MAX_TRANSFER = 4096
DEVICE_MEMORY, CHANNEL_REGISTERS, BAR_BASE = 0x000, 0x100, 0x200
READ, WRITE = 0, 1


def query_driver_info(file: VirtualDeviceFile, _values: Mapping[str, Any], argument: bytearray) -> int:
    """Three numbers of the release."""
    major, minor, revision = file.driver.release.version
    file.store(argument, "driver_info", major_version=major, minor_version=minor, revision_version=revision)
    return 0


def query_device_properties(file: VirtualDeviceFile, _values: Mapping[str, Any], argument: bytearray) -> int:
    """What the board is; ``is_fw_loaded`` is read from the chip."""
    driver = file.driver
    file.store(
        argument,
        "device_properties",
        desc_max_page_size=driver.desc_max_page_size,
        board_type=0,
        allocation_mode=driver.allocation_mode,
        dma_type=0,
        dma_engines_count=1,
        is_fw_loaded=driver.registers.is_firmware_loaded(),
    )
    return 0


def mark_as_in_use(file: VirtualDeviceFile, _values: Mapping[str, Any], argument: bytearray) -> int:
    """The first open that asks owns the board; nothing else looks at it but close (1.3)."""
    driver = file.driver
    if driver.owner is None:
        driver.owner = file
    file.store(argument, "mark_as_in_use_params", in_use=driver.owner is not file)
    return 0


def disable_notification(file: VirtualDeviceFile, _values: Mapping[str, Any], _argument: bytearray) -> int:
    """For ever: this open reads no more notifications (4.1)."""
    file.notifications_disabled = True
    file.driver.loop.notify()
    return 0


# --- logs and memory --------------------------------------------------------------------------------------------------


def read_log(file: VirtualDeviceFile, values: Mapping[str, Any], argument: bytearray) -> int:
    """Take from a log ring (4.2)."""
    if values["buffer_size"] > MAX_LOG or values["cpu_id"] not in (0, 1):
        raise failure(errno.EINVAL, f"{values['buffer_size']} bytes of log {values['cpu_id']}")
    registers, base = file.driver.registers, LOGS[values["cpu_id"]]
    header = registers.read_block(ACCESS_BAR, base, LOG_HEADER)
    host, chip = int.from_bytes(header[:4], "little"), int.from_bytes(header[4:], "little")
    ready = chip - host if chip >= host else LOG_RING - (host - chip)
    size = min(ready, values["buffer_size"])
    data = _read_ring(registers, base + LOG_HEADER, host, size)
    registers.write32(ACCESS_BAR, base, (host + size) % LOG_RING)
    file.store(argument, "read_log_params", buffer=data + values["buffer"][size:], read_bytes=size)
    return 0


def _read_ring(registers: Registers, base: int, host: int, size: int) -> bytes:
    """Read ``size`` bytes from position ``host``; a position outside the ring is not checked by the driver (4.2)."""
    if host >= LOG_RING:
        raise TwinViolation(f"log position {host} in a ring of {LOG_RING}: the driver would read past it")
    head = min(size, LOG_RING - host)
    data = registers.read_block(ACCESS_BAR, base + host, head)
    return data + registers.read_block(ACCESS_BAR, base, size - head)


def memory_transfer(file: VirtualDeviceFile, values: Mapping[str, Any], argument: bytearray) -> int:
    """Read or write device memory or a BAR (7.5; up to 4.22)."""
    kind, address, count = values["memory_type"], values["address"], values["count"]
    if count > MAX_TRANSFER or values["transfer_direction"] not in (READ, WRITE):
        raise failure(errno.EINVAL, f"direction {values['transfer_direction']}, {count} bytes")
    write = values["transfer_direction"] == WRITE
    data = values["buffer"][:count]
    if kind == DEVICE_MEMORY:
        read = _device_memory(file.driver, address, data, write=write)
    else:
        read = _bar_memory(file.driver, kind, address, data, write=write)
    if not write:
        file.store(argument, "memory_transfer_params", buffer=read + values["buffer"][count:])
    return 0


def _device_memory(driver: VirtualKernelDriver, address: int, data: bytes, *, write: bool) -> bytes:
    if address >> 32 and not driver.release.wide_addresses:
        raise failure(errno.EFAULT, f"0x{address:X} has more than 32 bits")
    if write:
        driver.registers.write_memory(address, data, restore=True)
        return b""
    return driver.registers.read_memory(address, len(data))


def _bar_memory(driver: VirtualKernelDriver, kind: int, address: int, data: bytes, *, write: bool) -> bytes:
    """BARs by number; type 0x100, "vDMA 0", is taken for BAR 2 (GUESS: the facts only name it)."""
    bar = {CHANNEL_REGISTERS: 2, BAR_BASE: 0, BAR_BASE + 2: 2, BAR_BASE + 4: 4}.get(kind)
    if bar is None or address + len(data) > driver.chip.bar_size(bar):
        raise failure(errno.EINVAL, f"memory 0x{kind:X} at 0x{address:X}")
    if not write:
        return driver.registers.read_block(bar, address, len(data))
    if not driver.registers.write_block(bar, address, data):
        raise failure(errno.EIO, "something else was read back")
    return b""


# --- what blocks ------------------------------------------------------------------------------------------------------


def fw_control(file: VirtualDeviceFile, values: Mapping[str, Any], argument: bytearray) -> int:
    """Send a control and wait for its answer (3). GUESS: what lies behind a short answer is left as it was."""
    driver = file.driver
    _take_mailbox(file)
    try:
        with driver.loop.lock:
            _send(driver, values)
        _await_answer(file, values["timeout_ms"] / 1000)
        with driver.loop.lock:
            digest, payload = _receive(driver.registers)
            buffer = payload + values["buffer"][len(payload) :]
            file.store(argument, "fw_control", expected_md5=digest, buffer_len=len(payload), buffer=buffer)
        return 0
    finally:
        with driver.loop.lock:
            driver.control_busy = False
            driver.loop.notify()


def _take_mailbox(file: VirtualDeviceFile) -> None:
    driver = file.driver
    mine: list[bool] = []

    def take() -> bool:
        if not mine and not driver.control_busy:
            driver.control_busy = True
            mine.append(True)
        return bool(mine)

    file.block(take)


def _send(driver: VirtualKernelDriver, values: Mapping[str, Any]) -> None:
    registers, length = driver.registers, values["buffer_len"]
    if not registers.is_firmware_loaded():
        raise failure(errno.ENODEV, "firmware is not running")
    if length > MAX_MESSAGE:
        raise TwinViolation(f"a control of {length} bytes: the driver reads past its structure (driver.md 8.1 row 22)")
    message = values["expected_md5"] + length.to_bytes(4, "little") + values["buffer"][:length]
    driver.interrupts.control_done = False
    if not registers.write_block(ACCESS_BAR, REQUEST, message.ljust(-(-len(message) // 4) * 4, b"\0")):
        raise failure(errno.EIO, "the mailbox holds something else")
    bell = CORE_DOORBELL if values["cpu_id"] == CORE_CPU else APP_DOORBELL
    registers.write32(ACCESS_BAR, DOORBELL, bell)


def _await_answer(file: VirtualDeviceFile, timeout_s: float) -> None:
    driver, before = file.driver, file.was_interrupted()

    def ready() -> bool:
        return driver.interrupts.control_done or file.was_interrupted(before) > 0

    if timeout_s == 0 or not driver.wait(ready, timeout_s):
        raise failure(errno.ETIMEDOUT, f"no answer within {timeout_s} s")
    if not driver.interrupts.control_done:
        raise failure(errno.EINTR, "a signal arrived; the control was sent")


def _receive(registers: Registers) -> tuple[bytes, bytes]:
    header = registers.read_block(ACCESS_BAR, RESPONSE, MESSAGE_HEADER)
    length = int.from_bytes(header[16:], "little")
    if length > MAX_MESSAGE:
        raise failure(errno.EINVAL, f"an answer of {length} bytes")
    return header[:16], registers.read_block(ACCESS_BAR, RESPONSE + MESSAGE_HEADER, length)


def read_notification(file: VirtualDeviceFile, _values: Mapping[str, Any], argument: bytearray) -> int:
    """Wait for a notification; what piled up is one (4.1).

    GUESS: "disabled" wins over a waiting notification; behind a short message the cache keeps older bytes.
    """
    driver = file.driver
    if not file.is_same_process():
        raise failure(errno.EFAULT, "this process has no notification waiter")
    file.has_reader = True
    file.block(lambda: file.notifications > 0 or file.notifications_disabled)
    with driver.loop.lock:
        if file.notifications_disabled:
            raise failure(driver.release.disabled_errno, "notifications are disabled")
        file.notifications = 0
        cached = driver.interrupts
        assert len(cached.notification) == MAX_NOTIFICATION
        file.store(
            argument, "d2h_notification", buffer_len=cached.notification_length, buffer=bytes(cached.notification)
        )
    return 0


BOARD_CALLS: Mapping[str, Handler] = {
    "QUERY_DRIVER_INFO": query_driver_info,
    "QUERY_DEVICE_PROPERTIES": query_device_properties,
    "MARK_AS_IN_USE": mark_as_in_use,
    "DISABLE_NOTIFICATION": disable_notification,
    "READ_LOG": read_log,
    "MEMORY_TRANSFER": memory_transfer,
}
BLOCKING_CALLS: Mapping[str, Handler] = {"FW_CONTROL": fw_control, "READ_NOTIFICATION": read_notification}
