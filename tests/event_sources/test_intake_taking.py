"""Order of recording and answering: an event's object is in the ledger before the answer, as it is then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from event_sources.intake.metrics import Metrics
from event_sources.intake.recorder import LOOKERS, Recorder
from lookout.domain.errors import Unavailable
from lookout.domain.records import Observation
from lookout.ledger.port import Ledger
from lookout.sources.deletion_guard import find_held
from tests.engine.world import World
from tests.event_sources.intake_kit import AWAY, READERS, FolderPictures

WAIT_S = 10.0


class Watched:
    """A ledger whose ``observe`` waits for the gate and is counted; it raises ``trouble``."""

    def __init__(self, ledger: Ledger, site: Site) -> None:
        self._ledger, self._site = ledger, site

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def observe(self, observations: list[Observation], readers: tuple[str, ...]) -> int:
        self._site.writing.release()
        assert self._site.gate.wait(WAIT_S)
        if self._site.trouble is not None:
            raise self._site.trouble
        self._site.written.append([seen.key for seen in observations])
        return self._ledger.observe(observations, readers)


class Site:
    """A world, and takers in it."""

    def __init__(self, root: Path) -> None:
        self.world = World(root)
        self.pictures = FolderPictures(self.world)
        self.taken: list[str] = []
        self.written: list[list[str]] = []
        self.writing = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.trouble: Unavailable | None = None
        self.stack = ExitStack()

    def recorder(
        self, pictures: FolderPictures | None = None, open_ledger: Callable[[], Any] | None = None
    ) -> Recorder:
        recorder = Recorder(
            open_ledger=open_ledger or (lambda: Watched(self.world.open_ledger(), self)),
            pictures=pictures or self.pictures,
            readers=READERS,
            clock=lambda: 1_700_000_000.0,
            on_taken=self.taken.extend,
            metrics=Metrics(),
        )
        recorder.start()
        self.stack.callback(recorder.stop, WAIT_S)
        return recorder

    def dirty(self) -> set[str]:
        with self.world.ledger() as ledger:
            return {slot.key for slot in ledger.slots("first") if slot.dirty}

    def content(self, key: str) -> bytes | None:
        """Return the object's content as the ledger knows it."""
        with self.world.ledger() as ledger:
            seen = ledger.find_inputs("texts", [key]).get(key)
            return None if seen is None or seen.ref is None else self.world.open_store().get(seen.ref)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.stack:
        yield site
        site.gate.set()


def test_an_object_is_in_the_ledger_when_it_is_answered(site: Site) -> None:
    site.world.put("a/1", "calm")
    site.recorder().take("a/1").result(WAIT_S)
    assert (site.dirty(), site.content("a/1"), site.taken) == ({"a/1"}, b"calm", ["a/1"])


def test_what_waits_while_the_ledger_is_written_is_written_together(site: Site) -> None:
    recorder = site.recorder()
    keys = [f"a/{n:02}" for n in range(50)]
    for key in keys:
        site.world.put(key, "calm")
    site.gate.clear()
    answers = [recorder.take(keys[0])]
    assert site.writing.acquire(timeout=WAIT_S)
    answers += [recorder.take(key) for key in keys[1:]]
    while len(site.pictures.looks) < len(keys):
        threading.Event().wait(0.01)
    site.gate.set()
    for answer in answers:
        answer.result(WAIT_S)
    assert site.dirty() == set(keys)
    assert len(site.written) <= 4
    assert max(map(len, site.written)) > 40


def test_repeats_that_wait_share_a_look_and_all_are_answered(site: Site) -> None:
    site.world.put("a/1", "calm")
    hold, recorder = threading.Event(), site.recorder()
    site.pictures.looked = lambda _: assert_set(hold)
    busy = [recorder.take(f"busy/{n}") for n in range(LOOKERS)]
    answers = [recorder.take("a/1") for _ in range(20)]
    hold.set()
    for answer in (*busy, *answers):
        answer.result(WAIT_S)
    assert site.pictures.looks.count("a/1") == 1
    assert site.dirty() == {"a/1"}


def assert_set(event: threading.Event) -> None:
    assert event.wait(WAIT_S)


def test_an_event_that_comes_during_a_look_has_a_look_of_its_own(site: Site) -> None:
    """The look may have begun before what the event tells of."""
    site.world.put("a/1", "calm")
    seen, hold = threading.Event(), threading.Event()

    def look(_: Observation) -> None:
        seen.set()
        assert_set(hold)

    site.pictures.looked = look
    recorder = site.recorder()
    first = recorder.take("a/1")
    assert_set(seen)
    site.world.put("a/1", "alarm")
    second = recorder.take("a/1")
    hold.set()
    first.result(WAIT_S)
    second.result(WAIT_S)
    assert site.content("a/1") == b"alarm"


def test_a_look_that_was_overtaken_does_not_have_the_last_word(site: Site) -> None:
    """Another intake enters the newer text between the look of this one and its write."""
    site.world.put("a/1", "old")
    looked, hold = threading.Event(), threading.Event()
    slow = FolderPictures(site.world)

    def look(_: Observation) -> None:
        looked.set()
        assert_set(hold)

    slow.looked = look
    overtaken = site.recorder(slow).take("a/1")
    assert_set(looked)
    site.world.put("a/1", "newer")
    site.recorder().take("a/1").result(WAIT_S)
    assert site.content("a/1") == b"newer"
    hold.set()
    overtaken.result(WAIT_S)
    assert site.content("a/1") == b"newer"


