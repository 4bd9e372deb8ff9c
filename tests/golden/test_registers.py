"""BAR-level declarations against literals copied by hand from driver.md; nothing is computed from the specification."""

from __future__ import annotations

import pytest
from tests.golden.literals import CHANNEL, CONFIG_FIELDS, CONFIG_REGISTERS, CONFIG_RESETS, DESCRIPTOR, WORDS

from openhailo.spec import fw_access, limits, vdma
from openhailo.spec.chip import CHIP
from openhailo.spec.layout import Access


def masks(register):
    return {field.name: field.mask for field in register.fields}


def test_config_space_identity():
    """driver.md 0, 1.1, 10.1."""
    assert (CHIP.pci.vendor_id, CHIP.pci.device_id, CHIP.pci.class_code) == (0x1E60, 0x2864, 0x0B4000)
    assert [(bar.index, bar.size_bytes) for bar in CHIP.pci.bars] == [(0, 16384), (2, 4096), (4, 16384)]
    assert all(bar.is_64bit and bar.prefetchable for bar in CHIP.pci.bars)
    assert (CHIP.pci.config_bar, CHIP.pci.vdma_bar, CHIP.pci.fw_access_bar) == (0, 2, 4)
    assert (CHIP.pci.msi_vectors, CHIP.pci.min_max_read_request_bytes) == (1, 512)


def test_config_registers():
    """driver.md 2.1, 5.1, 10.2."""
    assert {reg.name: (reg.offset, reg.access.name) for reg in CHIP.config} == CONFIG_REGISTERS
    assert {reg.name: masks(reg) for reg in CHIP.config if reg.fields} == CONFIG_FIELDS
    assert {reg.name: reg.reset for reg in CHIP.config if reg.reset} == CONFIG_RESETS


def test_interrupt_rules():
    """driver.md 5.1, 5.2."""
    rules = CHIP.interrupts
    assert (rules.enable_mask, rules.clear_all) == (0xFF00FFFF, 0xFFFFFFFF)
    assert (rules.channels_per_status_bit, rules.source_channels) == (4, 16)


def test_address_translation():
    """driver.md 2.1: full table 0x17, 0, 0x60000000, 0, 6; the second window has 0x1017 and 0x00200000."""
    rules = CHIP.atr
    assert (rules.tables, rules.window_size_bytes, rules.enabled_param, rules.source_page_shift) == (4, 4096, 0x17, 12)
    assert (rules.translation_param, rules.mailbox_base, rules.pcie_config_base) == (6, 0x60000000, 0x00200000)
    assert CHIP.config["ATR0_PARAM"].unpack(0x1017) == {"enable": 1, "log2_size_minus_1": 11, "source_page": 1}


def test_channel_registers():
    """driver.md 6.1, and the captured words 0x00022801 (host half) and 0x00002C01 (device half)."""
    assert {reg.name: (reg.offset, reg.access.name, masks(reg)) for reg in CHIP.channel} == CHANNEL
    control = CHIP.channel["CONTROL_AVAIL"]
    assert control.unpack(0x00022801) == {"start": 1, "pause": 0, "data_id": 0, "depth": 5, "num_available": 2}
    assert control.unpack(0x00002C01) == {"start": 1, "pause": 0, "data_id": 4, "depth": 5, "num_available": 0}
    assert CHIP.channel["PROCESSED_ONGOING"].access is Access.R


def test_descriptor():
    """driver.md 6.3; 0x00020002 and 0x0001102E are the two descriptors of a 784-byte frame."""
    assert {reg.name: (reg.offset, reg.access.name, masks(reg)) for reg in CHIP.descriptor} == DESCRIPTOR
    assert masks(CHIP.descriptor_control) == WORDS["descriptor_control"]
    assert (CHIP.descriptor_control.offset, CHIP.descriptor_control.width_bytes) == (0, 1)
    assert {reg.width_bytes for reg in (*CHIP.config, *CHIP.channel, *CHIP.descriptor)} == {4}
    size_control = CHIP.descriptor["SIZE_CONTROL"]
    assert size_control.pack(page_size=512, control=0x02) == 0x00020002
    assert size_control.pack(page_size=272, control=0x2E) == 0x0001102E
    control = CHIP.descriptor_control
    always = {"write_status_on_error": 1}
    irq = {"request_irq": 1, "request_irq_on_error": 1}
    assert control.pack(**always) == 0x02
    assert control.pack(**always, **irq, device_domain=1) == 0x1E
    assert control.pack(**always, **irq, host_domain=1) == 0x2E
    assert control.pack(**always, **irq, device_domain=1, host_domain=1) == 0x3E
    assert control.pack(**always, **irq, host_domain=1, write_status_on_completion=1) == 0x2F


