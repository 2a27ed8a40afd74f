"""Boxes as arrays: formats, clipping, overlap, and non-maximum suppression. Pure functions; nothing is modified.

``xyxy`` is left, top, right, bottom; ``yxyx`` the same with y first; ``cxcywh`` is centre, width, height.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


def cxcywh_to_xyxy(boxes_cxcywh: Floats) -> Floats:
    """(N, 4) centre x, centre y, width, height -> (N, 4) x1 y1 x2 y2; N may be 0."""
    _check_boxes(boxes_cxcywh)
    half = boxes_cxcywh[:, 2:] / 2
    return np.hstack([boxes_cxcywh[:, :2] - half, boxes_cxcywh[:, :2] + half])


def yxyx_to_xyxy(boxes_yxyx: Floats) -> Floats:
    """(N, 4) y1 x1 y2 x2 -> (N, 4) x1 y1 x2 y2; N may be 0."""
    _check_boxes(boxes_yxyx)
    return np.asarray(boxes_yxyx[:, [1, 0, 3, 2]], np.float64)


def clip_xyxy(boxes_xyxy_px: Floats, width_px: int, height_px: int) -> Floats:
    """(N, 4) x1 y1 x2 y2 in pixels, each corner moved to the nearest place in the picture."""
    _check_boxes(boxes_xyxy_px)
    limits = np.array([width_px, height_px] * 2, np.float64)
    return np.asarray(np.clip(boxes_xyxy_px, 0.0, limits), np.float64)


def areas_xyxy(boxes_xyxy: Floats) -> Floats:
    """(N,) areas of (N, 4) x1 y1 x2 y2; 0 where a side is not positive."""
    _check_boxes(boxes_xyxy)
    return np.asarray(np.clip(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0.0, None).prod(axis=1), np.float64)


def iou_xyxy(one_xyxy: Floats, others_xyxy: Floats) -> Floats:
    """(N, M) intersection over union of (N, 4) with (M, 4); 0 where both are without area."""
    _check_boxes(one_xyxy)
    _check_boxes(others_xyxy)
    low = np.maximum(one_xyxy[:, None, :2], others_xyxy[None, :, :2])
    high = np.minimum(one_xyxy[:, None, 2:], others_xyxy[None, :, 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=2)
    union = areas_xyxy(one_xyxy)[:, None] + areas_xyxy(others_xyxy)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), np.float64)


def nms(boxes_xyxy: Floats, scores: Floats, classes: Ints, iou: float, *, class_wise: bool) -> Ints:
    """Positions of the boxes to keep, the best score first: greedy non-maximum suppression.

    ``boxes_xyxy`` is (N, 4), ``scores`` (N,), ``classes`` (N,). A box is dropped when its overlap with a better kept
    one (of the same class, if ``class_wise``) is greater than ``iou``. Of equal scores the earlier box is the better.
    """
    _check_boxes(boxes_xyxy)
    if not len(boxes_xyxy) == len(scores) == len(classes):
        raise ValueError(f"expected as many scores and classes as boxes, got {len(boxes_xyxy)}, {len(scores)}, "
                         f"{len(classes)}")  # fmt: skip
    rest = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(rest):
        best, rest = int(rest[0]), rest[1:]
        kept.append(best)
        dropped = iou_xyxy(boxes_xyxy[best : best + 1], boxes_xyxy[rest])[0] > iou
        if class_wise:
            dropped &= classes[rest] == classes[best]
        rest = rest[~dropped]
    return np.array(kept, np.int64)


def _check_boxes(boxes: Floats) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"expected boxes of shape (N, 4), got {boxes.shape}")
