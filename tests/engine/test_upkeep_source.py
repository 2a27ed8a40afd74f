"""The source against the inputs, and slots against what they stand on: nothing is lost, nothing retracted rashly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest

from devkit.contracts.ledger_kit import done as done_with
from devkit.contracts.ledger_kit import record
from devkit.fakes.memory_kv import memory_ledger
from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.identity import sha256
from lookout.domain.records import Mark, ObjectRef, Observation, Outcome, State
from lookout.ledger.kv import KvLedger
from lookout.ledger.port import Ledger
from lookout.maintenance.orphans import Retracted, retract
from lookout.runs.runner import Order
from lookout.sources.comparable import FolderPictures
from lookout.sources.ingest import SOURCE_ID_NOTE, SOURCE_NOTE
from lookout.sources.reconcile import Reconciled, reconcile, reconcile_recent, series_of

from .world import World

PART = 3


@dataclass(frozen=True)
class Part:
    changed: tuple[Observation, ...]
    gone: tuple[Observation, ...]
    unchanged: int
    through: str | None
    unlistable: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Shelf:
    """A source in a dict, compared three keys at a time. It can be cut off, and it counts what it is asked."""

    files: dict[str, str] = field(default_factory=dict)
    origin: str = "shelf"
    parts_left: int = 1000
    blank: bool = False
    listed: int = 0
    observed: list[str] = field(default_factory=list)

    def see(self, key: str) -> Observation:
        text = self.files.get(key)
        ref = None
        if text is not None:
            ref = ObjectRef(bucket="texts", key=key, sha256=sha256(text.encode()), size=len(text))
        return Observation(bucket="texts", key=key, origin=self.origin, ref=ref, fingerprint=text or "")

    def observe(self, key: str, now_s: float) -> Observation:
        self.observed.append(key)
        return self.see(key)

    def is_blank(self) -> bool:
        return self.blank

    def compare(
        self, known: Iterable[Observation], now_s: float, *, after: str = "", verify: bool = False
    ) -> Iterator[Part]:
        before = {seen.key: seen for seen in known}
        keys = sorted(key for key in {*before, *self.files} if key > after)
        for start in range(0, len(keys) + 1, PART):
            if self.parts_left == 0:
                raise Unavailable("the shelf", "it does not answer")
            self.parts_left -= 1
            page = keys[start : start + PART]
            seen = [self.see(key) for key in page]
            changed = [
                item
                for item in seen
                if item.ref and (item.key not in before or before[item.key].fingerprint != item.fingerprint)
            ]
            gone = [item for item in seen if item.ref is None]
            same = len(page) - len(changed) - len(gone)
            yield Part(tuple(changed), tuple(gone), same, page[-1] if len(page) == PART else None)

    def keys(self, after: str = "") -> Iterator[str]:
        for key in sorted(self.files):
            if key > after:
                self.listed += 1
                yield key


@pytest.fixture
def ledger() -> KvLedger:
    return memory_ledger()


def merge(ledger: Ledger, shelf: Shelf, **how: bool) -> Reconciled:
    return reconcile(ledger, shelf, "texts", ("first",), lambda: 1.0, **how)


def recent(ledger: Ledger, shelf: Shelf) -> Reconciled:
    return reconcile_recent(ledger, shelf, "texts", ("first",), lambda: 1.0)


def known(ledger: Ledger) -> dict[str, str]:
    return {seen.key: seen.fingerprint for seen in ledger.inputs("texts")}


def marked(ledger: Ledger) -> set[str]:
    return {slot.key for slot in ledger.slots("first") if slot.dirty}


def settle(ledger: Ledger) -> None:
    """As if all marks had been worked on."""
    with ledger.session() as owner:
        claims = ledger.claim("first", owner, 10_000, 60.0)
        ledger.commit([(claim, Outcome(state=State.FAILED, error="settled")) for claim in claims])


def work(ledger: Ledger) -> None:
    """Give every marked text a result."""
    with ledger.session() as owner:
        claims = ledger.claim("first", owner, 10_000, 60.0)
        ledger.commit([(claim, done_with(record(claim.key, stage="first"))) for claim in claims])


# --- the whole -------------------------------------------------------------------------------------------------------


def test_new_changed_and_deleted_inputs_are_found_whatever_events_were_lost(ledger: KvLedger) -> None:
    shelf = Shelf({f"k{n}": "1" for n in range(8)})
    assert merge(ledger, shelf) == Reconciled(seen=8, changed=8, gone=0)
    settle(ledger)
    shelf.files["k3"] = "2"
    shelf.files["new"] = "1"
    del shelf.files["k5"]
    assert merge(ledger, shelf) == Reconciled(seen=8, changed=2, gone=1)
    assert known(ledger) == shelf.files
    assert marked(ledger) == {"k3", "new", "k5"}
    assert merge(ledger, shelf) == Reconciled(seen=8, changed=0, gone=0)


def test_an_empty_source_and_an_empty_ledger_agree(ledger: KvLedger) -> None:
    assert merge(ledger, Shelf()) == Reconciled(seen=0, changed=0, gone=0)
    assert recent(ledger, Shelf()) == Reconciled(seen=0, changed=0, gone=0)


def test_a_merge_that_is_cut_off_goes_on_from_its_last_part(ledger: KvLedger) -> None:
    shelf = Shelf({f"k{n}": "1" for n in range(8)}, parts_left=2)
    with pytest.raises(Unavailable):
        merge(ledger, shelf)
    assert len(known(ledger)) == 6
    shelf.parts_left = 1000
    assert merge(ledger, shelf) == Reconciled(seen=2, changed=2, gone=0, resumed=True)
    assert merge(ledger, shelf) == Reconciled(seen=8, changed=0, gone=0)


def test_what_is_gone_is_counted_whole_even_when_cut_off(ledger: KvLedger) -> None:
    shelf = Shelf({f"k{n:02}": "1" for n in range(60)})
    merge(ledger, shelf)
    work(ledger)
    for n in range(3, 18):
        del shelf.files[f"k{n:02}"]
    shelf.parts_left = 5
    with pytest.raises(Unavailable):
        merge(ledger, shelf)
    for n in range(20, 30):
        del shelf.files[f"k{n:02}"]
    shelf.parts_left = 1000
    assert merge(ledger, shelf) == Reconciled(seen=32, changed=0, gone=0, held=25, resumed=True)
    assert len(known(ledger)) == 60, "nothing was retracted"
    assert merge(ledger, shelf, allow_deletions=True).gone == 25
    assert known(ledger) == shelf.files


def test_an_accident_retracts_nothing_and_takes_in_what_is_new(ledger: KvLedger) -> None:
    shelf = Shelf({f"k{n:02}": "1" for n in range(50)})
    merge(ledger, shelf)
    work(ledger)
    shelf.files = {"a": "new"}
    assert merge(ledger, shelf) == Reconciled(seen=1, changed=1, gone=0, held=50)
    assert len(known(ledger)) == 51


def test_a_source_that_was_wiped_retracts_nothing_however_small_it_was(ledger: KvLedger) -> None:
    shelf = Shelf({f"k{n}": "1" for n in range(5)})
    merge(ledger, shelf)
    before, wiped = known(ledger), Shelf(blank=True)
    assert merge(ledger, wiped) == Reconciled(seen=0, changed=0, gone=0, held=5)
    assert known(ledger) == before
    assert merge(ledger, wiped, allow_deletions=True).gone == 5
    assert merge(ledger, wiped) == Reconciled(seen=0, changed=0, gone=0)


def test_what_a_listing_missed_is_looked_for_by_name(ledger: KvLedger) -> None:
    shelf = Shelf({"a": "1", "b": "1"})
    merge(ledger, shelf)

    class Blind(Shelf):
        def see(self, key: str) -> Observation:
            seen = super().see(key)
            hidden = key == "b" and not self.observed
            return Observation(bucket="texts", key=key, origin=self.origin, ref=None) if hidden else seen

    blind = Blind(shelf.files)
    assert merge(ledger, blind) == Reconciled(seen=1, changed=0, gone=0)
    assert blind.observed == ["b"]
    assert known(ledger) == shelf.files


def test_a_state_belongs_to_one_source(ledger: KvLedger) -> None:
    merge(ledger, Shelf({"a": "1"}))
    for step in (merge, recent):
        with pytest.raises(InputRejected, match="belongs to the source shelf"):
            step(ledger, Shelf(origin="another"))
    assert known(ledger) == {"a": "1"}


def test_a_folder_that_is_another_one_and_empty_retracts_nothing(world: World) -> None:
    world.put("a/1", "calm")
    world.run()
    (world.source / "a" / "1").unlink()
    with world.ledger() as ledger:
        source = FolderPictures(root=world.source, bucket="texts", identity="0:0")
        assert reconcile(ledger, source, "texts", ("first",), world.clock).held == 1
        right = FolderPictures(root=world.source, bucket="texts", identity=ledger.find_note(SOURCE_ID_NOTE))
        assert reconcile(ledger, right, "texts", ("first",), world.clock).gone == 1
    world.run()
    assert world.states() == {}


def test_a_folder_is_reconciled_as_a_run_takes_it_in(world: World) -> None:
    for key in ("a/1", "a_1", ".hidden/x", "state/x", "b\\x5c"):
        world.put(key, "calm")
    source = FolderPictures(root=world.source, bucket="texts", exclude=(world.source / "state",))
    with world.ledger() as ledger:
        assert reconcile(ledger, source, "texts", ("first",), world.clock).changed == 3
        assert known(ledger).keys() == {"a/1", "a_1", r"b\x5cx5c"}
        assert set(source.keys()) == known(ledger).keys()
        assert reconcile_recent(ledger, source, "texts", ("first",), world.clock).changed == 0
        world.put("a_2", "calm")
        assert reconcile_recent(ledger, source, "texts", ("first",), world.clock).changed == 1


# --- the newest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "series"),
    [
        ("porch_1763798400.jpg", "porch_"),
        ("a/b_c/gate_17.jpg", "a/b_c/gate_"),
        ("IMG.jpg", "IMG.jpg"),
        ("", ""),
        ("_", "_"),
        ("a_", "a_"),
    ],
)
def test_the_series_of_a_key(key: str, series: str) -> None:
    assert series_of(key) == series


def test_only_what_is_behind_the_last_key_of_each_series_is_looked_at(ledger: KvLedger) -> None:
    devices = ("attic", "gate", "porch")
    shelf = Shelf({f"{name}_{at:04}.jpg": "1" for name in devices for at in range(500)})
    merge(ledger, shelf)
    settle(ledger)
    assert recent(ledger, shelf).changed == 0
    shelf.listed = 0
    shelf.observed.clear()
    new = {"gate_0600.jpg": "1", "porch_0500.jpg": "1", "roof_0001.jpg": "1", "IMG.jpg": "1"}
    shelf.files.update(new)
    assert recent(ledger, shelf) == Reconciled(seen=4, changed=4, gone=0)
    assert set(shelf.observed) == marked(ledger) == set(new)
    assert shelf.listed < 20, "1,500 known keys were jumped over"
    assert recent(ledger, shelf).changed == 0


def test_before_a_first_merge_everything_is_walked_through_once(ledger: KvLedger) -> None:
    shelf = Shelf({f"{name}_{at:03}.jpg": "1" for name in ("a", "b") for at in range(300)})
    assert recent(ledger, shelf).changed == 600
    shelf.listed = 0
    assert recent(ledger, shelf).changed == 0
    assert shelf.listed < 10


def test_what_comes_late_is_left_to_the_merge(ledger: KvLedger) -> None:
    shelf = Shelf({"a_5.jpg": "1", "a_7.jpg": "1"})
    merge(ledger, shelf)
    shelf.files["a_6.jpg"] = "1"
    assert recent(ledger, shelf).changed == 0
    assert merge(ledger, shelf).changed == 1


def test_the_notes_are_small(ledger: KvLedger) -> None:
    shelf = Shelf({f"porch_{at:04}.jpg": "1" for at in range(500)} | {f"IMG{n}.jpg": "1" for n in range(500)})
    merge(ledger, shelf)
    assert json.loads(ledger.find_note("tails") or "") == {"porch_": "porch_0499.jpg"}


# --- what stands on nothing ------------------------------------------------------------------------------------------


@pytest.fixture
def done(world: World) -> World:
    for n in range(40):
        world.put(f"a/{n:02}", "alarm")
    world.run(max_letters=0)
    return world


def forget(world: World, *keys: str) -> None:
    """The inputs go from the ledger, and nobody is told."""
    with world.ledger() as ledger:
        seen = ledger.find_inputs("texts", keys)
        ledger.observe([Observation(bucket="texts", key=key, origin=seen[key].origin, ref=None) for key in keys], [])


def look(world: World, **how: bool) -> Retracted:
    with world.ledger() as ledger:
        source = FolderPictures(root=world.source, bucket="texts")
        return retract(world.pipeline, ledger, source, world.clock, **how)


def test_nothing_of_a_sound_state_is_marked(done: World) -> None:
    assert look(done) == Retracted(checked=120, found=0, gone=0, marked=0)


def test_results_of_a_picture_that_is_gone_are_retracted_by_the_next_run(done: World) -> None:
    forget(done, "a/05")
    (done.source / "a" / "05").unlink()
    assert done.run().engine.report.retracted == {}, "nobody noticed"
    assert "third/a/05.alarm" in done.results()
    assert look(done, dry_run=True) == Retracted(checked=120, found=0, gone=1, marked=1)
    assert look(done) == Retracted(checked=120, found=0, gone=1, marked=1)
    done.run()
    assert not [path for path in done.results() if "05" in path]


def test_a_picture_that_is_there_after_all_is_taken_in_again_and_nothing_is_retracted(done: World) -> None:
    before = done.results()
    forget(done, "a/05")
    assert look(done) == Retracted(checked=120, found=1, gone=0, marked=0)
    done.run()
    assert done.results() == before
    with done.ledger() as ledger:
        assert ledger.count_inputs("texts") == 40


def test_too_many_that_are_gone_look_like_an_accident(done: World) -> None:
    keys = [f"a/{n:02}" for n in range(25)]
    forget(done, *keys)
    for key in keys:
        (done.source / key).unlink()
    with pytest.raises(InputRejected, match="25 pictures are gone that the ledger does not know"):
        look(done)
    with done.ledger() as ledger:
        assert ledger.count_dirty("first") == 0
    assert look(done, allow_deletions=True).marked == 25
    done.run(allow_deletions=True)
    assert len(done.results()) == len([*done.source.rglob("a/*")]) * 3 + 2


def test_what_retract_takes_is_counted_with_what_a_look_at_the_source_takes(done: World) -> None:
    keys = [f"a/{n:02}" for n in range(40)]
    for key in keys:
        (done.source / key).unlink()
    forget(done, *keys[:15])
    assert look(done, dry_run=True).gone == 15
    assert look(done).gone == 15
    forget(done, *keys[15:21])
    with pytest.raises(InputRejected, match="6 pictures are gone that the ledger does not know"):
        look(done)
    assert done.run().taken.held == 19


def test_a_result_whose_upstream_has_none_is_planned_again(done: World) -> None:
    """As if a mark had been lost between two stages: one slot of `first` says now that its text is bad."""
    done.put("a/07", "bad")
    with done.runner() as runner:
        first = replace(done.pipeline, stages=done.pipeline.stages[:1])
        replace(runner, pipeline=first).run(Order(sources=(done.source,)))
    assert "third/a/07.alarm" in done.results(), "the stages behind were not there to be told"
    assert look(done) == Retracted(checked=120, found=0, gone=0, marked=2)
    done.run()
    assert not [path for path in done.results() if "07" in path and "bad" not in path]


def test_what_waits_anyway_is_left_alone(done: World) -> None:
    forget(done, "a/05")
    (done.source / "a" / "05").unlink()
    with done.ledger() as ledger:
        ledger.mark([Mark(stage="first", key="a/05")])
        assert ledger.find_note(SOURCE_NOTE) == str(done.source)
    assert look(done).marked == 0
