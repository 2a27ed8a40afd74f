"""Promises of the system that this one replaces, as far as tests/engine does not test them; in brackets its names."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from devkit.servers.etcd import encode
from devkit.servers.for_tests import EtcdServer
from devkit.toy_pipeline import toy_pipeline
from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import Mark, Outcome, State
from lookout.execution.process_pool import ProcessWorkers
from lookout.ledger.kv import keys
from lookout.object_store.minio.buckets import make_buckets
from lookout.sources.ingest import BucketIntake
from tests.engine.test_semantics import Unanswering, done, stopped
from tests.engine.world import words

from .world import INPUTS, ServerWorld

ALL_DONE = {"first": {"success": 5}, "second": {"success": 5}, "third": {"success": 5}, "sums": {"success": 2}}


def fill(world: ServerWorld, n: int = 5) -> None:
    for i in range(n):
        world.put(f"a/{i:03}", "alarm")


@contextmanager
def processes(world: ServerWorld):
    workers = ProcessWorkers(world.open_store(), size=2)
    try:
        yield workers
    finally:
        workers.stop()


# --- stopping and starting again -------------------------------------------------------------------------------------


def test_ten_runs_that_are_stopped_hold_nothing_back(world: ServerWorld) -> None:
    """[TestCancelManyJobs]"""
    fill(world)
    for _ in range(10):
        with world.runner(Unanswering()) as runner:
            assert stopped(runner, world).stopped
    with world.ledger() as ledger:
        assert [run.state for run in ledger.runs(20)] == ["stopped"] * 10
    assert done(world.run())["first"] == 5
    assert world.states() == ALL_DONE


def test_the_states_of_datums_follow_a_stop_and_a_start(world: ServerWorld) -> None:
    """[TestDatumStatusRestart]"""
    fill(world)
    seen = []

    class Looking(Unanswering):
        def submit(self, jobs, timeout_s, done) -> None:
            seen.append(world.states())

    with world.runner(Looking()) as runner:
        stopped(runner, world)
    seen.append(world.states())
    world.run()
    assert seen == [{"first": {"running": 5}}, {"first": {"killed": 5}}]
    assert world.states() == ALL_DONE


def test_a_datum_that_hangs_is_ended_by_its_timeout_and_a_run_by_its_word(world: ServerWorld) -> None:
    """[datum and job timeouts]"""
    world.pipeline = toy_pipeline(timeout_s=3, tries=2)
    fill(world)
    world.put("a/hangs", "hang")
    with processes(world) as workers:
        world.run(workers=workers)
    assert world.states()["first"] == {"success": 5, "failed": 1}
    with world.ledger() as ledger:
        slot = ledger.find_slots("first", ["a/hangs"])["a/hangs"]
    assert (slot.tries, slot.error) == (2, "StageTimeoutError: took longer than 3 s")
    world.pipeline = toy_pipeline(timeout_s=60)
    with processes(world) as workers, world.runner(workers) as runner:
        late = threading.Timer(1.0, runner.stop)
        late.start()
        assert runner.run(world.order()).stopped
        late.join()
    assert world.states()["first"] == {"success": 5, "killed": 1}


# --- looking while it works ------------------------------------------------------------------------------------------


def test_a_list_of_datums_grows_while_they_are_done(world: ServerWorld) -> None:
    """[TestListDatumDuringJob]"""
    fill(world, 20)
    counts: list[int] = []
    with world.runner(max_letters=0) as runner, world.ledger() as other:

        def look(_step) -> None:
            counts.append(sum(1 for _ in other.slots(states=(State.SUCCESS,))))

        replace(runner, on_progress=look).run(world.order())
    assert counts == sorted(counts)
    assert len(set(counts)) > 3, "a list that is only there at the end would say one number"
    assert counts[-1] == 62


def test_every_version_of_a_path_is_found_with_its_run(world: ServerWorld) -> None:
    """[TestFindCommits]"""
    runs = []
    for text in ("alarm A", "B", "alarm C"):
        world.put("a/1", text)
        world.put("a/other", f"not looked for {text}")
        runs.append(world.run().run)
    with world.ledger() as ledger:
        made = ledger.makers("first", "good/a/1")
        assert [record.run for record in made] == runs[::-1]
        assert [world.store.get(record.outputs[0]) for record in made] == [b"alarm C", b"B", b"alarm A"]
        assert [record.run for record in ledger.makers("third", "a/1.alarm")] == [runs[2], runs[0]]
        assert ledger.makers("first", "good/a/9") == []


# --- exactly which datums --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "given", "crossed"),
    [
        ({}, {"a": "1"}, {}),
        ({"a/1": "bad"}, {"a": "1"}, {}),
        ({"a/1": "x", "b/1": "x"}, {}, {"a/1": [], "b/1": []}),
        ({"a/1": "x", "b/1": "x"}, {"c": "3"}, {"a/1": [], "b/1": []}),
        (
            {"a/1": "x", "a/2": "bad", "b/1": "x", "ab": "x"},
            {"a": "1", "all": "2", "b": "3"},
            {"a/1": ["a", "all"], "b/1": ["all", "b"], "ab": ["a", "all"]},
        ),
    ],
)
def test_exactly_the_datums_that_glob_and_cross_name_are_done(world: ServerWorld, texts, given, crossed) -> None:
    """[TestIterators]"""
    for key, text in texts.items():
        world.put(key, text)
    world.run(references=words(world, **given) if given else {})
    with world.ledger() as ledger:
        second = {slot.key: slot.record for slot in ledger.slots("second", states=(State.SUCCESS,))}
        assert {slot.key for slot in ledger.slots("first")} == texts.keys()
    found = {
        key: sorted(item.ref.key.split(".")[0] for item in record.inputs if item.ref.bucket == "words")
        for key, record in second.items()
    }
    assert found == crossed


# --- load now, process later -----------------------------------------------------------------------------------------


def test_what_is_loaded_is_known_and_waits_until_it_is_processed(world: ServerWorld) -> None:
    """[TestDeferredProcessing]"""
    fill(world)
    with world.ledger() as ledger:
        intake = BucketIntake(
            ledger=ledger,
            source=world.open_bucket(world.store),
            bucket=INPUTS,
            readers=("first",),
            clock=world.clock,
        )
        assert intake.take().changed == 5
        assert intake.take().changed == 0
    assert world.states() == {"first": {"pending": 5}}
    assert world.results() == {}
    ran = world.run()
    assert (ran.taken.changed, done(ran)["first"]) == (0, 5)


@pytest.mark.parametrize(
    ("chosen", "again"),
    [
        (lambda slot: True, {"first": 4, "second": 4, "third": 4, "sums": 3}),
        (lambda slot: slot.stage == "second", {"second": 4}),
        (lambda slot: slot.stage == "second" and slot.key.startswith("a/"), {"second": 2}),
        (lambda slot: slot.record.at_s is not None and slot.record.at_s > 5, {"first": 1}),
    ],
    ids=["all", "one stage", "a prefix", "a time range"],
)
def test_what_is_marked_is_processed_again_and_nothing_else(world: ServerWorld, chosen, again) -> None:
    for key in ("a/1", "a/2", "b/1"):
        world.put(key, "alarm")
    world.put("b/2", "alarm late")
    world.run()
    before = world.results()
    with world.ledger() as ledger:
        marks = [Mark(stage=slot.stage, key=slot.key) for slot in ledger.slots() if chosen(slot)]
        ledger.mark(marks, salt="again")
    assert done(world.run()) == again
    assert world.results() == before
    assert len(world.postbox.letters) == 4


# --- what a bucket is instead of a folder ----------------------------------------------------------------------------


def test_a_bucket_that_is_gone_retracts_nothing_and_neither_does_an_empty_one_in_its_place(world: ServerWorld) -> None:
    fill(world)
    world.run()
    full = world.store.full(INPUTS)
    world.remove_bucket(INPUTS)
    with pytest.raises(Unavailable, match=f"{full}.*no such bucket.*lookout init"):
        world.run()
    make_buckets(world.store, [INPUTS])
    assert world.run().taken.held == 5
    assert world.states() == ALL_DONE
    fill(world)
    assert done(world.run()) == {}


def test_an_empty_bucket_is_believed_when_its_pictures_were_deleted_in_it_or_with_a_word(world: ServerWorld) -> None:
    texts = [world.put(f"a/{i}", "alarm") for i in range(3)]
    world.run()
    for text in texts:
        text.unlink()
    assert world.run().taken.gone == 3
    world.put("a/1", "alarm")
    world.run()
    world.lose(f"{INPUTS}/a/1")
    world.lose(f"{INPUTS}/a/0")
    world.lose(f"{INPUTS}/a/2")
    assert world.run().taken.held == 1
    assert world.run(allow_deletions=True).taken.gone == 1


def test_a_state_belongs_to_one_bucket(world: ServerWorld) -> None:
    world.put("a/1", "one")
    world.run()
    other = replace(world, place=replace(world.place, prefix=f"x{world.place.prefix}"))
    store = other.store
    with world.runner() as runner, pytest.raises(InputRejected, match="belongs to the source s3:"):
        replace(runner, bucket=other.open_bucket(store)).run(world.order())
    assert "second/a/1.loud" in world.results()


def test_a_result_deleted_by_hand_is_still_read_by_those_who_ask_the_ledger(world: ServerWorld) -> None:
    world.put("a/1", "alarm")
    world.run()
    world.store.connection.delete(world.store.full("second"), "a/1.loud")
    assert "second/a/1.loud" not in world.results()
    assert world.results_by_ledger()["second/a/1.loud"] == b"ALARM"
    world.pipeline = toy_pipeline(version=2)
    assert done(world.run()) == {"second": 1}
    assert world.results()["second/a/1.loud"] == b"ALARM"


def test_a_picture_overwritten_by_the_same_bytes_is_not_done_again(world: ServerWorld) -> None:
    world.put("a/1", "alarm")
    world.run()
    world.put("a/1", "alarm")
    assert done(world.run()) == {}


@pytest.mark.parametrize("revive", [True, False])
def test_a_datum_that_was_given_up_is_taken_again_when_it_is_marked_and_not_beside_others(
    world: ServerWorld, revive: bool
) -> None:
    with world.ledger() as ledger:
        ledger.mark([Mark(stage="s", key="k")])
        for _ in range(2):
            with ledger.session() as owner:
                assert [claim.key for claim in ledger.claim("s", owner, 9, 1.0)] == ["k"]
                world.now_s += 2.0
                ledger.claim("other", owner, 9, 1.0)
        with ledger.session() as owner:
            given_up = Outcome(state=State.FAILED, error="enough")
            ledger.commit([(claim, given_up) for claim in ledger.claim("s", owner, 9, 60.0)])
        assert ledger.find_slots("s", ["k"])["k"].state is State.FAILED
        ledger.mark([Mark(stage="s", key=key) for key in "jkl"], revive=revive)
        with ledger.session() as owner:
            found = [[claim.key for claim in ledger.claim("s", owner, 9, 60.0)] for _ in range(3)]
    assert found == [["j", "l"], ["k"], []]


# --- what an object says of itself -----------------------------------------------------------------------------------


def test_every_output_names_its_datum_and_the_run_that_made_it(world: ServerWorld) -> None:
    fill(world)
    first = world.run().run
    world.put("a/000", "another")
    world.run()
    with world.ledger() as ledger:
        records = [slot.record for slot in ledger.slots(states=[State.SUCCESS]) if slot.record is not None]
    assert {record.run for record in records} > {first}
    for record in records:
        for ref in record.outputs:
            found = world.store.connection.stat(world.store.full(ref.bucket), ref.key, ref.version)
            assert found is not None
            assert found.metadata["lookout-datum"] == record.hash
            assert found.metadata["lookout-run"] == record.run


def test_a_row_of_the_ledger_that_is_damaged_fails_its_datum_and_no_other(world: ServerWorld, etcd: EtcdServer) -> None:
    fill(world)
    world.run()
    name = keys.text(world.place.prefix) + keys.SLOT + keys.text("second") + keys.text("a/002")
    etcd.ask("kv/put", {"key": encode(name), "value": encode(b"junk")})
    for i in range(5):
        world.put(f"a/{i:03}", "alarm anew")
    ran = world.run()
    assert (ran.engine.report.failed["second"], ran.engine.report.success["second"]) == (1, 4)
    with world.ledger() as ledger:
        (failed,) = ledger.slots(states=[State.FAILED])
    assert (failed.stage, failed.key) == ("second", "a/002")
    assert "a/002" in str(failed.error)
    assert world.states()["third"] == {"success": 4, "unrunnable": 1}
    assert world.results()["second/a/003.loud"] == b"ALARM ANEW"
    assert world.results()["second/a/002.loud"] == b"ALARM", "what is not known is neither replaced nor retracted"
