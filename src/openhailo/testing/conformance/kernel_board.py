"""The kernel driver's node by request and byte: who it is, controls, notifications, logs, life (driver.md 1-4, 7)."""

from __future__ import annotations

import errno
import os
import struct
import threading
import warnings
from functools import partial

from openhailo.testing.check import check, expect, expect_true
from openhailo.testing.rig import Rig

from .boot import image_file
from .kernel_pieces import FACTS, VERSION_REQUESTS, Launched, expect_errno, node_of, virtual
from .raw.host import message
from .raw.lists import frame
from .raw.node import NUMBERS, Node

_NODE, _STATE = ("device_file",), ("device_file", "fresh", "state", "faults", "clock")
_IDENTIFY, _HW_CONSTS = message(0), message(72)


@check("kernel_driver", needs=_NODE, about=["QUERY_DRIVER_INFO"])
def version_by_request(rig: Rig) -> None:
    """One of two numbers answers, the other is unknown; the answer is a release (driver.md 7.2)."""
    node = node_of(rig)
    expect("version", ".".join(map(str, node.version())), node.release)
    other = VERSION_REQUESTS[0 if node.family == "A" else 1]
    expect_errno("the other family's version request", errno.ENOTTY, partial(node.file.ioctl, other, bytearray(12)))


@check("kernel_driver", needs=_NODE, about=["number", "size"])
def numbers_of_other_families(rig: Rig) -> None:
    """The structure's size is part of the number, so every request of another family is unknown (driver.md 7.1)."""
    node = node_of(rig)
    own = set(node.numbers.values())
    for family, numbers in NUMBERS.items():
        for name, number in numbers.items():
            if number not in own:
                call = partial(node.file.ioctl, number, bytearray(max(number >> 16 & 0x3FFF, 1)))
                expect_errno(f"{name} of family {family}", errno.ENOTTY, call)


#: Requests that the driver of a Hailo-8 refuses (driver.md 7.2): (number, first release that knows its type).
_REFUSED = (0x00006707, 0x00006E04, 0x40186E05, 0xC0187700, 0xC0127000, 0xC0147000, 0x80027001)


@check("kernel_driver", needs=_NODE, about=["implemented"])
def requests_that_nobody_implements(rig: Rig) -> None:
    """Resets, action lists, end points: unknown; the SoC's since 4.18: refused (driver.md 7.1, 7.2)."""
    node = node_of(rig)
    for number in _REFUSED:
        call = partial(node.file.ioctl, number, bytearray(max(number >> 16 & 0x3FFF, 1)))
        expect_errno(f"request 0x{number:08X}", errno.ENOTTY, call)
    for number in (0xC0127300 if node.release == "4.18.0" else 0xC0147300, 0x80027301):
        call = partial(node.file.ioctl, number, bytearray(number >> 16 & 0x3FFF))
        expect_errno(f"request 0x{number:08X}", errno.ENOTTY if node.family == "A" else errno.EINVAL, call)


@check("kernel_driver", needs=_NODE, about=["QUERY_DEVICE_PROPERTIES", "device_properties"])
def properties_of_the_board(rig: Rig) -> None:
    """Board type 0, DMA type 0, one engine, firmware loaded, a page that is a power of two (driver.md 7.4, 7.5)."""
    page, board, mode, dma, engines, loaded = node_of(rig).properties()
    expect_true(f"page of {page}", page >= 64 and page & (page - 1) == 0)
    expect("board, DMA, engines, firmware", (board, dma, engines, loaded), (0, 0, 1, 1))
    expect_true(f"allocation mode {mode}", mode in (0, 1))