def test_engine_geometry():
    """driver.md 6.1, 6.3, 6.4."""
    rules = CHIP.vdma
    assert (rules.channels, rules.host_to_device_channels) == (32, 16)
    assert (rules.channel_stride, rules.destination_half_offset) == (0x20, 0x10)
    assert (rules.host_memory_data_id, rules.device_half_data_id) == (0, 4)
    assert (rules.list_alignment, rules.descriptor_size_bytes, rules.address_alignment) == (0x10000, 16, 64)
    assert (rules.max_descriptors, rules.min_page_size, rules.max_page_size) == (65536, 64, 4096)
    assert (rules.default_page_size, rules.max_transfers_in_flight, rules.max_buffers_per_launch) == (512, 127, 8)
    assert (vdma.DOMAIN_NONE, vdma.DOMAIN_DEVICE, vdma.DOMAIN_HOST, vdma.DOMAIN_BOTH) == (0, 1, 2, 3)


def test_mailbox():
    """driver.md 3, 4.1, 4.2."""
    rules = CHIP.mailbox
    assert (rules.request, rules.response, rules.notification) == (0, 0x640, 0xC80)
    assert (rules.max_message_bytes, rules.max_notification_bytes) == (1500, 892)
    assert (rules.doorbell, rules.app_log, rules.core_log) == (0x1684, 0x2000, 0x3000)
    assert rules.log_size_bytes == 4096
    assert [(m.name, m.offset, m.size_bytes) for m in CHIP.mailbox_header.members] == [
        ("digest", 0, 16),
        ("length", 16, 4),
    ]
    assert [(m.name, m.offset, m.type) for m in CHIP.notification_header.members] == [
        ("in_use", 0, "le16"),
        ("length", 2, "le16"),
    ]
    assert [(m.name, m.offset, m.type) for m in CHIP.log_header.members] == [
        ("host_offset", 0, "le32"),
        ("chip_offset", 4, "le32"),
    ]


def test_doorbell():
    """driver.md 3."""
    bell = CHIP.doorbell
    assert (bell.app_cpu_control, bell.core_cpu_control, bell.driver_shutdown, bell.soft_reset) == (1, 2, 4, 8)


def test_boot_map():
    """driver.md 2.2."""
    boot = CHIP.boot
    assert (boot.boot_status, boot.boot_status_idle) == (0xE0000, 1)
    assert (boot.app_header, boot.key_certificate, boot.content_certificate) == (0xE0030, 0xE0048, 0xE0390)
    assert (boot.trigger, boot.trigger_value) == (0xE0980, 1)
    assert (boot.app_code, boot.core_header, boot.core_code) == (0x60000, 0xA0000, 0xC0000)
    assert (boot.board_config, boot.firmware_config, boot.config_max_bytes) == (0x60001000, 0x60001500, 0x500)


def test_limits():
    """driver.md 2.4, 3; control-protocol.md 1; context-switch.md 3, 22."""
    assert (limits.BOOT_TIMEOUT_S, limits.SOFT_RESET_TIMEOUT_S, limits.BOOT_STATUS_POLLS) == (5.0, 5.0, 10)
    assert (limits.SHUTDOWN_TIMEOUT_S, limits.CONTROL_TIMEOUT_S, limits.FRAME_TIMEOUT_S) == (0.005, 1.0, 10.0)
    assert (limits.MAX_APPLICATIONS, limits.MAX_CONTEXTS, limits.MAX_NETWORKS) == (32, 1024, 8)
    assert (limits.MAX_CONFIG_CHANNELS, limits.MAX_BATCH_SIZE) == (4, 63)
    assert limits.MAX_CHUNK_BYTES == 1461
    values = limits.Limits()
    assert (values.boot_timeout_s, values.max_applications) == (5.0, 32)
    assert (values.soft_reset_timeout_s, values.boot_status_polls, values.shutdown_timeout_s) == (5.0, 10, 0.005)
    assert values.control_timeout_s == 1.0
    assert (values.max_contexts, values.max_networks, values.max_config_channels) == (1024, 8, 4)
    assert values.max_batch_size == 63


@pytest.mark.facts
def test_limits_table_of_the_page(facts, checked):
    rows = {
        row[0]: row[1] for row in facts.rows(facts.section("context-switch.md", "22. Limits")) if row[1][:1].isdigit()
    }
    assert int(rows["applications per device"]) == 32
    assert int(rows["contexts per network group"].split()[0]) == 1024
    assert int(rows["networks per group"]) == 8
    assert int(rows["config channels"].split(";")[0]) == 4
    assert int(rows["batch"]) == 63
    assert rows["repeated block"] == "255 subs"
    assert rows["descriptors per list"] == "2..65536"
    checked(7, 7)


@pytest.mark.facts
def test_boot_addresses_table_of_the_page(facts, checked):
    """driver.md 2.2 names every address that `BootMap` holds."""
    text = facts.section("driver.md", "2.2 Device addresses used")
    boot = fw_access.BootMap()
    rows = {row[0]: row[1] for row in facts.rows(text)}
    expected = {
        "boot status": boot.boot_status,
        "app firmware header": boot.app_header,
        "key certificate": boot.key_certificate,
        "content certificate": boot.content_certificate,
        "boot trigger": boot.trigger,
        "app code": boot.app_code,
        "core firmware header": boot.core_header,
        "core code": boot.core_code,
        "board config": boot.board_config,
        "firmware config": boot.firmware_config,
    }
    for name, address in expected.items():
        assert int(rows[name].split()[0], 16) == address, name
    checked(len(expected), 10)
