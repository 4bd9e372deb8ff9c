"""Argument structures of the kernel driver's ioctls, LP64 (driver.md 7.4; driver-abi.json)."""

from __future__ import annotations

from .layout import Struct, sequential

_PAGE = "driver.md 7.4"
#: Stands for "no argument".
NOTHING = Struct("nothing", 0, ())

DRIVER_INFO = sequential(
    "driver_info", _PAGE, ("major_version", "le32"), ("minor_version", "le32"), ("revision_version", "le32")
)
DEVICE_PROPERTIES = sequential(
    "device_properties",
    _PAGE,
    ("desc_max_page_size", "le16"),
    ("board_type", "le32"),
    ("allocation_mode", "le32"),
    ("dma_type", "le32"),
    ("dma_engines_count", "le64"),
    ("is_fw_loaded", "u8"),
)
MEMORY_TRANSFER = sequential(
    "memory_transfer_params",
    _PAGE,
    ("transfer_direction", "le32"),
    ("memory_type", "le32"),
    ("address", "le64"),
    ("count", "le64"),
    ("buffer", "bytes", 4096),
)
FW_CONTROL = sequential(
    "fw_control",
    _PAGE,
    ("expected_md5", "bytes", 16),
    ("buffer_len", "le32"),
    ("buffer", "bytes", 1500),
    ("timeout_ms", "le32"),
    ("cpu_id", "le32"),
)
NOTIFICATION = sequential("d2h_notification", _PAGE, ("buffer_len", "le64"), ("buffer", "bytes", 1500))
READ_LOG = sequential(
    "read_log_params",
    _PAGE,
    ("cpu_id", "le32"),
    ("buffer", "bytes", 512),
    ("buffer_size", "le64"),
    ("read_bytes", "le64"),
)
MARK_AS_IN_USE = sequential("mark_as_in_use_params", _PAGE, ("in_use", "u8"))

# --- memory -----------------------------------------------------------------------------------------------------

BUFFER_MAP_A = sequential(
    "vdma_buffer_map_params",
    _PAGE,
    ("user_address", "le64"),
    ("size", "le64"),
    ("data_direction", "le32"),
    ("allocated_buffer_handle", "le64"),
    ("mapped_handle", "le64"),
)
BUFFER_MAP = sequential(
    "vdma_buffer_map_params",
    _PAGE,
    ("user_address", "le64"),
    ("size", "le64"),
    ("data_direction", "le32"),
    ("buffer_type", "le32"),
    ("allocated_buffer_handle", "le64"),
    ("mapped_handle", "le64"),
)
BUFFER_UNMAP = sequential("vdma_buffer_unmap_params", _PAGE, ("mapped_handle", "le64"))
BUFFER_SYNC = sequential(
    "vdma_buffer_sync_params",
    _PAGE,
    ("handle", "le64"),
    ("sync_type", "le32"),
    ("offset", "le64"),
    ("count", "le64"),
)
LOW_MEMORY_ALLOC = sequential(
    "allocate_low_memory_buffer_params", _PAGE, ("buffer_size", "le64"), ("buffer_handle", "le64")
)
LOW_MEMORY_FREE = sequential("free_low_memory_buffer_params", _PAGE, ("buffer_handle", "le64"))
CONTINUOUS_ALLOC = sequential(
    "allocate_continuous_buffer_params",
    _PAGE,
    ("buffer_size", "le64"),
    ("buffer_handle", "le64"),
    ("dma_address", "le64"),
)
CONTINUOUS_FREE = sequential("free_continuous_buffer_params", _PAGE, ("buffer_handle", "le64"))

# --- descriptor lists -------------------------------------------------------------------------------------------

