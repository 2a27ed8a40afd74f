"""The end of an observer while its reader handles an event of the system."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from watchdog.events import FileSystemEventHandler

if sys.platform != "linux":
    pytest.skip("inotify is of Linux", allow_module_level=True)

from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, Mask, WatchDescriptor

from event_sources.folder_watch.inotify import InotifyWatcher

OVERFLOW = InotifyEvent(WatchDescriptor(-1), Mask(InotifyConstants.IN_Q_OVERFLOW), 0, b"")


def test_a_stop_while_the_watches_are_made_again_after_an_overflow_ends_cleanly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(30):
        (tmp_path / str(number)).mkdir()
    for _ in range(20):
        observer = InotifyWatcher()
        observer.schedule(FileSystemEventHandler(), str(tmp_path), recursive=True)
        observer.start()
        begun = threading.Event()

        def overflow(begun: threading.Event = begun, observer: InotifyWatcher = observer) -> None:
            for number in range(100):
                if number == 1:
                    begun.set()
                observer.reader.handle_event(OVERFLOW)

        thread = threading.Thread(target=overflow)
        thread.start()
        begun.wait()
        observer.stop()
        observer.join()
        thread.join()
        assert not observer.reader.is_alive()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
