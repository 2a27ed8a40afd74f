"""Faults that watchdog does not report: lost events, a folder that is not watched, a dead thread."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

from watchdog.observers.api import BaseObserver

LOGGER: Final = logging.getLogger("watchdog")


def new_observer() -> BaseObserver:
    """Return the observer of this system; where the system can tell, files moved in are told from files made here.

    Folders made one inside the other at once are watched twice by watchdog, which is harmless, and warned of, in one
    very long line each: these warnings are silenced. Raises OSError when the system gives no observer.
    """
    warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning, module=r"watchdog\.")
    if sys.platform == "linux":
        from event_sources.folder_watch.inotify import InotifyWatcher

        return InotifyWatcher()
    from watchdog.observers import Observer

    return Observer()


def is_alive(observer: BaseObserver) -> bool:
    """Tell whether all threads of the observer live."""
    threads = [observer, *observer.emitters]
    if sys.platform == "linux":
        from event_sources.folder_watch.inotify import InotifyWatcher

        threads += [observer.reader] if isinstance(observer, InotifyWatcher) else []
    return all(thread.is_alive() for thread in threads)


class OverflowListener(logging.Handler):
    """Listens to the log of watchdog: a line there is all that it makes of events that the system dropped."""

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_overflow = on_overflow

    def emit(self, record: logging.LogRecord) -> None:
        if "events were lost" in record.getMessage():
            self._on_overflow()


def find_watched() -> list[int] | None:
    """Return the inode numbers of all that this process watches by inotify, or None where the system does not tell.

    watchdog passes over a subfolder for which the system gave no watch; only this list shows it.
    """
    found: list[int] = []
    try:
        for info in Path("/proc/self/fdinfo").iterdir():
            try:
                with info.open() as lines:
                    found += [_inode(line) for line in lines if line.startswith("inotify wd:")]
            except (FileNotFoundError, ProcessLookupError):
                continue  # closed meanwhile
    except OSError:
        return None
    return found


def _inode(line: str) -> int:
    """Of ``inotify wd:1 ino:9e7e sdev:800013 mask:...``."""
    return next((int(part[4:], 16) for part in line.split() if part.startswith("ino:")), 0)
