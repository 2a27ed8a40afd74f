"""Forms of exports: which decoder reads the outputs of an ONNX file, by its metadata, its shapes and one try.

The try is on a grey picture, whose outputs tell pixels from parts and scores from logits. Knows no files and no person.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lookout.domain.errors import InputRejected
from lookout.domain.records import JsonObject
from stages.object_detect.external_weights import refuse_external_data
from stages.object_detect.manifest_schema import HINT
from stages.object_detect.onnx_errors import cause_of
from stages.object_detect.onnx_model import TENSOR_TYPES, open_session
from stages.object_detect.readings import Size, as_rows
from stages.object_detect.runtime import find_provider
from stages.object_detect.yolo_decoders import ROW_COLUMNS, is_end_to_end

_GREY: Final = 114
_OBJECTNESS: Final = 5
_COCO_LABELS: Final = 80
_STRIDES: Final = (8, 16, 32)
_MOST_QUERIES: Final = 1000
_RTDETR: Final = "RTDETRDecoder"
_RFDETR: Final = {"dets", "labels"}
"""Names of the outputs of RF-DETR by its own tools."""
_DTYPES: Final = {kind: dtype for dtype, kind in TENSOR_TYPES.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """ONNX file that was opened and tried once: its only input, its outputs for a grey picture, its metadata."""

    input_name: str
    layout: str
    dtype: str
    input_px: Size
    any_size: bool
    outputs: Mapping[str, NDArray[Any]]
    metadata: Mapping[str, str]

    def find_names(self) -> tuple[str, ...] | None:
        """Return the labels that the metadata names: a list, or Python's text of a dictionary by position."""
        text = self.metadata.get("names")
        if not text:
            return None
        try:
            names = json.loads(text)
        except ValueError:
            try:
                names = ast.literal_eval(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                return None
        if isinstance(names, dict) and all(isinstance(key, int) for key in names):
            names = [names[key] for key in sorted(names)]
        return tuple(map(str, names)) if isinstance(names, list) and names else None

    @property
    def is_ultralytics(self) -> bool:
        """Tell whether it says of itself what exports of Ultralytics say, YOLOv5 included."""
        return "names" in self.metadata and "stride" in self.metadata


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """Decoder with its fields of ``outputs``; ``labels`` is the number of labels where the shape tells it."""

    decoder: str
    outputs: JsonObject
    labels: int | None
    needs_nms: bool = True
    family: str = ""
    """``yolox``, ``rtdetr`` of Ultralytics or ``rfdetr`` where the outputs are theirs alone."""


def open_export(file: str, weights: bytes, size_px: Size | None) -> Export:
    """Open and try the file. ``size_px`` is for an input of any size. Raises InputRejected with the cause."""
    refuse_external_data(file, weights)
    session = open_session(file, weights, find_provider())
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    task = metadata.get("task", "detect")
    if task != "detect":
        raise InputRejected(f"its metadata names the task {task!r}", file, "export a model for detection")
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _DTYPES:
        got = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
        hint = "export it without a postprocessor" if len(inputs) > 1 else HINT
        raise InputRejected(f"expected one input for a picture, [1, 3, H, W] or [1, H, W, 3], got {got}", file, hint)
    (given,) = inputs
    if isinstance(given.shape[0], int) and given.shape[0] != 1:
        what = f"its input takes {given.shape[0]} pictures at once, expected 1"
        raise InputRejected(what, file, "export it with batch 1, or with a dynamic batch")
    layout = "NHWC" if given.shape[3] == 3 and given.shape[1] != 3 else "NCHW"
    high, wide = given.shape[1:3] if layout == "NHWC" else given.shape[2:4]
    any_size = not (isinstance(high, int) and isinstance(wide, int))
    input_px = _size_of(metadata, size_px) if any_size else (wide, high)
    if input_px is None:
        raise InputRejected("its input takes any size", file, "name one with --size, as 640x640")
    dtype = _DTYPES[given.type]
    shape = (1, input_px[1], input_px[0], 3) if layout == "NHWC" else (1, 3, input_px[1], input_px[0])
    value = _GREY if dtype == "uint8" else _GREY / 255
    try:
        arrays = session.run(None, {given.name: np.full(shape, value, dtype)})
    except Exception as exc:  # onnxruntime's errors share no base below Exception
        cause, remedy = cause_of(exc)
        raise InputRejected(f"the model failed: {cause}", file, remedy) from exc
    names = [item.name for item in session.get_outputs()]
    return Export(
        input_name=given.name,
        layout=layout,
        dtype=dtype,
        input_px=input_px,
        any_size=any_size,
        outputs={name: np.asarray(array) for name, array in zip(names, arrays, strict=True)},
        metadata=metadata,
    )


def _size_of(metadata: Mapping[str, str], size_px: Size | None) -> Size | None:
    """Return the size that a person has given, or else the height and width of the metadata."""
    if size_px is not None:
        return size_px
    try:
        high, wide = json.loads(metadata.get("imgsz", ""))
    except (ValueError, TypeError):
        return None
    return (int(wide), int(high)) if isinstance(high, int) and isinstance(wide, int) else None


def recognise(export: Export, labels: int | None) -> Form | None:
    """Return the form of the outputs; ``labels`` is the number of labels, where it is known. None if it is none of
    those that there is a decoder for."""
    arrays = export.outputs
    if len(arrays) == 1:
        ((name, array),) = arrays.items()
        if array.ndim != 3 or array.shape[0] != 1:
            return None
        if _has_rows(export, array, labels):
            normalized = _is_normalized(array[0][:, :4])
            family = _family(export, normalized=normalized)
            # RT-DETR gives centres and sizes; all others that end so give corners.
            box = "cxcywh" if family else "xyxy"
            outputs: JsonObject = {"name": name, "format": box, "normalized": normalized}
            rows: JsonObject = {"predictions": outputs}
            return Form(decoder="end-to-end", outputs=rows, labels=None, needs_nms=False, family=family)
        return _yolo(export, name, array, labels)
    return _two(arrays, labels) if len(arrays) == 2 else _tensorflow(arrays)


def _family(export: Export, *, normalized: bool) -> str:
    """Return ``rtdetr`` for RT-DETR by Ultralytics: its metadata says so, or its boxes are 0 to 1, which those of no
    YOLO of theirs are."""
    is_rtdetr = export.is_ultralytics and (export.metadata.get("head") == _RTDETR or normalized)
    return "rtdetr" if is_rtdetr else ""


def _has_rows(export: Export, array: NDArray[Any], labels: int | None) -> bool:
    """Tell whether the array holds rows of box, score and class: it says so, or has six columns that are nothing else.
    Six columns of one or two labels may be scores, which the values tell."""
    if export.metadata.get("end2end", "").lower() == "true":
        return True
    if array.shape[2] != ROW_COLUMNS or array.shape[1] > _MOST_QUERIES:
        return False
    return labels not in (1, 2) or is_end_to_end(array[0], export.input_px)


def _yolo(export: Export, name: str, array: NDArray[Any], labels: int | None) -> Form | None:
    cells = sum((export.input_px[0] // one) * (export.input_px[1] // one) for one in _STRIDES)
    first = array.shape[2] in (cells, 3 * cells) or (
        array.shape[1] not in (cells, 3 * cells) and array.shape[1] < array.shape[2]
    )
    columns, number = (array.shape[1], array.shape[2]) if first else (array.shape[2], array.shape[1])
    arrangement = "channels-first" if first else "channels-last"
    if labels is None and columns - 4 in (_COCO_LABELS, _COCO_LABELS + 1):
        labels = _COCO_LABELS
    if labels is None:
        return None
    rows = as_rows(array, "channels-first" if first else "channels-last")
    before = columns - labels
    if before not in (4, _OBJECTNESS):
        return None
    activation = "none" if _are_scores(rows[:, 4:]) else "sigmoid"
    predictions: JsonObject = {"name": name, "arrangement": arrangement, "activation": activation}
    normalized = _is_normalized(rows[:, :4])
    boxes: JsonObject = {"format": "cxcywh", "normalized": normalized}
    if before == 4:
        family = _family(export, normalized=normalized)
        return Form(decoder="yolov8", outputs={"predictions": {**predictions, **boxes}}, labels=labels, family=family)
    family = "yolox" if number == cells else ""
    if family and rows[:, :2].max(initial=0) < min(export.input_px) / 4:  # decoded centres reach the other edge
        grid = {**predictions, "strides": list(_STRIDES)}
        return Form(decoder="yolox", outputs={"predictions": grid}, labels=labels, family=family)
    return Form(decoder="yolov5", outputs={"predictions": {**predictions, **boxes}}, labels=labels, family=family)


def _two(arrays: Mapping[str, NDArray[Any]], labels: int | None) -> Form | None:
    """Boxes of a column for each side, and a table of scores: many rows are those of an SSD, few are queries. With one
    column more than labels the last one means "no object", as in the first DETR, or is not used, as in RF-DETR."""
    found = sorted(arrays.items(), key=lambda item: (item[1].shape[-1:] != (4,), "box" not in item[0].lower()))
    (boxes, places), (scores, table) = found
    if places.ndim != 3 or table.ndim != 3 or places.shape[1] != table.shape[1] or places.shape[-1] != 4:
        return None
    few = places.shape[1] <= _MOST_QUERIES
    activation = "none" if _are_scores(table[0]) else "sigmoid"
    columns = table.shape[2]
    is_rfdetr = set(arrays) == _RFDETR
    last = few and labels is not None and labels + 1 == columns
    if last and not is_rfdetr:
        activation = "softmax"
    values: JsonObject = {"name": scores, "activation": activation, "background": "last" if last else "none"}
    box: JsonObject = {"name": boxes, "format": "cxcywh" if few else "xyxy", "normalized": _is_normalized(places[0])}
    return Form(
        decoder="detr" if few else "ssd-decoded",
        outputs={"boxes": box, ("logits" if few else "scores"): values},
        labels=columns - last,
        needs_nms=not few,
        family="rfdetr" if is_rfdetr else "",
    )


def _tensorflow(arrays: Mapping[str, NDArray[Any]]) -> Form | None:
    roles = {"boxes": "box", "classes": "class", "scores": "score", "count": "num"}
    names = {role: next((name for name in arrays if part in name.lower()), None) for role, part in roles.items()}
    if None in names.values():
        return None
    return Form(
        decoder="ssd-raw",
        outputs={
            "boxes": {"name": names["boxes"], "format": "yxyx", "normalized": True},
            "classes": {"name": names["classes"], "values": "class-id"},
            "scores": {"name": names["scores"], "activation": "none"},
            "count": {"name": names["count"]},
        },
        labels=None,
        needs_nms=False,
    )


def _is_normalized(boxes: NDArray[Any]) -> bool:
    return bool(boxes.size) and 0 < float(np.abs(boxes).max()) <= 2


def _are_scores(table: NDArray[Any]) -> bool:
    return not table.size or (float(table.min()) >= -1e-3 and float(table.max()) <= 1 + 1e-3)
