"""A watch on real files: what events tell, what only a walk finds, and what must not wait for either."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from event_sources.folder_watch.supervised_watch import Periods, SteadyWatch
from lookout.domain.errors import Corrupt
from lookout.execution.executor import Done, InlineWorkers, Workers
from lookout.execution.jobs import Job
from lookout.ledger.port import Ledger
from lookout.ledger.sqlite import SqliteLedger
from lookout.runs.change_feed import ChangeSink, ClockCheck, find_troubles
from lookout.runs.version_collector import COLLECT_EVERY_S, KEEP_VERSIONS_S
from lookout.sources.deletion_guard import find_held

from .watch_kit import Mute, until, watching
from .world import World


class SlowCharts(Workers):
    """Does jobs of ordinary stages at once, and those of charts on a thread of their own, in ``took_s``."""

    size = 2

    def __init__(self, world: World, took_s: float) -> None:
        self._inline, self._took_s = InlineWorkers(world.open_store()), took_s
        self._threads: list[threading.Thread] = []

    def submit(self, jobs: list[Job], timeout_s: float, done: Done) -> None:
        charts = [job for job in jobs if job.stage == "sums"]
        self._inline.submit([job for job in jobs if job.stage != "sums"], timeout_s, done)
        if charts:
            thread = threading.Timer(self._took_s, self._inline.submit, (charts, timeout_s, done))
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def old(path: Path) -> None:
    """Wait until the file was left alone for so long that a walk takes it."""
    until(lambda: time.time() - path.stat().st_ctime > 5.0)


def test_a_file_system_that_tells_of_nothing_is_watched_by_walking(world: World) -> None:
    mute = Mute()
    with watching(world, lambda *_: mute) as it:
        path = world.put("a/1", "alarm")
        until(lambda: "third/a/1.alarm" in world.results())
        assert time.time() - path.stat().st_ctime >= 5.0, "a file that was just written is left to its event"
        with world.ledger() as ledger:
            until(lambda: find_troubles(ledger).get("missed") == 1)
    assert it.ran is not None
    assert it.ran.troubles == {"restarts": 0, "missed": 1, "unwatched": 0, "clock_jumps": 0}
    with world.ledger() as ledger:
        assert find_troubles(ledger) == {}, "no watch is at work"
        assert ledger.runs(1)[0].summary == {"watch": it.ran.troubles, "failed": 0}


def test_a_file_that_is_known_to_be_written_is_left_to_its_event(world: World) -> None:
    mute = Mute()
    mute.waits_for.add("a/half")
    with watching(world, lambda *_: mute):
        old(world.put("a/half", "alarm"))
        world.put("a/whole", "alarm")
        until(lambda: "third/a/whole.alarm" in world.results())
        assert "third/a/half.alarm" not in world.results()
        mute.waits_for.clear()
        until(lambda: "third/a/half.alarm" in world.results())


def test_a_change_through_a_mapping_of_which_no_system_tells_is_missed_and_found(world: World) -> None:
    import mmap

    path = world.put("a/1", "calm ")
    said: list[str] = []

    def watcher(root, feed):
        told = {"periods": Periods(soon_s=0.2), "walk_every_s": 0.5, "tell": said.append}
        return SteadyWatch(root, lambda change: feed.put([change.key]), feed.lost, **told)

    with path.open("r+b") as file, mmap.mmap(file.fileno(), 5) as mapped, watching(world, watcher) as it:
        until(lambda: world.states().get("sums") == {"success": 2})
        mapped[:] = b"alarm"
        mapped.flush()
        until(lambda: "third/a/1.alarm" in world.results())
        until(lambda: bool(said))
        assert "events were missed" in said[0]
        world.put("a/2", "alarm")
        until(lambda: "third/a/2.alarm" in world.results())
    assert it.ran is not None
    assert (it.ran.troubles["missed"], it.ran.troubles["restarts"]) == (1, 1)


def test_a_walk_over_what_is_known_writes_nothing_and_finds_nothing(world: World) -> None:
    for number in range(50):
        old_path = world.put(f"a/{number}", "calm")
    old(old_path)
    world.run()
    world.run()  # what was read within a tick of the system's clock has its fingerprint now
    mute = Mute()
    ledger_file = world.root / "state" / "ledger.sqlite-wal"
    with watching(world, lambda *_: mute):
        until(lambda: len(mute.walks) >= 2)
        size = ledger_file.stat().st_size
        walks = len(mute.walks)
        until(lambda: len(mute.walks) >= walks + 5)
        assert ledger_file.stat().st_size == size
    assert not any(mute.walks)


def test_a_mass_deletion_is_held_back_and_the_watch_goes_on(world: World) -> None:
    paths = [world.put(f"a/{number:02}", "calm") for number in range(60)]

    def watcher(root, feed):
        return SteadyWatch(root, lambda change: feed.put([change.key]), feed.lost, periods=Periods(settle_s=0.1))

    with watching(world, watcher):
        until(lambda: world.states().get("third") == {"success": 60})
        for path in paths:
            path.unlink()
        with world.ledger() as ledger:
            until(lambda: (found := find_held(ledger)) is not None and found.pictures >= 40)
        world.put("a/new", "alarm")
        until(lambda: "third/a/new.alarm" in world.results())
        assert world.states()["first"]["success"] >= 41
    assert world.run(allow_deletions=True).taken.gone >= 40
    assert world.states()["first"] == {"success": 1}


@pytest.mark.parametrize("told", [True, False])
def test_deletions_are_allowed_for_what_is_gone_when_the_watch_begins(world: World, told: bool) -> None:
    paths = [world.put(f"a/{number:02}", "calm") for number in range(120)]
    world.run()
    for path in paths[:60]:
        path.unlink()
    mute = Mute(600.0 if told else 0.05)
    tell: list[Callable[[str], None]] = []

    def watcher(_root: Path, feed: ChangeSink) -> Mute:
        tell.append(lambda key: feed.put([key]))
        return mute

    with watching(world, watcher, allow_deletions=True):
        until(lambda: world.states().get("first") == {"success": 60})
        for path in paths[60:]:
            path.unlink()
            if told:
                tell[0](path.relative_to(world.source).as_posix())
        with world.ledger() as ledger:
            until(lambda: (found := find_held(ledger)) is not None and found.pictures >= 40)
        assert world.states()["first"]["success"] >= 40


@dataclass
class CountingWorld(World):
    """A world that counts how often its ledger is asked when old versions were freed."""

    asked: list[str] = field(default_factory=list)

    def open_ledger(self) -> Ledger:
        asked = self.asked

        class Counting(SqliteLedger):
            def find_note(self, name: str) -> str | None:
                asked.extend([name] if name == "collected" else [])
                return super().find_note(name)

        return Counting(self.root / "state" / "ledger.sqlite", clock=self.clock)


def test_a_watch_frees_old_versions_each_day_and_asks_the_ledger_only_then(tmp_path: Path) -> None:
    world = CountingWorld(tmp_path)
    versions = world.objects / ".versions"
    mute = Mute()
    with watching(world, lambda *_: mute):
        for text in ("calm", "alarm"):
            old(world.put("a/1", text))
            until(lambda text=text: world.results().get("first/good/a/1") == text.encode())
        until(lambda: any(versions.iterdir()))
        first = len(world.asked)
        assert first
        walks = len(mute.walks)
        until(lambda: len(mute.walks) > walks + 20)
        assert len(world.asked) == first
        world.now_s = time.time() + KEEP_VERSIONS_S + COLLECT_EVERY_S
        until(lambda: not any(versions.iterdir()))
        assert len(world.asked) > first


@pytest.mark.parametrize("ahead_s", [COLLECT_EVERY_S, -COLLECT_EVERY_S])
def test_a_time_of_freeing_that_another_clock_noted_holds_nothing_up(world: World, ahead_s: float) -> None:
    with world.ledger() as ledger:
        ledger.put_note("collected", repr(world.now_s + ahead_s))
    world.run()
    with world.ledger() as ledger:
        assert float(ledger.find_note("collected") or 0) == pytest.approx(world.now_s, abs=60.0)


def test_a_damaged_time_of_freeing_is_named(world: World) -> None:
    with world.ledger() as ledger:
        ledger.put_note("collected", "junk")
    with pytest.raises(Corrupt, match="the note collected"):
        world.run()


def test_charts_are_drawn_at_the_latest_after_their_patience_though_pictures_never_stop(world: World) -> None:
    """Each drawing takes longer than the next picture takes to come, so each is overtaken."""
    mute = Mute(every_s=600.0)
    adders: list[Callable[[str], None]] = []

    def watcher(_root, feed):
        adders.append(lambda key: feed.put([key]))
        return mute

    drawn: list[float] = []
    overview = world.objects / "sums" / "overview.txt"
    began_s = time.monotonic()
    beat = threading.Event()
    with watching(world, watcher, SlowCharts(world, took_s=1.0)):
        before = b""
        number = 0
        while time.monotonic() - began_s < 26.0:
            number += 1
            world.put(f"a/{number:04}", "calm")
            adders[0](f"a/{number:04}")
            beat.wait(0.5)
            now = overview.read_bytes() if overview.exists() else b""
            if now != before:
                before = now
                drawn.append(time.monotonic() - began_s)
        until(lambda: world.results()["sums/overview.txt"].endswith(f"texts {number}".encode()))
    assert len(drawn) >= 2, drawn
    ages_s = [later - earlier for earlier, later in zip([0.0, *drawn], drawn, strict=False)]
    assert max(ages_s) < 10.0 + 1.0 + 2.0, "the patience, the drawing, and a busy machine"


@pytest.mark.parametrize("jump_s", [86400.0, -86400.0])
def test_a_clock_that_is_set_is_noticed_and_the_folder_is_walked_through(world: World, jump_s: float) -> None:
    mute = Mute(every_s=600.0)
    with watching(world, lambda *_: mute) as it:
        until(mute.walked_once.is_set)
        mute.walked_once.clear()
        world.now_s += jump_s
        until(mute.walked_once.is_set)
    assert it.ran is not None
    assert it.ran.troubles["clock_jumps"] == 1


@pytest.mark.parametrize(
    ("clock_s", "jumps_s"),
    [
        ([100.0, 101.0, 102.0], [0.0, 0.0, 0.0]),
        ([100.0, 105.9, 106.9], [0.0, 0.0, 0.0]),
        ([100.0, 1101.0, 1102.0], [0.0, 1000.0, 0.0]),
        ([1000.0, 101.0, 102.0], [0.0, -900.0, 0.0]),
    ],
)
def test_a_jump_of_the_clock_is_told_once(clock_s: list[float], jumps_s: list[float]) -> None:
    times, steady = iter(clock_s), iter([10.0, 11.0, 12.0])
    check = ClockCheck(lambda: next(times), lambda: next(steady))
    assert [check.jump_s() for _ in clock_s] == jumps_s


def test_a_subfolder_that_is_gone_while_it_is_walked_through_ends_nothing(world: World) -> None:
    """Folders come and go under the walk; whoever cannot list one looks again later."""
    mute = Mute(every_s=0.0)
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            folder = world.source / f"d{number % 7}"
            folder.mkdir(exist_ok=True)
            (folder / "x").mkdir(exist_ok=True)
            (folder / "x").rmdir()
            folder.rmdir()

    with watching(world, lambda *_: mute):
        thread = threading.Thread(target=churn)
        thread.start()
        until(lambda: len(mute.walks) > 300)
        stop.set()
        thread.join()
        world.put("a/1", "alarm")
        until(lambda: "third/a/1.alarm" in world.results())
