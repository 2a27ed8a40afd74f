"""Checks of ``lookout doctor`` on servers: tables from all right over a warning to bad."""

from __future__ import annotations

import pytest

from lookout.app.health_checks import Check, attempt
from lookout.app.server_checks import check_clock, check_member
from lookout.domain.errors import Unavailable
from lookout.ledger.etcd.health import Member

GIB = 1024**3


@pytest.mark.parametrize(
    ("ahead_s", "ok", "warning", "found"),
    [
        (0.0, True, False, "as the server's"),
        (-1.4, True, False, "as the server's"),
        (4.9, True, False, "the server's is 5 s ahead"),
        (-5.0, True, True, "the server's is 5 s behind"),
        (899.0, True, True, "the server's is 899 s ahead"),
        (900.0, False, True, "the server's is 900 s ahead"),
        (-86_400.0, False, True, "the server's is 86,400 s behind"),
        (None, True, True, "the server does not tell the time"),
    ],
)
def test_clocks(ahead_s: float | None, ok: bool, warning: bool, found: str) -> None:
    check = check_clock(ahead_s)
    assert (check.ok, check.warning, check.found) == (ok, warning, found)


def member(**facts: object) -> Member:
    usual = {"endpoint": "a:1", "version": "3.5.35", "leads": True, "members": 3, "quota_bytes": 2 * GIB}
    return Member(**(usual | facts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("used", "quota", "ok", "warning"),
    [
        (0, 2 * GIB, True, False),
        (int(1.39 * GIB), 2 * GIB, True, False),
        (int(1.41 * GIB), 2 * GIB, True, True),
        (int(1.81 * GIB), 2 * GIB, False, True),
        (5 * GIB, None, True, False),
        (5 * GIB, 0, True, False),
    ],
)
def test_room_for_the_ledger(used: int, quota: int | None, ok: bool, warning: bool) -> None:
    *_, room = check_member(member(database_bytes=used, quota_bytes=quota))
    assert (room.ok, room.warning) == (ok, warning)


@pytest.mark.parametrize(
    ("version", "ok"), [("3.5.35", True), ("3.6.0-rc.1", True), ("4.0.0", True), ("3.4.23", False), ("", False)]
)
def test_versions_of_etcd(version: str, ok: bool) -> None:
    first, _ = check_member(member(version=version))
    assert first.ok == ok


def test_an_alarm_and_a_member_that_cannot_work_are_bad() -> None:
    checks = list(check_member(member(alarms=("NOSPACE",))))
    assert [check.ok for check in checks] == [True, False, True]
    assert "disarm" in checks[1].hint
    (bad,) = check_member(Member(endpoint="a:1", error="does not answer"))
    assert (bad.ok, bad.name, bad.found) == (False, "etcd a:1", "does not answer")


def test_an_election_is_a_warning_and_hides_nothing() -> None:
    election, version, room = check_member(member(electing=True))
    assert (election.ok, election.warning, election.name) == (True, True, "etcd a:1")
    assert [version, room] == list(check_member(member()))
    (bad,) = check_member(Member(endpoint="a:1", error="sees no leader", electing=True))
    assert (bad.ok, bad.found) == (False, "sees no leader")


def test_what_ends_the_looking_is_a_bad_check_after_what_was_seen() -> None:
    def checks():
        yield Check(name="first", ok=True, found="right")
        raise Unavailable("the server", "has gone")

    first, second = attempt("second", checks)
    assert first.ok
    assert (second.name, second.ok, second.found) == ("second", False, "the server: has gone")
