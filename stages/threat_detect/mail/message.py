"""From a letter to a mail: subject, plain text, HTML and the pictures in it. Knows no way to send it.

The mail must stand alone on a phone, in dark mode, with pictures blocked, and as text; it must prove where it comes
from; and nothing that a stranger named may break out of its place. The same letter gives the same mail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import jinja2

from lookout.domain.records import Alert
from lookout.outbox.channel import Letter
from stages.threat_detect.mail.alert_text import Sighting, clean, lead_of, sighting, summary
from stages.threat_detect.mail.pictures import Inline, choose_pictures, in_order
from stages.threat_detect.rules.email_address import is_address

SENDER_NAME: Final = "Lookout"
MAX_SUBJECT: Final = 150
SINGLE_WIDTH_PX: Final = 1280
DIGEST_WIDTH_PX: Final = 640
_ALARM: Final = "ALARM: "
_MARKS: Final = {"at once": "", "summary": "Summary: ", "late": "Late: ", "escalation": "Not acknowledged: "}
DIGEST_ROWS: Final = 60
"""More would make readers cut the HTML, which some do at 102 KB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """A mail to one recipient; every header value is one printable line. ``written_at_s`` is the youngest alert's."""

    sender: str
    recipient: str
    subject: str
    text: str
    html: str
    written_at_s: float
    pictures: tuple[Inline, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def fault(self) -> str | None:
        """Return why no channel may try to send this, or None: accepted rules have valid addresses, old records may
        not."""
        for who, address in (("sender", self.sender), ("recipient", self.recipient)):
            if not is_address(address):
                return f"the {who} {address!r} is not a plain e-mail address"
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One alert in a template, with its picture's content id or None."""

    it: Sighting
    cid: str | None


def render(letter: Letter) -> Mail:
    """Return the mail of a letter: of one alert, or a digest of several. Never raises for what an alert says or shows.

    A picture that is missing or no JPEG is left out, and the mail says so. Raises ValueError for a letter without
    alerts.
    """
    if not letter.alerts:
        raise ValueError(f"letter {letter.id}: expected at least one alert, got none")
    alerts = in_order(letter)
    single = len(alerts) == 1
    pictures = choose_pictures(letter, SINGLE_WIDTH_PX if single else DIGEST_WIDTH_PX)
    rows = [_Row(it=sighting(alert), cid=_shown(pictures, alert)) for alert in alerts]
    subject = subject_of([row.it for row in rows])
    values: dict[str, object] = {
        "subject": subject,
        "rows": rows[:DIGEST_ROWS],
        "more": max(0, len(rows) - DIGEST_ROWS),
        "total": len(rows),
        "first": rows[0],
        "resend": letter.resend,
        "lead": lead_of([row.it for row in rows]),
        "letter_id": clean(letter.id),
        "counts": _counts(rows),
        "models": _distinct((row.it.model, row.it.model_sha256) for row in rows),
        "rule_files": _distinct((row.it.rule_file, row.it.rule_sha256) for row in rows),
        "codes": _distinct((row.it.code,) for row in rows),
    }
    name = "alert" if single else "digest"
    first = alerts[0].draft
    return Mail(
        sender=clean(first.sender, limit=254),
        recipient=clean(first.recipient, limit=254),
        subject=subject,
        text=_templates().get_template(f"{name}.txt").render(values),
        html=_templates().get_template(f"{name}.html").render(values),
        written_at_s=max(alert.created_at_s for alert in alerts),
        pictures=tuple(pictures.values()),
        headers=_headers(letter, rows),
    )


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html",), default_for_string=True, default=False),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _headers(letter: Letter, rows: Sequence[_Row]) -> dict[str, str]:
    """Marks for programs: which alert this is, and that nobody's holiday notice should answer it (RFC 3834)."""
    headers = {"X-Lookout-Letter": clean(letter.id), "Auto-Submitted": "auto-generated"}
    if len(rows) == 1:
        headers["X-Lookout-Alert"] = rows[0].it.alert_id
    return headers


def subject_of(told: Sequence[Sighting]) -> str:
    """``[Lookout] person at porch, 2025-11-22 09:00 CET``: of what never changes, so a repeat has the same."""
    first, last = told[0], told[-1]
    if len(told) == 1:
        said = [f"{first.what} at {first.device}", first.local_short]
    else:
        devices = {it.device for it in told}
        where = f"at {first.device}" if len(devices) == 1 else f"at {len(devices)} devices"
        span = first.local_short
        if last.local_short != span:
            span = f"{span} to {last.local_short}"
        said = [f"{len(told)} alerts {where}", span]
    mark = _ALARM if first.severity == "alarm" and first.came == "at once" else _MARKS[first.came]
    return clean(f"[Lookout] {mark}{', '.join(part for part in said if part)}", limit=MAX_SUBJECT)


def _counts(rows: Sequence[_Row]) -> list[tuple[str, int, str]]:
    """Per device: its name, its alerts, and what was seen, the most alerts first."""
    alerts: Counter[str] = Counter(row.it.device for row in rows)
    labels: dict[str, Counter[str]] = {}
    for row in rows:
        labels.setdefault(row.it.device, Counter()).update(line.label for line in row.it.seen)
    return [(device, count, summary(labels[device])) for device, count in alerts.most_common()]


def _distinct(values: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return sorted({value for value in values if any(value)})


def _shown(pictures: dict[str, Inline], alert: Alert) -> str | None:
    inline = pictures.get(alert.id)
    return inline.content_id if inline else None
