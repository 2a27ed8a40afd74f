"""From what a network gives to candidates: boxes in pixels of its input, each with its best class.

One function for each decoder that a manifest can name. Each checks shapes and values first, so that a network and a
manifest that do not belong together are found out when the model is loaded, by a dry run through this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lookout.domain.errors import InputRejected
from stages.object_detect.boxes import Floats, Ints, cxcywh_to_xyxy, yxyx_to_xyxy
from stages.object_detect.manifest_schema import (
    Activation,
    BoxFormat,
    InputSpec,
    Manifest,
    SsdDecodedManifest,
    SsdRawManifest,
    Yolov8Manifest,
)

Outputs: TypeAlias = Mapping[str, NDArray[Any]]

_SCORE_SLACK: Final = 1e-3  # what half precision may add to a score of 1
_LOGIT_SLACK: Final = 0.1  # more than rounding can take from a logit


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """``boxes_xyxy_px`` is (N, 4) in pixels of the input, ``scores`` (N,) from 0 to 1, ``labels`` (N,) positions in the
    manifest's labels; N may be 0. In the network's order."""

    boxes_xyxy_px: Floats
    scores: Floats
    labels: Ints


def output_names(manifest: Manifest) -> tuple[str, ...]:
    """Return the outputs that the decoder reads."""
    outputs = manifest.outputs
    return tuple(getattr(outputs, part).name for part in type(outputs).model_fields)


def decode(manifest: Manifest, outputs: Outputs, min_score: float) -> Candidates:
    """Return the candidates with at least this score. Raises InputRejected if the outputs are not what the manifest
    says."""
    match manifest:
        case SsdDecodedManifest():
            return _decode_ssd_decoded(manifest, outputs, min_score)
        case SsdRawManifest():
            return _decode_ssd_raw(manifest, outputs, min_score)
        case Yolov8Manifest():
            return _decode_yolov8(manifest, outputs, min_score)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    """Readers of boxes and scores, as a manifest declares them; the names are for messages."""

    boxes_name: str
    box_format: BoxFormat
    normalized: bool
    scores_name: str
    activation: Activation
    input: InputSpec


def _decode_ssd_decoded(manifest: SsdDecodedManifest, outputs: Outputs, min_score: float) -> Candidates:
    spec = manifest.outputs
    boxes, scores = outputs[spec.boxes.name], outputs[spec.scores.name]
    columns = len(manifest.labels) + (spec.scores.background != "none")
    _check_shape(spec.scores.name, scores, (1, None, columns), _columns_said(manifest, spec.scores.background))
    _check_shape(spec.boxes.name, boxes, (1, scores.shape[1], 4), "one row for each row of scores")
    table = scores[0]
    if spec.scores.background == "first":
        table = table[:, 1:]
    elif spec.scores.background == "last":
        table = table[:, :-1]
    reading = _Reading(
        boxes_name=spec.boxes.name,
        box_format=spec.boxes.format,
        normalized=spec.boxes.normalized,
        scores_name=spec.scores.name,
        activation=spec.scores.activation,
        input=manifest.input,
    )
    return _best(reading, boxes[0], table, min_score)


def _decode_yolov8(manifest: Yolov8Manifest, outputs: Outputs, min_score: float) -> Candidates:
    spec = manifest.outputs.predictions
    array, channels = outputs[spec.name], 4 + len(manifest.labels)
    said = f"4 for the box and {len(manifest.labels)} labels, {spec.arrangement}"
    if spec.arrangement == "channels-first":
        _check_shape(spec.name, array, (1, channels, None), said)
        rows = array[0].T
    else:
        _check_shape(spec.name, array, (1, None, channels), said)
        rows = array[0]
    reading = _Reading(
        boxes_name=spec.name,
        box_format=spec.format,
        normalized=spec.normalized,
        scores_name=spec.name,
        activation=spec.activation,
        input=manifest.input,
    )
    return _best(reading, rows[:, :4], rows[:, 4:], min_score)


def _decode_ssd_raw(manifest: SsdRawManifest, outputs: Outputs, min_score: float) -> Candidates:
    spec = manifest.outputs
    boxes, count = outputs[spec.boxes.name], outputs[spec.count.name]
    _check_shape(spec.boxes.name, boxes, (1, None, 4), "a row for each object")
    rows = boxes.shape[1]
    for part in (spec.scores, spec.classes):
        _check_shape(part.name, outputs[part.name], (1, rows), "a value for each row of boxes")
    reading = _Reading(
        boxes_name=spec.boxes.name,
        box_format=spec.boxes.format,
        normalized=spec.boxes.normalized,
        scores_name=spec.scores.name,
        activation=spec.scores.activation,
        input=manifest.input,
    )
    meant = slice(0, _count_of(spec.count.name, count, rows))
    raw = outputs[spec.scores.name][0, meant]
    _check_scores(reading, raw)
    scores = _scores(reading, raw)
    labels = _labels_of(manifest, outputs[spec.classes.name][0, meant])
    boxes_xyxy_px = _boxes_px(reading, boxes[0, meant])
    kept = scores >= min_score
    return Candidates(boxes_xyxy_px=boxes_xyxy_px[kept], scores=scores[kept], labels=labels[kept])


def _best(reading: _Reading, boxes: NDArray[Any], table: NDArray[Any], min_score: float) -> Candidates:
    """Return each row's best class, for boxes (N, 4) and a score table (N, C), where that score suffices."""
    _check_finite(reading.boxes_name, boxes)
    _check_scores(reading, table)
    rows = _promising(table, _before_activation(reading.activation, min_score))
    labels = np.asarray(table[rows].argmax(axis=1), np.int64)
    scores = _scores(reading, table[rows, labels])  # activations rise, so the best stays the best
    kept = scores >= min_score
    rows = rows[kept]
    return Candidates(boxes_xyxy_px=_boxes_px(reading, boxes[rows]), scores=scores[kept], labels=labels[kept])


