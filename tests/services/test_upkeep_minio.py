"""Upkeep and proof on real buckets: leftovers, late writes, lost results, a bucket as the source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from lookout.domain.records import ObjectRef
from lookout.ledger.maintenance import UpkeepLedger
from lookout.ledger.sqlite import SqliteLedger
from lookout.maintenance.orphans import retract
from lookout.maintenance.sweep import Sweep, Swept
from lookout.object_store.minio import MinioStore
from lookout.reports.proof import Prover, Verdict
from lookout.sources.comparable import BucketPictures
from lookout.sources.reconcile import Reconciled, reconcile, reconcile_recent
from tests.services.world import INPUTS, Place, ServerWorld

STAGES = ("first", "second", "third", "sums")


class MinioWorld(ServerWorld):
    """Results and texts in buckets, the ledger in a file."""

    def open_ledger(self) -> SqliteLedger:  # type: ignore[override]
        return SqliteLedger(self.root / "ledger.sqlite", clock=self.clock)


@pytest.fixture
def world(tmp_path: Path, place: Place) -> MinioWorld:
    world = MinioWorld(root=tmp_path, place=place)
    for key in ("a/dev_1", "a/dev_2", "b/dev_1"):
        world.put(key, f"alarm {key}")
    world.run()
    return world


class Asked(MinioStore):
    """A store that remembers about which objects it was asked."""

    def has(self, refs: list[ObjectRef]) -> list[bool]:  # type: ignore[override]
        self.__dict__.setdefault("asked", []).extend(ref.path for ref in refs)
        return super().has(refs)


@contextmanager
def sweeping(world: MinioWorld, store: MinioStore | None = None, **how: object) -> Iterator[Sweep]:
    with world.ledger() as ledger:
        given = {"grace_s": -60.0, **how}
        yield Sweep(ledger=cast(UpkeepLedger, ledger), store=store or world.store, clock=time.time, **given)  # type: ignore[arg-type]


def sweep(world: MinioWorld, store: MinioStore | None = None, **how: object) -> Swept:
    total = Swept()
    with sweeping(world, store, **how) as one:
        for stage in STAGES:
            total.add(one.bucket(stage))
    return total


def test_of_a_finished_state_the_listing_proves_everything_and_nothing_is_asked(world: MinioWorld) -> None:
    before = world.results()
    store = world.place.store(Asked)
    swept = sweep(world, store)
    assert (swept.objects, swept.orphans, swept.stale, swept.lost) == (len(before), 0, 0, 0)
    assert store.__dict__.get("asked", []) == []
    assert world.results() == before


def test_what_an_engine_left_that_died_before_its_commit_goes(world: MinioWorld) -> None:
    before = world.results()
    left = world.late_put("first/good/a/dev_9", b"left over")
    assert sweep(world, grace_s=3600.0).young == 1
    swept = sweep(world)
    assert (swept.orphans, swept.removed, swept.orphan_bytes) == (1, 1, len("left over"))
    assert world.results() == before
    kept = [entry.version for entry in world.store.versions_of("first", "good/a/dev_9") if not entry.is_marker]
    assert kept == [left], "readable by its version until versions are freed"
    assert sweep(world).orphans == 0


def test_a_late_write_over_a_live_result_is_put_right_and_the_version_kept(world: MinioWorld) -> None:
    before = world.results()
    same_size = world.late_put("second/a/dev_1.loud", bytes(reversed(before["second/a/dev_1.loud"])))
    world.late_put("third/b/dev_1.alarm", b"late")
    assert world.results() != before
    swept = sweep(world)
    assert (swept.stale, swept.lost, swept.orphans) == (2, 0, 0)
    assert world.results() == before
    assert same_size in [entry.version for entry in world.store.versions_of("second", "a/dev_1.loud")]
    assert sweep(world).stale == 0


def test_a_deleted_and_a_destroyed_result_come_back(world: MinioWorld) -> None:
    before = world.results()
    world.store.connection.delete(world.store.full("second"), "a/dev_1.loud")  # a marker: the version is there
    world.lose("second/a/dev_2.loud")
    swept = sweep(world)
    assert (swept.stale, swept.lost, swept.marked) == (1, 1, 1)
    letters = len(world.postbox.sent())
    world.run()
    assert world.results() == before
    assert len(world.postbox.sent()) == letters


def test_a_bucket_is_reconciled_whole_and_behind_its_last_keys(world: MinioWorld) -> None:
    source = BucketPictures(store=world.store, bucket=INPUTS)
    with world.ledger() as ledger:
        assert reconcile(ledger, source, INPUTS, ("first",), world.clock) == Reconciled(seen=3, changed=0, gone=0)
        world.put("a/dev_3", "calm")
        world.put("c/new_1", "calm")
        assert reconcile_recent(ledger, source, INPUTS, ("first",), world.clock).changed == 2
        assert reconcile_recent(ledger, source, INPUTS, ("first",), world.clock).changed == 0
        world.put("a/dev_1", "calm now").unlink()
        world.put("a/dev_2", "calm now")
        assert reconcile(ledger, source, INPUTS, ("first",), world.clock) == Reconciled(seen=4, changed=1, gone=1)
        assert retract(world.pipeline, ledger, source, world.clock).gone == 0
    world.run()
    assert {path for path in world.results() if path.startswith("third/")} == {"third/b/dev_1.alarm"}


def test_a_bucket_that_was_wiped_retracts_nothing(world: MinioWorld) -> None:
    """Not by a reconcile either: deleted pictures would have left a trace each."""
    before = world.results()
    source = BucketPictures(store=world.store, bucket=INPUTS)
    for key in ("a/dev_1", "a/dev_2", "b/dev_1"):
        world.lose(f"{INPUTS}/{key}")
    with world.ledger() as ledger:
        for _ in range(2):
            assert reconcile(ledger, source, INPUTS, ("first",), world.clock).held == 3
        assert ledger.count_inputs(INPUTS) == 3
        assert ledger.count_dirty("first") == 0
        assert world.results() == before
        assert reconcile(ledger, source, INPUTS, ("first",), world.clock, allow_deletions=True).gone == 3
    world.run()
    assert not [path for path in world.results() if path.startswith("third/")]


def test_an_alert_is_proved_after_its_text_was_replaced_and_destroyed_by_the_validated_copy(world: MinioWorld) -> None:
    with world.ledger() as ledger:
        (alert,) = (alert for alert in ledger.alerts() if alert.draft.picture_key == "a/dev_1")
    world.put("a/dev_1", "calm")
    world.run()
    with world.ledger() as ledger:
        prover = Prover((world.pipeline,), ledger, world.store, "test")
        assert prover.prove(alert).verdict is Verdict.SAME, "buckets keep what was replaced"
        world.lose("texts/a/dev_1")
        assert prover.prove(alert).verdict is Verdict.SAME, "the same bytes lie in another bucket"
        world.store.collect(time.time() + 60)
        proof = prover.prove(alert)
    assert proof.verdict is Verdict.UNKNOWN
    assert [item.split(" ")[0] for item in proof.expired] == ["texts/a/dev_1"]
