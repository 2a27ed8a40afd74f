"""watchdog's observer of Linux, with the thread that reads the system's events in sight: it may die like any other."""

from __future__ import annotations

from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter
from watchdog.observers.inotify_c import InotifyFD

_JOIN_S = 5.0


class InotifyWatcher(BaseObserver):
    """An observer with an inotify instance of its own, that tells files moved in from files made here. Raises OSError
    when the system gives no instance."""

    def __init__(self) -> None:
        self.reader = InotifyFD()
        self.reader.start()
        super().__init__(InotifyFullEmitter, inotify_fd=self.reader)

    def on_thread_stop(self) -> None:
        """End the reader first: with it go all watches, also those of an instance that is broken. A reader that hangs
        is left behind, as it is a daemon."""
        self.reader.stop()
        super().on_thread_stop()
        self.reader.join(_JOIN_S)
