"""A trace costs what it answers, however much else the ledger holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devkit.contracts.ledger_kit import done, record, ref
from devkit.toy_pipeline import toy_pipeline
from lookout.domain.records import Mark, ObjectRef, Observation, Reference
from lookout.ledger.sqlite import SqliteLedger
from lookout.reports.provenance import Tracer

FEW, MANY = 300, 6000
"""Pictures; three datums each."""
STEPS = 10
"""How many steps of SQLite's machine one count stands for."""
RARE, COMMON = ref("words", "rare/word"), ref("words", "all/word")


def picture(n: int) -> ObjectRef:
    return ref("texts", f"a/{n:05}")


def fill(path: Path, count: int) -> None:
    """That many pictures through three stages; all read one of two words, of which one is read by three only."""
    ledger = SqliteLedger(path)
    units = [Reference(bucket="words", name=word.key[:-5], files={"word": word}) for word in (RARE, COMMON)]
    ledger.enforce("words", units)
    with ledger.session() as owner:
        for start in range(0, count, 500):
            numbers = range(start, min(start + 500, count))
            seen = [
                Observation(bucket="texts", key=picture(n).key, origin="o", ref=picture(n), fingerprint=str(n))
                for n in numbers
            ]
            ledger.observe(seen, [])
            before = {picture(n).key: picture(n) for n in numbers}
            for stage in ("first", "second", "third"):
                ledger.mark([Mark(stage=stage, key=key) for key in before])
                outcomes = []
                for claim in ledger.claim(stage, owner, len(before), 600.0):
                    word = RARE if int(claim.key[2:]) < 3 else COMMON
                    made = ref(stage, f"{claim.key}.{stage}")
                    reads = [before[claim.key], word]
                    outcomes.append(
                        (claim, done(record(claim.key, stage=stage, outputs=[made], reads=reads, group="a")))
                    )
                    before[claim.key] = made
                ledger.commit(outcomes)
    ledger.close()


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("ledgers")
    paths = {count: folder / f"{count}.sqlite" for count in (FEW, MANY)}
    for count, path in paths.items():
        fill(path, count)
    return paths


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Counts steps of SQLite's virtual machine, which, unlike time, are the same on every machine."""
    steps = [0]

    def step() -> None:
        steps[0] += 1

    class Counted(sqlite3.Connection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.set_progress_handler(step, STEPS)

    connect = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, **{**kwargs, "factory": Counted}))
        yield steps


@pytest.mark.parametrize(
    ("direction", "bucket", "key"),
    [
        ("forward", "texts", "a/00001"),
        ("forward", "words", "rare/word"),
        ("back", "third", "a/00001.third"),
    ],
)
def test_a_trace_costs_the_same_in_a_ledger_of_twenty_times_the_size(
    ledgers: dict[int, Path], monkeypatch: pytest.MonkeyPatch, direction: str, bucket: str, key: str
) -> None:
    costs: dict[int, int] = {}
    trees = []
    for count, path in ledgers.items():
        with counting(monkeypatch) as steps:
            ledger = SqliteLedger(path)
            before = steps[0]
            tracer = Tracer(toy_pipeline(), ledger)
            trees.append(getattr(tracer, direction)(bucket, key).as_json())
            costs[count] = steps[0] - before
            ledger.close()
    assert trees[0] == trees[1]
    assert 0 < costs[MANY] <= costs[FEW] * 1.3, costs
