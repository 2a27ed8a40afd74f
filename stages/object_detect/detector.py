"""Objects in one decoded picture: preprocess, infer, decode, suppress, round.

Pure: the same picture, network and threshold give the same objects. Knows no keys, no files and no drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.object_detect.boxes import Floats, Ints, clip_xyxy, nms
from stages.object_detect.decoders import decode
from stages.object_detect.manifest_schema import Manifest
from stages.object_detect.onnx_model import Network
from stages.object_detect.preprocess import Placement, make_input, place
from stages.object_detect.readings import Candidates, Outputs

MAX_CANDIDATES: Final = 2000
"""The best so many boxes take part in suppression: bounds the time at very low thresholds."""
MAX_OBJECTS: Final = 300
"""The best so many objects are reported."""

_SCORE_DIGITS: Final = 4
_BOX_DIGITS: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """One object. ``box_xyxy_px`` lies in the picture and has an area; rounded like the score."""

    class_id: int
    label: str
    score: float
    box_xyxy_px: tuple[float, float, float, float]


def detect(network: Network, picture_bgr: NDArray[np.uint8], threshold: float) -> list[Detection]:
    """Return the objects whose score, rounded to 4 digits, is at least the threshold; the best first.

    ``picture_bgr`` is (H, W, 3) and upright. Raises InputRejected if the network gives nonsense.
    """
    spec = network.manifest.input
    placement = place(picture_bgr.shape[1], picture_bgr.shape[0], spec)
    outputs = network.infer(make_input(picture_bgr, placement, spec))
    return read_outputs(network.manifest, outputs, placement, threshold)


def read_outputs(manifest: Manifest, outputs: Outputs, placement: Placement, threshold: float) -> list[Detection]:
    """Return the same from the network's outputs on."""
    slack = 10.0**-_SCORE_DIGITS  # a score just below the threshold may be rounded up to it
    candidates = decode(manifest, outputs, threshold - slack)
    scores = np.round(candidates.scores, _SCORE_DIGITS)
    boxes = clip_xyxy(
        placement.to_picture(candidates.boxes_xyxy_px), placement.picture_width_px, placement.picture_height_px
    )
    rounded = np.round(boxes, _BOX_DIGITS)
    visible = (rounded[:, 2:] > rounded[:, :2]).all(axis=1)
    rows = np.flatnonzero((scores >= threshold) & visible)
    rows = rows[np.argsort(-candidates.scores[rows], kind="stable")][:MAX_CANDIDATES]
    kept = rows[_suppressed(manifest, boxes[rows], candidates, rows)][:MAX_OBJECTS]
    return [
        Detection(
            class_id=manifest.class_ids[label],
            label=manifest.labels[label],
            score=score,
            box_xyxy_px=(box[0], box[1], box[2], box[3]),
        )
        for label, score, box in zip(
            candidates.labels[kept].tolist(), scores[kept].tolist(), rounded[kept].tolist(), strict=True
        )
    ]


def _suppressed(manifest: Manifest, boxes: Floats, candidates: Candidates, rows: Ints) -> Ints:
    """Positions among the rows that stay."""
    if not manifest.nms.needed:
        return np.arange(len(rows), dtype=np.int64)
    scores, labels = candidates.scores[rows], candidates.labels[rows]
    return nms(boxes, scores, labels, manifest.nms.iou, class_wise=manifest.nms.class_wise)
