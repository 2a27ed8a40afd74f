"""Merging of what several passes over one picture have found. Pure: boxes in, boxes out.

All boxes take part in one suppression. A box that no pass before has needs a better score, because a larger input sees
more of everything, errors too. It is a fragment, and dropped, if half of it lies inside a larger box of its class that
the pass over the whole picture has, or most of it inside any that is better and larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stages.object_detect.boxes import Floats, areas_xyxy, iou_xyxy, nms
from stages.object_detect.manifest_schema import Nms
from stages.object_detect.readings import Candidates

MOST: Final = 0.8
HALF: Final = 0.5
"""Parts of a box that lie inside a larger one of its class when it is a fragment of the same object."""


def merge(found: Sequence[Candidates], needed_scores: Sequence[float], rule: Nms) -> Candidates:
    """Return the boxes of all passes that stay, the best score first.

    ``found`` is by pass, each with the best first; ``needed_scores`` are what a box needs that none of the passes
    before has. One pass alone is suppressed only if the rule asks for it; several are, as they see the same things.
    """
    if len(found) == 1:
        return found[0].keep(_suppressed(found[0], rule)) if rule.needed else found[0]
    numbers = np.concatenate([np.full(len(one.scores), number) for number, one in enumerate(found)])
    together = Candidates(
        boxes_xyxy_px=np.concatenate([one.boxes_xyxy_px for one in found]),
        scores=np.concatenate([one.scores for one in found]),
        labels=np.concatenate([one.labels for one in found]),
    )
    kept = _suppressed(together, rule)
    needed = np.array([_needed(together, numbers, row, needed_scores, rule) for row in kept], np.float64)
    kept, needed = kept[together.scores[kept] >= needed], needed[together.scores[kept] >= needed]
    chosen = together.keep(kept)
    return chosen.keep(~_fragments(chosen, needed == needed_scores[0]))


def _suppressed(candidates: Candidates, rule: Nms) -> NDArray[np.int64]:
    return nms(candidates.boxes_xyxy_px, candidates.scores, candidates.labels, rule.iou, class_wise=rule.class_wise)


def _needed(
    together: Candidates, numbers: NDArray[np.int64], row: int, needed_scores: Sequence[float], rule: Nms
) -> float:
    """Return the score that a box needs: that of the first pass with a box of its class in its place."""
    overlaps = iou_xyxy(together.boxes_xyxy_px[row : row + 1], together.boxes_xyxy_px)[0]
    same = (overlaps > rule.iou) & (together.labels == together.labels[row])
    same[row] = True
    return needed_scores[int(numbers[same].min())]


def _fragments(candidates: Candidates, seen_whole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) whether a box is a part of what another one has whole; the best score comes first. ``seen_whole`` (N,) says
    which boxes the pass over the whole picture has: they are none."""
    boxes, areas = candidates.boxes_xyxy_px, areas_xyxy(candidates.boxes_xyxy_px)
    shared = _shared(boxes)
    better = np.tri(len(boxes), k=-1, dtype=np.bool_)  # row by row, those before it
    inside = (shared > MOST * areas[:, None]) & better
    inside |= (shared > HALF * areas[:, None]) & seen_whole[None, :]
    larger = areas[None, :] > areas[:, None]
    same = candidates.labels[:, None] == candidates.labels[None, :]
    return np.asarray((inside & larger & same).any(axis=1) & ~seen_whole, np.bool_)


def _shared(boxes_xyxy: Floats) -> Floats:
    """(N, N) areas that each two boxes share."""
    low = np.maximum(boxes_xyxy[:, None, :2], boxes_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], boxes_xyxy[None, :, 2:])
    return np.asarray(np.clip(high - low, 0.0, None).prod(axis=2), np.float64)
