"""Trouble with devices is told once, whatever dies, and kept with its end."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from devkit.contracts.ledger_kit import ManualClock
from lookout.app.device_tellings import Tellings, tell_troubles
from lookout.config.operator import Operator
from lookout.domain.device_health.records import DAY_S, HOUR_S, Kind
from lookout.domain.errors import InputRejected
from lookout.domain.records import AlertState
from lookout.ledger.rules.decisions import PolicyUnit
from lookout.ledger.sqlite import SqliteLedger
from lookout.outbox.channel import Letter
from lookout.reports.device_health import kept_findings
from stages.pipeline import PIPELINE
from stages.threat_detect.channels.event import to_event
from stages.threat_detect.channels.short_text import to_notice
from stages.threat_detect.mail.message import render

from .test_reader import START_S, Site, site

__all__ = ["site"]

T = TypeVar("T")

OPERATOR = Operator(channel="webhook:home", recipient="webhook:home")
LATER_S = START_S + 9 * DAY_S


def tell(site: Site, now_s: float, operator: Operator | None = OPERATOR) -> Tellings:
    return tell_troubles(PIPELINE, site.ledger, operator, now_s)


def test_a_silent_device_is_told_once_and_its_end_is_kept(site: Site) -> None:
    site.days("porch", 7)
    assert tell(site, START_S + 7 * DAY_S) == Tellings(devices=1, began=0, ended=0, told=0)
    assert tell(site, LATER_S) == Tellings(devices=1, began=1, ended=0, told=1)
    for hours in range(1, 50, 6):
        assert tell(site, LATER_S + hours * HOUR_S).told == 0
    (alert,) = site.ledger.alerts()
    assert (alert.state, alert.draft.channel) == (AlertState.PENDING, "webhook:home")
    assert alert.draft.picture_key == "porch_21.jpg"
    assert alert.evidence.key == "porch_21.jpg.json"
    site.take("porch", LATER_S + 3 * DAY_S)
    assert tell(site, LATER_S + 3 * DAY_S + 60) == Tellings(devices=1, began=0, ended=1, told=0)
    ((kept,),) = kept_findings(site.ledger).values()
    assert (kept.kind, kept.end_s, kept.told_at_s) == (Kind.SILENT, LATER_S + 3 * DAY_S + 60, LATER_S)
    (shown,) = site.health(LATER_S + 4 * DAY_S).troubles
    assert shown.finding == kept


def test_two_outages_are_told_as_two(site: Site) -> None:
    site.days("porch", 7)
    assert tell(site, LATER_S).told == 1
    site.days("porch", 7, first=12)
    assert tell(site, START_S + 18 * DAY_S + 17 * HOUR_S).ended == 1
    assert tell(site, START_S + 22 * DAY_S).told == 1
    assert len(list(site.ledger.alerts())) == 2


def test_what_lasts_is_told_when_somebody_is_named(site: Site) -> None:
    site.days("porch", 7)
    assert tell(site, LATER_S, None) == Tellings(devices=1, began=1, ended=0, told=0)
    assert tell(site, LATER_S + HOUR_S) == Tellings(devices=1, began=0, ended=0, told=1)
    assert tell(site, LATER_S + 2 * HOUR_S).told == 0


def test_every_channel_can_say_it(site: Site) -> None:
    site.days("porch", 7)
    tell(site, LATER_S)
    (alert,) = site.ledger.alerts()
    letter = Letter(id=alert.id, alerts=(alert,), evidence={})
    said = "silent: no picture for longer than 40 h, which is unusual for it at porch"
    assert said in to_notice(letter).title
    assert said in render(letter).subject
    assert "40 h" in to_event(letter).decode()


def test_an_alert_of_a_device_stays_though_its_picture_goes(site: Site) -> None:
    site.days("porch", 7)
    assert tell(site, LATER_S).told == 1
    site.retract("porch_21.jpg")
    (alert,) = site.ledger.alerts()
    assert alert.state is AlertState.PENDING


class _Dying(SqliteLedger):
    """A ledger whose process is killed within the transaction that tells, after all of it is written."""

    def amend_policy(self, change: Callable[[PolicyUnit], T]) -> T:
        def dying(unit: PolicyUnit) -> T:
            change(unit)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("a killed process goes on")

        return super().amend_policy(dying)


def _tell_and_die(path: Path) -> None:
    tell_troubles(PIPELINE, _Dying(path), OPERATOR, LATER_S)


def test_a_process_that_is_killed_while_it_tells_leaves_it_to_the_next(tmp_path: Path) -> None:
    clock = ManualClock(now_s=START_S)
    ledger = SqliteLedger(tmp_path / "l", clock=clock)
    with ledger.session() as owner:
        Site(ledger, owner, clock).days("porch", 7)
    ledger.close()
    process = multiprocessing.get_context("spawn").Process(target=_tell_and_die, args=(tmp_path / "l",))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    again = SqliteLedger(tmp_path / "l")
    assert kept_findings(again) == {}
    assert [tell_troubles(PIPELINE, again, OPERATOR, LATER_S + i).told for i in range(3)] == [1, 0, 0]
    again.close()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"LOOKOUT_OPERATOR": "webhook:home"}, OPERATOR),
        (
            {"LOOKOUT_OPERATOR": "me@example.com", "LOOKOUT_OPERATOR_FROM": "lookout@example.com"},
            Operator(channel="mail", recipient="me@example.com", sender="lookout@example.com"),
        ),
    ],
)
def test_the_operator_is_read_from_the_environment(variables: dict[str, str], expected: Operator | None) -> None:
    assert Operator.from_environment(variables) == expected


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"LOOKOUT_OPERATOR": "home"}, "LOOKOUT_OPERATOR"),
        ({"LOOKOUT_OPERATOR": "mail:home"}, "LOOKOUT_OPERATOR"),
        ({"LOOKOUT_OPERATOR": "webhook:Home"}, "LOOKOUT_OPERATOR"),
        ({"LOOKOUT_OPERATOR": "me@example.com"}, "LOOKOUT_OPERATOR_FROM"),
        ({"LOOKOUT_OPERATOR": "a@b@c", "LOOKOUT_OPERATOR_FROM": "x@example.com"}, "LOOKOUT_OPERATOR"),
        ({"LOOKOUT_OPERATOR": "me@example.com", "LOOKOUT_OPERATOR_FROM": "x"}, "LOOKOUT_OPERATOR_FROM"),
    ],
)
def test_an_operator_who_cannot_be_told_is_refused(variables: dict[str, str], named: str) -> None:
    with pytest.raises(InputRejected, match=named):
        Operator.from_environment(variables)
