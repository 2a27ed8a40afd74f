"""The commands on rule files, and the trial of rules on photographs, for which the two stages before a match are put
together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lookout.app.installation import TrialOf
from lookout.domain.errors import InputRejected
from lookout.domain.identity import MAX_INPUT_BYTES, sha256
from lookout.domain.records import Input, JsonObject, LoadedReference, ObjectRef, Reference, Work
from lookout.filesystem.files import failure, read_named
from lookout.references.activation import accept, find_files
from stages.imaging.annotate import encode_jpeg
from stages.object_detect.core import ObjectDetect, prepare
from stages.picture_names import find_name
from stages.pipeline import PIPELINE
from stages.threat_detect import detections
from stages.threat_detect.rule_commands import RuleCommands
from stages.threat_detect.rules.version2.matching import Picture, judge, misses, picture_of
from stages.threat_detect.simulation.drawing import draw
from stages.threat_detect.simulation.rulebook import Entry, open_rulebook

_NAME = "photo_1000000000.jpg"
"""Detection needs a name; device and time are set afterwards."""


class RuleTools(RuleCommands):
    """All commands on rule files."""

    def try_photos(
        self, rules: Path, model: Path, photos: Sequence[Path], at: TrialOf, folder: Path | None
    ) -> Iterator[JsonObject]:
        """Give one object a photograph and rule: ``code`` None for a match, else the reason code with its numbers, and
        each object with its own. With a folder, each photograph is drawn into it with zones and boxes.

        Raises InputRejected for rules, a model or a photograph that cannot be used.
        """
        entries = list(open_rulebook(rules).entries.values())
        stage = prepare({"threshold": at.threshold}, [_model(model)])
        for number, path in enumerate(photos, 1):
            data = _bytes_of(path)
            picture = _picture(stage, path, data, at)
            found = [_verdict(path, entry, picture) for entry in entries]
            if folder is not None:
                drawn = draw(data, picture, entries, [(str(one["rule"]), one["code"]) for one in found])
                _write(folder / f"{number:03}-{path.stem}.jpg", encode_jpeg(drawn))
            yield from found


def _verdict(path: Path, entry: Entry, picture: Picture) -> JsonObject:
    match = judge(entry.file, entry.rule, picture)
    objects: list[JsonObject] = [
        {
            "class": thing.label,
            "score": thing.score,
            "box": list(thing.box),
            "code": None if miss is None else miss.code,
            **({} if miss is None else {"numbers": miss.numbers}),
        }
        for thing, miss in zip(picture.things, misses(entry.rule, picture), strict=True)
    ]
    return {
        "photo": str(path),
        "device": picture.device,
        "t": match.at_s,
        "rule": entry.name,
        "code": match.code,
        **match.numbers,
        "objects": objects,
    }


def _picture(stage: ObjectDetect, path: Path, data: bytes, at: TrialOf) -> Picture:
    ref = ObjectRef(bucket="images", key=_NAME, sha256=sha256(data), size=len(data))
    try:
        result = stage(Work(key=_NAME, inputs={"picture": Input(role="picture", ref=ref, data=data)}))
    except InputRejected as exc:
        raise InputRejected(exc.what, str(path), exc.hint) from exc
    found = picture_of(detections.read(result.outputs[0].data, str(path)), path.name, 0.0)
    name = find_name(path.name)
    at_s = at.at_s if at.at_s is not None else name.captured_at_s if name is not None else None
    device = at.device if at.device is not None else name.device if name is not None else None
    if at_s is None or device is None:
        raise InputRejected("its name says no device and time", str(path), "name them by --device and --at")
    return replace(found, device=device, captured_at_s=at_s, received_at_s=at_s)


def _model(path: Path) -> LoadedReference:
    uses = PIPELINE.stage("object-detect").references
    if uses is None:
        raise RuntimeError("object-detect has no references")
    units, refused = accept(uses, find_files(uses, path))
    for unit in units:
        files = {
            role: ObjectRef(bucket=uses.bucket, key=role, sha256=sha256(data), size=len(data))
            for role, data in unit.files.items()
        }
        reference = Reference(bucket=uses.bucket, name=unit.name, files=files, meta=unit.meta)
        return LoadedReference(reference=reference, data=unit.files)
    reasons = "; ".join(one.reason for one in refused)
    raise InputRejected(reasons or "no model in it", str(path), "name its manifest, or the folder with both files")


def _bytes_of(path: Path) -> bytes:
    try:
        return read_named(path, MAX_INPUT_BYTES)
    except OSError as exc:
        raise failure(str(path), exc) from exc


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as exc:
        raise failure(str(path), exc) from exc
