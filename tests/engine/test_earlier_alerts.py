"""Alerts that the ledger has already are found by the picture's bytes, at a cost that copies do not raise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from devkit.contracts.ledger_kit import Bench, Desk, ManualClock, alert, open_desk, record, ref
from devkit.fakes.memory_kv import MemoryStore, memory_ledger
from devkit.toy_pipeline import toy_pipeline
from lookout.domain.records import Alert
from lookout.engine.earlier_alerts import MOST, EarlierAlerts

COPIES = 3 * MOST
STUCK = ref("images", "stuck")


@pytest.fixture
def desk() -> Iterator[Desk]:
    clock, store = ManualClock(), MemoryStore()
    with open_desk(Bench(open=lambda: memory_ledger(clock, store), clock=clock)) as desk:
        yield desk


def about(number: int) -> Alert:
    made = alert(f"alert {number}", hash_=f"hash of {number}")
    return replace(made, draft=replace(made.draft, picture_key=str(number), picture_sha256=STUCK.sha256))


def put(desk: Desk, copies: int) -> None:
    for number in range(copies):
        made = about(number)
        desk.do(record(str(number), reads=[STUCK], alerts=[made]), alerts=[made])


def test_copies_of_the_same_bytes_are_not_all_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    put(desk, COPIES)
    read: list[int] = []
    users = desk.ledger.users
    monkeypatch.setattr(desk.ledger, "users", lambda *args, **more: read.append(len(f := users(*args, **more))) or f)
    EarlierAlerts(toy_pipeline(), desk.ledger, [about(COPIES).draft])
    assert read == [MOST]


def test_the_datum_s_own_alert_is_known_among_any_number_of_copies(desk: Desk) -> None:
    put(desk, COPIES)
    for number in range(COPIES):
        last = desk.slot(str(number)).record
        earlier = EarlierAlerts(toy_pipeline(), desk.ledger, [about(number).draft], last)
        draft = replace(about(number).draft, subject="read otherwise")
        assert earlier.identified(draft).subject is None
        assert earlier.is_repeated("s", STUCK.sha256)
