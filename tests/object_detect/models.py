"""Manifests for the tiny networks in fixtures, and the way of a reference through the engine, for the tests here."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

from lookout.domain.identity import sha256
from lookout.domain.pipeline import Accepted
from lookout.domain.records import Input, LoadedReference, ObjectRef, Reference, Work
from stages.imaging.opencv import cv2
from stages.object_detect.manifest import accept
from stages.object_detect.manifest_schema import Manifest, parse_manifest
from stages.object_detect.onnx_model import Network, open_network

FIXTURES = Path(__file__).parent / "fixtures"
ROOT = Path(__file__).parents[2]

_RAW = {"scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1]}
_UNIT = {"scale": 1 / 255, "mean": [0, 0, 0], "std": [1, 1, 1]}
_PREDICTIONS = {"name": "output0", "format": "cxcywh", "normalized": False, "activation": "none"}
_STRETCH = {"mode": "stretch"}
_TABLE = {
    "boxes": {"name": "boxes", "format": "xyxy", "normalized": True},
    "scores": {"name": "scores", "activation": "none", "background": "none"},
}
_LETTERBOX = {"mode": "letterbox", "pad_value": 114, "align": "center"}

_MANIFESTS: dict[str, dict[str, Any]] = {
    "ssd_decoded": {
        "decoder": "ssd-decoded",
        "input": {"name": "image", "layout": "NHWC", "dtype": "uint8", "side": 32, "resize": _STRETCH, **_RAW},
        "outputs": _TABLE,
        "labels": {"person": 1, "car": 3},
    },
    "ssd_raw": {
        "decoder": "ssd-raw",
        "input": {
            "name": "image_tensor", "layout": "NHWC", "dtype": "uint8", "side": 32, "resize": _STRETCH, **_RAW,
        },
        "outputs": {
            "boxes": {"name": "detection_boxes", "format": "yxyx", "normalized": True},
            "classes": {"name": "detection_classes", "values": "class-id"},
            "scores": {"name": "detection_scores", "activation": "none"},
            "count": {"name": "num_detections"},
        },
        "labels": {"person": 1, "car": 3, "truck": 8},
        "nms": {"needed": False, "iou": 0.5, "class_wise": True},
    },
    "yolov8": {
        "decoder": "yolov8",
        "input": {"name": "images", "layout": "NCHW", "dtype": "float32", "side": 64, "resize": _LETTERBOX, **_UNIT},
        "outputs": {"predictions": {**_PREDICTIONS, "arrangement": "channels-first"}},
        "labels": {"person": 1, "car": 3, "truck": 8},
    },
    "yolov8_rows": {
        "decoder": "yolov8",
        "input": {"name": "images", "layout": "NCHW", "dtype": "float32", "side": 64, "resize": _LETTERBOX, **_UNIT},
        "outputs": {"predictions": {**_PREDICTIONS, "arrangement": "channels-last"}},
        "labels": {"person": 1, "car": 3, "truck": 8},
    },
    "yolov5": {
        "decoder": "yolov5",
        "input": {"name": "images", "layout": "NCHW", "dtype": "float32", "side": 64, "resize": _LETTERBOX, **_UNIT},
        "outputs": {"predictions": {**_PREDICTIONS, "arrangement": "channels-last"}},
        "labels": {"person": 1, "car": 3, "truck": 8},
    },
    "yolox": {
        "decoder": "yolox",
        "input": {"name": "images", "layout": "NCHW", "dtype": "float32", "side": 64, "resize": _LETTERBOX, **_RAW},
        "outputs": {
            "predictions": {
                "name": "output0", "arrangement": "channels-last", "strides": [8, 16, 32], "activation": "none",
            }
        },
        "labels": {"person": 1, "car": 3, "truck": 8},
    },
    "end_to_end": {
        "decoder": "end-to-end",
        "input": {"name": "images", "layout": "NCHW", "dtype": "float32", "side": 64, "resize": _LETTERBOX, **_UNIT},
        "outputs": {"predictions": {"name": "output0", "format": "xyxy", "normalized": False}},
        "labels": {"person": 1, "car": 3, "truck": 8},
        "nms": {"needed": False, "iou": 0.5, "class_wise": True},
    },
    "detr": {
        "decoder": "detr",
        "input": {
            "name": "pixel_values", "layout": "NCHW", "dtype": "float32", "side": 64, "resize": _STRETCH, **_UNIT,
        },
        "outputs": {
            "boxes": {"name": "pred_boxes", "format": "cxcywh", "normalized": True},
            "logits": {"name": "logits", "activation": "sigmoid", "background": "none"},
        },
        "labels": {"person": 1, "car": 3, "truck": 8},
        "nms": {"needed": False, "iou": 0.5, "class_wise": True},
    },
    "spot": {
        "decoder": "yolov8",
        "input": {"name": "images", "layout": "NCHW", "dtype": "float32", "side": 64, "resize": _LETTERBOX, **_UNIT},
        "outputs": {"predictions": {**_PREDICTIONS, "arrangement": "channels-first"}},
        "labels": {"spot": 1},
    },
    "channels": {
        "decoder": "ssd-decoded",
        "input": {
            "name": "image", "layout": "NCHW", "dtype": "float32", "side": 16, "resize": _STRETCH, **_UNIT,
        },
        "outputs": _TABLE,
        "labels": {"first": 1, "second": 2, "third": 3},
    },
    "nan": {
        "decoder": "ssd-decoded",
        "input": {
            "name": "image", "layout": "NCHW", "dtype": "float32", "side": 16, "resize": _STRETCH, **_UNIT,
        },
        "outputs": _TABLE,
        "labels": {"root": 1},
    },
}  # fmt: skip


def weights(name: str) -> bytes:
    return (FIXTURES / f"{name}.onnx").read_bytes()


def manifest_dict(fixture: str, /, **changes: Any) -> dict[str, Any]:
    """The manifest of a fixture. A change is ``section__field=value`` or ``field=value``; ``None`` removes."""
    short = copy.deepcopy(_MANIFESTS[fixture])
    side, labels = short["input"].pop("side"), short["labels"]
    made: dict[str, Any] = {
        "schema": 1,
        "name": fixture,
        "sha256": sha256(weights(fixture)),
        "license": "CC0-1.0",
        "source": "made for the tests",
        "decoder": short["decoder"],
        "input": {"width": side, "height": side, "color": "RGB", **short["input"]},
        "outputs": short["outputs"],
        "nms": short.get("nms", {"needed": True, "iou": 0.5, "class_wise": True}),
        "threshold": 0.5,
        "labels": list(labels),
        "class_ids": list(labels.values()),
    }
    for path, value in changes.items():
        *sections, field = path.split("__")
        place = made
        for section in sections:
            place = place[section]
        if value is None:
            del place[field]
        else:
            place[field] = value
    return made


def manifest_bytes(fixture: str, /, **changes: Any) -> bytes:
    return json.dumps(manifest_dict(fixture, **changes)).encode()


def manifest_of(fixture: str, /, **changes: Any) -> Manifest:
    return parse_manifest(f"{fixture}.json", manifest_bytes(fixture, **changes))


def network_of(fixture: str, /, **changes: Any) -> Network:
    return open_network(f"{fixture}.onnx", manifest_of(fixture, **changes), weights(fixture))


def loaded(files: dict[str, bytes]) -> LoadedReference:
    """The one accepted model among the files, as the engine hands it to a worker."""
    (found,) = accept(files)
    assert isinstance(found, Accepted), found.reason
    refs = {role: ref_of("model", f"{found.name}/{role}", data) for role, data in found.files.items()}
    reference = Reference(bucket="model", name=found.name, files=refs, meta=found.meta)
    return LoadedReference(reference=reference, data=found.files)


def loaded_fixture(fixture: str, /, **changes: Any) -> LoadedReference:
    return loaded({f"{fixture}.json": manifest_bytes(fixture, **changes), f"{fixture}.onnx": weights(fixture)})


def ref_of(bucket: str, key: str, data: bytes) -> ObjectRef:
    return ObjectRef(bucket=bucket, key=key, sha256=sha256(data), size=len(data))


def work_of(key: str, data: bytes) -> Work:
    picture = Input(role="picture", ref=ref_of("validate", f"valid/{key}", data), data=data)
    return Work(key=key, inputs={"picture": picture})


def plain(width_px: int, height_px: int, color_bgr: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    return np.full((height_px, width_px, 3), color_bgr, np.uint8)


def jpeg(picture_bgr: np.ndarray, quality: int = 95) -> bytes:
    written, data = cv2.imencode(".jpg", picture_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert written
    return data.tobytes()
