"""Which class of the model stands for which alternative of a protobuf oneof."""

from __future__ import annotations

from typing import Any

from . import operations as o
from . import ops

#: ProtoHEFTrigger.trigger
TRIGGERS: dict[str, type[Any]] = {
    "trigger_lcu": o.TriggerLcu,
    "trigger_none": o.TriggerNone,
    "trigger_all_data_was_sent": o.TriggerAllDataWasSent,
    "trigger_all_data_was_received": o.TriggerAllDataWasReceived,
    "trigger_nms": o.TriggerNms,
    "trigger_dma_idle": o.TriggerDmaIdle,
}

#: ProtoHEFAction.action, without the two kinds of CCW and debug, which have code of their own.
ACTIONS: dict[str, type[Any]] = {
    "write_data": o.WriteData,
    "write_compressed_data": o.WriteCompressedData,
    "enable_sequencer": o.EnableSequencer,
    "wait_for_seqeuncer": o.WaitForSequencer,
    "disable_lcu": o.DisableLcu,
    "enable_lcu": o.EnableLcu,
    "none": o.NoAction,
    "allow_input_dataflow": o.AllowInputDataflow,
    "wait_for_module_config_done": o.WaitForModuleConfigDone,
    "enable_nms": o.EnableNms,
    "write_data_by_type": o.WriteDataByType,
    "switch_lcu_batch": o.SwitchLcuBatch,
}

#: ProtoHEFNmsOp.nms_op
NMS_METHODS: dict[str, type[Any]] = {
    "yolo_nms_op": ops.YoloNmsOp,
    "yolox_nms_op": ops.YoloxNmsOp,
    "ssd_nms_op": ops.SsdNmsOp,
    "iou_op": ops.IouNmsOp,
    "yolo_seg_op": ops.YoloSegNmsOp,
    "yolov8_nms_op": ops.Yolov8NmsOp,
}

TRIGGER_NAMES = {cls: name for name, cls in TRIGGERS.items()}
ACTION_NAMES = {cls: name for name, cls in ACTIONS.items()}
NMS_METHOD_NAMES = {cls: name for name, cls in NMS_METHODS.items()}
