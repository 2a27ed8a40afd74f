"""watchdog's observer of Linux, with the thread that reads the system's events in sight: it may die like any other."""

from __future__ import annotations

import threading
from typing import Final

from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter
from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

_JOIN_S = 5.0


class _Reader(InotifyFD):
    """watchdog's reader, that is not closed in the middle of an event: handling one may make all watches anew, and
    each of the two would pull the watches from under the other."""

    def __init__(self) -> None:
        super().__init__()
        self._one_event: Final = threading.Lock()

    def handle_event(self, event: InotifyEvent) -> None:
        with self._one_event:
            if self.should_keep_running():
                super().handle_event(event)

    def on_thread_stop(self) -> None:
        """Close it after the event that is being handled; one that hangs, as on a dead disk, is not waited for."""
        is_between = self._one_event.acquire(timeout=_JOIN_S)
        try:
            super().on_thread_stop()
        finally:
            if is_between:
                self._one_event.release()


class InotifyWatcher(BaseObserver):
    """An observer with an inotify instance of its own, that tells files moved in from files made here. Raises OSError
    when the system gives no instance."""

    def __init__(self) -> None:
        self.reader = _Reader()
        self.reader.start()
        super().__init__(InotifyFullEmitter, inotify_fd=self.reader)

    def on_thread_stop(self) -> None:
        """End the reader first: with it go all watches, also those of an instance that is broken. A reader that hangs
        is left behind, as it is a daemon."""
        self.reader.stop()
        super().on_thread_stop()
        self.reader.join(_JOIN_S)
