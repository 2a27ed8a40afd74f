"""Links, renames and swaps under way: nothing outside of the source ever comes in, and the rest of it goes on."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lookout.domain.errors import LookoutError
from lookout.domain.identity import unread_digest
from lookout.domain.records import State
from lookout.object_store.folder.owned import OwnedRoot
from lookout.uploader.upload import find_files
from tests.engine.world import World, words

CANARY = b"canary-" * 5


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def everything(world: World) -> Iterator[tuple[Path, bytes]]:
    """All bytes of the state: results, versions, the ledger; and the letters."""
    for folder, _, names in os.walk(world.root / "state"):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                yield path, path.read_bytes()
    if world.postbox.log.exists():
        yield world.postbox.log, world.postbox.log.read_bytes()


def assert_no_canary(world: World) -> None:
    assert [path for path, data in everything(world) if b"canary" in data.lower()] == []


def test_a_folder_that_becomes_a_link_is_told_of_and_nothing_behind_it_comes_in(world: World) -> None:
    world.put("sub/1", "one")
    world.put("2", "two")
    world.run(references=words(world, w="hey"))
    before = world.results()
    outside = world.root / "elsewhere"
    outside.mkdir()
    (outside / "1").write_bytes(CANARY + b" alarm")
    (world.source / "sub").rename(world.root / "moved")
    (world.source / "sub").symlink_to(outside)
    world.put("3", "three")
    world.run()
    assert_no_canary(world)
    with world.ledger() as ledger:
        (failed,) = ledger.slots("first", states=[State.FAILED])
    assert (failed.key, failed.error) == ("sub/1", "lies below 'sub', a link that leads outside it")
    after = world.results()
    assert {path: data for path, data in after.items() if path in before and "sums" not in path} == {
        path: data for path, data in before.items() if "sums" not in path
    }
    assert any(path.endswith("3") for path in after)
    (world.source / "sub").unlink()
    (world.root / "moved").rename(world.source / "sub")
    world.run()
    with world.ledger() as ledger:
        assert list(ledger.slots("first", states=[State.FAILED])) == []


def test_a_file_that_is_too_large_is_refused_at_once_and_the_others_do_not_wait(world: World) -> None:
    with (world.source / "huge").open("wb") as file:
        file.truncate(30_000_000_000)
    world.put("1", "one")
    began_s = time.process_time()
    world.run(references=words(world, w="hey"))
    assert time.process_time() - began_s < 5
    with world.ledger() as ledger:
        (failed,) = ledger.slots("first", states=[State.FAILED])
        seen = ledger.find_inputs("texts", ["huge"])["huge"]
    assert "has 30,000,000,000 bytes; at most 33,554,432 are read" in str(failed.error)
    assert seen.ref is not None
    assert seen.ref.sha256 == unread_digest(30_000_000_000)
    assert any(path.startswith("first/good/1") for path in world.results())


# --- swaps under way --------------------------------------------------------------------------------------------------


PLACES = ("source/a", "source/a", "source/b", "source/1", "source/a/1", "source/link", "state/objects/first/good/a")


class Vandal(threading.Thread):
    """Swaps folders and files of the source and the state for links to the canary and back, until stopped."""

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(name="vandal")
        self._world, self._chance, self._stop_now = world, random.Random(seed), threading.Event()
        self.outside = world.root / "outside"
        self.outside.mkdir()
        for name in ("1", "2", "new", "good", "x"):
            (self.outside / name).write_bytes(CANARY + name.encode())
        self.swaps = 0

    def run(self) -> None:
        while not self._stop_now.is_set():
            with suppress(OSError):  # what it is about to swap was just replaced, or made again
                self._swap()
                self.swaps += 1

    def stop(self) -> None:
        self._stop_now.set()
        self.join()

    def _swap(self) -> None:
        """Beneath the root itself, so that it does not follow its own links."""
        place = self._chance.choice(PLACES)
        target = self._chance.choice([str(self.outside), f"{self.outside}/1", "../outside", "../../outside/2", "1"])
        with OwnedRoot(str(self._world.root)) as root, root.parent(place) as folder:
            there = self._move(root, place, "aside")
            os.symlink(target, place.rpartition("/")[2], dir_fd=folder)
            self._stop_now.wait(self._chance.choice((0.0, 0.01, 0.3)))  # the links stay for a file, or for a run
            root.unlink(place)
            if there:
                self._move(root, "aside", place)

    @staticmethod
    def _move(root: OwnedRoot, name: str, target: str) -> bool:
        try:
            root.replace(name, target)
        except FileNotFoundError:
            return False
        return True


def storm(world: World, seed: int, rounds: int) -> None:
    chance = random.Random(seed)
    references = words(world, w="hey")
    for name in ("1", "2", "a/1", "a/2", "b/1"):
        world.put(name, "quiet")
    vandal = Vandal(world, seed)
    vandal.start()
    try:
        number = 0
        while number < rounds or vandal.swaps <= rounds:
            number += 1
            with suppress(OSError):  # its folder is a link just now
                (world.root / "fresh").write_text(f"text {number}")
                (world.root / "fresh").replace(world.source / chance.choice(["1", "2", "3"]))
            # Trouble of the moment is said; what comes in is what counts.
            with suppress(LookoutError):
                world.run(references=references, allow_deletions=True, verify=chance.random() < 0.5)
            with suppress(LookoutError):
                assert all("canary" not in file.name for file in find_files([world.source]))
    finally:
        vandal.stop()
    assert_no_canary(world)
    assert sorted(path.name for path in vandal.outside.iterdir()) == ["1", "2", "good", "new", "x"]
    assert all(path.read_bytes() == CANARY + path.name.encode() for path in vandal.outside.iterdir())


@pytest.mark.parametrize("seed", [1, 2])
def test_links_swapped_in_under_way_bring_nothing_in_and_change_nothing_outside(world: World, seed: int) -> None:
    storm(world, seed, rounds=20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_links_swapped_in_under_way_bring_nothing_in_for_long(world: World, seed: int) -> None:
    storm(world, seed, rounds=200)
