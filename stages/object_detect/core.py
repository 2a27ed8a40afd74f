"""The stage object-detect: one valid picture and the model in force -> the objects, as JSON and drawn.

Pure: bytes in, bytes out; the same work gives the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.records import Input, Json, JsonObject, LoadedReference, Output, Result, Work
from stages.imaging.annotate import Box, annotate, decode_bgr, encode_jpeg
from stages.imaging.exif import orientation_of
from stages.object_detect.detector import Detection, detect
from stages.object_detect.manifest import MANIFEST, WEIGHTS
from stages.object_detect.manifest_schema import HINT, parse_manifest
from stages.object_detect.onnx_model import Network, open_network
from stages.picture_names import PictureName, name_of

_PARAMS: Final = {"threshold"}


def prepare(params: JsonObject, references: Sequence[LoadedReference]) -> ObjectDetect:
    """Return the stage with its model opened and checked.

    ``params`` may have ``threshold``, 0 to 1; without it, or with None, the manifest's own holds. Raises InputRejected.
    """
    unknown = sorted(set(params) - _PARAMS)
    if unknown:
        raise InputRejected(f"unknown parameter {unknown[0]!r}", "object-detect", f"expected {sorted(_PARAMS)}")
    if len(references) != 1:
        raise InputRejected(f"expected exactly one model in force, got {len(references)}", "object-detect", HINT)
    model = references[0]
    missing = [role for role in (MANIFEST, WEIGHTS) if role not in model.data]
    if missing:
        raise InputRejected(f"expected the files {MANIFEST} and {WEIGHTS}, got no {missing[0]}", model.reference.name)
    manifest = parse_manifest(model.reference.name, model.data[MANIFEST])
    threshold = _threshold(params.get("threshold"), manifest.threshold)
    network = open_network(model.reference.name, manifest, model.data[WEIGHTS])
    return ObjectDetect(network=network, threshold=threshold)


def _threshold(given: Json, default: float) -> float:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise InputRejected(f"expected a threshold from 0 to 1, got {given!r}", "object-detect")
    return float(given)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectDetect:
    """The prepared stage: called once a datum, in any order."""

    network: Network
    threshold: float

    def __call__(self, work: Work, /) -> Result:
        """Detect in the picture of role ``picture``. Raises InputRejected if it cannot be read or named."""
        name = name_of(work)
        if name is None:
            raise InputRejected("not a picture's name", work.key)
        given = work.inputs["picture"]
        try:
            picture = decode_bgr(given.data)
            objects = detect(self.network, picture, self.threshold)
        except InputRejected as exc:
            raise InputRejected(exc.what, work.key if not exc.where else f"{work.key}, {exc.where}", exc.hint) from exc
        report = self._report(work.key, name, given, picture.shape[1], picture.shape[0], objects)
        drawn = annotate(picture, [_box(found) for found in objects], self._footer(name, len(objects)))
        labels = Counter(found.label for found in objects)
        counts = {"objects": len(objects), **{f"seen:{label}": number for label, number in sorted(labels.items())}}
        return Result(
            outputs=(
                Output(key=f"{name.stem}.json", data=_canonical(report), content_type="application/json"),
                Output(key=f"{name.stem}.jpg", data=encode_jpeg(drawn), content_type="image/jpeg"),
            ),
            facts={"objects": len(objects), "labels": dict(sorted(labels.items()))},
            counts=counts if objects else {},
            at_s=name.captured_at_s,
        )

    def _report(
        self, key: str, name: PictureName, given: Input, width_px: int, height_px: int, objects: Sequence[Detection]
    ) -> JsonObject:
        manifest = self.network.manifest
        return {
            "image": {
                "key": key,
                "sha256": given.ref.sha256,
                "width": width_px,
                "height": height_px,
                "orientation": orientation_of(given.data),
            },
            "device": name.device,
            "captured_at_s": name.captured_at_s,
            "model": {"name": manifest.name, "sha256": manifest.sha256},
            "threshold": self.threshold,
            "objects": [
                {"class": found.class_id, "label": found.label, "score": found.score, "box": list(found.box_xyxy_px)}
                for found in objects
            ],
        }

    def _footer(self, name: PictureName, objects: int) -> str:
        at = datetime.fromtimestamp(name.captured_at_s, UTC)
        seen = {0: "no objects", 1: "1 object"}.get(objects, f"{objects} objects")
        return f"{name.device} | {at:%Y-%m-%d %H:%M:%S} UTC | {seen} | model {self.network.manifest.sha256[:8]}"


def _box(found: Detection) -> Box:
    return Box(box_xyxy_px=found.box_xyxy_px, label=found.label, score=found.score, class_id=found.class_id)


def _canonical(report: JsonObject) -> bytes:
    """JSON that is the same for the same report: sorted names, fixed indent, UTF-8, one newline at the end."""
    return (json.dumps(report, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
