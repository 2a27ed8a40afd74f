"""The status beside the page: what it says, when it is written, and that it holds up no work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import AlertState
from lookout.execution.executor import Workers
from lookout.ledger.port import Delivered, Ledger
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.port import STATUS_KEY
from lookout.runs.runner import Runner
from lookout.runs.status_file import RENEW_S, StatusFile, parse

from .test_watch import Mute, until, watching
from .world import World as PlainWorld

BUCKET = "sums"
DEADLINE_S = 30.0
CALM = {
    "watching": False,
    "broken": False,
    "unsent": 0,
    "dead": 0,
    "unsent_since_s": None,
    "unsent_reason": None,
    "failed": 0,
    "failed_drawings": 0,
    "held_back": 0,
    "held_back_since_s": None,
    "held_back_why": None,
    "watch": {},
    "rule_notes": 0,
    "rule_notes_said": [],
    "rules_without_effect": 0,
}


@dataclass
class World(PlainWorld):
    """A world whose runs keep the status file."""

    store: FolderStore | None = None

    def status_file(self, ledger: Ledger) -> StatusFile:
        store = self.store or FolderStore(self.objects, durable=False)
        return StatusFile(pipeline=self.pipeline, ledger=ledger, store=store, bucket=BUCKET, clock=self.clock)

    @contextmanager
    def runner(self, workers: Workers | None = None, max_letters: int = 20) -> Iterator[Runner]:
        with super().runner(workers, max_letters) as made:
            yield replace(made, status_file=self.status_file(made.ledger))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def file_of(world: World) -> Path:
    return world.objects / BUCKET / STATUS_KEY


def report(world: World) -> dict[str, object]:
    """Return the content of the file, but for the time."""
    return {name: value for name, value in parse(file_of(world).read_bytes()).items() if name != "at_s"}


def said_at_s(world: World) -> float:
    at_s = parse(file_of(world).read_bytes())["at_s"]
    assert isinstance(at_s, float)
    return at_s


class Counting(FolderStore):
    """A store that counts what is overwritten."""

    writes = 0

    def overwrite(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        self.writes += 1
        super().overwrite(bucket, key, data, content_type)


class Failing(FolderStore):
    """A store that has no room for a status, with an error of any kind."""

    error: Exception = Unavailable("the store", "no room")

    def overwrite(self, bucket: str, key: str, data: bytes, content_type: str) -> None:
        raise self.error


class Hanging(FolderStore):
    """A store that answers no request for the status until it is let go."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, durable=False)
        self.let_go = threading.Event()

    def find_visible(self, bucket: str, key: str) -> bytes | None:
        self.let_go.wait(DEADLINE_S)
        return super().find_visible(bucket, key)


# --- what it says ----------------------------------------------------------------------------------------------------


def test_a_run_that_ends_well_reports_no_trouble(world: World) -> None:
    world.put("a/1", "calm")
    world.run()
    assert report(world) == CALM
    assert said_at_s(world) == pytest.approx(world.now_s, abs=1)


def test_failed_datums_are_counted_until_they_are_done(world: World) -> None:
    world.put("a/1", "fail")
    world.put("a/2", "calm")
    world.run()
    assert report(world)["failed"] == 1
    world.put("a/1", "calm again")
    world.run()
    assert report(world) == CALM


def test_an_alert_that_is_not_sent_is_told_without_an_address(world: World) -> None:
    world.put("a/1", "alarm")
    refusal = "The to address ada@example.org (<ada.l@mail.example.org>) is not valid"
    world.postbox.answers = [Delivered(state=AlertState.DEAD, error=refusal)]
    world.run()
    said = report(world)
    assert (said["unsent"], said["dead"]) == (1, 1)
    assert said["unsent_reason"] == "The to address (address) (<(address)>) is not valid"


def test_an_alert_that_waits_is_told_after_a_run_with_its_age(world: World) -> None:
    world.put("a/1", "alarm")
    world.postbox.answers = [Delivered(state=AlertState.PENDING, error="HTTP 503", due_at_s=world.now_s + 600)]
    began_s = world.now_s
    world.run()
    said = report(world)
    assert (said["unsent"], said["dead"], said["unsent_reason"]) == (1, 0, "HTTP 503")
    assert said["unsent_since_s"] == pytest.approx(began_s, abs=1)


