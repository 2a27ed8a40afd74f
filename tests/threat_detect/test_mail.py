"""The mail: complete, stable, and safe against what strangers name."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from lookout.domain.records import Result
from lookout.outbox.channel import Letter
from stages.imaging.annotate import decode_bgr
from stages.threat_detect.channels.event import to_event
from stages.threat_detect.channels.short_text import to_notice
from stages.threat_detect.core import prepare
from stages.threat_detect.local_time import local_time
from stages.threat_detect.mail.alert_text import clean
from stages.threat_detect.mail.message import DIGEST_ROWS, render
from stages.threat_detect.mail.pictures import DIGEST_PICTURES

from .made import CAT, CODE, PERSON, document, jpeg, letter, loaded, rule_file, work


def result(
    *rules: dict[str, Any], key: str = "porch_1763798400.jpg", objects: Any = (PERSON, CAT), **more: Any
) -> Result:
    return prepare({}, loaded({"home.json": rule_file(*rules)}))(work(objects, key, **more))


VIENNA = {"timezone": "Europe/Vienna"}


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(html: str) -> _Page:
    parsed = _Page(html)
    assert parsed.open == []
    return parsed


def test_text_and_html_say_device_times_what_rule_and_provenance() -> None:
    given = result(VIENNA)
    sent = letter([given])
    mail = render(sent)
    assert mail.subject == "[Lookout] person at porch, 2025-11-22 09:00 CET"
    alert = sent.alerts[0]
    for text in (mail.text, page(mail.html).text):
        for part in (
            "porch",
            "2025-11-22 09:00:00 CET",
            "2025-11-22 08:00:00 UTC",
            "person",
            "0.87",
            "25 %",
            "people",
            "home@example.com",
            alert.draft.picture_sha256,
            "5b" * 32,
            given.facts["rules"][0]["sha256"],  # type: ignore[index]
            CODE,
            alert.datum_hash,
            alert.id,
            "lookout trace threat-detect/porch/1763798400.jpg",
            "1 more object in the picture does not matter",
        ):
            assert str(part) in text
        assert "repeat" not in text
    assert mail.headers["X-Lookout-Alert"] == alert.id
    assert (mail.sender, mail.recipient) == ("lookout@example.com", "home@example.com")


def test_the_picture_is_the_evidence_and_the_html_shows_it_by_its_content_id() -> None:
    given = result()
    mail = render(letter([given]))
    (picture,) = mail.pictures
    assert picture.data == given.outputs[1].data
    images = [attrs["src"] for tag, attrs in page(mail.html).tags if tag == "img"]
    assert images == [f"cid:{picture.content_id}"]
    assert picture.name == "porch-2025-11-22-08-00-00.jpg"


def test_a_wide_picture_is_shrunk_to_1280() -> None:
    data = jpeg(1600, 200)
    tree = document("porch_1763798400.jpg", data, [PERSON])
    tree["image"].update(width=1600, height=200)
    wide = prepare({}, loaded({"r.json": rule_file()}))(work(data=data, detections=_bytes(tree)))
    assert decode_bgr(wide.outputs[1].data).shape[1] == 1600
    assert decode_bgr(render(letter([wide])).pictures[0].data).shape[1] == 1280


@pytest.mark.parametrize("broken", [None, b"", b"\xff\xd8\xff nothing", b"<html>"])
def test_a_missing_or_broken_picture_is_said_and_does_not_stop_the_mail(broken: bytes | None) -> None:
    sent = letter([result()])
    evidence = {} if broken is None else {sent.alerts[0].id: broken}
    mail = render(replace(sent, evidence=evidence))
    assert mail.pictures == ()
    assert "The picture is not in this mail" in mail.text
    assert "The picture is not in this mail" in mail.html
    assert "<img" not in mail.html


def test_a_repeat_says_so_with_the_same_subject_and_alert_id() -> None:
    first, again = render(letter([result()])), render(letter([result()], resend=True))
    assert again.subject == first.subject
    assert again.headers == first.headers
    assert "THIS MAY BE A REPEAT" in again.text
    assert "This may be a repeat" in page(again.html).text


def test_the_same_letter_gives_the_same_mail() -> None:
    assert render(letter([result()])) == render(letter([result()]))


# --- digests ---------------------------------------------------------------------------------------------------------


def many(count: int) -> Letter:
    keys = [f"{'porch' if number % 3 else 'gate'}_{1763798400 + 60 * number}.jpg" for number in range(count)]
    return letter([result(VIENNA, key=key, data=jpeg(shade=60 + n % 40)) for n, key in enumerate(keys)])


def test_a_digest_lists_every_alert_and_counts_per_device_and_class() -> None:
    sent = many(9)
    mail = render(sent)
    assert mail.subject == "[Lookout] 9 alerts at 2 devices, 2025-11-22 09:00 CET to 2025-11-22 09:08 CET"
    assert "X-Lookout-Alert" not in mail.headers
    assert mail.headers["X-Lookout-Letter"] == sent.id
    parsed = page(mail.html)
    for text in (mail.text, parsed.text):
        assert all(alert.id in text for alert in sent.alerts)
        assert "5b" * 32 in text
        assert CODE in text
    assert "porch: 6 alerts; person (6)" in mail.text
    assert "gate: 3 alerts; person (3)" in mail.text
    shown = [attrs["src"] for tag, attrs in parsed.tags if tag == "img"]
    assert shown == [f"cid:{picture.content_id}" for picture in mail.pictures]
    assert len(shown) == DIGEST_PICTURES


def test_a_digest_of_one_picture_shows_it_once() -> None:
    mail = render(letter([result({}, {"name": "all", "classes": ["person", "cat"]})]))
    assert mail.subject.startswith("[Lookout] 2 alerts at porch, ")
    assert len(mail.pictures) == 1


def test_a_huge_digest_is_cut_and_says_how_many_are_left() -> None:
    base = many(1)
    alerts = tuple(replace(base.alerts[0], id=f"{number:064x}") for number in range(DIGEST_ROWS + 7))
    mail = render(Letter(id="f" * 64, alerts=alerts, evidence={}))
    assert "and 7 more" in mail.text
    assert f"{DIGEST_ROWS + 7} alerts in one mail" in page(mail.html).text
    assert len(mail.html) < 100_000  # some readers cut at 102 KB


def test_a_repeated_digest_says_so() -> None:
    assert "THIS MAY BE A REPEAT" in render(replace(many(2), resend=True)).text


def test_a_letter_without_alerts_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one alert"):
        render(Letter(id="x", alerts=(), evidence={}))


# --- hostile names ---------------------------------------------------------------------------------------------------

EVIL = "<script>alert(1)</script>\"'\r\nBcc: evil@example.com\x00\u202e{{ 7*7 }}"


def evil() -> Letter:
    sent = letter([result()])
    alert = sent.alerts[0]
    detail: Any = {
        "device": EVIL,
        "captured_at_s": 1763798400.0,
        "timezone": EVIL,
        "seen": [{"label": EVIL, "score": 0.5, "box": [0, 0, 1, 1]}],
        "model": {"name": EVIL, "sha256": EVIL},
        "rule": {"key": EVIL, "sha256": EVIL},
    }
    draft = replace(alert.draft, user=EVIL, rule=EVIL, picture_key=EVIL, sender=EVIL, recipient=EVIL, detail=detail)
    return replace(sent, alerts=(replace(alert, draft=draft, code=EVIL, run=EVIL),))


@pytest.mark.parametrize("count", [1, 2])
def test_what_comes_from_names_is_escaped_and_stays_on_its_line(count: int) -> None:
    sent = evil()
    if count == 2:
        sent = replace(sent, alerts=(sent.alerts[0], replace(sent.alerts[0], id="e" * 64)))
    mail = render(sent)
    assert [tag for tag, _ in page(mail.html).tags if tag == "script"] == []
    assert "alert(1)" in page(mail.html).text
    for line in (mail.subject, mail.sender, mail.recipient, *mail.headers.values()):
        assert line.isprintable()
    assert len(mail.subject) <= 150
    assert "\u202e" not in mail.html + mail.text
    assert "49" not in re.sub(r"[0-9a-f]{16,}", "", mail.text)
    assert not any(line.startswith("Bcc:") for line in mail.text.splitlines())


def test_the_hint_is_safe_to_paste_into_a_shell() -> None:
    sent = letter([result()])
    alert = sent.alerts[0]
    odd = replace(alert, evidence=replace(alert.evidence, key="a b/$(reboot)'x/1763798400.jpg"))
    text = render(replace(sent, alerts=(odd,))).text
    (line,) = [line for line in text.splitlines() if "lookout trace" in line]
    assert shlex.split(line) == ["lookout", "trace", "threat-detect/a b/$(reboot)'x/1763798400.jpg"]


@pytest.mark.parametrize(
    "detail",
    [{}, {"seen": "x", "model": 3, "captured_at_s": True, "device": 5}, {"captured_at_s": 1e300, "seen": [{}]}],
)
def test_an_alert_with_a_poor_detail_still_gives_a_mail(detail: dict[str, Any]) -> None:
    sent = letter([result()])
    mail = render(replace(sent, alerts=(replace(sent.alerts[0], draft=replace(sent.alerts[0].draft, detail=detail)),)))
    assert mail.subject.startswith("[Lookout] ")
    page(mail.html)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", ""), (" a \t b\n", "a b"), ("a\r\nb", "a b"), ("x" * 300, "x" * 199 + "…"), ("\x00", ""), ("\ud800a", "a")],
)
def test_clean_gives_one_printable_line(given: str, expected: str) -> None:
    assert clean(given) == expected


@pytest.mark.parametrize(
    ("at_s", "zone", "expected"),
    [
        (1763798400, "Europe/Vienna", "2025-11-22 09:00:00 CET"),
        (1750000000, "Europe/Vienna", "2025-06-15 17:06:40 CEST"),
        (1763798400.5, "UTC", "2025-11-22 08:00:00 UTC"),
        (1763798400, "Asia/Kathmandu", "2025-11-22 13:45:00 UTC+0545"),
        (1763798400, "No/Such", "2025-11-22 08:00:00 UTC"),
        (0, "UTC", "1970-01-01 00:00:00 UTC"),
        (9999999999999, "UTC", "9999999999999 s UTC"),
    ],
)
def test_times_are_told_with_their_zone(at_s: float, zone: str, expected: str) -> None:
    assert local_time(at_s, zone) == expected


def _bytes(tree: Any) -> bytes:
    return json.dumps(tree).encode()


# --- what the policy held back ---------------------------------------------------------------------------------------

LEADS = (
    "Nobody has acknowledged this alert in time",
    "The rule held these alerts back",
    "judged long after they were taken",
)


def held(summary: str | None, *keys: str, escalates: bool = False, severity: str = "warning") -> Letter:
    """A letter about pictures as the policy has them sent."""
    made = letter([result(VIENNA, key=key) for key in keys or ("porch_1763798400.jpg",)])
    alerts = []
    for alert in made.alerts:
        draft = replace(alert.draft, detail={**alert.draft.detail, "severity": severity}, escalates=escalates)
        alerts.append(replace(alert, draft=draft, place="porch", summary=summary))
    return replace(made, alerts=tuple(alerts))


@pytest.mark.parametrize(
    ("made", "mark", "lead"),
    [
        (held(None), "[Lookout] person at porch", None),
        (held(None, severity="alarm"), "[Lookout] ALARM: person at porch", None),
        (
            held(None, escalates=True),
            "[Lookout] Not acknowledged: person",
            "Nobody has acknowledged this alert in time",
        ),
        (held('summary|["a","b"]|porch|1#1'), "[Lookout] Summary: person at porch", "The rule held these alerts back"),
        (
            held('late|["a","b"]|porch|x', "porch_1763798400.jpg", "porch_1763798500.jpg"),
            "[Lookout] Late: 2 alerts at porch",
            "judged long after they were taken",
        ),
    ],
    ids=["at once", "alarm", "escalation", "summary", "late"],
)
def test_a_mail_says_in_subject_and_text_why_it_comes_now(made: Letter, mark: str, lead: str | None) -> None:
    mail = render(made)
    assert mail.subject.startswith(mark)
    for text in (mail.text, page(mail.html).text):
        assert all((part in text) == (part == lead) for part in LEADS)
    assert lead is None or lead in to_notice(made).text.splitlines()[0]
    event = json.loads(to_event(made))["data"]["alerts"][0]
    assert (event["came"] == "at once") == (lead is None)


def test_an_alert_without_model_rule_file_and_scores_has_no_empty_lines_for_them() -> None:
    """As one about a device in trouble."""
    made = held(None)
    detail = {"device": "porch", "captured_at_s": 1763798400.0, "timezone": "UTC", "seen": [{"label": "silent: 3 d"}]}
    (alert,) = made.alerts
    mail = render(replace(made, alerts=(replace(alert, draft=replace(alert.draft, detail=detail)),)))
    for text in (mail.text, page(mail.html).text):
        assert "silent: 3 d" in text
        assert not re.search(r", score|[Mm]odel|detection threshold", text)
