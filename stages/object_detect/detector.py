"""Objects in one decoded picture: preprocess, infer, decode, merge, round.

Pure: the same picture, network, passes and threshold give the same objects. Knows no keys, no files and no drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from stages.imaging.reduced import Picture
from stages.object_detect.boxes import Floats, clip_xyxy
from stages.object_detect.decoders import decode
from stages.object_detect.manifest_passes import PassSpec
from stages.object_detect.manifest_schema import Manifest
from stages.object_detect.merging import merge
from stages.object_detect.onnx_model import Network
from stages.object_detect.passes import Pass, View, plan_passes
from stages.object_detect.preprocess import make_input
from stages.object_detect.readings import Candidates, Outputs

MAX_CANDIDATES: Final = 2000
"""The best so many boxes of a pass take part in suppression: bounds the time at very low thresholds."""
MAX_OBJECTS: Final = 300
"""The best so many objects are reported."""

_SCORE_DIGITS: Final = 4
_BOX_DIGITS: Final = 1
_TILES: Final = "tiles"


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """One object. ``box_xyxy_px`` lies in the picture and has an area; rounded like the score."""

    class_id: int
    label: str
    score: float
    box_xyxy_px: tuple[float, float, float, float]


def detect(network: Network, picture: Picture, threshold: float, further: Sequence[PassSpec] = ()) -> list[Detection]:
    """Return the objects whose score, rounded to 4 digits, is at least the threshold; the best first.

    ``further`` are passes beside that over the whole picture. Raises InputRejected if the network gives nonsense.
    """
    manifest = network.manifest
    passes = plan_passes(picture.seen_px, picture.size_px, manifest.input, further)
    found = [_look(network, picture, one, threshold) for one in passes]
    needed = [threshold + one.margin * (1 - threshold) for one in passes]
    return _objects(manifest, merge(found, needed, manifest.nms))


def _look(network: Network, picture: Picture, one: Pass, threshold: float) -> Candidates:
    """Return what one pass finds, in pixels of the picture."""
    manifest = network.manifest
    parts = []
    for view in one.views:
        outputs = network.infer(make_input(view.crop(picture.pixels_bgr), view.placement, manifest.input))
        part = read_outputs(manifest, outputs, view, picture, threshold)
        if one.kind == _TILES:
            part = part.keep(~view.find_cut(part.boxes_xyxy_px / picture.factor, picture.seen_px))
        parts.append(part)
    together = Candidates(
        boxes_xyxy_px=np.concatenate([part.boxes_xyxy_px for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
    )
    return together.keep(np.argsort(-together.scores, kind="stable")[:MAX_CANDIDATES])


def read_outputs(manifest: Manifest, outputs: Outputs, view: View, picture: Picture, threshold: float) -> Candidates:
    """Return the candidates of one view that suffice and can be seen, in pixels of the picture."""
    slack = 10.0**-_SCORE_DIGITS  # a score just below the threshold may be rounded up to it
    candidates = decode(manifest, outputs, threshold - slack, view.placement.input_px)
    boxes = clip_xyxy(view.to_picture(candidates.boxes_xyxy_px) * picture.factor, *picture.size_px)
    rounded = np.round(boxes, _BOX_DIGITS)
    visible = (rounded[:, 2:] > rounded[:, :2]).all(axis=1)
    kept = (np.round(candidates.scores, _SCORE_DIGITS) >= threshold) & visible
    return Candidates(boxes_xyxy_px=boxes, scores=candidates.scores, labels=candidates.labels).keep(kept)


def _objects(manifest: Manifest, candidates: Candidates) -> list[Detection]:
    best = candidates.keep(slice(MAX_OBJECTS))
    boxes: Floats = np.round(best.boxes_xyxy_px, _BOX_DIGITS)
    scores = np.round(best.scores, _SCORE_DIGITS)
    return [
        Detection(
            class_id=manifest.class_ids[label],
            label=manifest.labels[label],
            score=score,
            box_xyxy_px=(box[0], box[1], box[2], box[3]),
        )
        for label, score, box in zip(best.labels.tolist(), scores.tolist(), boxes.tolist(), strict=True)
    ]
