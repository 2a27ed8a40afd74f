"""The store against the ledger: leftovers go, live results never; what is stale or lost is put right."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from lookout.domain.errors import Unavailable
from lookout.domain.records import ObjectRef
from lookout.ledger.maintenance import UpkeepLedger
from lookout.maintenance.sweep import PAGE, Sweep, Swept
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.port import STATUS_KEY, Listed, ObjectStore, Publish

from .world import World

STAGES = ("first", "second", "third", "sums")
LONG_AGO_S = 1_000_000_000


@pytest.fixture
def done(world: World) -> World:
    for name in ("a/1", "a/2", "b/1"):
        world.put(name, f"alarm {name}")
    world.run()
    return world


def store_of(world: World) -> FolderStore:
    return FolderStore(world.objects, durable=False)


@contextmanager
def sweeping(world: World, store: ObjectStore | None = None, **how: object) -> Iterator[Sweep]:
    with world.ledger() as ledger:
        yield Sweep(
            ledger=cast(UpkeepLedger, ledger),
            store=store or store_of(world),
            clock=time.time,
            **how,  # type: ignore[arg-type]
        )


def sweep(world: World, store: ObjectStore | None = None, **how: object) -> Swept:
    total = Swept()
    with sweeping(world, store, **how) as one:
        for stage in STAGES:
            total.add(one.bucket(stage))
    return total


def leave(world: World, path: str, *, old: bool = True) -> Path:
    """Something in a bucket that nobody named."""
    place = world.objects / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("left over")
    if old:
        os.utime(place, (LONG_AGO_S, LONG_AGO_S))
    return place


# --- what no record names --------------------------------------------------------------------------------------------


def test_nothing_of_a_finished_state_is_touched(done: World) -> None:
    before = done.results()
    swept = sweep(done, grace_s=0.0)
    assert (swept.objects, swept.orphans, swept.removed, swept.stale, swept.lost) == (len(before), 0, 0, 0, 0)
    assert done.results() == before


@pytest.mark.parametrize("thorough", [False, True])
def test_the_status_of_the_page_is_no_leftover(done: World, thorough: bool) -> None:
    status = leave(done, f"sums/{STATUS_KEY}")
    before = done.results()
    swept = sweep(done, grace_s=0.0, thorough=thorough)
    assert (swept.objects, swept.orphans, swept.removed) == (len(before) - 1, 0, 0)
    assert done.results() == before
    assert status.read_text() == "left over"


def test_leftovers_go_and_stay_readable_until_versions_are_collected(done: World) -> None:
    before = done.results()
    for path in ("first/good/a/0", "second/zzz", "sums/groups/a.txt.old", "third/new/folder/x"):
        leave(done, path)
    swept = sweep(done)
    assert (swept.orphans, swept.removed, swept.orphan_bytes) == (4, 4, 4 * len("left over"))
    assert done.results() == before
    assert any(path.read_text() == "left over" for path in (done.objects / ".versions").iterdir())
    assert sweep(done).orphans == 0


def test_what_is_young_is_left_alone(done: World) -> None:
    place = leave(done, "first/good/a/0", old=False)
    swept = sweep(done)
    assert (swept.orphans, swept.young, swept.removed) == (1, 1, 0)
    assert place.exists()


def test_a_dry_run_counts_and_changes_nothing(done: World) -> None:
    leave(done, "first/good/a/0")
    (done.objects / "second" / "a" / "1.loud").unlink()
    before = done.results()
    swept = sweep(done, dry_run=True)
    assert (swept.orphans, swept.removed, swept.lost, swept.marked) == (1, 0, 1, 0)
    assert done.results() == before
    with done.ledger() as ledger:
        assert ledger.count_dirty("second") == 0
        assert ledger.find_note("swept:removerepair:first") is None


def test_other_buckets_are_not_looked_at(done: World) -> None:
    place = leave(done, "words/mine")
    sweep(done)
    assert place.exists()


def test_what_a_record_names_again_between_listing_and_removal_stays(done: World) -> None:
    """A commit lands exactly when the sweep believes that nobody names the key."""
    new = done.objects / "first" / "good" / "a" / "3"
    late = Racing(store_of(done), "first")
    leave(done, "first/good/a/3")

    def commit() -> None:
        done.put("a/3", "calm")
        done.run()
        os.utime(new, (LONG_AGO_S, LONG_AGO_S))

    late.meanwhile = commit
    swept = sweep(done, cast(ObjectStore, late))
    assert (swept.orphans, swept.removed) == (1, 0)
    assert new.read_text() == "calm"


class Racing:
    """A store whose listing of one bucket ends only after something else has happened."""

    def __init__(self, store: FolderStore, bucket: str) -> None:
        self._store, self._bucket = store, bucket
        self.meanwhile: object = None

    def list(self, bucket: str, prefix: str = "", after: str = "") -> Iterator[Listed]:
        yield from self._store.list(bucket, prefix, after)
        if bucket == self._bucket and callable(self.meanwhile):
            action, self.meanwhile = self.meanwhile, None
            action()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


# --- stale and lost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x", "ALARM A/2"])
def test_a_version_over_the_named_one_is_put_right(done: World, text: str) -> None:
    """As a late write leaves it: of another size, or of the same; the named bytes are kept as a version."""
    before = done.results()
    store, key = store_of(done), "a/1.loud"
    late = store.put("second", key, text.encode(), "text/plain")
    store.publish([Publish(bucket="second", key=key, ref=late)])
    assert done.results() != before
    swept = sweep(done)
    assert (swept.stale, swept.lost) == (1, 0)
    assert done.results() == before
    assert sweep(done).stale == 0


def test_a_version_that_looks_older_is_found_by_asking_for_each(done: World) -> None:
    before = done.results()
    store, key = store_of(done), "a/1.loud"
    store.publish([Publish(bucket="second", key=key, ref=store.put("second", key, b"ALARM A/2", "text/plain"))])
    os.utime(done.objects / "second" / key, (LONG_AGO_S, LONG_AGO_S))
    assert sweep(done).stale == 0, "the listing says that nothing was written since"
    assert sweep(done, thorough=True).stale == 1
    assert done.results() == before


def test_a_hidden_result_is_shown_again(done: World) -> None:
    before = done.results()
    store_of(done).publish([Publish(bucket="third", key="a/1.alarm", ref=None)])
    swept = sweep(done)
    assert (swept.stale, swept.lost) == (1, 0)
    assert done.results() == before


def test_a_lost_result_is_made_again_by_the_next_run_and_mails_nobody(done: World) -> None:
    before, letters = done.results(), len(done.postbox.sent())
    for path in ("second/a/1.loud", "third/a/2.alarm", "sums/overview.txt"):
        (done.objects / path).unlink()
    swept = sweep(done)
    assert (swept.lost, swept.marked, swept.stale) == (3, 3, 0)
    ran = done.run()
    assert ran.engine.report.success == {"second": 1, "third": 1, "sums": 2}, "and the sums that name them"
    assert done.results() == before
    assert len(done.postbox.sent()) == letters
    assert sweep(done).lost == 0


def test_a_noted_change_whose_version_is_nowhere_blocks_nobody_after_a_repair(done: World) -> None:
    """As after a crash and a store, or a ledger, put back from a backup."""
    before = done.results()
    (done.objects / "third" / "a" / "1.alarm").unlink()
    with done.ledger() as ledger:
        cast(UpkeepLedger, ledger).restate("third", ["a/1.alarm"])
    assert sweep(done).lost == 1
    done.run()
    assert done.results() == before
    (done.objects / "third" / "a" / "1.alarm").unlink()
    with done.ledger() as ledger:
        cast(UpkeepLedger, ledger).restate("third", ["a/1.alarm"])
    done.run()
    assert done.results() == before, "a run has it made again by itself"


# --- cut off, in pages, in bounded memory ----------------------------------------------------------------------------


class Failing:
    """A store that answers so often and then no more."""

    def __init__(self, store: FolderStore, answers: int) -> None:
        self._store, self.answers = store, answers
        self.asked: list[str] = []

    def has(self, refs: list[ObjectRef]) -> list[bool]:
        self.asked += [ref.key for ref in refs]
        if self.answers == 0:
            raise Unavailable("the store", "it does not answer")
        self.answers -= 1
        return self._store.has(refs)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def test_a_sweep_goes_on_where_it_was_cut_off(world: World) -> None:
    keys = [f"a/{n:04}" for n in range(PAGE + 50)]
    for key in keys:
        world.put(key, "calm")
    world.run()
    store = Failing(store_of(world), answers=1)
    with pytest.raises(Unavailable), sweeping(world, cast(ObjectStore, store), thorough=True) as one:
        one.bucket("first")
    assert len(set(store.asked)) == PAGE + 50, "the second page was asked for, and not answered"
    store.asked.clear()
    store.answers = 10
    with sweeping(world, cast(ObjectStore, store), thorough=True) as one:
        assert one.bucket("first").objects == 50
        assert set(store.asked) == {f"good/{key}" for key in keys[PAGE:]}
        assert one.bucket("first").objects == PAGE + 50, "then it begins anew"


# --- beside writers --------------------------------------------------------------------------------------------------

ROUNDS = 6
DEADLINE_S = 300
"""For what takes a few seconds on an idle machine."""


def _write(root: Path, barrier: object) -> None:
    """Rewrites, deletes and adds texts and works them through, again and again."""
    world = World(root=root)
    barrier.wait()  # type: ignore[attr-defined]
    for turn in range(ROUNDS):
        for n in range(30):
            path = world.source / f"a/{n:02}"
            if (n + turn) % 5 == 0:
                path.unlink(missing_ok=True)
            else:
                world.put(f"a/{n:02}", f"alarm {turn % 3}")
        world.run(allow_deletions=True, max_letters=0)


def _sweep(root: Path, barrier: object, stop: object) -> None:
    world = World(root=root)
    barrier.wait()  # type: ignore[attr-defined]
    n = 0
    while not stop.is_set():  # type: ignore[attr-defined]
        for bucket, key in (("second", f"a/{n % 30:02}.loud.left"), ("first", f"good/a/left {n % 30:02}")):
            late = store_of(world).put(bucket, key, b"left over", "text/plain")
            store_of(world).publish([Publish(bucket=bucket, key=key, ref=late)])
        sweep(world, grace_s=-60.0, thorough=bool(n % 2))
        n += 1


def test_sweeping_beside_writers_removes_nothing_live(tmp_path: Path) -> None:
    """Without any grace, so that only the ledger's word keeps what a writer has just made."""
    calm, raced = World(root=tmp_path / "calm"), World(root=tmp_path / "raced")
    context = multiprocessing.get_context("spawn")
    alone = context.Barrier(1)
    _write(calm.root, alone)
    barrier, stop = context.Barrier(3), context.Event()
    writer = context.Process(target=_write, args=(raced.root, barrier), daemon=True)
    sweepers = [context.Process(target=_sweep, args=(raced.root, barrier, stop), daemon=True) for _ in range(2)]
    for process in (writer, *sweepers):
        process.start()
    writer.join(DEADLINE_S)
    stop.set()
    for process in sweepers:
        process.join(DEADLINE_S)
    assert [process.exitcode for process in (writer, *sweepers)] == [0, 0, 0]
    with raced.ledger() as ledger:
        for stage in STAGES:
            for named in cast(UpkeepLedger, ledger).named(stage):
                visible = raced.objects / stage / named.ref.key
                assert visible.stat().st_size == named.ref.size, "live, and not there as named"
                assert store_of(raced).get(named.ref) == visible.read_bytes()
    sweep(raced, grace_s=-60.0)
    assert raced.results() == calm.results()
    assert raced.states() == calm.states()
