"""The stage: which detections matter by the rules in force, and who must be told. Pure; sends nothing.

Knows no channel and no outbox: an alert leaves here as a draft that carries all that a channel will need. A rule of
version 1 tells each match; of version 2 the stage gives verdicts, and the policy decides on them when the datum is
committed. Without a threat nothing is written and the picture is not even decoded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lookout.domain.errors import Corrupt, InputRejected, ObjectChanged
from lookout.domain.policy.verdicts import RuleVerdict
from lookout.domain.records import AlertDraft, Input, JsonObject, LoadedReference, Output, Result, Work
from stages.picture_names import PictureName, name_of
from stages.threat_detect.detections import Detections, Seen, read
from stages.threat_detect.drafts import About, draft
from stages.threat_detect.local_time import local_time
from stages.threat_detect.rules.rules import ROLE, Rule, Wanted, parse_file
from stages.threat_detect.rules.select import watches
from stages.threat_detect.rules.version2.matching import Picture, judge, misses, picture_of, zones_of
from stages.threat_detect.rules.version2.rule import Rule2, RuleFile2

_VALID: Final = "valid/"
_SHORT: Final = 8
_RULES_IN_FOOTER: Final = 3
_NO_FILE: Final = RuleFile2(sites={}, clocks=(), rules=(), notes=())


@dataclass(frozen=True, kw_only=True, slots=True)
class _InForce:
    """A rule with the file it comes from: the name that the user gave it, and its object in the rules bucket. ``whole``
    is the content of that file, if it is of version 2."""

    rule: Rule | Rule2
    whole: RuleFile2
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


@dataclass(frozen=True, slots=True)
class _Hit:
    """A rule that matches, with the places, in the list of objects, of those that matter to it, and the names of the
    zones in which these are."""

    item: _InForce
    matter: tuple[int, ...]
    zones: tuple[str, ...] = ()

    def plain(self) -> JsonObject:
        """Return the rule as results name it; one of version 2 with what a page of events asks for."""
        rule = self.item.rule
        if isinstance(rule, Rule):
            return self.item.plain()
        more: JsonObject = {"severity": rule.severity, "gap_s": rule.policy.gap_s, "zones": list(self.zones)}
        return {**self.item.plain(), **more}


def prepare(params: JsonObject, references: Sequence[LoadedReference]) -> Callable[[Work], Result]:
    """Return the stage for one set of rule files; without any, nothing is a threat. There are no parameters.

    Raises InputRejected for a parameter or a rule file that cannot be used.
    """
    for name in params:
        raise InputRejected("threat-detect has no such parameter", name)
    in_force: dict[tuple[str, str], _InForce] = {}
    for loaded in sorted(references, key=lambda item: item.reference.name):
        for item in _items(loaded):
            # A file that was kept in force while its successor was refused may share a rule with a newer file: the
            # alerts would be the same ones, so the first holds.
            in_force.setdefault(item.rule.identity, item)
    return _ThreatDetect(tuple(in_force.values()))


def _items(loaded: LoadedReference) -> Iterator[_InForce]:
    ref = loaded.reference.files[ROLE]
    found = parse_file(loaded.reference.name, loaded.data[ROLE])
    whole, rules = (_NO_FILE, found) if isinstance(found, tuple) else (found, found.rules)
    for rule in rules:
        yield _InForce(rule=rule, whole=whole, file=loaded.reference.name, key=ref.key, sha256=ref.sha256)


@dataclass(frozen=True, slots=True)
class _ThreatDetect:
    rules: tuple[_InForce, ...]

    def __call__(self, work: Work) -> Result:
        """Return the threats of one picture: JSON, picture with boxes, alert drafts and verdicts; or an empty result.

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
        seen_at_s = found.captured_at_s if picture.observed_at_s is None else picture.observed_at_s
        judged = picture_of(found, work.key, seen_at_s)
        hits: list[_Hit] = []
        verdicts: list[tuple[_InForce, RuleVerdict]] = []
        for item in self.rules:
            if not watches(item.rule.devices, found.device):
                continue
            zones: tuple[str, ...] = ()
            if isinstance(item.rule, Rule):
                matter = _matter(item.rule, found)
            else:
                verdict, matter = _judge(item, item.rule, judged, picture.ref.sha256)
                verdicts.append((item, verdict))
                zones = zones_of(item.rule, judged, matter)
            if matter:
                hits.append(_Hit(item, matter, zones))
        if not hits:
            return Result(at_s=found.captured_at_s, verdicts=tuple(verdict for _, verdict in verdicts))
        return _result(key, name, picture, found, hits, verdicts)


