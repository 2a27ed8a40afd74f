"""Each reason code has one sentence, which names its numbers; decisions of all scenarios can be said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lookout.cli import cli
from lookout.domain.policy.records import Code
from stages.installation import INSTALLATION
from stages.reason_codes.sentences import MATCHES, SENTENCES, Seen, sentence_of
from stages.reason_codes.words import duration, percents, scores
from stages.threat_detect.simulation.rulebook import rulebook_of
from tests.policy.histories import BASE, rule_document
from tests.policy.test_scenarios import SCENARIOS, files_of

ZONES = [
    {"name": "street", "mode": "exclude", "polygon": [[0, 0], [1, 0], [1, 0.3]]},
    {"name": "door", "polygon": [[0, 0], [1, 0], [1, 0.9]], "decides": "centre"},
]
QUIET = [{"from": "22:00", "to": "07:00", "action": "drop"}]
DOCUMENT = rule_document(zones=ZONES, quiet=QUIET, timezone="Europe/Vienna")
RULE = next(iter(rulebook_of({"rules.json": DOCUMENT}, "rules").entries.values())).rule
SEEN = Seen(key="porch_1.jpg", device="porch", at_s=BASE, rule=RULE, threshold=0.5)
"""A picture of Saturday, 22 November 2025, 09:00 in Vienna."""

CASES: list[tuple[str, dict[str, Any], str]] = [
    ("other_device", {"devices": ["yard", "gate-*"]}, "The rule does not watch porch; it watches yard and gate-*."),
    ("no_objects", {}, "Nothing was seen with a score of 0.50."),
    ("no_wanted_class", {"classes": ["cat", "dog"]}, "Nothing of the rule's classes was seen, only cat and dog."),
    ("below_score", {"class": "person", "score": 0.58, "needed": 0.6}, "Best was person 0.58; 0.60 is needed."),
    ("below_score", {"class": "person", "score": 0.5999, "needed": 0.6}, "Best was person 0.5999; 0.6000 is needed."),
    (
        "too_small",
        {"class": "person", "area": 0.004, "needed": 0.01, "min_area": 0.01, "max_area": 1.0},
        "The person covers 0.4 % of the picture; 1 % is needed.",
    ),
    (
        "too_small",
        {"class": "person", "area": 0.00996, "needed": 0.01, "min_area": 0.01, "max_area": 1.0},
        "The person covers 0.996 % of the picture; 1 % is needed.",
    ),
    (
        "too_large",
        {"class": "car", "area": 0.5, "needed": 0.25, "min_area": 0.0, "max_area": 0.25},
        "The car covers 50 % of the picture; 25 % is the most.",
    ),
    (
        "excluded_zone",
        {"class": "person", "zone": "street", "point": [0.31, 0.22]},
        'The foot of the person (0.31, 0.22) is in "street", which is excluded.',
    ),
    (
        "excluded_zone",
        {"class": "person", "zone": "street", "overlap": 0.8, "needed": 0.5},
        '80 % of the person is in "street", which is excluded from 50 % on.',
    ),
    (
        "outside_zone",
        {"class": "person", "zone": "door", "point": [0.31, 0.22]},
        'The centre of the person (0.31, 0.22) is outside of "door".',
    ),
    (
        "outside_zone",
        {"class": "person", "zone": "door", "overlap": 0.25, "needed": 0.5},
        '25 % of the person is in "door"; 50 % is needed.',
    ),
    ("too_few", {"seen": 1, "needed": 2}, "Only 1 of the 2 objects that are needed."),
    (
        "outside_schedule",
        {"local": "2025-11-22T09:00:00+01:00", "next_s": BASE + 49 * 3600},
        "Taken Sat 2025-11-22 09:00 CET, outside of the schedule; the rule holds again on Mon 2025-11-24 10:00 CET.",
    ),
    (
        "outside_schedule",
        {"local": "2025-11-22T09:00:00+01:00", "next_s": None},
        "Taken Sat 2025-11-22 09:00 CET, outside of the schedule; the rule holds at no time of the coming year.",
    ),
    (
        MATCHES,
        {},
        "It matches, and the ledger has no decision on it: the picture is not finished, or the rule is newer.",
    ),
    ("sent", {"event": "porch_1.jpg"}, "Told at once: the first picture of a new event."),
    (
        "sent",
        {"event": "porch_0.jpg"},
        "Told at once: of the event that began with porch_0.jpg, nothing was told for long enough.",
    ),
    (
        "held_confirm",
        {"event": "porch_1.jpg", "until_s": BASE + 90},
        "A new event, or still the one just before? Told at 09:01:30 unless a picture in between joins the two.",
    ),
    (
        "held_quiet",
        {"event": "porch_1.jpg", "until_s": BASE + 22 * 3600, "summary": "porch|1#1"},
        "In a quiet time or before a digest: on the summary of Sun 2025-11-23 07:00 CET.",
    ),
    (
        "late_summary",
        {"age_s": 90 * 86400.0, "until_s": BASE + 90 * 86400, "summary": "porch_1.jpg"},
        "Judged 3 months after it was taken: on the summary of late pictures, "
        "which leaves on Fri 2026-02-20 09:00 CET or later.",
    ),
    (
        "merged_event",
        {"event": "porch_0.jpg", "told_by": "porch_0.jpg", "told_at_s": BASE - 5.0},
        "Of this event the person was told 5 s before this picture, by porch_0.jpg.",
    ),
    (
        "merged_event",
        {"event": "porch_0.jpg", "told_by": "porch_2.jpg", "told_at_s": BASE},
        "Of this event the person was told at the same time, by porch_2.jpg.",
    ),
    (
        "cooldown",
        {"event": "porch_1.jpg", "told_by": "gate_0.jpg", "told_at_s": BASE - 550.0, "left_s": 50.0},
        "The person was told of another event 9 min 10 s before this picture, by gate_0.jpg; "
        "the cooldown of 10 min ends 50 s after this picture.",
    ),
    (
        "static_object",
        {"class": "car", "seen_at_s": BASE - 2880.0, "iou": 0.93, "since_s": BASE - 2880.0},
        "A car stood at its place at 08:12 already (overlap 0.93).",
    ),
    (
        "static_object",
        {"class": "car", "seen_at_s": BASE - 2880.0, "iou": 0.93, "since_s": BASE - 43200.0},
        "A car stood at its place at 08:12 already (overlap 0.93), and since Fri 2025-11-21 21:00 CET.",
    ),
    (
        "silenced",
        {"event": "porch_1.jpg", "silence": "s1", "by": "home", "until_s": BASE + 25200.0},
        "Silenced by home until 16:00 (silence s1).",
    ),
    (
        "acknowledged",
        {"event": "porch_0.jpg", "by": "home"},
        "The event that began with porch_0.jpg was acknowledged by home: it is known.",
    ),
    ("quiet_dropped", {"event": "porch_1.jpg"}, "In the quiet time, in which pictures are dropped."),
    (
        "late_merged",
        {"age_s": 7200.0, "event": "porch_0.jpg"},
        "Judged 2 h after it was taken, and the person was told of its event (porch_0.jpg).",
    ),
    ("late_dropped", {"age_s": 7200.0}, "Judged 2 h after it was taken: the rule drops late pictures."),
    (
        "old_news",
        {"age_s": 172800.0},
        "Processed again 2 days after it was taken, by another model or another rule: "
        "nothing is told of what was there before.",
    ),
    (
        "decided_before",
        {"was": "sent", "decided_s": BASE},
        "Nothing new: decided on Sat 2025-11-22 09:00 CET as sent.",
    ),
    ("told_before", {}, "Nothing new: the outbox has an alert of this rule about this picture already."),
    (
        "withdrawn",
        {"was": "sent", "left": 2},
        "The picture is gone or matches no more; it was decided as sent. Pictures left of its event: 2.",
    ),
    ("withdrawn", {"was": "cooldown"}, "The picture is gone or matches no more; it was decided as cooldown."),
]


@pytest.mark.parametrize(("code", "numbers", "sentence"), CASES, ids=[f"{case[0]}-{n}" for n, case in enumerate(CASES)])
def test_a_code_has_a_sentence_with_its_numbers(code: str, numbers: dict[str, Any], sentence: str) -> None:
    assert sentence_of(code, numbers, SEEN) == sentence


def test_each_code_of_the_page_and_of_the_policy_has_a_case() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
    table = page.partition("Why a picture was not told")[2]
    documented = {
        code for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for code in re.findall(r"`(\w+)`", row)
    }
    assert documented | {MATCHES} == set(SENTENCES) == {case[0] for case in CASES}
    assert set(Code) <= documented


def test_a_quiet_time_is_named_by_its_span_and_version_1_by_its_version() -> None:
    night = Seen(key="porch_1.jpg", device="porch", at_s=BASE - 3 * 3600, rule=RULE)
    assert sentence_of("quiet_dropped", {}, night) == (
        "In the quiet time from 22:00 to 07:00, in which pictures are dropped."
    )
    each = Seen(key="porch_1.jpg", device="porch", at_s=BASE, rule=RULE, each=True)
    assert sentence_of("sent", {}, each) == "Told at once: a rule of version 1 tells each picture that matches."


@pytest.mark.parametrize("clock", ["clock_ahead", "clock_reset", "received"])
def test_a_corrected_clock_is_said_too(clock: str) -> None:
    plain, said = (sentence_of("sent", {"clock": one}, SEEN) for one in (None, clock))
    assert said.startswith(f"{plain} ")
    assert "arriv" in said.removeprefix(plain)


def test_a_newer_code_is_shown_with_its_numbers() -> None:
    assert sentence_of("moonlight", {"phase": 0.5}, SEEN) == "phase 0.5"
    assert sentence_of("moonlight", {}, SEEN) == "moonlight."


def test_each_decision_of_the_scenarios_can_be_said(tmp_path: Path) -> None:
    said: dict[str, set[str]] = {}
    for scenario in SCENARIOS:
        done = CliRunner().invoke(cli, files_of(scenario, tmp_path), obj=INSTALLATION)
        for line in map(json.loads, done.stdout.splitlines()):
            if "code" in line:
                seen = Seen(key=line["key"], device="porch", at_s=line.get("t", BASE), threshold=0.5)
                said.setdefault(line["code"], set()).add(sentence_of(line["code"], line, seen))
    assert set(Code) <= said.keys() <= set(SENTENCES)
    assert all(sentence.endswith(".") and "None" not in sentence for some in said.values() for sentence in some)


@pytest.mark.parametrize(
    ("length_s", "text"),
    [
        (0, "0 s"),
        (0.25, "0.2 s"),
        (59.6, "1 min"),
        (550, "9 min 10 s"),
        (3600, "1 h"),
        (90_061, "1 day 1 h"),
        (172_800, "2 days"),
        (90 * 86_400, "3 months"),
    ],
)
def test_a_duration_is_said_in_two_units(length_s: float, text: str) -> None:
    assert duration(length_s) == text


def test_numbers_are_said_so_that_they_differ() -> None:
    assert scores(0.596, 0.6) == ("0.596", "0.600")
    assert scores(0.1234567, 0.1234568) == ("0.12", "0.12")
    assert percents(0.004, 0.01) == ("0.4 %", "1 %")
    assert percents(0.0499, 0.05) == ("4.99 %", "5 %")