def _promising(table: NDArray[Any], low: float) -> Ints:
    """Rows of the table with a value of at least ``low``: a comparison over all is many times faster than the greatest
    value of each short row."""
    return np.asarray(np.unique(np.flatnonzero(table >= low) // table.shape[1]), np.int64)


def _before_activation(activation: Activation, score: float) -> float:
    """Return a value that is surely not above the one that becomes this score."""
    if activation == "none":
        return score
    inside = min(max(score, 1e-9), 1 - 1e-9)
    return math.log(inside / (1 - inside)) - _LOGIT_SLACK if score > 0 else -math.inf


def _count_of(name: str, count: NDArray[Any], rows: int) -> int:
    meant = float(count.reshape(-1)[0]) if count.size == 1 else -1.0
    if not 0 <= meant <= rows or meant != int(meant):
        raise InputRejected(f"expected a number of objects from 0 to {rows}, got {count.tolist()}", name)
    return int(meant)


def _labels_of(manifest: SsdRawManifest, values: NDArray[Any]) -> Ints:
    """Positions in the manifest's labels for classes as the network numbers them."""
    name = manifest.outputs.classes.name
    _check_finite(name, values)
    if manifest.outputs.classes.values == "label-index":
        positions = {index: index for index in range(len(manifest.labels))}
    else:
        positions = {class_id: index for index, class_id in enumerate(manifest.class_ids)}
    unknown = sorted({float(value) for value in values} - positions.keys())
    if unknown:
        raise InputRejected(f"the manifest has no label for the class {unknown[0]:g}", name)
    return np.array([positions[int(value)] for value in values], np.int64)


def _boxes_px(reading: _Reading, boxes: NDArray[Any]) -> Floats:
    """Boxes (N, 4) as the network gives them -> x1 y1 x2 y2 in pixels of the input."""
    _check_finite(reading.boxes_name, boxes)
    boxes_xyxy = boxes.astype(np.float64)
    if reading.box_format == "cxcywh":
        boxes_xyxy = cxcywh_to_xyxy(boxes_xyxy)
    elif reading.box_format == "yxyx":
        boxes_xyxy = yxyx_to_xyxy(boxes_xyxy)
    if reading.normalized:
        boxes_xyxy = boxes_xyxy * np.array([reading.input.width, reading.input.height] * 2, np.float64)
    return boxes_xyxy


def _scores(reading: _Reading, raw: NDArray[Any]) -> Floats:
    """Checked values (N,) -> scores from 0 to 1."""
    values = raw.astype(np.float64)
    if reading.activation == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -500.0, 500.0))), np.float64)
    return np.clip(values, 0.0, 1.0)


def _check_scores(reading: _Reading, raw: NDArray[Any]) -> None:
    """Finite, and without an activation from 0 to 1; of any shape. Two passes, as NaN survives min and max."""
    if not raw.size:
        return
    low, high = raw.min(), raw.max()
    _check_finite(reading.scores_name, np.array([low, high]))
    if reading.activation == "none" and (low < -_SCORE_SLACK or high > 1 + _SCORE_SLACK):
        raise InputRejected(
            f"expected scores from 0 to 1, got {low:.3g} to {high:.3g}",
            reading.scores_name,
            "is the activation sigmoid, or the normalisation another?",
        )


def _check_finite(name: str, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise InputRejected("the model gave values that are no numbers (NaN or infinite)", name)


def _check_shape(name: str, array: NDArray[Any], expected: tuple[int | None, ...], said: str) -> None:
    fits = len(array.shape) == len(expected) and all(
        want in (None, got) for want, got in zip(expected, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("N" if want is None else str(want) for want in expected)
        raise InputRejected(f"expected the shape [{wanted}] ({said}), got {list(array.shape)}", name)


def _columns_said(manifest: Manifest, background: str) -> str:
    columns = f"a column for each of the {len(manifest.labels)} labels"
    return columns if background == "none" else f"{columns} and the background {background}"
