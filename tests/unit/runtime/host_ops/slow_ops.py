"""Host ops once more, number by number in plain Python, from the facts alone (hef.md 13, runtime-behaviour.md 15).

A map is a nested list of integers ``q[row][column][channel]`` with ``zero_point`` and ``scale``. What decides (scores
against thresholds) is computed in float32 like the vendor's; where a box lies is computed in double precision.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import numpy as np

F = np.float32


class Map(NamedTuple):
    q: list
    zero_point: float
    scale: float

    @property
    def rows(self):
        return len(self.q)

    @property
    def columns(self):
        return len(self.q[0])

    def real(self, row, column, channel):
        return (F(self.q[row][column][channel]) - F(self.zero_point)) * F(self.scale)

    def cells(self):
        for row in range(self.rows):
            for column in range(self.columns):
                yield row, column


class Box(NamedTuple):
    corners: tuple  # y_min, x_min, y_max, x_max
    score: float
    class_id: int
    coefficients: tuple = ()


def corners(xc, yc, w, h):
    return (yc - h / 2, xc - w / 2, yc + h / 2, xc + w / 2)


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def result_class(class_id, background):
    return class_id - 1 if background == 0 else class_id


# --- families ---------------------------------------------------------------------------------------------------------


def yolov5(levels, classes, image, threshold, background=None):
    """``levels``: (map, anchors [(w, h)])."""
    found = []
    for level, anchors in levels:
        entry = 5 + classes
        for row, column in level.cells():
            for a, (wa, ha) in enumerate(anchors):
                numbers = [level.real(row, column, a * entry + k) for k in range(entry)]
                if numbers[4] < F(threshold):
                    continue
                box = _yolov5_box(level, row, column, numbers, wa, ha, image)
                for c in range(classes):
                    score = numbers[5 + c] * numbers[4]
                    if c != background and score >= F(threshold):
                        found.append(Box(box, score, result_class(c, background)))
    return found


def _yolov5_box(level, row, column, numbers, wa, ha, image):
    tx, ty, tw, th = (float(n) for n in numbers[:4])
    xc = (2 * tx - 0.5 + column) / level.columns
    yc = (2 * ty - 0.5 + row) / level.rows
    return corners(xc, yc, (2 * tw) ** 2 * wa / image[1], (2 * th) ** 2 * ha / image[0])


def yolov5_decoded(levels, classes, image):
    rows = []
    for level, anchors in levels:
        entry = 5 + classes
        for row, column in level.cells():
            for a, (wa, ha) in enumerate(anchors):
                numbers = [level.real(row, column, a * entry + k) for k in range(entry)]
                rows.append([*_yolov5_box(level, row, column, numbers, wa, ha, image), *map(float, numbers[4:])])
    return rows


def yolov5_seg(levels, classes, masks, image, threshold):
    found = []
    for level, anchors in levels:
        entry = 5 + classes + masks
        for row, column in level.cells():
            for a, (wa, ha) in enumerate(anchors):
                raw = [float(level.real(row, column, a * entry + k)) for k in range(entry)]
                numbers = [sigmoid(x) for x in raw[: 5 + classes]]
                if numbers[4] < threshold:
                    continue
                box = _yolov5_box(level, row, column, numbers, wa, ha, image)
                coefficients = tuple(x * numbers[4] for x in raw[5 + classes :])
                for c in range(classes):
                    score = numbers[5 + c] * numbers[4]
                    if score >= threshold:
                        found.append(Box(box, score, c, coefficients))
    return found


def yolox(levels, classes, threshold):
    """``levels``: (reg, obj, cls) maps."""
    found = []
    for reg, obj, cls in levels:
        for row, column in reg.cells():
            objectness = obj.real(row, column, 0)
            if objectness < F(threshold):
                continue
            tx, ty, tw, th = (float(reg.real(row, column, k)) for k in range(4))
            xc, yc = (tx + column) / reg.columns, (ty + row) / reg.rows
            box = corners(xc, yc, math.exp(tw) / reg.columns, math.exp(th) / reg.rows)
            for c in range(classes):
                score = cls.real(row, column, c) * objectness
                if score >= F(threshold):
                    found.append(Box(box, score, c))
    return found


def yolov8(levels, classes, image, length, threshold, background=None):
    """``levels``: (reg, cls, stride)."""
    found = []
    for reg, cls, stride in levels:
        for row, column in reg.cells():
            for c in range(classes):
                score = cls.real(row, column, c)
                if c != background and score >= F(threshold):
                    box = _yolov8_box(reg, row, column, stride, length, image)
                    found.append(Box(box, score, result_class(c, background)))
    return found


def _yolov8_box(reg, row, column, stride, length, image):
    sides = []
    for side in range(4):
        values = [float(reg.real(row, column, side * length + i)) for i in range(length)]
        powers = [math.exp(v - max(values)) for v in values]
        sides.append(sum(i * p for i, p in enumerate(powers)) / sum(powers))
    xc, yc = (column + 0.5) * stride / image[1], (row + 0.5) * stride / image[0]
    return (
        yc - sides[1] * stride / image[0],
        xc - sides[0] * stride / image[1],
        yc + sides[3] * stride / image[0],
        xc + sides[2] * stride / image[1],
    )


def yolov8_decoded(levels, classes, image, length):
    rows = []
    for reg, cls, stride in levels:
        for row, column in reg.cells():
            scores = [float(cls.real(row, column, c)) for c in range(classes)]
            rows.append([*_yolov8_box(reg, row, column, stride, length, image), *scores])
    return rows


def ssd(levels, classes, scales, places, threshold, background=None):
    """``levels``: (reg, cls, anchors [(w, h)]); ``scales``: centres, sizes; ``places``: of ty, tx, th, tw."""
    found = []
    for reg, cls, anchors in levels:
        for row, column in reg.cells():
            for a, (wa, ha) in enumerate(anchors):
                ty, tx, th, tw = (float(reg.real(row, column, a * 4 + place)) for place in places)
                xa, ya = (column + 0.5) / reg.columns, (row + 0.5) / reg.rows
                xc, yc = tx / scales[0] * wa + xa, ty / scales[0] * ha + ya
                box = corners(xc, yc, math.exp(tw / scales[1]) * wa, math.exp(th / scales[1]) * ha)
                for c in range(classes):
                    score = cls.real(row, column, a * classes + c)
                    if c != background and score >= F(threshold):
                        found.append(Box(box, score, result_class(c, background)))
    return found


# --- suppression ------------------------------------------------------------------------------------------------------


def iou(a, b):
    """Overlap of two corner boxes in float32; None where the union is empty or no number."""
    a, b = [F(v) for v in a], [F(v) for v in b]
    height = max(min(a[2], b[2]) - max(a[0], b[0]), F(0))
    width = max(min(a[3], b[3]) - max(a[1], b[1]), F(0))
    shared = height * width
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return None if union == 0 or np.isnan(union) else shared / union


def suppress(found, threshold):
    """Best first; ties stay in decoding order."""
    ordered = sorted(found, key=lambda box: -box.score)
    gone = [False] * len(ordered)
    for i, best in enumerate(ordered):
        if gone[i]:
            continue
        for j in range(i + 1, len(ordered)):
            if ordered[j].class_id == best.class_id and not gone[j]:
                overlap = iou(best.corners, ordered[j].corners)
                gone[j] = overlap is not None and overlap >= F(threshold)
    return [box for box, lost in zip(ordered, gone, strict=True) if not lost]


def by_class(kept, classes, most):
    return [[box for box in kept if box.class_id == c][:most] for c in range(classes)]


def near(found, threshold, margin=1e-4):
    """Whether a tiny difference in where boxes lie could change what is suppressed."""
    for i, a in enumerate(found):
        for b in found[:i]:
            overlap = iou(a.corners, b.corners) if a.class_id == b.class_id else None
            if overlap is not None and abs(float(overlap) - threshold) < margin:
                return True
    return False


# --- packed layouts ---------------------------------------------------------------------------------------------------


def packed_by_class(groups):
    out = b""
    for group in groups:
        out += struct.pack("<f", len(group))
        for box in group:
            out += struct.pack("<5f", *box.corners, box.score)
    return out


def packed_by_score(kept):
    out = struct.pack("<H", len(kept))
    for box in kept:
        out += struct.pack("<5fH", *box.corners, box.score, box.class_id)
    return out


# --- masks ------------------------------------------------------------------------------------------------------------


def mask_values(box, proto, image):
    """The resized mask over the whole image: values[y][x]."""
    small = [
        [
            sigmoid(sum(c * float(proto.real(row, column, k)) for k, c in enumerate(box.coefficients)))
            for column in range(proto.columns)
        ]
        for row in range(proto.rows)
    ]
    rows = [_taps(y, proto.rows, image[0]) for y in range(image[0])]
    columns = [_taps(x, proto.columns, image[1]) for x in range(image[1])]
    return [[sum(wy * wx * small[r][c] for r, wy in row for c, wx in column) for column in columns] for row in rows]


def _taps(pixel, cells, pixels):
    """Cells and weights of one pixel: a triangle around its centre, edges repeated."""
    scale = cells / pixels
    centre, reach = (pixel + 0.5) * scale - 0.5, max(scale, 1.0)
    taps = []
    for cell in range(math.floor(centre - reach) - 1, math.ceil(centre + reach) + 2):
        weight = max(0.0, 1 - abs(cell - centre) / reach)
        taps.append((min(max(cell, 0), cells - 1), weight))
    total = sum(weight for _, weight in taps)
    return [(cell, weight / total) for cell, weight in taps if weight]


def mask(box, proto, image, threshold):
    """(rows, columns, {(i, j): value before the threshold}) of the mask of one box."""
    y_min, x_min, y_max, x_max = (F(v) for v in box.corners)
    height = max(math.ceil((y_max - y_min) * F(image[0])), 0)
    width = max(math.ceil((x_max - x_min) * F(image[1])), 0)
    y0, x0 = max(math.ceil(y_min * F(image[0])), 0), max(math.ceil(x_min * F(image[1])), 0)
    y1, x1 = min(math.ceil(y_max * F(image[0])), image[0] - 1), min(math.ceil(x_max * F(image[1])), image[1] - 1)
    values = mask_values(box, proto, image)
    inside = {}
    for y in range(y0, y1 + 1):
        for x in range(x0, x1 + 1):
            if y - y0 < height and x - x0 < width:
                inside[y - y0, x - x0] = values[y][x]
    return height, width, inside
