"""Readers of a network's arrays that all decoders share: boxes, scores, and checks of shapes and values.

A check that fails says what is expected and what is there, and names the array. Knows no decoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookout.domain.errors import InputRejected
from stages.object_detect.boxes import Floats, Ints, cxcywh_to_xyxy, yxyx_to_xyxy
from stages.object_detect.manifest_parts import Activation, Background, BoxFormat

Outputs: TypeAlias = Mapping[str, NDArray[Any]]
Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""

_SCORE_SLACK: Final = 1e-3  # what half precision may add to a score of 1
_LOGIT_SLACK: Final = 0.1  # more than rounding can take from a logit


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """``boxes_xyxy_px`` is (N, 4) in pixels of the input, ``scores`` (N,) from 0 to 1, ``labels`` (N,) positions in the
    manifest's labels; N may be 0. In the network's order."""

    boxes_xyxy_px: Floats
    scores: Floats
    labels: Ints

    def keep(self, rows: Any) -> Candidates:
        """Return those that the mask or the positions choose."""
        return Candidates(boxes_xyxy_px=self.boxes_xyxy_px[rows], scores=self.scores[rows], labels=self.labels[rows])


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxReading:
    """Reader of boxes, as a manifest declares them; ``input_px`` is the size of the input that was fed."""

    name: str
    format: BoxFormat
    normalized: bool
    input_px: Size

    def read(self, boxes: NDArray[Any]) -> Floats:
        """(N, 4) as the network gives them -> x1 y1 x2 y2 in pixels of the input."""
        check_finite(self.name, boxes)
        boxes_xyxy = boxes.astype(np.float64)
        if self.format == "cxcywh":
            boxes_xyxy = cxcywh_to_xyxy(boxes_xyxy)
        elif self.format == "yxyx":
            boxes_xyxy = yxyx_to_xyxy(boxes_xyxy)
        if self.normalized:
            boxes_xyxy = boxes_xyxy * np.array([*self.input_px] * 2, np.float64)
        return boxes_xyxy


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreReading:
    """Reader of scores, as a manifest declares them."""

    name: str
    activation: Activation

    def read(self, raw: NDArray[Any]) -> Floats:
        """Checked values of any shape -> scores from 0 to 1."""
        values = raw.astype(np.float64)
        if self.activation == "sigmoid":
            return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -500.0, 500.0))), np.float64)
        return np.clip(values, 0.0, 1.0)

    def check(self, raw: NDArray[Any]) -> None:
        """Raise InputRejected unless all are finite, and without an activation from 0 to 1; of any shape. Two passes,
        as NaN survives min and max."""
        if not raw.size:
            return
        low, high = raw.min(), raw.max()
        check_finite(self.name, np.array([low, high]))
        if self.activation == "none" and (low < -_SCORE_SLACK or high > 1 + _SCORE_SLACK):
            raise InputRejected(
                f"expected scores from 0 to 1, got {low:.3g} to {high:.3g}",
                self.name,
                "is the activation sigmoid, or the normalisation another?",
            )

    def before_activation(self, score: float) -> float:
        """Return a value that is surely not above the one that becomes this score."""
        if self.activation == "none":
            return score
        inside = min(max(score, 1e-9), 1 - 1e-9)
        return math.log(inside / (1 - inside)) - _LOGIT_SLACK if score > 0 else -math.inf


def read_best(
    boxes: NDArray[Any], table: NDArray[Any], min_score: float, box_reading: BoxReading, score_reading: ScoreReading
) -> Candidates:
    """Return each row's best class, for boxes (N, 4) and a score table (N, C), where that score suffices."""
    check_finite(box_reading.name, boxes)
    score_reading.check(table)
    rows = promising(table, score_reading.before_activation(min_score))
    labels = np.asarray(table[rows].argmax(axis=1), np.int64)
    scores = score_reading.read(table[rows, labels])  # activations rise, so the best stays the best
    kept = scores >= min_score
    rows = rows[kept]
    return Candidates(boxes_xyxy_px=box_reading.read(boxes[rows]), scores=scores[kept], labels=labels[kept])


def promising(table: NDArray[Any], low: float) -> Ints:
    """Rows of the table with a value of at least ``low``: a comparison over all is many times faster than the greatest
    value of each short row."""
    return np.asarray(np.unique(np.flatnonzero(table >= low) // table.shape[1]), np.int64)


def without_background(table: NDArray[Any], background: Background) -> NDArray[Any]:
    """(N, C) or (N, C + 1) -> (N, C)."""
    if background == "first":
        return table[:, 1:]
    return table[:, :-1] if background == "last" else table


def check_finite(name: str, values: NDArray[Any]) -> None:
    """Raise InputRejected that names the array when one of its values is NaN or infinite."""
    if not np.isfinite(values).all():
        hint = "an export with half precision may overflow: export it with float32"
        raise InputRejected("the model gave values that are no numbers (NaN or infinite)", name, hint)


def check_shape(name: str, array: NDArray[Any], expected: tuple[int | None, ...], said: str, hint: str = "") -> None:
    """Raise InputRejected unless the array has this shape, where None is any length. ``said`` explains the numbers."""
    fits = len(array.shape) == len(expected) and all(
        want in (None, got) for want, got in zip(expected, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("N" if want is None else str(want) for want in expected)
        raise InputRejected(f"expected the shape [{wanted}] ({said}), got {list(array.shape)}", name, hint)


def as_rows(array: NDArray[Any], arrangement: Literal["channels-first", "channels-last"]) -> NDArray[Any]:
    """(1, columns, N) or (1, N, columns) -> (N, columns)."""
    return np.asarray(array[0].T if arrangement == "channels-first" else array[0])


def columns_said(labels: int, background: Background) -> str:
    """Return the words for a column a label."""
    columns = f"a column for each of the {labels} labels"
    return columns if background == "none" else f"{columns} and the background {background}"
