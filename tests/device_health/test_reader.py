"""Health of devices as it is read from a ledger: in memory and in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devkit.contracts.ledger_kit import ManualClock, record, seen
from devkit.fakes.memory_kv import memory_ledger
from lookout.domain.device_health.records import DAY_S, HOUR_S, Kind
from lookout.domain.errors import Corrupt
from lookout.domain.records import Outcome, State
from lookout.ledger.batches import BatchLedger
from lookout.ledger.sqlite import SqliteLedger
from lookout.reports.device_health import KEPT, DeviceHealth, HealthReader
from lookout.reports.metrics import Measures
from lookout.reports.status import look
from stages.pipeline import PIPELINE

START_S = 1_763_769_600.0
"""2025-11-22, midnight in UTC."""


class Site:
    """A ledger into which pictures come, each done by the first stage when it is taken."""

    def __init__(self, ledger: BatchLedger, owner: str, clock: ManualClock) -> None:
        self.ledger, self.owner, self.clock = ledger, owner, clock
        self.number = 0

    def take(
        self,
        device: str,
        at_s: float,
        *,
        content: str = "",
        late_s: float = 1.0,
        valid: bool = True,
        dated: bool = True,
    ) -> None:
        self.number += 1
        key = f"{device}_{self.number}.jpg"
        self.clock.now_s = at_s + late_s
        self.ledger.observe([seen(key, content or key, at_s=at_s + late_s)], ["validate"])
        counts = {"pictures": 1, "valid" if valid else "invalid": 1}
        day = datetime.fromtimestamp(at_s, UTC).date().isoformat()
        group = f"{device}/{day}"
        made = record(key, f"hash of {key}", stage="validate", group=group, counts=counts)
        made = replace(made, at_s=at_s if dated else None)
        (claim,) = self.ledger.claim("validate", self.owner, 1, 60.0, [key])
        self.ledger.commit([(claim, Outcome(state=State.SUCCESS, record=made))])

    def retract(self, key: str) -> None:
        """The picture is gone, and its result with it."""
        self.ledger.observe([seen(key, None, at_s=self.clock())], ["validate"])
        (claim,) = self.ledger.claim("validate", self.owner, 1, 60.0, [key])
        self.ledger.commit([(claim, Outcome(state=State.RETRACTED))])

    def days(self, device: str, number: int, *, first: int = 0) -> None:
        """Pictures of a device, three a day."""
        for day in range(first, first + number):
            for hour in (8, 12, 16):
                self.take(device, START_S + day * DAY_S + hour * HOUR_S)

    def health(self, now_s: float) -> DeviceHealth:
        return HealthReader(PIPELINE).look(self.ledger, now_s)

    def found(self, now_s: float) -> list[tuple[str, Kind]]:
        return [(one.device, one.finding.kind) for one in self.health(now_s).lasting]


@pytest.fixture(params=["kv", "sqlite"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    clock = ManualClock(now_s=START_S)
    ledger: BatchLedger
    ledger = memory_ledger(clock=clock) if request.param == "kv" else SqliteLedger(tmp_path / "l", clock=clock)
    try:
        with ledger.session() as owner:
            yield Site(ledger, owner, clock)
    finally:
        ledger.close()


def test_an_empty_ledger_has_no_devices(site: Site) -> None:
    assert site.health(START_S) == DeviceHealth()


def test_the_silent_device_is_named_and_the_other_is_not(site: Site) -> None:
    site.days("porch", 7)
    site.days("gate", 10)
    now_s = START_S + 9 * DAY_S + 17 * HOUR_S
    assert site.found(now_s) == [("porch", Kind.SILENT)]
    (trouble,) = site.health(now_s).lasting
    assert trouble.finding.begin_s == START_S + 6 * DAY_S + 16 * HOUR_S + 1


def test_pictures_that_cannot_be_read_are_no_device(site: Site) -> None:
    site.take("-", START_S, valid=False)
    assert site.health(START_S + 30 * DAY_S).devices == 0


def test_an_old_picture_that_arrives_now_is_a_sign_of_life(site: Site) -> None:
    site.days("porch", 7)
    now_s = START_S + 12 * DAY_S
    assert site.found(now_s) == [("porch", Kind.SILENT)]
    site.take("porch", START_S + 5 * DAY_S, late_s=7 * DAY_S - HOUR_S)
    assert site.found(now_s) == []


def test_invalid_and_equal_pictures_and_clocks_are_found(site: Site) -> None:
    for device in ("cut", "frozen", "ahead", "behind", "well"):
        site.days(device, 5)
    for i in range(12):
        at_s = START_S + 5 * DAY_S + i * 1200
        site.take("cut", at_s, valid=i % 2 == 0)
        site.take("frozen", at_s, content="same")
        site.take("ahead", at_s, late_s=-3600)
        site.take("behind", at_s, late_s=7200 + i)
        site.take("well", at_s)
    expected = [("ahead", Kind.CLOCK), ("behind", Kind.CLOCK), ("cut", Kind.INVALID), ("frozen", Kind.IDENTICAL)]
    assert site.found(START_S + 5 * DAY_S + 6 * HOUR_S) == expected


def test_a_clock_that_is_years_ahead_is_found_by_its_refused_pictures(site: Site) -> None:
    site.days("porch", 5)
    site.take("porch", START_S + 900 * DAY_S, late_s=-895 * DAY_S, valid=False, dated=False)
    assert site.found(START_S + 5 * DAY_S + HOUR_S) == [("porch", Kind.CLOCK)]


def test_a_reader_looks_again_only_after_its_pause_and_sees_what_is_new(site: Site) -> None:
    uptime = ManualClock(now_s=0.0)
    reader = HealthReader(PIPELINE, every_s=60.0, uptime=uptime)
    site.days("porch", 7)
    now_s = START_S + 9 * DAY_S
    first = reader.look(site.ledger, now_s)
    assert len(first.lasting) == 1
    site.take("porch", now_s - 60)
    assert reader.look(site.ledger, now_s) is first
    uptime.now_s = 60.0
    assert reader.look(site.ledger, now_s).lasting == []


def test_without_room_for_arrivals_nothing_is_said_of_silence(site: Site) -> None:
    site.days("porch", 7)
    now_s = START_S + 9 * DAY_S
    reader = HealthReader(PIPELINE, most=2)
    assert reader.look(site.ledger, now_s) == DeviceHealth(devices=1, whole=False)


def test_metrics_count_devices_by_kind(site: Site) -> None:
    site.days("porch", 7)
    site.days("gate", 10)
    measures = Measures(PIPELINE, follows=False)
    now_s = START_S + 9 * DAY_S + 17 * HOUR_S
    measures.take(look(PIPELINE, site.ledger, now_s, health=HealthReader(PIPELINE)), site.ledger)
    values = {
        (one.name, one.labels.get("kind")): one.value
        for family in text_string_to_metric_families(measures.text())
        for one in family.samples
    }
    assert values["lookout_devices", None] == 2
    assert [values["lookout_troubled_devices", kind.value] for kind in Kind] == [1, 0, 0, 0, 0]


DAMAGES = ['[{"kine": "silent", "begin_s": 1.0, "value": 2.0}]', '[{"kind": "silenu"}]', "[7]", "{", "null"]


@pytest.mark.parametrize("damaged", DAMAGES)
def test_damaged_trouble_is_told_with_the_device(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(SqliteLedger(path)) as ledger:
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("INSERT INTO policy VALUES (?, 'porch', '', ?)", (KEPT, damaged))
        with pytest.raises(Corrupt, match="trouble of the device porch"):
            HealthReader(PIPELINE).look(ledger, START_S)
