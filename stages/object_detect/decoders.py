"""From what a network gives to candidates: boxes in pixels of its input, each with its best class.

One function for each decoder that a manifest can name. Each checks shapes and values first, so that a network and a
manifest that do not belong together are found out when the model is loaded, by a dry run through this module.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookout.domain.errors import InputRejected
from stages.object_detect.boxes import Ints
from stages.object_detect.manifest_outputs import BoxesSpec
from stages.object_detect.manifest_schema import (
    DetrManifest,
    EndToEndManifest,
    Manifest,
    SsdDecodedManifest,
    SsdRawManifest,
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
    check_finite,
    check_shape,
    columns_said,
    read_best,
    without_background,
)
from stages.object_detect.yolo_decoders import decode_end_to_end, decode_yolov5, decode_yolov8, decode_yolox


def output_names(manifest: Manifest) -> tuple[str, ...]:
    """Return the outputs that the decoder reads."""
    outputs = manifest.outputs
    return tuple(getattr(outputs, part).name for part in type(outputs).model_fields)


def decode(manifest: Manifest, outputs: Outputs, min_score: float, input_px: Size | None = None) -> Candidates:
    """Return the candidates with at least this score. ``input_px`` is the size of the input that was fed, by default
    the manifest's. Raises InputRejected if the outputs are not what the manifest says."""
    size = input_px or (manifest.input.width, manifest.input.height)
    match manifest:
        case SsdDecodedManifest():
            return _decode_ssd_decoded(manifest, outputs, min_score, size)
        case SsdRawManifest():
            return _decode_ssd_raw(manifest, outputs, min_score, size)
        case Yolov8Manifest():
            return decode_yolov8(manifest, outputs, min_score, size)
        case Yolov5Manifest():
            return decode_yolov5(manifest, outputs, min_score, size)
        case YoloxManifest():
            return decode_yolox(manifest, outputs, min_score, size)
        case EndToEndManifest():
            return decode_end_to_end(manifest, outputs, min_score, size)
        case DetrManifest():
            return _decode_detr(manifest, outputs, min_score, size)


def _decode_ssd_decoded(manifest: SsdDecodedManifest, outputs: Outputs, min_score: float, input_px: Size) -> Candidates:
    spec = manifest.outputs
    boxes, scores = outputs[spec.boxes.name], outputs[spec.scores.name]
    columns = len(manifest.labels) + (spec.scores.background != "none")
    said = columns_said(len(manifest.labels), spec.scores.background)
    check_shape(spec.scores.name, scores, (1, None, columns), said)
    check_shape(spec.boxes.name, boxes, (1, scores.shape[1], 4), "one row for each row of scores")
    table = without_background(scores[0], spec.scores.background)
    reading = ScoreReading(name=spec.scores.name, activation=spec.scores.activation)
    return read_best(boxes[0], table, min_score, _boxes(spec.boxes, input_px), reading)


def _decode_detr(manifest: DetrManifest, outputs: Outputs, min_score: float, input_px: Size) -> Candidates:
    """A softmax is taken over all columns, the background too, so it comes before that is left out."""
    spec = manifest.outputs
    boxes, logits = outputs[spec.boxes.name], outputs[spec.logits.name]
    columns = len(manifest.labels) + (spec.logits.background != "none")
    said = columns_said(len(manifest.labels), spec.logits.background)
    check_shape(spec.logits.name, logits, (1, None, columns), said)
    check_shape(spec.boxes.name, boxes, (1, logits.shape[1], 4), "one box for each query")
    table, activation = logits[0], spec.logits.activation
    if activation == "softmax":
        check_finite(spec.logits.name, table)
        table, activation = _softmax(table), "none"
    reading = ScoreReading(name=spec.logits.name, activation=activation)
    table = without_background(table, spec.logits.background)
    return read_best(boxes[0], table, min_score, _boxes(spec.boxes, input_px), reading)


def _softmax(table: NDArray[Any]) -> NDArray[np.float64]:
    """Row by row, for (N, C)."""
    values = np.exp(table.astype(np.float64) - table.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(values / values.sum(axis=1, keepdims=True), np.float64)


def _decode_ssd_raw(manifest: SsdRawManifest, outputs: Outputs, min_score: float, input_px: Size) -> Candidates:
    spec = manifest.outputs
    boxes, count = outputs[spec.boxes.name], outputs[spec.count.name]
    check_shape(spec.boxes.name, boxes, (1, None, 4), "a row for each object")
    rows = boxes.shape[1]
    for part in (spec.scores, spec.classes):
        check_shape(part.name, outputs[part.name], (1, rows), "a value for each row of boxes")
    reading = ScoreReading(name=spec.scores.name, activation=spec.scores.activation)
    meant = slice(0, _count_of(spec.count.name, count, rows))
    raw = outputs[spec.scores.name][0, meant]
    reading.check(raw)
    scores = reading.read(raw)
    found = Candidates(
        boxes_xyxy_px=_boxes(spec.boxes, input_px).read(boxes[0, meant]),
        scores=scores,
        labels=_labels_of(manifest, outputs[spec.classes.name][0, meant]),
    )
    return found.keep(scores >= min_score)


def _boxes(spec: BoxesSpec, input_px: Size) -> BoxReading:
    return BoxReading(name=spec.name, format=spec.format, normalized=spec.normalized, input_px=input_px)


def _count_of(name: str, count: NDArray[Any], rows: int) -> int:
    meant = float(count.reshape(-1)[0]) if count.size == 1 else -1.0
    if not 0 <= meant <= rows or meant != int(meant):
        raise InputRejected(f"expected a number of objects from 0 to {rows}, got {count.tolist()}", name)
    return int(meant)


def _labels_of(manifest: SsdRawManifest, values: NDArray[Any]) -> Ints:
    """Positions in the manifest's labels for classes as the network numbers them."""
    name = manifest.outputs.classes.name
    check_finite(name, values)
    if manifest.outputs.classes.values == "label-index":
        positions = {index: index for index in range(len(manifest.labels))}
    else:
        positions = {class_id: index for index, class_id in enumerate(manifest.class_ids)}
    unknown = sorted({float(value) for value in values} - positions.keys())
    if unknown:
        raise InputRejected(f"the manifest has no label for the class {unknown[0]:g}", name)
    return np.array([positions[int(value)] for value in values], np.int64)
