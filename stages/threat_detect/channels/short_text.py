"""From a letter to a short text for a phone's screen, with its pictures. Knows no way to send it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lookout.outbox.channel import Letter
from stages.threat_detect.mail.alert_text import Sighting, lead_of, sighting
from stages.threat_detect.mail.message import DIGEST_WIDTH_PX, SINGLE_WIDTH_PX, subject_of
from stages.threat_detect.mail.pictures import Inline, choose_pictures, in_order

LINES: Final = 10
"""Alerts that a digest names; the others are counted."""
PICTURES_MAX_BYTES: Final = 4_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """A title, a text of some lines, and pictures."""

    title: str
    text: str
    pictures: tuple[Inline, ...]


def to_notice(letter: Letter) -> Notice:
    """Return the notice of a letter of one alert or several. Never raises for what an alert says or shows."""
    told = [sighting(alert) for alert in in_order(letter)]
    single = len(told) == 1
    lines = _single(told[0]) if single else _several(told)
    repeat = ["This may be a repeat."] if letter.resend else []
    pictures = choose_pictures(letter, SINGLE_WIDTH_PX if single else DIGEST_WIDTH_PX, PICTURES_MAX_BYTES)
    lead = [lead_of(told)] if told[0].came != "at once" else []
    return Notice(title=subject_of(told), text="\n".join([*repeat, *lead, *lines]), pictures=tuple(pictures.values()))


def _single(it: Sighting) -> Iterator[str]:
    yield f"{it.scores or it.what} at {it.device}"
    if it.local:
        yield it.local
    yield f"Rule: {it.rule}"
    yield f"Picture: {it.picture_key}"
    yield f"Alert: {it.alert_id[:12]}"


def _several(told: list[Sighting]) -> Iterator[str]:
    for it in told[:LINES]:
        yield f"{it.local_short} {it.device}: {it.what} ({it.rule}, {it.alert_id[:12]})".strip()
    if len(told) > LINES:
        yield f"and {len(told) - LINES} more"
