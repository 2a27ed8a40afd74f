"""Texts of one alert for a mail: plain, safe, short.

An alert's detail was written by the stage's core, perhaps by an older version of it, and its texts come from names that
strangers chose. Here every field becomes printable text of bounded length, and a missing one an empty text: an alert
must reach its reader even when a part of it cannot be told. Escaping for HTML is the template's work.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lookout.domain.policy.records import Kind
from lookout.domain.records import Alert, Json, JsonObject
from stages.threat_detect.local_time import local_time

MAX_TEXT: Final = 200
_LABELS: Final = 3
_LEADS: Final = {
    "summary": "The rule held these alerts back: one for each event of its quiet time, or since its last digest.",
    "late": (
        "These pictures were judged long after they were taken, as those of a memory card are. If they are new, the"
        " device's clock is wrong: lookout names try shows how its pictures are read."
    ),
    "escalation": "Nobody has acknowledged this alert in time, so you are told too.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenLine:
    """One object that matters: ``score`` like ``0.93``, ``area`` like ``12 %`` of the picture or empty."""

    label: str
    score: str
    area: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """One alert in words. Hashes are whole; ``trace`` is a command for a shell. ``came`` tells how it came to be sent:
    at once, on a summary, on one of late pictures, or because nobody acknowledged it."""

    alert_id: str
    device: str
    local: str
    local_short: str
    utc: str
    what: str
    seen: tuple[SeenLine, ...]
    others: int
    threshold: str
    rule: str
    user: str
    picture_key: str
    picture_sha256: str
    model: str
    model_sha256: str
    rule_file: str
    rule_sha256: str
    code: str
    datum: str
    run: str
    trace: str
    severity: str = ""
    came: Literal["at once", "summary", "late", "escalation"] = "at once"

    @property
    def scores(self) -> str:
        """``person 0.93, cat 0.87``."""
        return ", ".join(f"{line.label} {line.score}".strip() for line in self.seen)


def sighting(alert: Alert) -> Sighting:
    """Return the alert in words."""
    detail, draft = alert.draft.detail, alert.draft
    picture, model, rule = (_part(detail, name) for name in ("picture", "model", "rule"))
    timezone = _text(detail, "timezone") or "UTC"
    at_s = _number(detail, "captured_at_s")
    objects = [item for item in _list(detail, "seen") if isinstance(item, Mapping)]
    count = _number(detail, "objects") or 0
    return Sighting(
        alert_id=clean(alert.id),
        device=_text(detail, "device") or "unknown device",
        local="" if at_s is None else local_time(at_s, timezone),
        local_short="" if at_s is None else local_time(at_s, timezone, seconds=False),
        utc="" if at_s is None else local_time(at_s, "UTC"),
        what=summary(Counter(_text(item, "label") or "object" for item in objects)),
        seen=tuple(_seen(item, picture) for item in objects),
        others=max(0, int(count) - len(objects)),
        threshold=_score(detail, "threshold"),
        rule=clean(draft.rule),
        user=clean(draft.user),
        picture_key=clean(draft.picture_key),
        picture_sha256=clean(draft.picture_sha256),
        model=_text(model, "name"),
        model_sha256=_text(model, "sha256"),
        rule_file=_text(rule, "file") or _text(rule, "key"),
        rule_sha256=_text(rule, "sha256"),
        code=clean(alert.code),
        datum=clean(alert.datum_hash),
        run=clean(alert.run),
        trace=f"lookout trace {shlex.quote(clean(alert.evidence.path, limit=2000))}",
        severity=_text(detail, "severity"),
        came=_came(alert),
    )


def lead_of(told: Sequence[Sighting]) -> str:
    """Return the sentence that says why a letter is more than one alert told at once; empty for one that is not."""
    came = told[0].came
    if came == "at once":
        return "There were too many alerts for a mail each." if len(told) > 1 else ""
    return _LEADS[came]


def _came(alert: Alert) -> Literal["at once", "summary", "late", "escalation"]:
    if alert.draft.escalates:
        return "escalation"
    if alert.summary is None:
        return "at once"
    return "late" if alert.summary.startswith(f"{Kind.LATE}|") else "summary"


def summary(labels: Counter[str]) -> str:
    """``person (2), dog``: at most three labels, the most frequent first."""
    said = [label if count == 1 else f"{label} ({count})" for label, count in labels.most_common(_LABELS)]
    return ", ".join(said) + (" and more" if len(labels) > _LABELS else "") or "threat"


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return the text without anything unprintable: no line break can end a header, no direction mark can turn a name
    around. Runs of white space become one blank; what is longer than ``limit`` is cut."""
    plain = "".join(char if char.isprintable() else " " for char in text[: 4 * limit])
    plain = " ".join(plain.split())
    return plain if len(plain) <= limit else plain[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _seen(item: JsonObject, picture: JsonObject) -> SeenLine:
    return SeenLine(label=_text(item, "label") or "object", score=_score(item, "score"), area=_area(item, picture))


def _area(item: JsonObject, picture: JsonObject) -> str:
    box = [float(edge) for edge in _list(item, "box") if isinstance(edge, (int, float))]
    width, height = _number(picture, "width"), _number(picture, "height")
    if len(box) != 4 or not width or not height:
        return ""
    wide = max(0.0, min(box[2], width) - max(box[0], 0.0))
    high = max(0.0, min(box[3], height) - max(box[1], 0.0))
    percent = 100 * wide * high / (width * height)
    return f"{percent:.0f} %" if percent >= 1 else "under 1 %"


def _score(item: JsonObject, name: str) -> str:
    value = _number(item, name)
    return "" if value is None else f"{value:.2f}"


def _part(item: JsonObject, name: str) -> JsonObject:
    value = item.get(name)
    return value if isinstance(value, Mapping) else {}


def _list(item: JsonObject, name: str) -> Sequence[Json]:
    value = item.get(name)
    return value if isinstance(value, (list, tuple)) else ()


def _text(item: JsonObject, name: str) -> str:
    value = item.get(name)
    return clean(value) if isinstance(value, str) else ""


def _number(item: JsonObject, name: str) -> float | None:
    value = item.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
