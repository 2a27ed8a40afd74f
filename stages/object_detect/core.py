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
from stages.imaging.annotate import Box, annotate, encode_jpeg
from stages.imaging.exif import orientation_of
from stages.imaging.reduced import FACTORS, Picture, decode_reduced
from stages.object_detect.detector import Detection, detect
from stages.object_detect.manifest import MANIFEST, WEIGHTS
from stages.object_detect.manifest_passes import MODEL, PassSpec, choose_passes
from stages.object_detect.manifest_schema import HINT, parse_manifest
from stages.object_detect.onnx_model import Network, open_network
from stages.object_detect.passes import most_reduced, plan_passes
from stages.picture_names import PictureName, name_of

_PARAMS: Final = {"threshold", "passes"}
DRAWN_PX: Final = 1920
"""Pixels of the longer side that a picture keeps at least when it is decoded at a reduced scale: it is drawn so."""


def prepare(params: JsonObject, references: Sequence[LoadedReference]) -> ObjectDetect:
    """Return the stage with its model opened and checked.

    ``params`` may have ``threshold``, 0 to 1, and ``passes``, a text as ``choose_passes`` reads it; without one, or
    with None, the manifest's own hold. Raises InputRejected.
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
    passes = _text(params.get("passes"))
    further = choose_passes(passes, manifest.passes)
    network = open_network(model.reference.name, manifest, model.data[WEIGHTS], further=further)
    return ObjectDetect(network=network, threshold=threshold, passes=passes, further=further)


def _text(given: Json) -> str:
    if given is None:
        return MODEL
    if not isinstance(given, str):
        raise InputRejected(f"expected a text for the passes, got {given!r}", "object-detect")
    return given


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
    passes: str
    """Passes as the parameter names them."""
    further: tuple[PassSpec, ...]

    def __call__(self, work: Work, /) -> Result:
        """Detect in the picture of role ``picture``. Raises InputRejected if it cannot be read or named."""
        name = name_of(work)
        if name is None:
            raise InputRejected("not a picture's name", work.key)
        given = work.inputs["picture"]
        try:
            picture = decode_reduced(given.data, self._choose_factor)
            objects = detect(self.network, picture, self.threshold, self.further)
        except InputRejected as exc:
            raise InputRejected(exc.what, work.key if not exc.where else f"{work.key}, {exc.where}", exc.hint) from exc
        report = self._report(work.key, name, given, picture, objects)
        boxes = [_box(found, picture.factor) for found in objects]
        drawn = annotate(picture.pixels_bgr, boxes, self._footer(name, len(objects)))
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

    def _choose_factor(self, size_px: tuple[int, int]) -> int:
        """Return the greatest reduction that leaves enough for each pass, and for people."""
        passes = plan_passes(size_px, size_px, self.network.manifest.input, self.further)
        return most_reduced(passes, [factor for factor in FACTORS if max(size_px) >= factor * DRAWN_PX])

    def _report(
        self, key: str, name: PictureName, given: Input, picture: Picture, objects: Sequence[Detection]
    ) -> JsonObject:
        manifest = self.network.manifest
        return {
            "image": {
                "key": key,
                "sha256": given.ref.sha256,
                "width": picture.size_px[0],
                "height": picture.size_px[1],
                "orientation": orientation_of(given.data),
            },
            "device": name.device,
            "captured_at_s": name.captured_at_s,
            "model": {"name": manifest.name, "sha256": manifest.sha256},
            "threshold": self.threshold,
            "passes": {"chosen": self.passes, "done": self._done(picture)},
            "runtime": dict(self.network.runtime),
            "objects": [
                {"class": found.class_id, "label": found.label, "score": found.score, "box": list(found.box_xyxy_px)}
                for found in objects
            ],
        }

    def _done(self, picture: Picture) -> list[Json]:
        """Return the passes that this picture got: kind, number of views, and width and height of the input."""
        passes = plan_passes(picture.seen_px, picture.size_px, self.network.manifest.input, self.further)
        return [
            {"kind": one.kind, "views": len(one.views), "input": list(one.views[0].placement.input_px)}
            for one in passes
        ]

    def _footer(self, name: PictureName, objects: int) -> str:
        at = datetime.fromtimestamp(name.captured_at_s, UTC)
        seen = {0: "no objects", 1: "1 object"}.get(objects, f"{objects} objects")
        return f"{name.device} | {at:%Y-%m-%d %H:%M:%S} UTC | {seen} | model {self.network.manifest.sha256[:8]}"


def _box(found: Detection, factor: int) -> Box:
    """Return the box in pixels of a picture that is so much smaller."""
    left, top, right, bottom = (side / factor for side in found.box_xyxy_px)
    return Box(box_xyxy_px=(left, top, right, bottom), label=found.label, score=found.score, class_id=found.class_id)


def _canonical(report: JsonObject) -> bytes:
    """JSON that is the same for the same report: sorted names, fixed indent, UTF-8, one newline at the end."""
    return (json.dumps(report, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
