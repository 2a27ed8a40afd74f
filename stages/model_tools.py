"""The commands on models: a manifest for an export, and a check of a model on a photograph."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Final

from lookout.app.installation import ModelFacts
from lookout.domain.errors import InputRejected
from lookout.domain.identity import sha256
from lookout.domain.pipeline import Accepted
from lookout.domain.records import Json, JsonObject
from lookout.filesystem.files import failure, read_named
from lookout.references.activation import MAX_BYTES, accept, find_files
from stages.coco_labels import NAMES
from stages.imaging.annotate import Box, annotate, decode_bgr, encode_jpeg
from stages.imaging.reduced import Picture
from stages.object_detect.detector import detect
from stages.object_detect.drafting import Given, draft
from stages.object_detect.export_forms import open_export
from stages.object_detect.manifest import MANIFEST, WEIGHTS
from stages.object_detect.manifest_passes import MODEL, choose_passes
from stages.object_detect.manifest_schema import parse_manifest
from stages.object_detect.onnx_model import open_network
from stages.object_detect.passes import plan_passes
from stages.pipeline import PIPELINE

COCO: Final = "coco"


class ModelTools:
    """All commands on models."""

    def draft(self, file: Path, facts: ModelFacts) -> JsonObject:
        """Return ``manifest``, ``assumed`` (sentences) and ``missing`` (names of facts that must be given) for the
        export in the file. Raises InputRejected if it cannot be opened, or no decoder reads it."""
        weights = _read(file)
        export = open_export(file.name, weights, facts.size_px)
        made = draft(
            file.name,
            sha256(weights),
            export,
            Given(
                labels=_labels(facts.labels),
                color=facts.color,
                pixels=facts.pixels,
                resize=facts.resize,
                name=facts.name,
                license=facts.license,
                source=facts.source,
            ),
        )
        return {"manifest": made.document, "assumed": list(made.assumed), "missing": list(made.missing)}

    def write(self, file: Path, document: JsonObject, *, force: bool) -> Path:
        """Write the manifest beside the export, whole or not at all, after both were tried as any model is; return its
        path. Raises InputRejected if they are refused, or a manifest is there and ``force`` is not given."""
        target = file.with_suffix(".json")
        if target.exists() and not force:
            raise InputRejected("is there already", str(target), "replace it with --force")
        data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
        manifest = parse_manifest(target.name, data)
        open_network(file.name, manifest, _read(file))
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            unfinished.write_bytes(data)
            unfinished.replace(target)
        except OSError as exc:
            raise failure(str(target), exc) from exc
        return target

    def check(
        self, model: Path, photo: Path | None, threshold: float | None, passes: str | None, to: Path | None
    ) -> JsonObject:
        """Open a model, detect on the photograph, and draw it with its boxes into the file ``to``; without a photograph
        the model is only tried. Raises InputRejected for a model or photograph that cannot be used."""
        unit = _accepted(model)
        manifest = parse_manifest(unit.name, unit.files[MANIFEST])
        further = choose_passes(passes or MODEL, manifest.passes)
        network = open_network(unit.name, manifest, unit.files[WEIGHTS], further=further)
        facts: dict[str, Json] = {
            "name": manifest.name,
            "sha256": manifest.sha256,
            "decoder": manifest.decoder,
            "license": manifest.license,
            "labels": list(manifest.labels),
            "runtime": dict(network.runtime),
        }
        if photo is None:
            return facts
        try:
            pixels = decode_bgr(_read(photo))
        except InputRejected as exc:
            raise InputRejected(exc.what, str(photo), exc.hint) from exc
        picture, least = Picture.of(pixels), manifest.threshold if threshold is None else threshold
        began_s = time.perf_counter()
        found = detect(network, picture, least, further)
        took_s = time.perf_counter() - began_s
        done = plan_passes(picture.seen_px, picture.size_px, manifest.input, further)
        target = to or Path(f"{photo.stem}-{manifest.name}.jpg")
        boxes = [
            Box(box_xyxy_px=one.box_xyxy_px, label=one.label, score=one.score, class_id=one.class_id) for one in found
        ]
        drawn = annotate(pixels, boxes, f"{photo.name} | model {manifest.name} | threshold {least:g}")
        try:
            target.write_bytes(encode_jpeg(drawn))
        except OSError as exc:
            raise failure(str(target), exc) from exc
        objects: list[Json] = [
            {"class": one.class_id, "label": one.label, "score": one.score, "box": list(one.box_xyxy_px)}
            for one in found
        ]
        return {
            **facts,
            "photo": str(photo),
            "width": picture.size_px[0],
            "height": picture.size_px[1],
            "threshold": least,
            "passes": [list(one.views[0].placement.input_px) for one in done],
            "took_s": round(took_s, 4),
            "objects": objects,
            "drawn": str(target),
        }


def _accepted(path: Path) -> Accepted:
    uses = PIPELINE.stage("object-detect").references
    if uses is None:
        raise RuntimeError("object-detect has no references")
    units, refused = accept(uses, find_files(uses, path))
    for unit in units:
        return unit
    reasons = "; ".join(one.reason for one in refused)
    raise InputRejected(reasons or "no model in it", str(path), "lookout model init writes a manifest")


def _labels(given: str | None) -> tuple[str, ...] | None:
    """Return the labels that are named: those of COCO, or one a line of a file."""
    if given is None:
        return None
    if given == COCO:
        return tuple(NAMES.values())
    try:
        lines = _read(Path(given)).decode().splitlines()
    except UnicodeDecodeError as exc:
        raise InputRejected("expected text in UTF-8", given, "one label a line") from exc
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise InputRejected("expected one label a line, got none", given)
    return labels


def _read(path: Path) -> bytes:
    try:
        return read_named(path, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise InputRejected("no such file", str(path)) from exc
    except OSError as exc:
        raise failure(str(path), exc) from exc
