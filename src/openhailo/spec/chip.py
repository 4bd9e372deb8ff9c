"""One value that holds the whole declaration of the chip.

Driver and twin take ``spec: ChipSpec = CHIP`` and use only that instance. A test may hand one of them a bent copy
(`dataclasses.replace`) and watch the other notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .actions import (
    ACTION_HEADER,
    ACTIONS,
    HOST_BUFFER_INFO,
    PACKED_CHANNEL,
    PACKED_LCU,
    REPEATED_HEADER,
    STREAM_REG_INFO,
    Action,
    ActionRules,
)
from .config import USER_CONFIG_ENTRY, USER_CONFIG_HEADER, UserConfigRules
from .control import CONTROLS, PARAMETER_COUNT, PARAMETER_HEADER, REQUEST_HEADER, RESPONSE_HEADER, Control, ControlRules
from .events import EVENT_HEADER, EVENTS, Event, EventRules
from .firmware import CERTIFICATE_HEADER, FIRMWARE_REVISION, IMAGE_HEADER, FirmwareRules
from .fw_access import LOG_HEADER, MAILBOX_HEADER, NOTIFICATION_HEADER, BootMap, Doorbell, MailboxRules
from .layout import Reg, RegBlock, Struct
from .limits import Limits
from .messages import APPLICATION_HEADER, FEATURE_FLAGS, FLAGS
from .pci import CONFIG, AtrRules, InterruptRules, PciIdentity
from .program import IO_RECORD, PROGRAM_HEADER, ProgramRules
from .snn import SNN_AREA, SNN_BURST, SNN_CLASS, SNN_HEADER, SNN_REPLY, SNN_REQUEST, SnnRules
from .status import STATUS_NAMES, Status
from .streams import COMMUNICATION_PARAMS
from .vdma import CHANNEL_HALF, DESCRIPTOR, DESCRIPTOR_CONTROL, VdmaRules


@dataclass(frozen=True)
class ChipSpec:
    """Registers, messages, actions, notifications, images and limits of a Hailo-8 or Hailo-8L.

    Structures that are parameters of a control live inside ``controls``; the ones listed here frame a message or are
    parsed on their own.
    """

    # BAR level (driver.md)
    pci: PciIdentity = field(default_factory=PciIdentity)
    config: RegBlock = CONFIG
    interrupts: InterruptRules = field(default_factory=InterruptRules)
    atr: AtrRules = field(default_factory=AtrRules)
    channel: RegBlock = CHANNEL_HALF
    descriptor: RegBlock = DESCRIPTOR
    descriptor_control: Reg = DESCRIPTOR_CONTROL
    vdma: VdmaRules = field(default_factory=VdmaRules)
    mailbox: MailboxRules = field(default_factory=MailboxRules)
    mailbox_header: Struct = MAILBOX_HEADER
    notification_header: Struct = NOTIFICATION_HEADER
    log_header: Struct = LOG_HEADER
    doorbell: Doorbell = field(default_factory=Doorbell)
    boot: BootMap = field(default_factory=BootMap)
    limits: Limits = field(default_factory=Limits)

    # firmware image (driver.md 2.3)
    firmware: FirmwareRules = field(default_factory=FirmwareRules)
    image_header: Struct = IMAGE_HEADER
    certificate_header: Struct = CERTIFICATE_HEADER
    firmware_revision: Reg = FIRMWARE_REVISION

    # controls (control-protocol.md)
    controls: Mapping[int, Control] = field(default_factory=lambda: CONTROLS)
    control_rules: ControlRules = field(default_factory=ControlRules)
    request_header: Struct = REQUEST_HEADER
    response_header: Struct = RESPONSE_HEADER
    parameter_count: Struct = PARAMETER_COUNT
    parameter_header: Struct = PARAMETER_HEADER
    flags: Reg = FLAGS
    feature_flags: Reg = FEATURE_FLAGS
    communication_params: Mapping[str, Struct] = field(default_factory=lambda: COMMUNICATION_PARAMS)
    user_config_header: Struct = USER_CONFIG_HEADER
    user_config_entry: Struct = USER_CONFIG_ENTRY
    user_config: UserConfigRules = field(default_factory=UserConfigRules)
    status_names: Mapping[int, str] = field(default_factory=lambda: STATUS_NAMES)
    statuses: Mapping[str, int] = field(default_factory=lambda: Status)

    # context switch (context-switch.md)
    actions: Mapping[int, Action] = field(default_factory=lambda: ACTIONS)
    action_rules: ActionRules = field(default_factory=ActionRules)
    action_header: Struct = ACTION_HEADER
    repeated_header: Struct = REPEATED_HEADER
    application_header: Struct = APPLICATION_HEADER
    host_buffer_info: Struct = HOST_BUFFER_INFO
    stream_reg_info: Struct = STREAM_REG_INFO
    packed_channel: Reg = PACKED_CHANNEL
    packed_lcu: Reg = PACKED_LCU

    # notifications (control-protocol.md 9)
    events: Mapping[int, Event] = field(default_factory=lambda: EVENTS)
    event_header: Struct = EVENT_HEADER
    event_rules: EventRules = field(default_factory=EventRules)

    # the virtual core's program
    program: ProgramRules = field(default_factory=ProgramRules)
    program_header: Struct = PROGRAM_HEADER
    io_record: Struct = IO_RECORD
    snn: SnnRules = field(default_factory=SnnRules)
    snn_header: Struct = SNN_HEADER
    snn_area: Struct = SNN_AREA
    snn_class: Struct = SNN_CLASS
    snn_request: Struct = SNN_REQUEST
    snn_reply: Struct = SNN_REPLY
    snn_burst: Struct = SNN_BURST


CHIP = ChipSpec()
