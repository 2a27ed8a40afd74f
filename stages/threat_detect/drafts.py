"""Drafts of alerts: what an alert about one picture says, to one recipient."""

from __future__ import annotations

from dataclasses import dataclass

from lookout.domain.records import MAIL, AlertDraft, JsonObject
from stages.threat_detect.detections import Detections


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """Subject of the drafts of one picture: the picture and the model as plain values, what was found, the key of the
    output that shows it, and the text that names the picture wherever it lies."""

    picture: JsonObject
    model: JsonObject
    found: Detections
    evidence: str
    subject: str

    def detail(self, timezone: str, rule: JsonObject, matter: tuple[int, ...]) -> JsonObject:
        """Return what a channel renders. ``matter`` are the places of the objects that matter to the rule."""
        return {
            "device": self.found.device,
            "captured_at_s": self.found.captured_at_s,
            "timezone": timezone,
            "seen": [self.found.objects[place].plain() for place in matter],
            "objects": len(self.found.objects),
            "threshold": self.found.threshold,
            "rule": rule,
            "picture": self.picture,
            "model": self.model,
        }


def draft(
    rule: tuple[str, str],
    sender: str,
    recipient: str,
    detail: JsonObject,
    about: About,
    *,
    channel: str = MAIL,
    escalates: bool = False,
) -> AlertDraft:
    """Return the draft for one recipient of a rule, given by user and name, by a channel."""
    user, name = rule
    return AlertDraft(
        user=user,
        rule=name,
        picture_key=str(about.picture["key"]),
        picture_sha256=str(about.picture["sha256"]),
        sender=sender,
        recipient=recipient,
        evidence=about.evidence,
        detail=detail,
        subject=about.subject,
        channel=channel,
        escalates=escalates,
    )