def test_deletions_that_are_held_back_are_told_until_a_person_decides(world: World) -> None:
    files = [world.put(f"a/{number}", "calm") for number in range(40)]
    world.run()
    for file in files[:30]:
        file.unlink()
    world.run()
    said = report(world)
    assert (said["held_back"], said["held_back_why"]) == (30, "30 of 40 pictures are gone")
    world.run(allow_deletions=True)
    assert report(world) == CALM


def test_a_run_that_met_an_error_is_told_of_until_one_ends_well(world: World) -> None:
    world.put("a/1", "calm")
    world.run()
    world.source.rename(world.root / "away")
    with pytest.raises(InputRejected):
        world.run()
    assert report(world) == {**CALM, "broken": True}
    (world.root / "away").rename(world.source)
    world.run()
    assert report(world) == CALM


# --- when it is written ----------------------------------------------------------------------------------------------


def test_a_run_in_which_nothing_changed_writes_nothing_within_a_minute(world: World) -> None:
    world.put("a/1", "calm")
    world.store = store = Counting(world.objects, durable=False)
    world.run()
    before = file_of(world).read_bytes()
    world.run()
    assert (store.writes, file_of(world).read_bytes()) == (1, before)
    world.now_s += RENEW_S
    world.run()
    assert store.writes == 2
    assert said_at_s(world) == pytest.approx(world.now_s, abs=1)


def test_a_clock_that_was_set_back_leaves_no_report_from_the_future(world: World) -> None:
    world.run()
    world.now_s -= 3600
    world.run()
    assert said_at_s(world) == pytest.approx(world.now_s, abs=1)


@pytest.mark.parametrize(
    "junk", [b"", b"lookoutStatus(", b"lookoutStatus([1]);\n", b'lookoutStatus({"at_s":"x"});\n', b"\xff"]
)
def test_a_file_that_cannot_be_understood_is_replaced(world: World, junk: bytes) -> None:
    file_of(world).parent.mkdir(parents=True)
    file_of(world).write_bytes(junk)
    world.run()
    assert report(world) == CALM


def test_a_report_takes_a_few_milliseconds(world: World) -> None:
    for number in range(50):
        world.put(f"a/{number}", "fail" if number % 2 else "calm")
    world.run()
    with world.ledger() as ledger:
        took_s = min(_end(world, ledger) for _ in range(5))
    assert took_s < 0.02


def _end(world: World, ledger: Ledger) -> float:
    status = world.status_file(ledger)
    began_s = time.perf_counter()
    status.end(broken=False)
    return time.perf_counter() - began_s


def test_a_watch_reports_while_it_is_at_work_and_that_it_ended(world: World) -> None:
    world.put("a/1", "fail")
    with watching(world, lambda *_: Mute()):
        until(lambda: file_of(world).exists())
        until(lambda: report(world) == {**CALM, "watching": True, "failed": 1})
        later_s = world.now_s + RENEW_S
        world.now_s = later_s
        until(lambda: said_at_s(world) >= later_s)  # a sign of life, though nothing changed
    assert report(world) == {**CALM, "failed": 1}


def test_a_watch_in_which_nothing_changes_writes_nothing(world: World) -> None:
    world.put("a/1", "calm")
    world.store = Counting(world.objects, durable=False)
    with world.ledger() as ledger:
        status = world.status_file(ledger)
        status.keep_up()
        status.keep_up()
        status.end(broken=False)
        assert world.store.writes == 2, "the beginning and the end"


# --- what it holds up ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Unavailable("the store", "no room"), RuntimeError("defect"), OSError(5, "EIO")])
def test_a_store_that_takes_no_status_stops_no_run(
    world: World, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    world.put("a/1", "calm")
    world.store = store = Failing(world.objects, durable=False)
    store.error = error
    assert world.run().engine.report.success["first"] == 1
    assert not file_of(world).exists()
    assert [record.message for record in caplog.records if "status file not written" in record.message]


def test_a_store_that_does_not_answer_keeps_no_run_from_its_end(world: World) -> None:
    world.put("a/1", "calm")
    world.store = store = Hanging(world.objects)
    began_s = time.monotonic()
    world.run()
    assert time.monotonic() - began_s < 10
    store.let_go.set()


def test_a_note_that_cannot_be_read_stops_no_run(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.put("a/1", "calm")
    with world.ledger() as ledger:
        ledger.put_note("held-back", "junk")
    world.run(world.source / "a/1")
    assert [record.message for record in caplog.records if "status file not written" in record.message]
