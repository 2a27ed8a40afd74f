"""A ledger decides as the simulation does: the scenarios and drawn histories, on SQLite and on the key-value store.

The ledger is opened anew after each line.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devkit.contracts.ledger_kit import ManualClock
from devkit.fakes.memory_kv import MemoryStore, memory_ledger
from lookout.ledger.port import Ledger
from lookout.ledger.rules import decisions
from lookout.ledger.sqlite import SqliteLedger

from .histories import BASE, NAME, Pick, crowded, lines_of, picture, rule_document, settings_of, simulated
from .ledger_run import LedgerRun
from .test_scenarios import SCENARIOS

PICKS = st.randoms(use_true_random=False).map(lambda source: source.randint)
NOT_KEPT = ("left", "clock")
"""Numbers that only a line of the simulation has, or that are about another picture."""


@pytest.fixture(autouse=True)
def _exact_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "_CLOCKS_S", 0.0)


def sqlite_in(folder: Path) -> Callable[[ManualClock], Ledger]:
    return lambda clock: SqliteLedger(folder / "ledger.sqlite", clock)


def in_memory() -> Callable[[ManualClock], Ledger]:
    store = MemoryStore()
    return lambda clock: memory_ledger(clock, store)


def difference(
    document: Any,
    lines: list[dict[str, Any]],
    open_ledger: Callable[[ManualClock], Ledger],
    *,
    lines_a_process: int = 1,
) -> str | None:
    """Run lines through the simulation and through a ledger, and describe the first difference."""
    expected = simulated(document, lines)
    run = LedgerRun(document, open_ledger, lines_a_process=lines_a_process)
    found = run.run(lines)
    for one, wanted in zip(found, expected.decisions, strict=True):
        for name, value in wanted.items():
            if name not in NOT_KEPT and one.get(name) != value:
                return f"{name}: expected {wanted}, got {one}"
    shown = {name: (one["state"], sorted(one.get("items", []))) for name, one in expected.alerts.items()}
    alerts = {name: one for name, one in shown.items() if one[0] != "canceled"}
    made = {name: one for name, one in run.alerts().items() if one[0] != "canceled"}
    for name in made.keys() & alerts.keys():  # the simulation lists a summary when it is filled
        made[name] = alerts[name] if alerts[name] == ("pending", []) == (made[name][0], []) else made[name]
    return None if made == alerts else f"alerts: expected {alerts}, got {made}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[one["name"] for one in SCENARIOS])
def test_a_scenario_is_decided_by_the_ledger(scenario: dict[str, Any], tmp_path: Path) -> None:
    document, lines = scenario["rules"], scenario["events"]
    assert difference(document, lines, sqlite_in(tmp_path)) is None
    assert difference(document, lines, in_memory()) is None


def _check(pick: Pick, open_ledger: Callable[[ManualClock], Ledger]) -> None:
    history = settings_of(pick, static=bool(pick(0, 1)))
    history = (crowded if pick(0, 1) else lines_of)(pick, history)
    assert difference(history.document, list(_possible(history.lines)), open_ledger) is None


def _possible(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give lines that a ledger can meet: a letter is refused when it leaves and not later, and what is acknowledged or
    ended is there."""
    refused = {line["key"] for line in lines if line.get("op") == "dead"}
    seen: set[str] = set()
    for line in lines:
        op, key = line.get("op"), line.get("key")
        if op == "dead" or (op == "ack" and key not in seen) or (op == "unsilence" and "s" not in seen):
            continue
        yield line
        if op in ("delete", "redetect"):  # of what is gone nothing may be known
            seen.discard(str(key))
        seen.update({str(key)} if op is None else {"s"} if op == "silence" else ())
        if op is None and key in refused:
            yield {"op": "dead", "at_s": line["decided_at_s"], "rule": NAME, "key": key}


@settings(max_examples=40, deadline=None)
@given(PICKS)
def test_a_drawn_history_is_decided_by_sqlite(pick: Pick) -> None:
    with TemporaryDirectory() as folder:
        _check(pick, sqlite_in(Path(folder)))


@settings(max_examples=40, deadline=None)
@given(PICKS)
def test_a_drawn_history_is_decided_by_the_key_value_store(pick: Pick) -> None:
    _check(pick, in_memory())


@pytest.mark.slow
@settings(max_examples=3_000, deadline=None)
@given(PICKS)
def test_many_drawn_histories_are_decided_by_the_key_value_store(pick: Pick) -> None:
    _check(pick, in_memory())


def week(pictures: int, devices: int) -> Iterator[dict[str, Any]]:
    """Give pictures of a week in the order in which they arrive, most of them within a minute, some an hour or more
    late, some that are deleted or detected again, and mail that is down for a while each day."""
    source = random.Random(pictures)
    span_s = 7 * 86_400
    arrivals = []
    for number in range(pictures):
        at_s = BASE + source.randrange(span_s)
        delay_s = source.choice((1, 2, 5, 20, 60) if source.random() < 0.95 else (3_700, 40_000))
        arrivals.append((at_s + delay_s, at_s, f"p{number}", f"d{source.randrange(devices)}"))
    arrivals.sort()
    for number, (now_s, at_s, key, device) in enumerate(arrivals):
        yield {**picture(key, at_s, now_s), "device": device}
        if number % 97 == 96:
            yield {"op": "delete", "key": key, "at_s": now_s}
        if number % 1000 == 500:
            yield {"op": "tick", "at_s": now_s, "up": number % 2000 > 1000}
    yield {"op": "tick", "at_s": BASE + 2 * span_s, "up": True}


@pytest.mark.parametrize(
    ("pictures", "devices"), [(400, 5), pytest.param(20_000, 50, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_a_week_of_pictures_is_decided_by_sqlite(pictures: int, devices: int) -> None:
    """With a process that ends, and another that goes on, every 500 lines. The ledger is in memory where it can be, as
    it waits for the disk twice a letter."""
    document = rule_document(quiet=[{"from": "22:00", "to": "06:00"}], event={"gap": "2m", "again": "1h"})
    lines = list(week(pictures, devices))
    in_memory_too = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with TemporaryDirectory(dir=in_memory_too) as folder:
        assert difference(document, lines, sqlite_in(Path(folder)), lines_a_process=500) is None
