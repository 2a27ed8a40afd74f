"""The watch on real files: what is whole is told at once, what is not whole waits, what goes away is told too."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from event_sources.folder_watch.watch import Change, FolderWatch
from lookout.domain.errors import InputRejected, Unavailable

PROJECT = Path(__file__).parents[2]
WHOLE = b"\xff\xd8" + b"picture" * 1000 + b"\xff\xd9"
HALF = WHOLE[:3000]
SOON_S = 10.0
"""How long an expected change may take on a busy machine; never waited for in full when all is well."""
SETTLE_S = 0.3
NEVER_S = 60.0


class Told:
    """Changes that a watch told of, as a queue to wait on."""

    def __init__(self) -> None:
        self.changes: queue.Queue[Change] = queue.Queue()
        self.lost: queue.Queue[Exception] = queue.Queue()

    def next(self) -> Change:
        return self.changes.get(timeout=SOON_S)

    def until(self, *expected: Change) -> list[Change]:
        """Wait until all of these were told; gives all that was told until then."""
        missing, seen = set(expected), []
        while missing:
            seen.append(self.next())
            missing.discard(seen[-1])
        return seen

    def nothing_but(self, folder: Path, *expected: Change) -> None:
        """All told up to a mark set now is what is expected, in that order."""
        mark = folder / "mark.jpg"
        mark.write_bytes(WHOLE)
        assert self.until(here("mark.jpg"))[:-1] == list(expected)


def here(key: str) -> Change:
    return Change(key=key, gone=False)


def gone(key: str) -> Change:
    return Change(key=key, gone=True)


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watch(root, told):
    """Starts watches, by default such that nothing ever settles, and ends them."""
    started = []

    def start(settle_s: float = NEVER_S, **options) -> FolderWatch:
        found = FolderWatch(root, told.changes.put, on_lost=told.lost.put, settle_s=settle_s, **options)
        found.__enter__()
        started.append(found)
        return found

    yield start
    for found in started:
        found.__exit__(None, None, None)


# --- arrivals --------------------------------------------------------------------------------------------------------


def test_a_picture_is_told_when_it_is_closed_and_once(root, told, watch):
    watch()
    (root / "a.jpg").write_bytes(WHOLE)
    told.nothing_but(root, here("a.jpg"))


def test_a_picture_that_is_being_written_is_not_told_before_it_is_closed(root, told, watch):
    watch(settle_s=SETTLE_S)
    with (root / "slow.jpg").open("wb", buffering=0) as file:
        file.write(WHOLE)  # looks whole, and stays as it is for longer than a file must be left alone
        marked = root / "settles.txt"
        marked.write_bytes(b"1")
        assert told.next() == here("settles.txt")
        marked.write_bytes(b"2")
        assert told.next() == here("settles.txt")
        file.write(WHOLE)
    assert told.next() == here("slow.jpg")


def test_a_picture_written_aside_and_renamed_is_told_once(root, told, watch):
    watch()
    (root / ".a.jpg.part").write_bytes(WHOLE)
    (root / ".a.jpg.part").rename(root / "a.jpg")
    told.nothing_but(root, here("a.jpg"))


def test_a_name_that_is_no_pictures_yet_waits_so_that_its_rename_comes_first(root, told, watch):
    watch()
    (root / "b.jpg.part").write_bytes(WHOLE)
    (root / "b.jpg.part").rename(root / "b.jpg")
    told.nothing_but(root, gone("b.jpg.part"), here("b.jpg"))


def test_a_picture_moved_in_from_elsewhere_is_told_at_once(root, told, watch, tmp_path):
    watch()
    (tmp_path / "a.jpg").write_bytes(WHOLE)
    (tmp_path / "a.jpg").rename(root / "a.jpg")
    assert told.next() == here("a.jpg")


def test_a_picture_replaced_by_a_rename_is_told(root, told, watch):
    (root / "a.jpg").write_bytes(WHOLE)
    watch()
    (root / "new").write_bytes(WHOLE + b"1")
    (root / "new").replace(root / "a.jpg")
    told.nothing_but(root, gone("new"), here("a.jpg"))


def test_a_truncated_picture_waits_and_is_told_at_once_when_it_is_completed(root, told, watch):
    watch()
    (root / "a.jpg").write_bytes(HALF)
    told.nothing_but(root)
    with (root / "a.jpg").open("ab") as file:
        file.write(WHOLE[3000:])
    assert told.next() == here("a.jpg")


def test_a_truncated_picture_that_stays_so_is_told_when_it_was_left_alone(root, told, watch):
    watch(settle_s=SETTLE_S)
    begun_s = time.monotonic()
    (root / "a.jpg").write_bytes(HALF)
    assert told.next() == here("a.jpg")
    assert time.monotonic() - begun_s >= SETTLE_S


def test_a_picture_with_data_behind_its_end_is_whole(root, told, watch):
    watch()
    (root / "a.JPEG").write_bytes(WHOLE + b"maker's data" * 1000)
    assert told.next() == here("a.JPEG")


def test_a_file_that_is_read_all_the_time_is_told_all_the_same(root, told, watch):
    watch(settle_s=SETTLE_S)
    (root / "a.jpg").write_bytes(HALF)
    end_s = time.monotonic() + SOON_S
    while told.changes.empty():
        assert time.monotonic() < end_s, "put off by its readers"
        (root / "a.jpg").read_bytes()
    assert told.next() == here("a.jpg")


def test_an_empty_picture_and_a_file_of_another_kind_are_told_when_left_alone(root, told, watch):
    watch(settle_s=SETTLE_S)
    (root / "empty.jpg").touch()
    (root / "notes.txt").write_bytes(b"1")
    told.until(here("empty.jpg"), here("notes.txt"))


def test_hard_and_symbolic_links_are_told_when_left_alone(root, told, watch, tmp_path):
    (tmp_path / "a.jpg").write_bytes(WHOLE)
    watch(settle_s=SETTLE_S)
    os.link(tmp_path / "a.jpg", root / "hard.jpg")
    (root / "soft.jpg").symlink_to("hard.jpg")
    told.until(here("hard.jpg"), here("soft.jpg"))


def test_a_file_cut_by_its_name_is_told_though_nobody_closes_it(root, told, watch):
    (root / "a.jpg").write_bytes(WHOLE)
    watch(settle_s=SETTLE_S)
    os.truncate(root / "a.jpg", 10)
    assert told.next() == here("a.jpg")


def test_a_reader_tells_nothing(root, told, watch):
    (root / "a.jpg").write_bytes(WHOLE)
    watch()
    (root / "a.jpg").read_bytes()
    told.nothing_but(root)


def test_many_pictures_at_once_are_each_told_once(root, told, watch):
    watch()
    keys = [f"{number % 7}/{number}.jpg" for number in range(1000)]
    for number in range(7):
        (root / str(number)).mkdir()
    told.nothing_but(root)  # the new folders are watched
    for key in keys:
        (root / key).write_bytes(WHOLE)
    assert sorted(told.next().key for _ in keys) == sorted(keys)
    assert told.changes.empty()


def test_odd_names_are_told_by_their_keys(root, told, watch):
    watch()
    names = [b"new\nline.jpg", b"\xff.jpg", "日本.jpg".encode(), b"x\\xff.jpg"]
    for name in names:
        (root / os.fsdecode(name)).write_bytes(WHOLE)
    assert [told.next().key for _ in names] == ["new\nline.jpg", "\\xff.jpg", "日本.jpg", "x\\x5cxff.jpg"]


# --- departures ------------------------------------------------------------------------------------------------------


def test_what_is_deleted_or_moved_away_is_gone(root, told, watch, tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (root / name).write_bytes(WHOLE)
    watch(settle_s=SETTLE_S)
    (root / "a.jpg").unlink()
    assert told.next() == gone("a.jpg")
    (root / "b.jpg").rename(tmp_path / "b.jpg")
    assert told.next() == gone("b.jpg")
    (root / "c.jpg").rename(root / ".c.jpg")
    assert told.next() == gone("c.jpg")


def test_what_is_deleted_and_comes_back_is_told_as_there_and_not_as_gone(root, told, watch):
    (root / "a.jpg").write_bytes(WHOLE)
    watch(settle_s=SETTLE_S)
    (root / "a.jpg").unlink()
    (root / "a.jpg").write_bytes(WHOLE + b"1")
    assert told.next() == here("a.jpg")
    (root / "a.jpg").unlink()
    (root / "a.jpg.part").write_bytes(WHOLE)
    (root / "a.jpg.part").rename(root / "a.jpg")
    (root / "z.txt").write_bytes(b"1")
    assert set(told.until(here("z.txt"))) == {gone("a.jpg.part"), here("a.jpg"), here("z.txt")}


def test_what_is_deleted_before_it_is_whole_is_never_told_as_there(root, told, watch):
    watch(settle_s=SETTLE_S)
    (root / "a.jpg").write_bytes(HALF)
    (root / "a.jpg").unlink()
    (root / "b.txt").write_bytes(b"1")
    assert told.until(here("b.txt")) == [gone("a.jpg"), here("b.txt")]


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_moved_in_is_walked_and_then_watched(root, told, watch, tmp_path):
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "new" / ".hidden").mkdir()
    for key in ("1.jpg", "deep/2.jpg", ".hidden/3.jpg"):
        (tmp_path / "new" / key).write_bytes(WHOLE)
    watch()
    (tmp_path / "new").rename(root / "new")
    told.until(here("new/1.jpg"), here("new/deep/2.jpg"))
    (root / "new" / "deep" / "4.jpg").write_bytes(WHOLE)
    told.nothing_but(root, here("new/deep/4.jpg"))


def test_a_renamed_folder_is_gone_and_arrives_anew(root, told, watch):
    (root / "old" / "deep").mkdir(parents=True)
    (root / "old" / "deep" / "1.jpg").write_bytes(WHOLE)
    watch(settle_s=SETTLE_S)
    (root / "old").rename(root / "new")
    told.nothing_but(root, gone("old/"), here("new/deep/1.jpg"))
    (root / "new" / "deep" / "1.jpg").unlink()
    assert told.next() == gone("new/deep/1.jpg")


def test_a_picture_half_written_in_a_folder_that_is_renamed_waits_for_its_close(root, told, watch):
    (root / "old").mkdir()
    watch(settle_s=SETTLE_S)
    with (root / "old" / "1.jpg").open("wb", buffering=0) as file:
        file.write(WHOLE)
        (root / "old").rename(root / "new")
        (root / "settles.txt").write_bytes(b"1")
        assert told.until(here("settles.txt")) == [gone("old/"), here("settles.txt")]
        file.write(WHOLE)
    assert told.next() == here("new/1.jpg")


def test_a_folder_moved_out_or_deleted_is_gone_as_a_whole(root, told, watch, tmp_path):
    for name in ("out", "deleted"):
        (root / name).mkdir()
        (root / name / "1.jpg").write_bytes(WHOLE)
    watch(settle_s=SETTLE_S)
    (root / "out").rename(tmp_path / "out")
    assert told.next() == gone("out/")
    (root / "deleted" / "1.jpg").unlink()
    (root / "deleted").rmdir()
    assert told.next() == gone("deleted/")


def test_folders_made_deep_at_once_lose_no_picture(root, told, watch):
    watch(settle_s=SETTLE_S)
    keys = [f"{number}/a/b/c/{number}.jpg" for number in range(50)]
    for key in keys:
        (root / key).parent.mkdir(parents=True)
        (root / key).write_bytes(WHOLE)
    told.until(*(here(key) for key in keys))


def test_hidden_and_excluded_folders_are_left_alone(root, told, watch, tmp_path):
    for name in ("state", ".git", "link to"):
        (root / name).mkdir()
    (tmp_path / "link").symlink_to(root / "state")
    watch(exclude=[tmp_path / "link"])
    for key in ("state/1.jpg", ".git/2.jpg", ".3.jpg"):
        (root / key).write_bytes(WHOLE)
    told.nothing_but(root)


def test_a_folder_that_is_a_link_is_watched(root, told, tmp_path):
    (tmp_path / "link").symlink_to(root)
    with FolderWatch(tmp_path / "link", told.changes.put):
        (root / "a.jpg").write_bytes(WHOLE)
        assert told.next() == here("a.jpg")


# --- trouble ---------------------------------------------------------------------------------------------------------


def test_a_missing_folder_or_a_file_is_refused(tmp_path, told):
    (tmp_path / "file").write_bytes(b"")
    for name, text in (("missing", "no such folder"), ("file", "got a file")):
        with pytest.raises(InputRejected, match=text), FolderWatch(tmp_path / name, told.changes.put):
            pass


def test_a_deleted_folder_is_lost_once_and_told_at_once(root, told, watch):
    watch()
    root.rmdir()
    error = told.lost.get(timeout=SOON_S)
    assert isinstance(error, InputRejected)
    assert str(root) in str(error)
    root.mkdir()
    assert told.lost.empty()


def test_a_folder_moved_away_or_replaced_is_lost_at_the_next_check(root, told, watch):
    watch(check_s=0.05)
    root.rename(root.parent / "elsewhere")
    root.mkdir()
    assert isinstance(told.lost.get(timeout=SOON_S), InputRejected)
    (root.parent / "elsewhere" / "a.jpg").write_bytes(WHOLE)
    assert told.changes.empty()


def test_a_loss_that_nobody_is_told_of_is_raised_at_the_end(root, told):
    was_lost = threading.Event()

    class Noticing(FolderWatch):
        def on_deleted(self, event):
            super().on_deleted(event)
            was_lost.set()

    watch = Noticing(root, told.changes.put)
    watch.__enter__()
    root.rmdir()
    assert was_lost.wait(SOON_S)
    with pytest.raises(InputRejected, match="removed"):
        watch.__exit__(None, None, None)


def test_events_that_the_system_dropped_are_made_up_for(root, told, watch):
    """Opening and closing faster than any reader can follow: the system's queue overflows."""
    for number in range(3):
        (root / f"{number}.jpg").write_bytes(WHOLE)
    watch(settle_s=SETTLE_S)
    script = "import os, sys\nfor _ in range(150_000): os.close(os.open(sys.argv[1], os.O_RDONLY))"
    subprocess.run([sys.executable, "-c", script, str(root / "0.jpg")], check=True, timeout=60)
    assert isinstance(told.lost.get(timeout=60), Unavailable)
    told.until(*(here(f"{number}.jpg") for number in range(3)))
    (root / "later.jpg").write_bytes(WHOLE)
    told.until(here("later.jpg"))