@check("kernel_driver", needs=_STATE, about=["desc_max_page_size", "allocation_mode"])
def properties_of_machines(rig: Rig) -> None:
    """A kernel with 16 KiB pages, module parameters, short read requests (driver.md 1.2, 6.4, 8.1 row 12)."""
    for machine, page, mode in (
        ({}, 4096, 0),
        ({"page_size": 16384}, 16384, 0),
        ({"page_size": 65536}, 32768, 0),
        ({"page_size": 16384, "force_desc_page_size": 4096}, 4096, 0),
        ({"allocation_mode": 1}, 4096, 1),
    ):
        with virtual(rig).on_machine(**machine) as other:
            seen = node_of(other).properties()
            expect(f"page and allocation mode with {machine}", (seen[0], seen[2]), (page, mode))
    with virtual(rig).on_machine() as other:
        node, config = node_of(other), other.driver.function.config
        at = config.read(0x34, 1)
        while config.read(at, 1) != 0x10:
            at = config.read(at + 1, 1)
        for code, page in ((0, 128), (1, 256), (2, 4096), (5, 4096)):
            config.write(at + 8, 2, config.read(at + 8, 2) & ~0x7000 | code << 12)
            expect(f"page with read requests of {128 << code}", node.properties()[0], page)


@check("kernel_driver", needs=_STATE, about=["is_fw_loaded", "boots_without_firmware"])
def no_firmware_file(rig: Rig) -> None:
    """Up to 4.18 there is a node, which does no controls; later the probe fails (driver.md 2.4, 8.1 row 32)."""
    with virtual(rig).on_machine(firmware_files={}) as other:
        if FACTS[other.release].needs_firmware:
            expect_errno("the probe", errno.ENOENT, partial(getattr, other, "driver"))
            return
        node = node_of(other)
        expect("firmware loaded", node.properties()[5], 0)
        expect_errno("a control", errno.ENODEV, partial(node.control, _IDENTIFY, 0))


@check("kernel_driver", needs=_STATE, about=["reloads"])
def firmware_that_runs_already(rig: Rig) -> None:
    """Up to 4.19 it is left alone, and the first notification is lost; since 4.20 it is loaded again (2.4, 4.1)."""
    files = {"hailo/hailo8_fw.bin": image_file()}
    with virtual(rig).on_machine(found_running=True, firmware_files=files) as other:
        boots = other.watch_boots()
        other.driver.resume()  # activates the board as a probe does
        expect("boots", len(boots), int(FACTS[other.release].reloads))
    with virtual(rig).on_machine(found_running=True) as other:
        file = other.open_file()
        other.emit("HEALTH_MONITOR_CPU_ECC_ERROR", memory_bitmap=1)
        other.pause(0.01)
        expect("notifications", file.notifications, int(FACTS[other.release].reloads))


# --- controls -----------------------------------------------------------------------------------------------------


@check("kernel_driver", needs=_NODE, about=["FW_CONTROL", "fw_control", "cpu_id"])
def controls_by_request(rig: Rig) -> None:
    """CPU 1 is the core's, every other number the application's; length and digest come back (driver.md 3)."""
    node = node_of(rig)
    for cpu, request in ((0, _IDENTIFY), (2, _IDENTIFY), (77, _IDENTIFY), (1, _HW_CONSTS)):
        answer = node.control(request, cpu)
        expect(f"opcode answered by CPU {cpu}", answer[32:36], request[12:16])
        expect(f"status from CPU {cpu}", answer[36:44], bytes(8))
    answer = node.control(_IDENTIFY, 1)
    expect_true("the core refuses what is not its own", any(answer[36:44]))


@check("kernel_driver", needs=_STATE, about=["FW_CONTROL", "expected_md5"])
def digests_are_copied(rig: Rig) -> None:
    """The driver looks at neither digest (driver.md 3)."""
    node = node_of(rig)
    expect("status with a wrong digest", node.control(_IDENTIFY, 0, digest=bytes(16))[36:40].hex(), "400b0004")
    good = node.control(_IDENTIFY, 0)[:16]
    rig.faults.wrong_digests = 1
    expect_true("a wrong digest arrives", node.control(_IDENTIFY, 0)[:16] != good)