def test_events_out_of_order_late_and_twice_end_in_what_is_there(site: Site) -> None:
    recorder = site.recorder()
    site.world.put("a/1", "one")
    recorder.take("a/1").result(WAIT_S)
    text = site.world.put("a/1", "two")
    for _ in range(3):
        recorder.take("a/1").result(WAIT_S)
    assert site.content("a/1") == b"two"
    text.unlink()
    for _ in range(2):
        recorder.take("a/1").result(WAIT_S)
    assert site.content("a/1") is None
    assert site.dirty() == {"a/1"}


def test_what_never_was_leaves_nothing(site: Site) -> None:
    site.recorder().take("never/was").result(WAIT_S)
    assert site.dirty() == set()


def test_an_object_that_cannot_be_looked_at_fails_alone(site: Site) -> None:
    site.world.put("a/1", "calm")
    recorder = site.recorder()
    site.pictures.trouble = Unavailable("minio", "does not answer")
    with pytest.raises(Unavailable, match="minio"):
        recorder.take("a/1").result(WAIT_S)
    assert site.dirty() == set()
    site.pictures.trouble = None
    recorder.take("a/1").result(WAIT_S)
    assert site.dirty() == {"a/1"}


def test_while_the_ledger_is_away_nothing_is_answered_well_and_afterwards_it_is(site: Site) -> None:
    site.world.put("a/1", "calm")
    recorder = site.recorder()
    site.trouble = AWAY
    with pytest.raises(Unavailable, match="etcd"):
        recorder.take("a/1").result(WAIT_S)
    site.trouble = None
    recorder.take("a/1").result(WAIT_S)
    assert site.dirty() == {"a/1"}


def test_a_ledger_that_cannot_be_opened_at_first_is_opened_later(site: Site) -> None:
    site.world.put("a/1", "calm")
    tries = iter([True, True, False])

    def open_ledger() -> Ledger:
        if next(tries):
            raise AWAY
        return site.world.open_ledger()

    recorder = site.recorder(open_ledger=open_ledger)
    for _ in range(2):
        with pytest.raises(Unavailable):
            recorder.take("a/1").result(WAIT_S)
    recorder.take("a/1").result(WAIT_S)
    assert site.dirty() == {"a/1"}


def test_a_check_asks_both(site: Site) -> None:
    recorder = site.recorder()
    recorder.check().result(WAIT_S)
    site.pictures.trouble = Unavailable("minio", "does not answer")
    with pytest.raises(Unavailable, match="minio"):
        recorder.check().result(WAIT_S)

    def open_ledger() -> Ledger:
        raise AWAY

    with pytest.raises(Unavailable, match="etcd"):
        site.recorder(FolderPictures(site.world), open_ledger).check().result(WAIT_S)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_nobody_has_foreseen_is_answered_and_told_by_the_health_check(site: Site) -> None:
    site.world.put("a/1", "calm")
    recorder = site.recorder()

    def look(_: Observation) -> None:
        raise ZeroDivisionError

    site.pictures.looked = look
    assert recorder.is_alive
    with pytest.raises(ZeroDivisionError):
        recorder.take("a/1").result(WAIT_S)
    for _ in range(1000):
        if not recorder.is_alive:
            break
        threading.Event().wait(0.01)
    assert not recorder.is_alive


def test_it_ends_at_once_when_there_is_nothing_to_do_and_does_not_wait_for_what_hangs(site: Site) -> None:
    idle = site.recorder()
    idle.stop(WAIT_S)
    assert not idle.is_alive
    hold, stuck = threading.Event(), FolderPictures(site.world)
    stuck.looked = lambda _: assert_set(hold)
    busy = site.recorder(stuck)
    answer = busy.take("a/1")
    busy.stop(0.2)
    assert not answer.done()
    hold.set()


def test_deletions_that_are_told_one_by_one_pass_the_guard_against_mass_deletion(site: Site) -> None:
    keys = [f"a/{n:02}" for n in range(60)]
    for key in keys:
        site.world.put(key, "calm")
    site.world.run()
    recorder = site.recorder()
    for key in keys:
        (site.world.source / key).unlink()
        recorder.take(key).result(WAIT_S)
    with site.world.ledger() as ledger:
        assert ledger.count_inputs("texts") == 40
        held = find_held(ledger)
    assert held is not None
    assert held.pictures == 40
    assert site.world.run().taken.held == 40, "they are counted with those of the day"


def test_a_deletion_is_entered_with_what_is_new_and_held_back_where_all_is_gone(site: Site) -> None:
    for key in ("a/1", "a/2"):
        site.world.put(key, "calm")
    site.world.run()
    (site.world.source / "a/1").unlink()
    site.world.put("a/2", "changed")
    recorder = site.recorder()
    for key in ("a/1", "a/2", "a/never"):
        recorder.take(key).result(WAIT_S)
    assert (site.content("a/1"), site.content("a/2")) == (None, b"changed")
    (site.world.source / "a/2").unlink()
    site.pictures.blank = True
    recorder.take("a/2").result(WAIT_S)
    with site.world.ledger() as ledger:
        assert ledger.count_inputs("texts") == 1
