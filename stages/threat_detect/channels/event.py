"""From a letter to an event of CloudEvents 1.0, structured, as JSON. Knows no way to send it.

The event says what a mail says: what was seen, where and when, and its provenance. The same letter gives the same
event, but for the mark of a repeat. Source of the form: CloudEvents 1.0.2 and its JSON event format.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Final

from lookout.domain.records import Alert, Json, JsonObject
from lookout.outbox.channel import Letter
from stages.threat_detect.mail.alert_text import Sighting, clean, sighting
from stages.threat_detect.mail.message import SINGLE_WIDTH_PX, subject_of
from stages.threat_detect.mail.pictures import Inline, choose_pictures, in_order

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
SOURCE: Final = "/lookout"
TYPE: Final = "lookout.alerts.v1"
PICTURES_MAX_BYTES: Final = 700_000
"""Of all pictures of an event: with base64 it stays below 1 MiB, which is what many servers take."""


def to_event(letter: Letter) -> bytes:
    """Return the event of a letter of one alert or several, in ASCII. A picture that is missing, no JPEG or too large
    is left out, and ``picture`` is null. Never raises for what an alert says or shows."""
    alerts = in_order(letter)
    told = [sighting(alert) for alert in alerts]
    pictures = choose_pictures(letter, SINGLE_WIDTH_PX, PICTURES_MAX_BYTES)
    event: JsonObject = {
        "specversion": "1.0",
        "id": clean(letter.id),
        "source": SOURCE,
        "type": TYPE,
        "time": _time(max(alert.created_at_s for alert in alerts)),
        "subject": told[0].device if len({it.device for it in told}) == 1 else f"{len(told)} alerts",
        "datacontenttype": "application/json",
        "data": {
            "title": subject_of(told),
            "repeat": letter.resend,
            "alerts": [_alert(alert, it, pictures.get(alert.id)) for alert, it in zip(alerts, told, strict=True)],
        },
    }
    return json.dumps(event, separators=(",", ":")).encode("ascii")


def _alert(alert: Alert, it: Sighting, picture: Inline | None) -> JsonObject:
    captured_at_s = alert.draft.detail.get("captured_at_s")
    objects: list[Json] = [{"label": seen.label, "score": seen.score, "area": seen.area} for seen in it.seen]
    return {
        "id": it.alert_id,
        "user": it.user,
        "rule": it.rule,
        "device": it.device,
        "captured_at": _time(captured_at_s) if isinstance(captured_at_s, (int, float)) else None,
        "captured_at_local": it.local,
        "severity": it.severity or None,
        "came": it.came,
        "what": it.what,
        "objects": objects,
        "picture": None if picture is None else _picture(picture),
        "photo": {"key": it.picture_key, "sha256": it.picture_sha256},
        "model": {"name": it.model, "sha256": it.model_sha256},
        "rule_file": {"name": it.rule_file, "sha256": it.rule_sha256},
        "code": it.code,
        "datum": it.datum,
        "run": it.run,
        "trace": it.trace,
    }


def _picture(picture: Inline) -> JsonObject:
    return {
        "name": picture.name,
        "content_type": "image/jpeg",
        "base64": base64.b64encode(picture.data).decode("ascii"),
    }


def _time(at_s: float) -> str | None:
    """Return a time of RFC 3339 in UTC, with milliseconds; None for one that no calendar has."""
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None
