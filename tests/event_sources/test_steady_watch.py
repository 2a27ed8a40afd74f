"""A watch that is looked after: what breaks it, what it cannot see, and that it never lives on mute."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from event_sources.folder_watch.supervised_watch import Periods, SteadyWatch
from event_sources.folder_watch.watch import Change
from lookout.domain.errors import InputRejected, Unavailable

PROJECT = Path(__file__).parents[2]
WHOLE = b"\xff\xd8" + b"picture" * 1000 + b"\xff\xd9"
SOON_S = 10.0
BEAT_S = 0.02


class Told:
    """Record of what a watch told."""

    def __init__(self) -> None:
        self.changes: queue.Queue[Change] = queue.Queue()
        self.lost: queue.Queue[Exception] = queue.Queue()
        self.said: list[str] = []
        self.fails = False

    def change(self, change: Change) -> None:
        if self.fails:
            raise MemoryError("as when there is no more memory")
        self.changes.put(change)

    def next_key(self) -> str:
        return self.changes.get(timeout=SOON_S).key


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def told() -> Told:
    return Told()


def watch(root: Path, told: Told, *, walk_every_s: float = 600.0, **periods_s: float) -> SteadyWatch:
    periods = Periods(**{"settle_s": 0.1, "check_s": 0.05, "soon_s": 600.0, **periods_s})
    return SteadyWatch(
        root, told.change, told.lost.put, walk_every_s=walk_every_s, periods=periods, tell=told.said.append
    )


def until(step: Callable[[], bool]) -> None:
    """Call it as a consumer's loop does, until it is so."""
    end_s = time.monotonic() + SOON_S
    beat = threading.Event()
    while not step():
        assert time.monotonic() < end_s, "not in time"
        beat.wait(BEAT_S)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_noticed_the_watch_is_begun_anew_and_a_walk_is_due(root: Path, told: Told) -> None:
    with watch(root, told) as it:
        told.fails = True
        (root / "a.jpg").write_bytes(WHOLE)  # the thread that tells of it dies
        until(it.check)
        told.fails = False
        assert it.restarts == 1
        assert "a thread of the watch has died" in told.said[0]
        it.walked(1, 0.0)
        assert it.missed == 0, "that was told already"
        assert not it.check()
        (root / "b.jpg").write_bytes(WHOLE)
        assert told.next_key() == "b.jpg"


CLOSED = """
    import os, sys, time
    from pathlib import Path
    from event_sources.folder_watch.supervised_watch import Periods, SteadyWatch

    said, keys = [], []
    periods = Periods(check_s=0.05, soon_s=600.0)
    with SteadyWatch(Path(sys.argv[1]), keys.append, print, periods=periods, tell=said.append) as watch:
        for fd in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:inotify":
                    os.close(int(fd))
            except OSError:
                pass
        end_s = time.monotonic() + 20
        while not watch.check() and time.monotonic() < end_s:
            time.sleep(0.02)
        print(watch.restarts, said)
        Path(sys.argv[1], "a.txt").write_text("1")
        while not keys and time.monotonic() < end_s:
            time.sleep(0.02)
        print(keys)
"""