def _matter(rule: Rule, found: Detections) -> tuple[int, ...]:
    """Return the places, in the list of objects, of those that matter to the rule."""
    return tuple(
        place for place, seen in enumerate(found.objects) if any(_holds(wanted, seen, found) for wanted in rule.wanted)
    )


def _holds(wanted: Wanted, seen: Seen, found: Detections) -> bool:
    same = wanted.class_id == seen.class_id if wanted.class_id is not None else wanted.label == seen.label.casefold()
    least = found.threshold if wanted.min_score is None else wanted.min_score
    return same and seen.score >= least and seen.area(found.image) >= wanted.min_area


def _judge(item: _InForce, rule: Rule2, picture: Picture, sha256: str) -> tuple[RuleVerdict, tuple[int, ...]]:
    """Return the verdict of a rule of version 2, without drafts, and the places of the objects that matter if it
    matches."""
    match = judge(item.whole, rule, picture)
    verdict = RuleVerdict(match=match, policy=rule.policy, picture_sha256=sha256, rule_sha256=item.sha256)
    if match.code is not None:
        return verdict, ()
    return verdict, tuple(place for place, miss in enumerate(misses(rule, picture)) if miss is None)


def _result(
    key: str,
    name: PictureName,
    picture: Input,
    found: Detections,
    hits: Sequence[_Hit],
    verdicts: Sequence[tuple[_InForce, RuleVerdict]],
) -> Result:
    names_at: dict[int, list[str]] = {}
    for hit in hits:
        for place in hit.matter:
            names_at.setdefault(place, []).append(hit.item.rule.name)
    places = sorted(names_at)
    threats = [found.objects[place].plain() for place in places]
    labels = Counter(found.objects[place].label for place in places)
    rules = [hit.plain() for hit in hits]
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
    about = About(picture=subject, model=model, found=found, evidence=f"{name.stem}.jpg", subject=name.subject)
    matter = {hit.item.rule.identity: hit.matter for hit in hits}
    return Result(
        outputs=(
            Output(key=f"{name.stem}.json", data=json.dumps(document).encode("ascii"), content_type="application/json"),
            Output(key=about.evidence, data=_draw(picture, found, set(places), hits), content_type="image/jpeg"),
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
        alerts=tuple(_drafts_of_version1(hits, about)),
        verdicts=tuple(
            _with_drafts(item, verdict, matter.get(item.rule.identity, ()), about) for item, verdict in verdicts
        ),
    )


def _draw(picture: Input, found: Detections, threats: set[int], hits: Sequence[_Hit]) -> bytes:
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
    return encode_jpeg(annotate(picture_bgr, boxes, _footer(found, [hit.item.rule for hit in hits])))


def _footer(found: Detections, rules: Sequence[Rule | Rule2]) -> str:
    zones = {rule.timezone for rule in rules}
    zone = zones.pop() if len(zones) == 1 else "UTC"
    names = list(dict.fromkeys(rule.name for rule in rules))
    more = len(names) - _RULES_IN_FOOTER
    said = ", ".join(names[:_RULES_IN_FOOTER]) + (f" +{more}" if more > 0 else "")
    when = local_time(found.captured_at_s, zone)
    return f"{found.device} | {when} | rule: {said} | model {found.model.sha256[:_SHORT]}"


def _drafts_of_version1(hits: Iterable[_Hit], about: About) -> Iterator[AlertDraft]:
    for hit in hits:
        rule = hit.item.rule
        if isinstance(rule, Rule):
            detail = about.detail(rule.timezone, hit.item.plain(), hit.matter)
            for recipient in rule.recipients:
                yield draft(rule.identity, rule.sender, recipient, detail, about)


def _with_drafts(item: _InForce, verdict: RuleVerdict, matter: tuple[int, ...], about: About) -> RuleVerdict:
    """Return the verdict with what an alert would say to each recipient, and to those who are told later."""
    rule = item.rule
    if verdict.match.code is not None or not isinstance(rule, Rule2):
        return verdict
    detail = {**about.detail(rule.timezone, item.plain(), matter), "severity": rule.severity}
    return RuleVerdict(
        match=verdict.match,
        policy=verdict.policy,
        picture_sha256=verdict.picture_sha256,
        rule_sha256=verdict.rule_sha256,
        drafts=tuple(
            draft(rule.identity, channel.sender, recipient, detail, about, channel=channel.channel)
            for channel in rule.channels
            for recipient in channel.recipients
        ),
        escalations=tuple(
            draft(rule.identity, rule.mail_sender, recipient, detail, about, escalates=True)
            for recipient in rule.escalate_to
        ),
    )
