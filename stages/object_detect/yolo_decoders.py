"""Decoders of the YOLO family: class scores alone, objectness, raw grids, and exports with suppression in the graph.

Their arrays look alike, and a wrong decoder can fit one by chance and give plausible scores. So what is in fact
another form is refused with its name.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lookout.domain.errors import InputRejected
from stages.object_detect.boxes import Floats, Ints, cxcywh_to_xyxy
from stages.object_detect.manifest_outputs import PredictionsSpec
from stages.object_detect.manifest_parts import Arrangement
from stages.object_detect.manifest_schema import (
    HINT,
    EndToEndManifest,
    Yolov5Manifest,
    Yolov8Manifest,
    YoloxManifest,
)
from stages.object_detect.readings import (
    BoxReading,
    Candidates,
    Outputs,
    ScoreReading,
    Size,
    as_rows,
    check_finite,
    check_shape,
    promising,
    read_best,
)

ROW_COLUMNS: Final = 6
_STRIDES: Final = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
_ANCHORS: Final = (1, 3)
_LARGEST_LOG: Final = 20.0
"""Sizes are at most e to this many cells: a greater one would overflow to no number."""
_MASKS: Final = 32
END_TO_END_HINT: Final = "an export with the suppression in its graph: set decoder to 'end-to-end'; " + HINT
_OBJECTNESS_HINT: Final = (
    "one column more than the labels need, as exports with objectness have it: set decoder to 'yolov5', or to 'yolox' "
    "where boxes are raw; " + HINT
)


def decode_yolov8(manifest: Yolov8Manifest, outputs: Outputs, min_score: float, input_px: Size) -> Candidates:
    """Read an array of boxes and class scores."""
    spec, labels = manifest.outputs.predictions, len(manifest.labels)
    rows = _rows(outputs, spec.name, spec.arrangement, 4, labels, input_px)
    boxes, scores = _readings(spec, input_px)
    return read_best(rows[:, :4], rows[:, 4:], min_score, boxes, scores)


def decode_yolov5(manifest: Yolov5Manifest, outputs: Outputs, min_score: float, input_px: Size) -> Candidates:
    """Read an array of boxes, objectness and class scores."""
    spec, labels = manifest.outputs.predictions, len(manifest.labels)
    rows = _rows(outputs, spec.name, spec.arrangement, 5, labels, input_px)
    boxes, scores = _readings(spec, input_px)
    chosen, found, best = _with_objectness(rows, min_score, scores)
    return Candidates(boxes_xyxy_px=boxes.read(rows[chosen, :4]), scores=found, labels=best)


def decode_yolox(manifest: YoloxManifest, outputs: Outputs, min_score: float, input_px: Size) -> Candidates:
    """Read boxes in cells of the grids: a centre is ``(cell + offset) * stride``, a size ``exp(value) * stride``."""
    spec, labels = manifest.outputs.predictions, len(manifest.labels)
    rows = _rows(outputs, spec.name, spec.arrangement, 5, labels, input_px)
    cells_xy, strides = _grid(spec.strides, input_px)
    if len(rows) != len(strides):
        what = f"expected {len(strides)} cells of the strides {list(spec.strides)} in an input of {input_px[0]} x "
        hint = "correct strides, or use decoder 'yolov5' where the boxes are decoded by the graph"
        raise InputRejected(f"{what}{input_px[1]} pixels, got {len(rows)}", spec.name, hint)
    scores = ScoreReading(name=spec.name, activation=spec.activation)
    chosen, found, best = _with_objectness(rows, min_score, scores)
    raw = rows[chosen, :4].astype(np.float64)
    centres = (raw[:, :2] + cells_xy[chosen]) * strides[chosen, None]
    sizes = np.exp(np.minimum(raw[:, 2:], _LARGEST_LOG)) * strides[chosen, None]
    return Candidates(boxes_xyxy_px=cxcywh_to_xyxy(np.hstack([centres, sizes])), scores=found, labels=best)


def decode_end_to_end(manifest: EndToEndManifest, outputs: Outputs, min_score: float, input_px: Size) -> Candidates:
    """Read rows of box, score and class. Rows with the score 0 fill the array and are none."""
    spec = manifest.outputs.predictions
    array = outputs[spec.name]
    check_shape(spec.name, array, (1, None, ROW_COLUMNS), "rows of box, score and class")
    rows = array[0]
    check_finite(spec.name, rows)
    reading = ScoreReading(name=spec.name, activation="none")
    reading.check(rows[:, 4])
    scores = reading.read(rows[:, 4])
    chosen = np.flatnonzero((scores >= min_score) & (scores > 0))
    classes = rows[chosen, 5]
    wrong = [float(value) for value in classes if value != int(value) or not 0 <= value < len(manifest.labels)]
    if wrong:
        hint = "the last column holds positions in labels, from 0; is the decoder 'yolov8' or 'yolov5'?"
        raise InputRejected(f"the manifest has no label for the class {wrong[0]:g}", spec.name, hint)
    boxes = BoxReading(name=spec.name, format=spec.format, normalized=spec.normalized, input_px=input_px)
    return Candidates(
        boxes_xyxy_px=boxes.read(rows[chosen, :4]), scores=scores[chosen], labels=classes.astype(np.int64)
    )


def _readings(spec: PredictionsSpec, input_px: Size) -> tuple[BoxReading, ScoreReading]:
    boxes = BoxReading(name=spec.name, format=spec.format, normalized=spec.normalized, input_px=input_px)
    return boxes, ScoreReading(name=spec.name, activation=spec.activation)


def _with_objectness(rows: NDArray[Any], min_score: float, reading: ScoreReading) -> tuple[Ints, Floats, Ints]:
    """Positions of the rows whose score suffices, their scores and classes: a score is objectness by class score."""
    check_finite(reading.name, rows[:, :4])
    reading.check(rows[:, 4:])
    chosen = promising(rows[:, 4:5], reading.before_activation(min_score))  # no score is above its objectness
    labels = np.asarray(rows[chosen, 5:].argmax(axis=1), np.int64)
    scores = reading.read(rows[chosen, 4]) * reading.read(rows[chosen, 5 + labels])
    kept = scores >= min_score
    return chosen[kept], scores[kept], labels[kept]


def _grid(strides: tuple[int, ...], input_px: Size) -> tuple[Floats, Floats]:
    """Return left top corners of all cells in cells (N, 2), and their strides (N,)."""
    corners, sizes = [], []
    for stride in strides:
        x, y = np.meshgrid(np.arange(input_px[0] // stride), np.arange(input_px[1] // stride))
        corners.append(np.stack([x.ravel(), y.ravel()], axis=1))
        sizes.append(np.full(x.size, stride))
    return np.concatenate(corners).astype(np.float64), np.concatenate(sizes).astype(np.float64)


def _rows(
    outputs: Outputs, name: str, arrangement: Arrangement, before: int, labels: int, input_px: Size
) -> NDArray[Any]:
    """Return (N, before + labels). Raises InputRejected that names the form that the array has instead."""
    array, columns = outputs[name], before + labels
    first = arrangement == "channels-first"
    said = f"{'4 for the box' if before == 4 else '5 for box and objectness'} and {labels} labels, {arrangement}"
    expected = (1, columns, None) if first else (1, None, columns)
    check_shape(name, array, expected, said, _form_of(array.shape, arrangement, columns, before, input_px))
    rows = as_rows(array, arrangement)
    if columns == ROW_COLUMNS and not first and is_end_to_end(rows, input_px):
        what = f"[1, {len(rows)}, 6] has rows of box, score and class, not of {columns - 4} scores"
        raise InputRejected(what, name, END_TO_END_HINT)
    return rows


def _form_of(shape: tuple[int, ...], arrangement: Arrangement, columns: int, before: int, input_px: Size) -> str:
    """Return the name of the form that an array with the wrong shape has, and the remedy, as far as they are known."""
    if len(shape) != 3 or shape[0] != 1:
        return ""
    got, number = (shape[1], shape[2]) if arrangement == "channels-first" else (shape[2], shape[1])
    if shape[2] == ROW_COLUMNS and not (got == columns + 1 and _is_grid(shape[1], input_px)):
        return END_TO_END_HINT
    if before == 4 and columns + 1 in (got, number):
        return _OBJECTNESS_HINT
    if before == 5 and columns - 1 in (got, number):
        return "one column less than with objectness: set decoder to 'yolov8'; " + HINT
    if columns == number:
        other = "channels-last" if arrangement == "channels-first" else "channels-first"
        return f"set arrangement to '{other}'"
    if columns + _MASKS in (got, number):
        return "32 columns more, as of an export for segmentation: export a model for detection"
    return "the number of labels may be another"


def _is_grid(rows: int, input_px: Size) -> bool:
    """Tell whether a detector with usual grids gives so many rows for an input of this size."""
    cells = [sum((input_px[0] // stride) * (input_px[1] // stride) for stride in strides) for strides in _STRIDES]
    return any(rows == number * anchors for number in cells for anchors in _ANCHORS)


def is_end_to_end(rows: NDArray[Any], input_px: Size) -> bool:
    """Tell whether (N, 6) holds objects with their classes: whole numbers at the end, the best score first, and not as
    many as there are cells. Two class scores are never so in all rows."""
    if _is_grid(len(rows), input_px):
        return False
    scores, classes = rows[:, 4], rows[:, 5]
    return bool((classes == np.floor(classes)).all() and (np.diff(scores) <= 0).all())