def child(script: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> str:
    command = [*wrapper, sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_inotify_instance_that_is_gone_is_noticed_and_the_watch_is_begun_anew(root: Path) -> None:
    said = child(CLOSED, root)
    # Either its reader was the first to notice, or the check was.
    assert re.search(r"1 \['the watch is begun anew, as (the system watches the folder no more|a thread of)", said)
    assert "a.txt" in said


LIMITED = """
    import sys, time
    from pathlib import Path
    from event_sources.folder_watch.supervised_watch import Periods, SteadyWatch

    root, said, lost = Path(sys.argv[1]), [], []
    periods = Periods(check_s=0.05, soon_s=0.1)
    with SteadyWatch(root, lambda change: None, lost.append, periods=periods, tell=said.append) as watch:
        for number in range(20):
            (root / str(number)).mkdir()
        end_s = time.monotonic() + 20
        while not said and time.monotonic() < end_s:
            time.sleep(0.02)
            watch.check()
        walks = 0
        while walks < 3 and time.monotonic() < end_s:
            time.sleep(0.02)
            if watch.check():
                walks += 1
                watch.walked(1, 0.0)
        print(watch.unwatched, walks, watch.missed, watch.restarts, [type(error).__name__ for error in lost], said)
"""


def test_folders_made_after_the_limit_is_reached_are_told_and_walked_for(root: Path) -> None:
    """In a user namespace of its own, which may lower its limit without privilege."""
    shell = 'echo 10 > /proc/sys/user/max_inotify_watches && exec "$@"'
    wrapper = ("unshare", "--user", "--map-root-user", "sh", "-c", shell, "sh")
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine gives no user namespaces")
    said = child(LIMITED, root, wrapper=wrapper)
    assert said.startswith("11 3 0 0 ['Unavailable'")
    assert "11 of its folders cannot be watched (raise fs.inotify.max_user_watches" in said


def test_walks_are_due_soon_and_then_ever_less_often_until_there_is_trouble(root: Path, told: Told) -> None:
    with watch(root, told, soon_s=0.1, walk_every_s=0.4) as it:
        began_s = time.monotonic()
        until(it.check)
        pauses = []
        for _ in range(3):
            it.walked(0, 0.0)
            began_s = time.monotonic()
            until(it.check)
            pauses.append(time.monotonic() - began_s)
        assert pauses[0] >= 0.2
        assert min(pauses[1:]) >= 0.4, "no longer than the pause that was asked for, and no shorter"
        it.walked(0, 0.05)
        began_s = time.monotonic()
        until(it.check)
        assert time.monotonic() - began_s >= 1.0, "a walk that takes long comes less often"


def test_files_that_no_event_told_of_are_counted_told_of_and_a_reason_to_begin_anew(root: Path, told: Told) -> None:
    with watch(root, told, soon_s=0.1) as it:
        until(it.check)
        it.walked(3, 0.0)
        assert (it.missed, it.restarts) == (3, 1)
        assert "a walk found 3 new or changed files of which no event had told" in told.said[0]
        assert it.check(), "and what happened while it was begun anew is looked for"
        it.walked(0, 0.0)
        (root / "a.jpg").write_bytes(WHOLE)
        assert told.next_key() == "a.jpg"


def test_a_folder_that_goes_away_ends_it_once_and_asks_for_no_more_walks(root: Path, told: Told) -> None:
    with watch(root, told, soon_s=0.05) as it:
        root.rename(root.parent / "elsewhere")
        root.mkdir()
        until(lambda: not (it.check() or told.lost.empty()))
        assert isinstance(told.lost.get(timeout=SOON_S), InputRejected)
        it.walked(0, 0.0)
        until(lambda: not it.check())
        assert told.lost.empty()
        assert it.restarts == 0


def test_dropped_events_make_a_walk_due(root: Path, told: Told) -> None:
    (root / "0.jpg").write_bytes(WHOLE)
    with watch(root, told) as it:
        script = "import os, sys\nfor _ in range(150_000): os.close(os.open(sys.argv[1], os.O_RDONLY))"
        subprocess.run([sys.executable, "-c", script, str(root / "0.jpg")], check=True, timeout=60)
        assert isinstance(told.lost.get(timeout=60), Unavailable)
        until(it.check)


def test_a_file_that_is_being_written_is_waited_for(root: Path, told: Told) -> None:
    with watch(root, told, settle_s=600.0) as it:
        with (root / "a.jpg").open("wb") as file:
            file.write(WHOLE)
            file.flush()
            os.fsync(file.fileno())
            until(lambda: it.is_waited_for("a.jpg"))
        assert told.next_key() == "a.jpg"
        assert not it.is_waited_for("a.jpg")