LIMITED = """
    import os, resource, sys
    from pathlib import Path
    from event_sources.folder_watch.watch import FolderWatch
    from lookout.domain.errors import InputRejected

    if sys.argv[2] == "instances":
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), 1000))
    try:
        with FolderWatch(Path(sys.argv[1]), print, on_lost=print) as watch:
            print("watching", watch.unwatched)
    except InputRejected as error:
        print(error)
"""


def limited(root: Path, which: str, *wrapper: str) -> str:
    command = [*wrapper, sys.executable, "-c", textwrap.dedent(LIMITED), str(root), which]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_room_for_a_watcher_is_refused_with_a_hint(root):
    said = limited(root, "instances")
    assert "cannot be watched" in said
    assert "sysctl" in said


def test_folders_beyond_the_systems_limit_are_told_not_passed_over(root):
    """In a user namespace of its own, which may lower its limit without privilege."""
    for number in range(20):
        (root / str(number)).mkdir()
    shell = 'echo 10 > /proc/sys/user/max_inotify_watches && exec "$@"'
    wrapper = ("unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh")
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine gives no user namespaces")
    said = limited(root, "watches", *wrapper)
    assert "11 of its folders cannot be watched" in said
    assert "max_user_watches" in said
    assert "watching 11" in said
    assert limited(root, "watches") == "watching 0\n"