@check("kernel_driver", needs=_STATE, about=["timeout_ms"])
def control_timeouts(rig: Rig) -> None:
    """The caller's milliseconds; 0 gives up at once; a late answer completes the next request (driver.md 3)."""
    node = node_of(rig)
    for timeout_ms in (1, 250, 2000):
        rig.faults.drop_answers = 1
        started = rig.now_s
        expect_errno("no answer", errno.ETIMEDOUT, partial(node.control, _IDENTIFY, 0, timeout_ms))
        expect("milliseconds", int(1000 * (rig.now_s - started)) // timeout_ms, 1)
    rig.faults.late_answers, rig.faults.late_by_ns = 2, 5_000_000
    expect_errno("a late answer", errno.ETIMEDOUT, partial(node.control, message(64), 0, 1))
    expect("opcode that the next control gets", node.control(_IDENTIFY, 0, 100)[32:36].hex(), "00000040")
    virtual(rig).pause(0.01)
    expect_errno("no patience", errno.ETIMEDOUT, partial(node.control, _IDENTIFY, 0, 0))


@check("kernel_driver", needs=_STATE, about=["FW_CONTROL"])
def control_errors(rig: Rig) -> None:
    """An impossible length is EINVAL; without firmware, and on a card that is gone, ENODEV (driver.md 3)."""
    node = node_of(rig)
    for length in (1501, 0xFFFFFFFF):
        rig.faults.wrong_lengths, rig.faults.answer_length_bytes = 1, length
        expect_errno(f"an answer of {length} bytes", errno.EINVAL, partial(node.control, _IDENTIFY, 0))
    rig.faults.link_down = True
    expect_errno("a dead card", errno.ENODEV, partial(node.control, _IDENTIFY, 0))
    expect_errno("an open", errno.ENXIO, rig.open_file)
    expect("another open sees it", node.file.is_alive(), False)


# --- notifications and logs -----------------------------------------------------------------------------------------


@check("kernel_driver", needs=_STATE, about=["READ_NOTIFICATION", "d2h_notification"])
def notifications_by_request(rig: Rig) -> None:
    """Each open gets one; what piled up is merged into the last (driver.md 4.1)."""
    first, second = node_of(rig), node_of(rig)
    for bitmap in (0x11, 0x22):
        rig.emit("HEALTH_MONITOR_CPU_ECC_ERROR", memory_bitmap=bitmap)
        virtual(rig).pause(0.01)
    for node in (first, second):
        expect("bytes and bitmap", (len(seen := node.notification()), seen[28:].hex()), (32, "22000000"))
    rig.emit("HEALTH_MONITOR_CPU_ECC_ERROR", memory_bitmap=0x33)
    virtual(rig).pause(0.01)
    expect("the next one", second.notification()[28:].hex(), "33000000")


@check("kernel_driver", needs=_NODE, about=["DISABLE_NOTIFICATION", "notification_disabled_errno"])
def disabled_notifications(rig: Rig) -> None:
    """A blocked reader is woken, later ones fail at once, for ever; another open reads (driver.md 4.1)."""
    node = node_of(rig)
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.append(_read_errno(node)), daemon=True)
    reader.start()
    node.call("NO_NOTIFICATION")
    reader.join(10.0)
    expect("errno of the blocked reader", seen, [FACTS[node.release].disabled])
    expect("errno of the next reader", _read_errno(node), FACTS[node.release].disabled)
    expect("disabling again", node.call("NO_NOTIFICATION")[0], 0)


def _read_errno(node: Node) -> int:
    try:
        node.notification()
    except OSError as error:
        return error.errno or 0
    return 0


