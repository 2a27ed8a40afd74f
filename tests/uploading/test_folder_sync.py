"""Bringing a folder into a bucket that comes and goes, with restarts."""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path

import pytest

from lookout.domain.errors import InputRejected
from lookout.domain.records import ObjectRef
from lookout.uploader.upload import Became, File, Sent
from tests.cli.shell import nest

from .site import DEADLINE_S, Bucket, Site, until


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def site(tmp_path: Path, bucket: Bucket) -> Site:
    return Site(tmp_path, bucket)


def test_an_empty_folder_is_waited_on(site: Site) -> None:
    with site.sync() as it:
        site.put("a.jpg", b"1")
        it.changed("a.jpg")
        assert site.told.get(timeout=DEADLINE_S).became is Became.NEW
    assert (it.counts.uploaded, it.counts.failed, it.waiting) == (1, 0, 0)


def test_what_is_there_at_the_start_is_brought_below_its_prefix(site: Site, bucket: Bucket) -> None:
    site.put("a.jpg", b"1")
    site.put("below/b.jpg", b"2")
    site.put(".hidden/c.jpg", b"3")
    with site.sync(prefix="site1/"):
        until(lambda: len(bucket.versions) == 2)
    assert dict(bucket.versions) == {"site1/a.jpg": [b"1"], "site1/below/b.jpg": [b"2"]}


def test_a_restart_brings_nothing_twice_though_its_user_may_not_look(site: Site, bucket: Bucket) -> None:
    for number in range(50):
        site.put(f"{number}.jpg", str(number).encode())
    with site.sync():
        until(lambda: site.told.qsize() == 50)
    for _ in range(2):
        with site.sync() as it:
            until(lambda: it.counts.skipped == 50)
            assert it.counts.uploaded == 0
    assert {len(found) for found in bucket.versions.values()} == {1}


def test_what_did_not_change_is_not_even_read_again(site: Site, bucket: Bucket) -> None:
    site.put("a.jpg", b"1")
    until(lambda: time.time() - (site.folder / "a.jpg").stat().st_ctime > 0.1)  # beyond the tick of its change
    for _ in range(2):
        with site.sync() as it:
            until(lambda: it.counts.skipped + it.counts.uploaded == 1)
    assert bucket.tries == ["a.jpg"]


def test_a_changed_file_is_brought_again_and_a_touched_or_deleted_one_is_not(site: Site, bucket: Bucket) -> None:
    site.put("a.jpg", b"1")
    site.put("b.jpg", b"1")
    site.put("c.jpg", b"1")
    with site.sync() as it:
        until(lambda: site.told.qsize() == 3)
        site.put("a.jpg", b"2")
        site.put("b.jpg", b"1")
        (site.folder / "c.jpg").unlink()
        for name in ("a.jpg", "b.jpg"):
            it.changed(name)
        until(lambda: it.counts.uploaded == 4 and it.counts.skipped == 1)
    assert dict(bucket.versions) == {"a.jpg": [b"1", b"2"], "b.jpg": [b"1"], "c.jpg": [b"1"]}


def test_while_the_store_is_away_it_is_tried_singly_and_nothing_is_lost(site: Site, bucket: Bucket) -> None:
    bucket.up.clear()
    for number in range(30):
        site.put(f"{number}.jpg", str(number).encode())
    with site.sync() as it:
        until(lambda: site.trouble.qsize() >= 4)
        site.put("late.jpg", b"late")
        it.changed("late.jpg")
        assert not bucket.versions
        bucket.up.set()
        until(lambda: it.counts.uploaded == 31)
    said = [site.trouble.get() for _ in range(site.trouble.qsize())]
    assert said[-1] is None
    assert set(said[:-1]) == {"http://store: cannot be reached"}
    assert {len(found) for found in bucket.versions.values()} == {1}


