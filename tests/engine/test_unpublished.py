"""Results that cannot be made visible under their path: told, kept, and made visible when they can be."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lookout.domain.records import State
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.port import Publish
from lookout.object_store.routing import Routes
from lookout.sources.folder import FolderSource

from .watch_kit import Mute, until, watching
from .world import World


def failed(world: World) -> dict[str, str]:
    with world.ledger() as ledger:
        return {slot.key: slot.error or "" for slot in ledger.slots(states=[State.FAILED])}


def test_of_two_texts_whose_results_are_file_and_folder_one_fails_and_names_the_other(world: World) -> None:
    world.put("a/0", "as p")
    lower = world.put("a/1", "as p/q")
    world.put("a/2", "alarm")
    world.run()
    (key, error), *more = failed(world).items()
    assert not more
    assert key == "a/1"
    assert "first/good/p/q" in error
    assert "'a/0'" in error
    assert "third/a/2.alarm" in world.results()
    lower.unlink()
    world.run()
    assert failed(world) == {}


def test_twenty_such_pairs_harm_nobody_else(world: World) -> None:
    for n in range(20):
        world.put(f"a/{n}", f"as {n}" if n % 2 else f"as {n}/x")
        world.put(f"b/{n}", f"as {n}/y" if n % 2 else f"as {n}")
    world.put("c/1", "alarm")
    world.run()
    assert len(failed(world)) == 20
    assert "third/c/1.alarm" in world.results()
    before = world.results()
    world.run()
    assert world.results() == before


@pytest.mark.parametrize("obstacle", ["file", "folder"])
def test_a_foreign_thing_in_the_way_is_named_and_the_alert_is_sent_all_the_same(world: World, obstacle: str) -> None:
    world.objects.mkdir(parents=True)
    way = world.objects / "second" / ("a" if obstacle == "file" else "a/1.loud")
    way.parent.mkdir(parents=True)
    if obstacle == "file":
        way.write_text("foreign")
    else:
        way.mkdir()
        (way / "foreign").touch()
    for key in ("a/1", "b/1"):
        world.put(key, f"alarm {key}")
    for _ in range(2):  # it is not forgotten, nor does it stop the next run
        world.run()
        assert failed(world).keys() == {"a/1"}
        assert failed(world)["a/1"].startswith("second/a/1.loud cannot be made visible: ")
        assert {"second/b/1.loud", "third/a/1.alarm", "third/b/1.alarm"} <= world.results().keys()
        assert len(world.postbox.sent()) == 2
    if obstacle == "file":
        way.unlink()
    else:
        shutil.rmtree(way)
    world.run()
    assert failed(world) == {}
    assert world.results()["second/a/1.loud"] == b"ALARM A/1"
    assert len(world.postbox.sent()) == 2


def test_a_watch_tries_what_is_in_the_way_again_with_each_walk(world: World) -> None:
    way = world.objects / "second" / "a"
    way.parent.mkdir(parents=True)
    way.write_text("foreign")
    world.put("a/1", "alarm a/1")
    mute = Mute()
    with watching(world, lambda *_: mute):
        until(lambda: failed(world).keys() == {"a/1"})
        walks = len(mute.walks)
        until(lambda: len(mute.walks) > walks + 2)
        assert failed(world).keys() == {"a/1"}
        way.unlink()
        until(lambda: failed(world) == {})
        assert world.results()["second/a/1.loud"] == b"ALARM A/1"
        way = world.objects / "second" / "b"
        way.write_text("foreign")
        world.put("b/1", "alarm b/1")
        until(lambda: failed(world).keys() == {"b/1"})
        world.put("b/1", "alarm anew")
        until(lambda: "third/b/1.alarm" in world.results() and world.results()["first/good/b/1"] == b"alarm anew")
        until(lambda: failed(world).keys() == {"b/1"})
        way.unlink()
        until(lambda: failed(world) == {})
        assert world.results()["second/b/1.loud"] == b"ALARM ANEW"
    assert len(world.postbox.sent()) == 3


def test_a_result_that_cannot_be_removed_is_named_until_it_can(world: World) -> None:
    text = world.put("a/1", "alarm")
    world.put("b/1", "alarm")
    world.run()
    text.unlink()
    with world.runner() as runner:
        immovable = Immovable({world.pipeline.inputs: FolderSource()}, FolderStore(world.objects, durable=False))
        replace(runner, store=immovable).run(world.order())
    assert list(failed(world)) == ["a/1"]
    assert "third/a/1.alarm" in world.results()
    world.run()
    assert failed(world) == {}
    assert "third/a/1.alarm" not in world.results()


class Immovable(Routes):
    """A store in which one object cannot be removed."""

    def publish(self, changes: Sequence[Publish]) -> None:
        if any((change.key, change.ref) == ("a/1.alarm", None) for change in changes):
            raise OSError(errno.EPERM, "Operation not permitted")
        super().publish(changes)


def test_a_text_may_turn_its_own_result_into_a_folder_and_back(world: World) -> None:
    for text, path in [("as p", "p"), ("as p/q", "p/q"), ("as p", "p")]:
        world.put("a/1", text)
        world.run()
        assert failed(world) == {}
        assert [name for name in world.results() if name.startswith("first/")] == [f"first/good/{path}"]


def test_a_version_that_cannot_be_collected_stops_no_run(world: World, tmp_path: Path) -> None:
    world.put("a/1", "one")
    world.run()
    (world.objects / ".staging" / "foreign").mkdir()
    world.now_s += 40 * 24 * 3600
    world.run()
    assert (world.objects / ".staging" / "foreign").is_dir()