@check("kernel_driver", needs=_NODE, about=["READ_NOTIFICATION"])
def forked_children_read_nothing(rig: Rig) -> None:
    """The waiter belongs to the process that opened the node (driver.md 4.1, 8.1 row 6)."""
    node = node_of(rig)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads; the child makes one request
        child = os.fork()
    if not child:
        try:
            os._exit(_read_errno(node))
        finally:
            os._exit(255)
    expect("errno of the child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), errno.EFAULT)


@check("kernel_driver", needs=_NODE, about=["READ_LOG", "read_log_params", "max_log_read_bytes"])
def log_limits(rig: Rig) -> None:
    """0 to 512 bytes of processor 0 or 1 (driver.md 4.2)."""
    node = node_of(rig)
    expect("no bytes", node.log(0, 0), b"")
    for cpu in (0, 1):
        expect_true("at most 512 bytes", len(node.log(cpu, 512)) <= 512)
    expect_errno("513 bytes", errno.EINVAL, partial(node.log, 0, 513))
    expect_errno("a third processor", errno.EINVAL, partial(node.log, 2, 16))


@check("kernel_driver", needs=_STATE, about=["READ_LOG", "read_bytes"])
def logs_by_request(rig: Rig) -> None:
    """Pieces in order, across the end of the ring (driver.md 4.2)."""
    node = node_of(rig)
    for cpu in (0, 1):
        while node.log(cpu, 512):
            pass
        for turn in range(9):
            text = bytes((at * 3 + turn) % 256 for at in range(1000))
            rig.log(cpu, text)
            expect(f"log of CPU {cpu}", node.log(cpu, 512) + node.log(cpu, 512), text)
        expect("nothing is left", node.log(cpu, 512), b"")


# --- device memory, ownership, life ---------------------------------------------------------------------------------


@check("kernel_driver", needs=_STATE, about=["MEMORY_TRANSFER", "memory_transfer_params", "has_memory_transfer"])
def memory_transfers(rig: Rig) -> None:
    """Up to 4.22: BARs and device memory, 4096 bytes at most; gone in 4.23 (driver.md 7.5)."""
    node = node_of(rig)
    if node.family == "D":
        expect_errno("a transfer", errno.ENOTTY, partial(node.file.ioctl, 0xD0186700, bytearray(4120)))
        return
    expect("id register", node.transfer(0x200, 0x98, 4).hex(), "601e6428")
    node.transfer(0, 0x61000, 8, b"openhail")
    expect("device memory", node.transfer(0, 0x61000, 8), b"openhail")
    expect("firmware still answers", len(node.control(_IDENTIFY, 0)) > 0, True)
    for what, kind, address, count in (
        ("4097 bytes", 0, 0x61000, 4097),
        ("an unknown kind of memory", 0x201, 0, 4),
        ("the end of a BAR", 0x200, 0x3FFE, 4),
    ):
        expect_errno(what, errno.EINVAL, partial(node.transfer, kind, address, count))
    if node.release < "4.19":
        expect_errno("a 33-bit address", errno.EFAULT, partial(node.transfer, 0, 1 << 32, 4))
    argument = bytearray(struct.pack("<IIQQ", 2, 0, 0x61000, 4).ljust(4120, b"\0"))
    expect_errno("a third direction", errno.EINVAL, partial(node.file.ioctl, 0xD0186700, argument))


@check("kernel_driver", needs=_NODE, about=["MARK_AS_IN_USE", "mark_as_in_use_params"])
def ownership(rig: Rig) -> None:
    """The first open that asks owns the board, until it is closed (driver.md 1.3)."""
    first, second = node_of(rig), node_of(rig)
    expect("first, again, second", (first.mark(), first.mark(), second.mark()), (0, 0, 1))
    first.file.close()
    expect("second, once first is closed", second.mark(), 0)
    second.file.close()


@check("kernel_driver", needs=_STATE, about=["MARK_AS_IN_USE", "driver_shutdown"])
def only_the_owner_says_goodbye(rig: Rig) -> None:
    """Its close rings the shutdown, which stops the channels; another's close does not (driver.md 1.3)."""
    running = Launched(rig)
    chip = rig.twin.chip
    node_of(rig, virtual(rig).driver.open()).file.close()
    expect_true("a channel runs", chip.vdma.is_open(1))
    running.host.close()
    expect("open channels", [channel for channel in range(32) if chip.vdma.is_open(channel)], [])


@check("kernel_driver", needs=_STATE, about=["close_disables_channels"])
def closing_with_transfers_in_flight(rig: Rig) -> None:
    """Since 4.19 an open's channels are free after it; before, those of one that is no owner stay (driver.md 1.3)."""
    driver, bit = virtual(rig).driver, 1 << 5
    for owner in (False, True):
        keeper, leaver = node_of(rig, driver.open()), node_of(rig, driver.open())
        if owner:
            leaver.mark()
        leaver.enable(bit)
        leaver.file.close()
        stays = not owner and leaver.release < "4.19"
        if stays:
            expect_errno("a channel that nobody owns", errno.EINVAL, partial(keeper.enable, bit))
        else:
            keeper.enable(bit)
        keeper.mark()
        keeper.disable(bit)
        keeper.file.close()
    running = Launched(rig)
    running.output.launch()
    running.input.send(frame(1))
    running.host.close()
    expect("registered memory", len(rig.twin.dma), 0)
    again = Launched(rig)
    again.output.launch()
    again.input.send(frame(2))
    again.host.rest(0.01)
    expect("the next owner's frame", again.output.take(0), frame(2)[15::-1])


@check("kernel_driver", needs=_STATE, about=["ENODEV"])
def hot_removal(rig: Rig) -> None:
    """Readers of notifications come home; every request, mapping and open is ENODEV from then on (driver.md 1.3)."""
    driver, node = virtual(rig).driver, node_of(rig)
    driver.remove()
    expect_errno("a request", errno.ENODEV, node.properties)
    expect_errno("a mapping", errno.ENODEV, partial(node.file.mmap, 4096, 4096))
    expect_errno("an open", errno.ENODEV, driver.open)
    expect("the card", node.file.is_alive(), False)


@check("kernel_driver", needs=_STATE, about=["EINVAL"])
def suspended_opens_are_invalid(rig: Rig) -> None:
    """Everything is EINVAL for ever; a new open works (driver.md 1.3, 8.1 row 37)."""
    driver, node = virtual(rig).driver, node_of(rig)
    driver.suspend()
    driver.resume()
    expect_errno("a request", errno.EINVAL, node.version)
    expect_errno("a mapping", errno.EINVAL, partial(node.file.mmap, 4096, 4096))
    node.file.close()
    again = node_of(rig)
    expect("opcode after opening again", again.control(_IDENTIFY, 0)[32:36], bytes(4))
    again.mark()
    if again.release < "4.19":  # interrupts go off before the firmware is told, so its answer never comes
        expect_errno("suspending a board in use", errno.ETIMEDOUT, driver.suspend)
    else:
        driver.suspend()


@check("kernel_driver", needs=_STATE, about=["enable_mask", "IMASK_HOST"])
def interrupt_masks(rig: Rig) -> None:
    """Each release has its own; up to 4.20.1 groups of four channels come and go with them (driver.md 5.2)."""
    node, chip = node_of(rig), rig.twin.chip
    mask = FACTS[node.release].mask
    expect("mask while open", chip.bar_read(0, 0x188, 4), mask)
    groups = ((1 << 0, 0x0001), (1 << 6, 0x0002), (1 << 16, 0x1000), (1 << 31, 0x8000), (0x00030003, 0x1001))
    for bitmap, group in groups:
        node.enable(bitmap)
        masked = mask | group if node.family in "AB" else mask
        expect(f"mask with channels 0x{bitmap:X}", chip.bar_read(0, 0x188, 4), masked)
        node.disable(bitmap)
        expect("mask afterwards", chip.bar_read(0, 0x188, 4), mask)
    node.file.close()
    expect("mask when closed", chip.registers.read(0x188), 0)