def test_pauses_grow_to_their_limit(site: Site, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookout.uploader.folder_sync.MAX_PAUSE_S", 0.04)
    bucket.up.clear()
    site.put("a.jpg", b"1")
    with site.sync(workers=1):
        until(lambda: len(bucket.tries) >= 6)
    assert len(bucket.tries) < 50


def test_it_stops_at_once_while_the_store_is_away(site: Site, bucket: Bucket) -> None:
    bucket.up.clear()
    site.put("a.jpg", b"1")
    with site.sync(first_pause_s=3600.0) as it:
        site.trouble.get(timeout=DEADLINE_S)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 1.0
    assert it.waiting == 1


def test_it_does_not_wait_for_a_file_that_hangs(site: Site, bucket: Bucket) -> None:
    hangs = threading.Event()
    bucket.before = lambda _: hangs.wait(DEADLINE_S)  # type: ignore[assignment,return-value]
    site.put("a.jpg", b"1")
    with site.sync():
        until(lambda: bucket.tries == ["a.jpg"])
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5.0
    hangs.set()


def test_what_is_being_sent_may_end_and_is_remembered(site: Site, bucket: Bucket) -> None:
    stopping = threading.Event()
    bucket.before = lambda _: stopping.wait(0.3)  # type: ignore[assignment,return-value]
    site.put("a.jpg", b"1")
    with site.sync() as it:
        until(lambda: bucket.tries == ["a.jpg"])
    assert (it.counts.uploaded, it.waiting) == (1, 0)
    with site.sync() as it:
        until(lambda: it.counts.skipped == 1)
    assert bucket.versions["a.jpg"] == [b"1"]


def test_one_file_that_the_server_loses_each_time_holds_up_no_other(site: Site, bucket: Bucket) -> None:
    bucket.lost = {"bad.jpg"}
    site.put("bad.jpg", b"0")
    for number in range(20):
        site.put(f"{number}.jpg", b"1")
    with site.sync() as it:
        until(lambda: it.counts.uploaded == 20)
        bucket.lost = set()
        until(lambda: it.counts.uploaded == 21)


def test_a_file_that_is_refused_is_named_once_until_it_changes(site: Site, bucket: Bucket) -> None:
    bucket.refused = {"xl.meta": "no such name", "nowhere.jpg": "is a link to a file that is not there"}
    site.put("xl.meta", b"0")
    (site.folder / "nowhere.jpg").symlink_to("nothing")
    site.put("a.jpg", b"1")
    with site.sync(walk_every_s=0.05) as it:
        until(lambda: (it.counts.uploaded, it.counts.failed) == (1, 2))
        site.put("b.jpg", b"1")
        it.changed("b.jpg")
        until(lambda: it.counts.uploaded == 2)
        assert it.counts.failed == 2
        site.put("xl.meta", b"other")
        it.changed("xl.meta")
        until(lambda: it.counts.failed == 3)
    assert bucket.tries.count("xl.meta") == 2


def test_a_file_that_went_before_it_was_sent_is_told_of(site: Site, bucket: Bucket) -> None:
    bucket.before = lambda file: (file.root / file.name).unlink()
    site.put("a.jpg", b"1")
    with site.sync() as it:
        assert site.told.get(timeout=DEADLINE_S).became is Became.GONE
    assert it.counts.gone == 1


def test_one_that_changes_while_it_is_sent_is_brought_as_it_then_is(site: Site, bucket: Bucket) -> None:
    sending, go_on = threading.Event(), threading.Event()

    def pause(_: File) -> None:
        sending.set()
        go_on.wait(DEADLINE_S)

    site.put("a.jpg", b"1")
    bucket.before = pause
    with site.sync() as it:
        assert sending.wait(DEADLINE_S)
        it.changed("a.jpg")
        go_on.set()
        until(lambda: it.counts.uploaded == 1)
        site.put("a.jpg", b"2")
        it.changed("a.jpg")
        until(lambda: it.counts.uploaded == 2)
    assert bucket.versions["a.jpg"] == [b"1", b"2"]


def test_a_file_that_somebody_may_be_writing_is_left_until_it_rests(site: Site, bucket: Bucket) -> None:
    """Found by the walk, so nobody has told that it is whole."""
    site.put("a.jpg", b"half", age_s=0)
    with site.sync(settle_s=0.3) as it:
        until(lambda: it.waiting == 1)
        (site.folder / "a.jpg").write_bytes(b"half and half")
        until(lambda: it.counts.uploaded == 1)
    assert bucket.versions["a.jpg"] == [b"half and half"]


def test_a_subfolder_that_cannot_be_listed_is_told_of_and_stops_nothing(site: Site) -> None:
    site.put("a.jpg", b"1")
    (site.folder / "deep").mkdir()
    nest(site.folder / "deep")
    (site.folder / "state").mkdir()
    (site.folder / "state" / "b.jpg").write_bytes(b"1")
    with site.sync(exclude=(site.folder / "state",)) as it:
        assert "cannot be listed: " in str(site.trouble.get(timeout=10.0))
        until(lambda: it.counts.uploaded == 1)
    assert it.counts.failed == 0


def test_what_no_system_tells_of_is_found_by_a_later_walk(site: Site) -> None:
    with site.sync(walk_every_s=0.05) as it:
        site.put("a.jpg", b"1")
        until(lambda: it.counts.uploaded == 1)
        site.put("a.jpg", b"2")
        until(lambda: it.counts.uploaded == 2)


@pytest.mark.parametrize("age_s", [-1e6, 1e6], ids=["to come", "long ago"])
def test_no_clock_need_be_right(site: Site, age_s: float) -> None:
    site.put("a.jpg", b"1", age_s=age_s)
    with site.sync(settle_s=0.05) as it:
        until(lambda: it.counts.uploaded == 1)


def test_more_than_can_be_remembered_is_found_by_walking(
    site: Site, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lookout.uploader.work_queue.MOST", 10)
    bucket.up.clear()
    names = [f"{number}.jpg" for number in range(60)]
    with site.sync() as it:
        for name in names:
            site.put(name, name.encode())
            it.changed(name)
        until(lambda: not site.trouble.empty())
        assert it.waiting < 30
        bucket.up.set()
        until(lambda: it.counts.uploaded == 60)
    assert {key: found[-1] for key, found in bucket.versions.items()} == {name: name.encode() for name in names}


def test_the_end_of_the_watch_ends_it_with_its_reason(site: Site) -> None:
    with pytest.raises(InputRejected, match="unmounted"), site.sync() as it:
        it.end(InputRejected("unmounted", "photos"))


def test_a_fault_of_its_own_is_not_passed_over(site: Site, bucket: Bucket) -> None:
    def fail(_: File) -> None:
        raise ZeroDivisionError

    bucket.before = fail
    site.put("a.jpg", b"1")
    with pytest.raises(ZeroDivisionError), site.sync():
        until(lambda: bool(bucket.tries))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_folder(site: Site, bucket: Bucket) -> None:
    bucket.send = lambda file, _: Sent(  # type: ignore[method-assign]
        file=file, became=Became.NEW, ref=ObjectRef(bucket="images", key=file.key, sha256="0" * 64, size=0, version="1")
    )
    site.told.put = lambda *_: None  # type: ignore[method-assign,assignment]
    peaks = []
    for number in (1_000, 100_000):
        for n in range(number):
            (site.folder / f"gate_{1763798400 + n}.jpg").touch()
        with site.sync() as it:
            until(lambda: it.counts.uploaded + it.counts.skipped >= number, 300)  # noqa: B023 it ends before the next
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert (peaks[1] - peaks[0]) / 1024 < 8, "MiB"
