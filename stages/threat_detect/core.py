"""The stage: which detections matter by the rules in force, and who must be told. Pure; sends nothing.

Knows no channel and no outbox: an alert leaves here as a draft that carries all that a channel will need. Without a
threat nothing is written and the picture is not even decoded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lookout.domain.errors import Corrupt, InputRejected, ObjectChanged
from lookout.domain.records import AlertDraft, Input, JsonObject, LoadedReference, Output, Result, Work
from stages.picture_names import PictureName, name_of
from stages.threat_detect.detections import Detections, Seen, read
from stages.threat_detect.local_time import local_time
from stages.threat_detect.rules.rules import ROLE, Rule, Wanted, parse
from stages.threat_detect.rules.select import watches

_VALID: Final = "valid/"
_SHORT: Final = 8
_RULES_IN_FOOTER: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class _InForce:
    """A rule with the file it comes from: the name that the user gave it, and its object in the rules bucket."""

    rule: Rule
    file: str
    key: str
    sha256: str

    def plain(self) -> JsonObject:
        return {
            "name": self.rule.name,
            "user": self.rule.user,
            "file": self.file,
            "key": self.key,
            "sha256": self.sha256,
        }


def prepare(params: JsonObject, references: Sequence[LoadedReference]) -> Callable[[Work], Result]:
    """Return the stage for one set of rule files; without any, nothing is a threat. There are no parameters.

    Raises InputRejected for a parameter or a rule file that cannot be used.
    """
    for name in params:
        raise InputRejected("threat-detect has no such parameter", name)
    in_force: dict[tuple[str, str], _InForce] = {}
    for loaded in sorted(references, key=lambda item: item.reference.name):
        ref = loaded.reference.files[ROLE]
        for rule in parse(loaded.reference.name, loaded.data[ROLE]):
            # A file that was kept in force while its successor was refused may share a rule with a newer file: the
            # alerts would be the same ones, so the first holds.
            item = _InForce(rule=rule, file=loaded.reference.name, key=ref.key, sha256=ref.sha256)
            in_force.setdefault((rule.user, rule.name), item)
    return _ThreatDetect(tuple(in_force.values()))


@dataclass(frozen=True, slots=True)
class _ThreatDetect:
    rules: tuple[_InForce, ...]

    def __call__(self, work: Work) -> Result:
        """Return the threats of one picture: JSON, picture with boxes and alert drafts, or an empty result.

        Raises Corrupt for detections that cannot be read or do not fit the picture, ObjectChanged when they are of
        other bytes than the picture given, InputRejected for a nameless picture or one that cannot be decoded.
        """
        picture, document = work.inputs["picture"], work.inputs["detections"]
        key = picture.ref.key.removeprefix(_VALID)
        name = name_of(work)
        if name is None:
            raise InputRejected("expected a picture named <device>_<unix seconds>.jpg", key)
        found = read(document.data, document.ref.path)
        if found.image.sha256 != picture.ref.sha256:
            raise ObjectChanged(picture.ref.bucket, picture.ref.key, found.image.sha256, picture.ref.sha256)
        hits = [
            (item, matter)
            for item in self.rules
            if watches(item.rule.devices, found.device) and (matter := _matter(item.rule, found))
        ]
        if not hits:
            return Result(at_s=found.captured_at_s)
        return _result(key, name, picture, found, hits)


def _matter(rule: Rule, found: Detections) -> tuple[int, ...]:
    """Return the places, in the list of objects, of those that matter to the rule."""
    return tuple(
        place for place, seen in enumerate(found.objects) if any(_holds(wanted, seen, found) for wanted in rule.wanted)
    )


def _holds(wanted: Wanted, seen: Seen, found: Detections) -> bool:
    same = wanted.class_id == seen.class_id if wanted.class_id is not None else wanted.label == seen.label.casefold()
    least = found.threshold if wanted.min_score is None else wanted.min_score
    return same and seen.score >= least and seen.area(found.image) >= wanted.min_area


def _result(
    key: str, name: PictureName, picture: Input, found: Detections, hits: Sequence[tuple[_InForce, tuple[int, ...]]]
) -> Result:
    names_at: dict[int, list[str]] = {}
    for item, matter in hits:
        for place in matter:
            names_at.setdefault(place, []).append(item.rule.name)
    places = sorted(names_at)
    threats = [found.objects[place].plain() for place in places]
    labels = Counter(found.objects[place].label for place in places)
    rules = [item.plain() for item, _ in hits]
    document = {
        **found.tree,
        "threats": [{**found.objects_tree[place], "rules": names_at[place]} for place in places],
        "rules": rules,
    }
    subject: JsonObject = {
        "key": key,
        "sha256": picture.ref.sha256,
        "width": found.image.width,
        "height": found.image.height,
    }
    model: JsonObject = {"name": found.model.name, "sha256": found.model.sha256}
    evidence = f"{name.stem}.jpg"
    return Result(
        outputs=(
            Output(key=f"{name.stem}.json", data=json.dumps(document).encode("ascii"), content_type="application/json"),
            Output(key=evidence, data=_draw(picture, found, set(places), hits), content_type="image/jpeg"),
        ),
        facts={
            "device": found.device,
            "captured_at_s": found.captured_at_s,
            "picture": subject,
            "model": model,
            "rules": rules,
            "threats": threats,
            "objects": len(found.objects),
        },
        counts={"threats": 1, **{f"threat:{label}": count for label, count in labels.items()}},
        label=f"threat: {', '.join(labels)}",
        at_s=found.captured_at_s,
        alerts=tuple(_drafts(hits, evidence, subject, model, found, name.subject)),
    )


def _draw(
    picture: Input, found: Detections, threats: set[int], hits: Sequence[tuple[_InForce, tuple[int, ...]]]
) -> bytes:
    """JPEG with the boxes, and below it device, time, rules and model: encoded anew, so without EXIF and GPS."""
    from stages.imaging.annotate import (  # OpenCV: half a second that only threats pay
        Box,
        annotate,
        decode_bgr,
        encode_jpeg,
    )

    try:
        picture_bgr = decode_bgr(picture.data)
    except InputRejected as exc:
        raise InputRejected(exc.what, picture.ref.path, exc.hint) from exc
    height_px, width_px = picture_bgr.shape[:2]
    if (width_px, height_px) != (found.image.width, found.image.height):
        said = f"{found.image.width}x{found.image.height} pixels"
        raise Corrupt(f"the detections of {picture.ref.path}", f"{width_px}x{height_px} pixels", said)
    boxes = [
        Box(
            box_xyxy_px=(seen.box[0], seen.box[1], seen.box[2], seen.box[3]),
            label=seen.label,
            score=seen.score,
            class_id=seen.class_id,
            threat=place in threats,
        )
        for place, seen in enumerate(found.objects)
    ]
    return encode_jpeg(annotate(picture_bgr, boxes, _footer(found, [item.rule for item, _ in hits])))


def _footer(found: Detections, rules: Sequence[Rule]) -> str:
    zones = {rule.timezone for rule in rules}
    zone = zones.pop() if len(zones) == 1 else "UTC"
    names = list(dict.fromkeys(rule.name for rule in rules))
    more = len(names) - _RULES_IN_FOOTER
    said = ", ".join(names[:_RULES_IN_FOOTER]) + (f" +{more}" if more > 0 else "")
    when = local_time(found.captured_at_s, zone)
    return f"{found.device} | {when} | rule: {said} | model {found.model.sha256[:_SHORT]}"


def _drafts(
    hits: Iterable[tuple[_InForce, tuple[int, ...]]],
    evidence: str,
    picture: JsonObject,
    model: JsonObject,
    found: Detections,
    name: str,
) -> Iterable[AlertDraft]:
    for item, matter in hits:
        detail: JsonObject = {
            "device": found.device,
            "captured_at_s": found.captured_at_s,
            "timezone": item.rule.timezone,
            "seen": [found.objects[place].plain() for place in matter],
            "objects": len(found.objects),
            "threshold": found.threshold,
            "rule": item.plain(),
            "picture": picture,
            "model": model,
        }
        for recipient in item.rule.recipients:
            yield AlertDraft(
                user=item.rule.user,
                rule=item.rule.name,
                picture_key=str(picture["key"]),
                picture_sha256=str(picture["sha256"]),
                sender=item.rule.sender,
                recipient=recipient,
                evidence=evidence,
                detail=detail,
                subject=name,
            )
