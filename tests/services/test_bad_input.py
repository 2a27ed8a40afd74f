"""Bad input of a deployment on servers: vanished buckets, objects and versions, odd keys, foreign things."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devkit.servers.etcd import EtcdServer, encode
from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import State
from lookout.object_store.minio.buckets import make_buckets
from lookout.object_store.minio.names import check_object_key
from tests.engine.test_semantics import Interrupted, done

from .world import INPUTS, ServerWorld

ALL_DONE = {"first": {"success": 3}, "second": {"success": 3}, "third": {"success": 3}, "sums": {"success": 2}}


def fill(world: ServerWorld) -> None:
    for i in range(3):
        world.put(f"a/{i}", "alarm")


# --- buckets and objects that go -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bucket", ["first", "second"])
def test_a_bucket_of_results_that_vanishes_in_a_run_ends_it_and_the_next_one_completes(
    world: ServerWorld, bucket: str
) -> None:
    fill(world)
    with pytest.raises(Unavailable, match=f"{world.store.full(bucket)}: there is no such bucket; run `lookout init`"):
        world.run(workers=Interrupted(world, "second", lambda: world.remove_bucket(bucket)))
    with world.ledger() as ledger:
        assert not [slot for slot in ledger.slots() if slot.owner is not None]
        assert {slot.tries for slot in ledger.slots()} == {0}
        assert ledger.runs(1)[0].state == "failed"
    make_buckets(world.store, [bucket])
    world.run()
    assert world.states() == ALL_DONE
    assert world.results_by_ledger() == {**world.results_by_ledger(), **world.results()}
    world.run(verify=True)
    assert world.results() == world.results_by_ledger()
    assert len(world.results()) == 3 * 3 + 2


def test_the_bucket_of_pictures_that_vanishes_in_a_run_costs_no_picture(world: ServerWorld) -> None:
    fill(world)
    world.run()
    before = world.results()
    for i in range(3):
        world.put(f"a/{i}", "alarm again")
    with pytest.raises(Unavailable, match=r"there is no such bucket; run `lookout init`"):
        world.run(workers=Interrupted(world, "first", lambda: world.remove_bucket(INPUTS)))
    assert world.results() == before
    make_buckets(world.store, [INPUTS])
    assert world.run().taken.held == 3
    assert world.results() == before
    for i in range(3):
        world.put(f"a/{i}", "alarm again")
    world.run()
    assert world.states() == ALL_DONE


def test_a_picture_that_is_deleted_while_it_is_read_is_done_as_it_was_and_retracted_by_the_next_run(
    world: ServerWorld,
) -> None:
    """A delete in a versioned bucket leaves the version that was observed."""
    fill(world)
    last = world.put("b/1", "alarm")
    world.run(workers=Interrupted(world, "first", last.unlink))
    assert world.results()["third/b/1.alarm"] == b"alarm\nALARM"
    world.run()
    assert world.states() == ALL_DONE


def test_a_picture_whose_versions_are_all_gone_while_it_is_read_is_retracted_at_once(world: ServerWorld) -> None:
    fill(world)
    world.put("b/1", "alarm")
    world.run(workers=Interrupted(world, "first", lambda: world.lose(f"{INPUTS}/b/1")))
    assert world.states() == ALL_DONE
    assert not [path for path in world.results() if "b/1" in path]


# --- keys ------------------------------------------------------------------------------------------------------------


def test_keys_of_every_letter_that_the_store_takes_go_through_all_stages(world: ServerWorld) -> None:
    letters = [
        *map(chr, range(1, 0x100)),
        *"ł€漢\u200b\u202e\ufffd\ufffe😀\U0010ffff",
        "e\u0301",
        "%2F",
        "%00",
        "&amp;",
    ]
    legal, refused = [], []
    for letter in letters:
        key = f"k/<{letter}>"
        try:
            check_object_key(INPUTS, key)
        except InputRejected:
            refused.append(letter)
        else:
            legal.append(key)
    assert refused == []
    for key in legal:
        world.put(key, "alarm")
    world.run(max_letters=0)
    assert world.states() == {
        **{stage: {"success": len(legal)} for stage in ("first", "second", "third")},
        "sums": {"success": 2},
    }
    results = world.results()
    assert {f"third/{key}.alarm" for key in legal} == {path for path in results if path.startswith("third/")}
    assert results["sums/groups/k.txt"].decode().startswith(f"k alarms {len(legal)}\n")
    assert done(world.run()) == {}


def test_a_key_whose_results_would_be_too_long_fails_alone_and_says_why(world: ServerWorld) -> None:
    fill(world)
    part = "p" * 250
    key = "/".join([part] * 4)
    world.put(f"{key}/{'x' * (1024 - len(key) - 1)}", "alarm")
    world.run()
    with world.ledger() as ledger:
        (failed,) = [slot for slot in ledger.slots("first") if slot.error]
    assert "1029 bytes long; at most 1024 are allowed" in (failed.error or "")
    assert world.states()["third"] == {"success": 3, "unrunnable": 1}


# --- foreign things --------------------------------------------------------------------------------------------------


def test_a_ledger_of_a_newer_form_is_refused_and_left_as_it_is(world: ServerWorld, etcd: EtcdServer) -> None:
    fill(world)
    world.run()
    before, form = world.end_state(), f"{world.place.prefix}\0!".encode()
    kept = etcd.ask("kv/range", {"key": encode(form)})["kvs"][0]["value"]
    etcd.ask("kv/put", {"key": encode(form), "value": encode(b"99")})
    with pytest.raises(InputRejected, match=r"written by a newer Lookout: its form is 99.*update Lookout"):
        world.run()
    etcd.ask("kv/put", {"key": encode(form), "value": kept})
    assert world.end_state() == before


def test_foreign_keys_beside_those_of_the_ledger_are_left_alone(world: ServerWorld, etcd: EtcdServer) -> None:
    foreign = [f"{world.place.prefix}{rest}".encode() for rest in ("", "x", "\0", "\0~x", "\0~\0s", "-other\0sfirst")]
    for key in foreign:
        etcd.ask("kv/put", {"key": encode(key), "value": encode(b"not ours")})
    fill(world)
    world.run()
    assert world.states() == ALL_DONE
    for key in foreign:
        (found,) = etcd.ask("kv/range", {"key": encode(key)})["kvs"]
        assert found["value"] == encode(b"not ours")


def test_a_slot_that_cannot_be_read_is_named_and_nothing_is_lost(world: ServerWorld, etcd: EtcdServer) -> None:
    fill(world)
    world.run()
    before, key = world.end_state(), f"{world.place.prefix}\0sfirst\0a/1\0".encode()
    (kept,) = etcd.ask("kv/range", {"key": encode(key)})["kvs"]
    etcd.ask("kv/put", {"key": encode(key), "value": encode(b"not ours")})
    world.put("a/1", "calm")
    world.run()
    with world.ledger() as ledger:
        (failed,) = ledger.slots(states=[State.FAILED])
    assert (failed.stage, failed.key) == ("first", "a/1")
    assert "a/1" in str(failed.error)
    etcd.ask("kv/put", {"key": encode(key), "value": kept["value"]})
    for text in ("calm again", "alarm"):  # what reads the datum is planned with its next change
        world.put("a/1", text)
        world.run()
    after = world.end_state()
    assert (after["live"], after["named"], after["held"]) == (before["live"], before["named"], [])


def test_foreign_objects_in_the_buckets_of_stages_are_no_inputs_and_stay(world: ServerWorld) -> None:
    store = world.store
    for path in ("first/good/b/1", "second/b/1.loud", "third/note.txt"):
        store.put(*path.split("/", 1), b"not ours", "text/plain")
    lies_below = store.put("second", "a/1.loud", b"not ours", "text/plain")
    fill(world)
    world.run()
    assert world.states() == ALL_DONE
    results = world.results()
    assert results["second/a/1.loud"] == b"ALARM"
    assert store.get(lies_below) == b"not ours"
    foreign = {path for path, data in results.items() if data == b"not ours"}
    assert foreign == {"first/good/b/1", "second/b/1.loud", "third/note.txt"}
    assert {path: data for path, data in results.items() if path not in foreign} == world.results_by_ledger()


# --- two deployments -------------------------------------------------------------------------------------------------


def test_deployments_beside_and_below_each_other_see_nothing_of_each_other(world: ServerWorld) -> None:
    names = [world.place.prefix, f"{world.place.prefix}b-", world.place.prefix.removesuffix("-") + "x-"]
    worlds = [
        replace(world, root=world.root / str(n), place=replace(world.place, prefix=name))
        for n, name in enumerate(names)
    ]
    for n, each in enumerate(worlds):
        for i in range(n + 1):
            each.put(f"a/{i}", f"alarm of {n}")
    for each in worlds:
        each.run()
    ends = [each.end_state() for each in worlds]
    for n, each in enumerate(worlds):
        assert each.states()["first"] == {"success": n + 1}
        assert set(each.results()) == set(each.results_by_ledger())
        assert {data for path, data in each.results().items() if path.startswith("first")} == {f"alarm of {n}".encode()}
    gone = worlds[1].put("a/0", "bad")
    worlds[1].run()
    gone.unlink()
    worlds[1].run()
    assert [worlds[0].end_state(), worlds[2].end_state()] == [ends[0], ends[2]]
    assert [len(each.postbox.letters) for each in worlds] == [1, 2, 3]
