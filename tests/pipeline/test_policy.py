"""Rules of version 2 in the real pipeline: one alert for one visit, whatever happens to its pictures afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lookout.domain.policy import codec
from lookout.domain.records import AlertState
from lookout.ledger.rules.decisions import DECISIONS

from .site import NOW_S, PERSON, Site, rule

AT = int(NOW_S) - 300
"""Time of the first picture: five minutes before the pipeline sees it."""


def rule2(**fields: Any) -> str:
    made = {
        "name": "person at porch",
        "user": "home@example.com",
        "devices": ["porch"],
        "classes": ["person"],
        "from": "lookout@example.com",
        "to": ["home@example.com"],
    }
    return json.dumps({"version": 2, "rules": [{**made, **fields}]})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(root=tmp_path)
    site.put_rule("porch", rule2())
    return site


def put(site: Site, *seconds: int) -> None:
    """Put the person's picture, taken so many seconds after the first one. Each has bytes of its own."""
    for second in seconds:
        name = f"porch_{AT + second}.jpg"
        site.put_as(PERSON, name)
        path = site.root / "photos" / name
        path.write_bytes(path.read_bytes() + str(second).encode())


def mails(site: Site) -> int:
    return len(list((site.root / "state" / "outbox").glob("*.eml")))


def codes(site: Site) -> dict[int, str]:
    """By second of the picture, the code of its decision."""
    with site.ledger() as ledger:
        texts = list(ledger.policy_texts(DECISIONS))
    return {
        int(key.removeprefix("porch_").removesuffix(".jpg")) - AT: decision.kept.code
        for (_, key, _), text in texts
        for decision in codec.decisions_from_json(text)
    }


def test_a_visit_is_one_mail_and_each_picture_has_its_results(site: Site) -> None:
    put(site, 0, 10, 20)
    site.run()
    assert sorted(codes(site).values()) == ["merged_event", "merged_event", "sent"]
    assert mails(site) == 1
    assert sum(path.startswith("threat-detect/") and path.endswith(".json") for path in site.results()) == 3
    assert site.run() == {}


def test_another_visit_within_the_cooldown_is_held_back_and_one_after_it_is_told(site: Site) -> None:
    put(site, 0)
    site.run()
    put(site, 299)
    site.run()
    assert codes(site)[299] == "cooldown"
    site.now_s += 600
    put(site, 700)
    site.run()
    assert codes(site)[700] == "sent"
    assert mails(site) == 2


def test_another_model_and_a_changed_rule_tell_nobody_again(site: Site) -> None:
    put(site, 0, 10)
    site.run()
    before = codes(site)
    site.put_rule("porch", rule2(min_score=0.3, cooldown="1m", event={"gap": "1m", "again": "1m"}))
    assert site.run()["threat-detect"] == 2
    assert codes(site) == before
    assert mails(site) == 1


def test_a_rule_of_version_1_that_becomes_version_2_tells_nobody_again(site: Site) -> None:
    site.put_rule("porch", rule("porch", "person"))
    put(site, 0, 10)
    site.run()
    assert mails(site) == 2
    site.put_rule("porch", rule2())
    site.run()
    assert codes(site) == {}  # told before: nothing is decided
    put(site, 20)
    site.run()
    assert codes(site)[20] == "sent"  # the first one that the policy tells
    site.put_rule("porch", rule("porch", "person"))
    site.run()
    assert mails(site) == 3


def test_a_deleted_picture_takes_its_decision_and_what_has_not_left(site: Site) -> None:
    site.put_rule("porch", rule2(quiet=[{"from": "00:00", "to": "23:59"}]))
    put(site, 0)
    site.run()
    assert codes(site) == {0: "held_quiet"}
    (site.root / "photos" / f"porch_{AT}.jpg").unlink()
    put(site, -10_000)  # a folder without any picture is taken for one that is not mounted
    site.run()
    assert 0 not in codes(site)
    with site.ledger() as ledger:
        states = {alert.draft.picture_key: alert.state for alert in ledger.alerts()}
    assert states[f"porch_{AT}.jpg"] is AlertState.CANCELED


def test_a_picture_that_comes_back_is_not_told_again(site: Site) -> None:
    put(site, 0, 10)
    site.run()
    path = site.root / "photos" / f"porch_{AT}.jpg"
    data = path.read_bytes()
    path.unlink()
    site.run()
    path.write_bytes(data)
    site.run()
    assert mails(site) == 1


def test_a_moved_picture_is_told_nobody_again_however_old_it_is(site: Site) -> None:
    put(site, 0)
    site.run()
    site.now_s += 86_400
    old = site.root / "photos" / f"porch_{AT}.jpg"
    (site.root / "photos" / "archive").mkdir()
    old.rename(site.root / "photos" / "archive" / old.name)
    site.run()
    site.now_s += 86_400
    site.run()
    assert mails(site) == 1


def test_old_pictures_of_a_card_are_one_summary(site: Site) -> None:
    site.now_s += 90 * 86_400
    put(site, 0, 4_000, 8_000)
    site.run()
    assert set(codes(site).values()) == {"late_summary"}
    assert mails(site) == 0
    site.now_s += 3 * 3600
    put(site, 3 * 3600)
    site.run()
    assert mails(site) == 1


def test_an_event_is_told_to_others_if_nobody_acknowledges_it(site: Site) -> None:
    site.put_rule("porch", rule2(escalate={"after": "15m", "to": ["neighbour@example.com"]}))
    put(site, 0)
    site.run()
    assert mails(site) == 1
    site.now_s += 1000
    put(site, -5000)
    site.run()
    with site.ledger() as ledger:
        told = {alert.draft.recipient for alert in ledger.alerts(states=[AlertState.WRITTEN])}
    assert told == {"home@example.com", "neighbour@example.com"}