DESC_LIST_CREATE = sequential(
    "desc_list_create_params",
    _PAGE,
    ("desc_count", "le64"),
    ("desc_page_size", "le16"),
    ("is_circular", "u8"),
    ("desc_handle", "le64"),
    ("dma_address", "le64"),
)
DESC_LIST_RELEASE = sequential("desc_list_release_params", _PAGE, ("desc_handle", "le64"))
DESC_LIST_BIND = sequential(
    "desc_list_bind_vdma_buffer_params",
    _PAGE,
    ("buffer_handle", "le64"),
    ("buffer_size", "le64"),
    ("buffer_offset", "le64"),
    ("desc_handle", "le64"),
    ("channel_index", "u8"),
    ("starting_desc", "le32"),
)
DESC_LIST_PROGRAM_B = sequential(
    "desc_list_program_params",
    _PAGE,
    ("buffer_handle", "le64"),
    ("buffer_size", "le64"),
    ("buffer_offset", "le64"),
    ("desc_handle", "le64"),
    ("channel_index", "u8"),
    ("starting_desc", "le32"),
    ("should_bind", "u8"),
    ("last_interrupts_domain", "le32"),
    ("is_debug", "u8"),
)
DESC_LIST_PROGRAM = sequential(
    "desc_list_program_params",
    _PAGE,
    ("buffer_handle", "le64"),
    ("buffer_size", "le64"),
    ("buffer_offset", "le64"),
    ("batch_size", "le32"),
    ("desc_handle", "le64"),
    ("channel_index", "u8"),
    ("starting_desc", "le32"),
    ("should_bind", "u8"),
    ("last_interrupts_domain", "le32"),
    ("is_debug", "u8"),
    ("stride", "le32"),
)

# --- channels ---------------------------------------------------------------------------------------------------

INTERRUPTS_ENABLE = sequential(
    "vdma_interrupts_enable_params",
    _PAGE,
    ("channels_bitmap_per_engine", "le32", 3),
    ("enable_timestamps_measure", "u8"),
)
INTERRUPTS_DISABLE = sequential("vdma_interrupts_disable_params", _PAGE, ("channels_bitmap_per_engine", "le32", 3))
ENABLE_CHANNELS = sequential(
    "vdma_enable_channels_params",
    _PAGE,
    ("channels_bitmap_per_engine", "le32", 3),
    ("enable_timestamps_measure", "u8"),
)
DISABLE_CHANNELS = sequential("vdma_disable_channels_params", _PAGE, ("channels_bitmap_per_engine", "le32", 3))
CHANNEL_DATA_A = sequential(
    "vdma_interrupts_channel_data",
    _PAGE,
    ("engine_index", "u8"),
    ("channel_index", "u8"),
    ("is_active", "u8"),
    ("host_num_processed", "le16"),
    ("host_error", "u8"),
    ("device_error", "u8"),
    ("validation_success", "u8"),
)
CHANNEL_DATA_B = sequential(
    "vdma_interrupts_channel_data",
    _PAGE,
    ("engine_index", "u8"),
    ("channel_index", "u8"),
    ("is_active", "u8"),
    ("transfers_completed", "u8"),
    ("host_error", "u8"),
    ("device_error", "u8"),
    ("validation_success", "u8"),
)
CHANNEL_DATA = sequential(
    "vdma_interrupts_channel_data", _PAGE, ("engine_index", "u8"), ("channel_index", "u8"), ("data", "u8")
)
INTERRUPTS_WAIT_A = sequential(
    "vdma_interrupts_wait_params",
    _PAGE,
    ("channels_bitmap_per_engine", "le32", 3),
    ("channels_count", "u8"),
    ("irq_data", CHANNEL_DATA_A, 96),
)
INTERRUPTS_WAIT_B = sequential(
    "vdma_interrupts_wait_params",
    _PAGE,
    ("channels_bitmap_per_engine", "le32", 3),
    ("channels_count", "u8"),
    ("irq_data", CHANNEL_DATA_B, 96),
)
INTERRUPTS_WAIT = sequential(
    "vdma_interrupts_wait_params",
    _PAGE,
    ("channels_bitmap_per_engine", "le32", 3),
    ("channels_count", "u8"),
    ("irq_data", CHANNEL_DATA, 96),
)
TIMESTAMP = sequential("channel_interrupt_timestamp", _PAGE, ("timestamp_ns", "le64"), ("desc_num_processed", "le16"))
READ_TIMESTAMPS = sequential(
    "vdma_interrupts_read_timestamp_params",
    _PAGE,
    ("engine_index", "u8"),
    ("channel_index", "u8"),
    ("timestamps_count", "le32"),
    ("timestamps", TIMESTAMP, 256),
)
TRANSFER_BUFFER_A = sequential(
    "vdma_transfer_buffer", _PAGE, ("mapped_buffer_handle", "le64"), ("offset", "le32"), ("size", "le32")
)
TRANSFER_BUFFER = sequential(
    "vdma_transfer_buffer", _PAGE, ("buffer_type", "le32"), ("addr_or_fd", "le64"), ("size", "le32")
)
LAUNCH_A = sequential(
    "vdma_launch_transfer_params",
    _PAGE,
    ("engine_index", "u8"),
    ("channel_index", "u8"),
    ("desc_handle", "le64"),
    ("starting_desc", "le32"),
    ("should_bind", "u8"),
    ("buffers_count", "u8"),
    ("buffers", TRANSFER_BUFFER_A, 2),
    ("first_interrupts_domain", "le32"),
    ("last_interrupts_domain", "le32"),
    ("is_debug", "u8"),
    ("descs_programed", "le32"),
)
LAUNCH_B = sequential(
    "vdma_launch_transfer_params",
    _PAGE,
    ("engine_index", "u8"),
    ("channel_index", "u8"),
    ("desc_handle", "le64"),
    ("starting_desc", "le32"),
    ("should_bind", "u8"),
    ("buffers_count", "u8"),
    ("buffers", TRANSFER_BUFFER_A, 2),
    ("first_interrupts_domain", "le32"),
    ("last_interrupts_domain", "le32"),
    ("is_debug", "u8"),
    ("descs_programed", "le32"),
    ("launch_transfer_status", "lei32"),
)
LAUNCH = sequential(
    "vdma_launch_transfer_params",
    _PAGE,
    ("engine_index", "u8"),
    ("channel_index", "u8"),
    ("desc_handle", "le64"),
    ("starting_desc", "le32"),
    ("should_bind", "u8"),
    ("buffers_count", "u8"),
    ("buffers", TRANSFER_BUFFER, 8),
    ("first_interrupts_domain", "le32"),
    ("last_interrupts_domain", "le32"),
    ("is_debug", "u8"),
)

# --- declared by the driver, refused on Hailo-8 (driver.md 7.2) --------------------------------------------------

NON_LINUX_MMAP = sequential(
    "non_linux_desc_list_mmap_params", _PAGE, ("desc_handle", "le64"), ("size", "le64"), ("user_address", "le64")
)
_CHANNELS = (("input_channel_index", "u8"), ("output_channel_index", "u8"))
_LISTS = (("input_desc_handle", "le64"), ("output_desc_handle", "le64"))
SOC_CONNECT_4_18 = sequential("soc_connect_params", _PAGE, *_CHANNELS, *_LISTS)
SOC_CONNECT = sequential("soc_connect_params", _PAGE, ("port_number", "le16"), *_CHANNELS, *_LISTS)
SOC_CLOSE = sequential("soc_close_params", _PAGE, *_CHANNELS)
PCI_EP_ACCEPT_4_18 = sequential("pci_ep_accept_params", _PAGE, *_CHANNELS, *_LISTS)
PCI_EP_ACCEPT = sequential("pci_ep_accept_params", _PAGE, ("port_number", "le16"), *_CHANNELS, *_LISTS)
PCI_EP_CLOSE = sequential("pci_ep_close_params", _PAGE, *_CHANNELS)
WRITE_ACTION_LIST = sequential(
    "write_action_list_params", _PAGE, ("data", "le64"), ("size", "le64"), ("dma_address", "le64")
)
